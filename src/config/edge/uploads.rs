//! `edge.uploads`: what uploads may take.

use std::{num::NonZeroUsize, time::Duration};

use anyhow::Result;

use crate::config::{
    schema::{Key, value},
    section::Section,
};

pub(in crate::config) const KEYS: &[Key] = &[
    value("token_grace").or("1h").live(),
    value("memory").or("256MiB"),
    value("page_cache").or("64MiB"),
    value("blob_size_max"),
    value("open_max"),
];

/// Least memory that uploads may be given, in bytes: one upload must be able to fill one part.
const MEMORY_MIN: u64 = 1 << 20;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Uploads {
    /// How long past its end the token that began an upload still serves that upload; zero is not at all.
    pub token_grace: Duration,
    /// Bytes that all uploads together may buffer.
    pub memory: u64,
    /// How many of the first bytes of a directory's file stay in the system's page cache.
    pub pages_kept: u64,
    /// In bytes.
    pub blob_size_max: Option<u64>,
    /// Most request bodies that are received at once.
    pub open_max: Option<NonZeroUsize>,
}

impl Uploads {
    pub(in crate::config) fn read(uploads: &Section<'_>) -> Result<Self> {
        let memory = uploads.need("memory")?;
        if memory.size()? < MEMORY_MIN {
            return Err(memory.fail("must be at least 1MiB"));
        }
        let page_cache = uploads.need("page_cache")?;
        let blob_size_max = uploads.find("blob_size_max");
        let open_max = uploads.find("open_max");
        Ok(Self {
            token_grace: uploads.need("token_grace")?.timeout_or_zero()?,
            memory: memory.size()?,
            pages_kept: match page_cache.text()? {
                "keep" => u64::MAX,
                "drop" => 0,
                _ => page_cache.size().map_err(|_| page_cache.fail("must be keep, drop, or a size such as 64MiB"))?,
            },
            blob_size_max: blob_size_max.map(|field| field.size()).transpose()?,
            open_max: open_max.map(|field| field.at_least_one()).transpose()?,
        })
    }
}
