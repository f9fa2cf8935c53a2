//! `edge.tls.development`: a certificate of our own making.

use std::path::PathBuf;

use anyhow::Result;

use crate::config::section::{Field, Section};

/// Whether a development certificate is wanted.
pub(in crate::config) enum Development<'a> {
    Off,
    On { switch: Field<'a>, directory: PathBuf },
}

pub(in crate::config) fn read<'a>(edge: &Section<'a>) -> Result<Development<'a>> {
    let tls = edge.need_section("tls")?;
    let switch = tls.need("development")?;
    if !switch.boolean()? {
        return Ok(Development::Off);
    }
    let directory = tls.need("directory")?;
    match directory.text()? {
        "" => Err(directory.fail("must be the path of a directory")),
        path => Ok(Development::On { switch, directory: path.into() }),
    }
}
