//! `edge.upgrade`: how a process is replaced by one of another version.

use std::time::Duration;

use anyhow::Result;

use crate::config::{
    schema::{Key, value},
    section::Section,
};

pub(in crate::config) const KEYS: &[Key] = &[value("ready_timeout").or("1m"), value("drain_timeout").or("1h")];

/// No duration is zero.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Upgrade {
    /// How long the new process may take until it serves.
    pub ready_timeout: Duration,
    /// How long requests that the old process has begun may take from then on.
    pub drain_timeout: Duration,
}

impl Upgrade {
    pub(in crate::config) fn read(section: &Section<'_>) -> Result<Self> {
        Ok(Self {
            ready_timeout: section.need("ready_timeout")?.timeout()?,
            drain_timeout: section.need("drain_timeout")?.timeout()?,
        })
    }
}
