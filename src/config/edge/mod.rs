//! `edge`: what is ours alone, in one section, so that Distribution still starts on the same file. One file for each of
//! its sections.

use std::net::IpAddr;

use anyhow::Result;
use http::HeaderValue;
use ipnet::IpNet;

use crate::config::{
    Warning,
    edge::{downloads::Downloads, limits::Limits, proxies::Proxies, uploads::Uploads},
    schema::{Key, Shape, key, section, value, values},
    section::{Field, Section},
    storage::Storage,
};

pub mod downloads;
pub(in crate::config) mod hsts;
pub mod limits;
pub mod listen;
pub mod proxies;
pub mod redirect;
pub mod tls;
pub mod uploads;

pub(in crate::config) const KEYS: &[Key] = &[
    value("strict").or("false"),
    value("external_url"),
    key("listen", Shape::List(&Shape::Section(listen::KEYS))),
    section("redirect_http_to_https", redirect::KEYS),
    values("trusted_proxies"),
    section("real_ip", proxies::REAL_IP).always(),
    section("uploads", uploads::KEYS).always(),
    section("limits", limits::KEYS).always(),
    section("downloads", downloads::KEYS).always(),
    section("tls", tls::KEYS).always(),
    section("hsts", hsts::KEYS).always(),
];

#[derive(Clone, Debug)]
pub struct Edge {
    /// Whether what is otherwise a warning about a certificate or a secret's file is refused: a key that others can
    /// read, a certificate outside its validity or without the host of the external URL, a chain out of order.
    pub strict: bool,
    pub proxies: Proxies,
    pub uploads: Uploads,
    pub limits: Limits,
    pub downloads: Downloads,
    /// `Strict-Transport-Security`, for answers over TLS.
    pub hsts: Option<HeaderValue>,
}

impl Edge {
    pub(in crate::config) fn read(edge: &Section<'_>, storage: &Storage, warnings: &mut Vec<Warning>) -> Result<Self> {
        Ok(Self {
            strict: edge.boolean("strict")?,
            proxies: Proxies::read(edge, warnings)?,
            uploads: Uploads::read(&edge.need_section("uploads")?)?,
            limits: Limits::read(&edge.need_section("limits")?)?,
            downloads: Downloads::read(&edge.need_section("downloads")?, storage, warnings)?,
            hsts: hsts::read(&edge.need_section("hsts")?)?,
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
