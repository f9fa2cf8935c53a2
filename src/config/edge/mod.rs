//! `edge`: what is ours alone, in one section, so that Distribution still starts on the same file. One file for each of
//! its sections.

use std::net::IpAddr;

use anyhow::Result;
use ipnet::IpNet;

use crate::config::{
    Warning,
    edge::{access::Access, downloads::Downloads, limits::Limits, proxies::Proxies, rates::Rates, uploads::Uploads},
    schema::{Key, Shape, key, section, value, values},
    section::{Field, Section},
    storage::Storage,
};

pub mod access;
pub(in crate::config) mod development;
pub mod downloads;
pub mod limits;
pub mod listen;
pub mod proxies;
pub mod rates;
pub mod redirect;
pub mod uploads;

pub(in crate::config) const KEYS: &[Key] = &[
    value("strict").or("false"),
    value("external_url"),
    key("listen", Shape::List(&Shape::Section(listen::KEYS))),
    section("redirect_http_to_https", redirect::KEYS),
    values("trusted_proxies"),
    section("real_ip", proxies::REAL_IP).always(),
    section("uploads", uploads::KEYS).always(),
    section("access", access::KEYS).always(),
    section("limits", limits::KEYS).always(),
    section("rates", rates::KEYS).always(),
    section("downloads", downloads::KEYS).always(),
    section("tls", &[value("development").or("false"), value("directory").or("certs/dev")]).always(),
];

#[derive(Clone, Debug)]
pub struct Edge {
    /// Whether a key file that others can read, or a certificate outside its validity, is refused.
    pub strict: bool,
    pub proxies: Proxies,
    pub uploads: Uploads,
    pub access: Access,
    pub limits: Limits,
    pub rates: Rates,
    pub downloads: Downloads,
}

impl Edge {
    pub(in crate::config) fn read(edge: &Section<'_>, storage: &Storage, warnings: &mut Vec<Warning>) -> Result<Self> {
        Ok(Self {
            strict: edge.boolean("strict")?,
            proxies: Proxies::read(edge, warnings)?,
            uploads: Uploads::read(&edge.need_section("uploads")?)?,
            access: Access::read(&edge.need_section("access")?)?,
            rates: Rates::read(&edge.need_section("rates")?)?,
            limits: Limits::read(&edge.need_section("limits")?)?,
            downloads: Downloads::read(&edge.need_section("downloads")?, storage, warnings)?,
        })
    }
}

/// A network, or one address.
pub(in crate::config) fn network(field: &Field<'_>) -> Result<IpNet> {
    let text = field.text()?;
    let network = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    network.map(|network| network.trunc()).ok_or_else(|| {
        field.fail(format_args!("is {text:?}; it must be a network such as 10.0.0.0/8 or fd00::/8, or an address"))
    })
}
