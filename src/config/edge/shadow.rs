//! `edge.shadow`: reads that another registry answers are also asked of our own storage, and compared.

use std::num::NonZeroUsize;

use anyhow::Result;

use crate::config::{
    schema::{Key, value},
    section::Section,
};

pub(in crate::config) const KEYS: &[Key] = &[value("sample").or("1.0"), value("concurrency").or("16")];

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shadow {
    /// Which part of the reads is compared, from 0 to 1.
    pub sample: f64,
    /// Most comparisons at once; what comes beyond is left out.
    pub concurrency: NonZeroUsize,
}

impl Shadow {
    pub(in crate::config) fn read(shadow: &Section<'_>) -> Result<Self> {
        let sample = shadow.need("sample")?;
        match sample.text()?.parse::<f64>() {
            Ok(part) if (0.0..=1.0).contains(&part) => {
                Ok(Self { sample: part, concurrency: shadow.need("concurrency")?.at_least_one()? })
            }
            _ => Err(sample.fail("must be a number from 0 to 1, such as 0.1 for every tenth read")),
        }
    }
}
