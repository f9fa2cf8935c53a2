//! `edge`: what is ours alone, in one section, so that Distribution still starts on the same file. One file for each of
//! its sections.

use std::net::IpAddr;

use anyhow::Result;
use http::HeaderValue;
use ipnet::IpNet;

use crate::config::{
    Warning,
    edge::{
        access::Access, access_log::AccessLog, downloads::Downloads, limits::Limits, proxies::Proxies, rates::Rates,
        shadow::Shadow, shutdown::Shutdown, upgrade::Upgrade, uploads::Uploads, upstream::Upstream,
    },
    schema::{Key, Shape, key, section, value, values},
    section::{Field, Section},
    storage::{Demand, Storage},
};

pub mod access;
pub mod access_log;
pub mod acme;
pub mod downloads;
pub(in crate::config) mod hsts;
pub mod limits;
pub mod listen;
pub mod passthrough;
pub mod proxies;
pub mod rates;
pub mod redirect;
pub mod shadow;
pub mod shutdown;
pub mod tls;
pub mod upgrade;
pub mod uploads;
pub mod upstream;

pub(in crate::config) const KEYS: &[Key] = &[
    value("strict").or("false"),
    value("external_url").live(),
    key("listen", Shape::List(&Shape::Section(listen::KEYS))),
    section("redirect_http_to_https", redirect::KEYS),
    key("passthrough", Shape::List(&Shape::Section(passthrough::KEYS))),
    values("trusted_proxies").live(),
    section("real_ip", proxies::REAL_IP).always().live(),
    section("uploads", uploads::KEYS).always(),
    section("access", access::KEYS).always().live(),
    section("limits", limits::KEYS).always().live(),
    section("rates", rates::KEYS).always(),
    section("downloads", downloads::KEYS).always(),
    section("access_log", access_log::KEYS).always().live(),
    section("shutdown", shutdown::KEYS).always().live(),
    section("upgrade", upgrade::KEYS).always().live(),
    section("acme", acme::KEYS).always(),
    section("tls", tls::KEYS).always(),
    section("hsts", hsts::KEYS).always().live(),
    key("upstream", Shape::Gathered(upstream::KEYS)),
    section("shadow", shadow::KEYS),
];

#[derive(Clone, Debug)]
pub struct Edge {
    /// Whether what is otherwise a warning about a certificate or a secret's file is refused: a key that others can
    /// read, a certificate outside its validity or without the host of the external URL, a chain out of order.
    pub strict: bool,
    pub proxies: Proxies,
    pub uploads: Uploads,
    pub access: Access,
    pub limits: Limits,
    pub rates: Rates,
    pub downloads: Downloads,
    /// `Strict-Transport-Security`, for answers over TLS.
    pub hsts: Option<HeaderValue>,
    /// The registry that answers in our place.
    pub upstream: Option<Upstream>,
    /// Only together with `upstream`.
    pub shadow: Option<Shadow>,
    pub access_log: AccessLog,
    pub shutdown: Shutdown,
    pub upgrade: Upgrade,
}

impl Edge {
    pub(in crate::config) fn read(edge: &Section<'_>, storage: &Storage, warnings: &mut Vec<Warning>) -> Result<Self> {
        let shadow = edge.section("shadow")?;
        let upstream = edge.section("upstream")?;
        if let (Some(shadow), None) = (&shadow, &upstream) {
            return Err(shadow.fail("needs edge.upstream: without it there is nothing to compare with"));
        }
        Ok(Self {
            strict: edge.boolean("strict")?,
            proxies: Proxies::read(edge, warnings)?,
            uploads: Uploads::read(&edge.need_section("uploads")?)?,
            access: Access::read(&edge.need_section("access")?)?,
            rates: Rates::read(&edge.need_section("rates")?)?,
            limits: Limits::read(&edge.need_section("limits")?)?,
            downloads: Downloads::read(&edge.need_section("downloads")?, storage, warnings)?,
            hsts: hsts::read(&edge.need_section("hsts")?)?,
            upstream: upstream.as_ref().map(Upstream::read).transpose()?,
            shadow: shadow.as_ref().map(Shadow::read).transpose()?,
            access_log: AccessLog::read(&edge.need_section("access_log")?)?,
            shutdown: Shutdown::read(&edge.need_section("shutdown")?)?,
            upgrade: Upgrade::read(&edge.need_section("upgrade")?)?,
        })
    }
}

/// Whether there is no use for a storage, because another registry answers and nobody compares.
pub(in crate::config) fn demand(edge: &Section<'_>) -> Demand {
    match (edge.find("upstream"), edge.find("shadow")) {
        (Some(_), None) => Demand::Optional,
        _ => Demand::Required,
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
