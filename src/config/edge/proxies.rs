//! `edge.trusted_proxies` and `edge.real_ip`: whose word counts about who a client is.

use anyhow::Result;
use http::HeaderName;
use ipnet::IpNet;

use crate::config::{
    Warning,
    edge::network,
    schema::{Key, value},
    section::{Field, Section},
};

pub(in crate::config) const REAL_IP: &[Key] = &[value("header").or("X-Forwarded-For"), value("recursive").or("true")];

/// In `edge.trusted_proxies`: whoever connects through a socket of the file system.
const UNIX: &str = "unix";

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
        let (unix, networks): (Vec<_>, Vec<_>) =
            edge.list("trusted_proxies")?.into_iter().partition(|field| matches!(field.text(), Ok(UNIX)));
        let real_ip = edge.need_section("real_ip")?;
        let header = real_ip.need("header")?;
        let proxies = Self {
            networks: networks.iter().map(network).collect::<Result<_>>()?,
            unix: !unix.is_empty(),
            header: header_name(&header)?,
            recursive: real_ip.boolean("recursive")?,
        };
        if proxies.is_empty() && proxies.header != USUAL {
            warnings.push(Warning::of(&header, "has no effect without edge.trusted_proxies: nobody is believed"));
        }
        if let Some(everybody) = networks.iter().zip(&proxies.networks).find(|(_, network)| network.prefix_len() == 0) {
            warnings.push(Warning::of(everybody.0, "is everybody: any client can then claim to be any other"));
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
