//! `edge.downloads`: which downloads are sent to the storage itself.

use std::time::Duration;

use anyhow::Result;
use ipnet::IpNet;

use crate::config::{
    Warning,
    edge::network,
    schema::{Key, value, values},
    section::Section,
    storage::Storage,
};

pub(in crate::config) const KEYS: &[Key] = &[
    value("inline_max").or("64KiB").live(),
    values("redirect_networks").live(),
    values("forward_networks").live(),
    value("url_window").or("5m"),
];

/// With the longest lifetime of an address, Amazon's limit of seven days.
const WINDOW_MAX: Duration = Duration::from_hours(24);

/// Which downloads are redirected, where redirects are possible and not disabled. Requests for several ranges never are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Downloads {
    /// Blobs of up to this many bytes are never redirected.
    pub inline_max: u64,
    /// Networks of clients that are redirected; everybody where it is empty.
    pub redirect_networks: Vec<IpNet>,
    /// Networks of clients that are never redirected, whatever the other list says.
    pub forward_networks: Vec<IpNet>,
    /// How long the address of an object stays the same, so that caches can know it; zero is not at all, a day the most.
    pub url_window: Duration,
}

impl Downloads {
    pub(in crate::config) fn read(
        downloads: &Section<'_>,
        storage: &Storage,
        warnings: &mut Vec<Warning>,
    ) -> Result<Self> {
        for field in ["redirect_networks", "forward_networks"].iter().filter_map(|name| downloads.find(name)) {
            if storage.redirect.is_none() && !field.node().is_idle() {
                warnings.push(Warning::of(&field, "has no effect while storage.redirect.disable is true"));
            }
        }
        let networks = |name| -> Result<Vec<_>> { downloads.list(name)?.iter().map(network).collect() };
        let window = downloads.need("url_window")?;
        if window.timeout_or_zero()? > WINDOW_MAX {
            return Err(window.fail("must be at most 24h"));
        }
        Ok(Self {
            inline_max: downloads.need("inline_max")?.size()?,
            redirect_networks: networks("redirect_networks")?,
            forward_networks: networks("forward_networks")?,
            url_window: window.duration()?,
        })
    }
}
