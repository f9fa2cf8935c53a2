//! `edge.access`: the networks that may come in, and those that may not.

use anyhow::Result;
use ipnet::IpNet;

use crate::config::{
    edge::network,
    schema::{Key, values},
    section::{Field, Section},
};

pub(in crate::config) const KEYS: &[Key] = &[values("allow"), values("deny")];

/// Whoever connects through a socket of the file system.
const UNIX: &str = "unix";

/// Who is on both lists may not; nobody on the first is everybody.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Access {
    pub allow: Places,
    pub deny: Places,
}

/// Where clients come from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Places {
    pub networks: Vec<IpNet>,
    pub unix: bool,
}

impl Access {
    pub(in crate::config) fn read(access: &Section<'_>) -> Result<Self> {
        Ok(Self { allow: Places::read(&access.list("allow")?)?, deny: Places::read(&access.list("deny")?)? })
    }
}

impl Places {
    pub(in crate::config) const fn is_empty(&self) -> bool {
        self.networks.is_empty() && !self.unix
    }

    pub(in crate::config) fn read(fields: &[Field<'_>]) -> Result<Self> {
        let (unix, networks): (Vec<_>, Vec<_>) = fields.iter().partition(|field| matches!(field.text(), Ok(UNIX)));
        Ok(Self { networks: networks.into_iter().map(network).collect::<Result<_>>()?, unix: !unix.is_empty() })
    }
}
