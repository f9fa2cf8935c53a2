//! `edge.shutdown`: how a process that is told to stop takes its leave. How long running requests may take then is
//! `http.draintimeout`.

use std::time::Duration;

use anyhow::Result;

use crate::config::{
    schema::{Key, value},
    section::Section,
};

pub(in crate::config) const KEYS: &[Key] = &[value("lame_duck").or("0s")];

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Shutdown {
    /// How long it says that it is not ready, and still serves, before it takes no more connections.
    pub lame_duck: Duration,
}

impl Shutdown {
    pub(in crate::config) fn read(section: &Section<'_>) -> Result<Self> {
        Ok(Self { lame_duck: section.need("lame_duck")?.timeout_or_zero()? })
    }
}
