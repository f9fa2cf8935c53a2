//! `edge.trusted_proxies` and `edge.real_ip`: whose word counts about who a client is.

use anyhow::Result;
use http::HeaderName;
use ipnet::IpNet;

use crate::config::{
    Warning,
    edge::{access::Places, network},
    schema::{Key, value},
    section::{Field, Section},
};

pub(in crate::config) const REAL_IP: &[Key] = &[value("header").or("X-Forwarded-For"), value("recursive").or("true")];

/// The default of `real_ip.header`.
const USUAL: &str = "x-forwarded-for";

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Proxies {
    /// Networks of proxies that are believed.
    pub networks: Vec<IpNet>,
    /// Whether whoever connects through a unix socket is believed.
    pub unix: bool,
    /// Where they say who the client is.
    pub header: HeaderName,
    /// Whether addresses of trusted proxies in that header are passed over, from its end.
    pub recursive: bool,
}

impl Proxies {
    pub(in crate::config) fn read(edge: &Section<'_>, warnings: &mut Vec<Warning>) -> Result<Self> {
        let named = edge.list("trusted_proxies")?;
        let Places { networks, unix } = Places::read(&named)?;
        let real_ip = edge.need_section("real_ip")?;
        let header = real_ip.need("header")?;
        let proxies = Self { networks, unix, header: header_name(&header)?, recursive: real_ip.boolean("recursive")? };
        if proxies.is_empty() && proxies.header != USUAL {
            warnings.push(Warning::of(&header, "has no effect without edge.trusted_proxies: nobody is believed"));
        }
        let is_everybody = |field: &&Field<'_>| network(field).is_ok_and(|network| network.prefix_len() == 0);
        if let Some(everybody) = named.iter().find(is_everybody) {
            warnings.push(Warning::of(everybody, "is everybody: any client can then claim to be any other"));
        }
        Ok(proxies)
    }

    /// Whether nobody is believed.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.networks.is_empty() && !self.unix
    }
}

fn header_name(field: &Field<'_>) -> Result<HeaderName> {
    let text = field.text()?;
    if text.is_empty() {
        return Err(field.fail("must be a header such as X-Forwarded-For, Forwarded or X-Real-IP"));
    }
    text.parse().map_err(|_| field.fail(format_args!("is {text:?}, which is not a name of a header")))
}
