//! `edge.access_log`: how a request's line looks and where it goes. `log.accesslog.disabled` turns it off.

use std::path::PathBuf;

use anyhow::Result;

use crate::config::{
    schema::{Key, value},
    section::Section,
};

pub(in crate::config) const KEYS: &[Key] = &[value("format").or("combined"), value("path").or("stdout")];

/// The word in the place of a path that means standard output.
const STDOUT: &str = "stdout";

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AccessLog {
    pub format: Format,
    pub target: Target,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Format {
    /// As CNCF Distribution writes it.
    Combined,
    /// As GitLab's NGINX writes it.
    Gitlab,
    /// An object.
    Json,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Target {
    Stdout,
    File(PathBuf),
}

impl AccessLog {
    pub(in crate::config) fn read(section: &Section<'_>) -> Result<Self> {
        let formats = [("combined", Format::Combined), ("gitlab", Format::Gitlab), ("json", Format::Json)];
        let path = section.need("path")?;
        let target = match path.text()? {
            STDOUT => Target::Stdout,
            text if text.is_empty() || text.ends_with('/') => return Err(path.fail("must be stdout or a file")),
            text => Target::File(PathBuf::from(text)),
        };
        Ok(Self { format: section.need("format")?.word(&formats)?, target })
    }
}
