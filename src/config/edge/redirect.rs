//! `edge.redirect_http_to_https`: a plain listener that sends everybody to the external URL.

use anyhow::Result;

use crate::config::{
    address::{Address, Url},
    edge::listen::{self, Claims, Place, ProxyProtocol},
    node::{Origin, Value},
    schema::{Key, value},
    section::{Field, Section},
};

pub(in crate::config) const KEYS: &[Key] =
    &[value("address"), value("port").or("80"), value("proxy_protocol").or("off")];

/// Where plain HTTP is answered with a redirect where nothing else is said.
const PORT: u16 = 80;

/// As of a socket that is not told its permissions.
const MODE: u32 = 0o666;

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Redirect {
    pub place: Place,
    pub proxy_protocol: ProxyProtocol,
    /// `host` or `host:port`, to be reached by https.
    pub authority: String,
}

/// True, or a section, turns it on.
pub(in crate::config) fn read<'a>(
    edge: &Section<'a>,
    external: Option<&Url>,
    claims: &mut Claims<'a>,
) -> Result<Option<Redirect>> {
    let Some(field) = edge.find("redirect_http_to_https") else { return Ok(None) };
    let (place, proxy_protocol, claimed) = match &field.node().value {
        Value::Scalar { .. } if !field.boolean()? => return Ok(None),
        Value::Scalar { .. } => (everywhere(PORT), ProxyProtocol::Off, field.clone()),
        Value::Map(_) | Value::List(_) => {
            let section = field.section()?;
            let (place, claimed) = place(&section)?;
            (place, listen::proxy_protocol(&section.need("proxy_protocol")?)?, claimed)
        }
    };
    let authority = authority(&field, external)?;
    claims.claim(claimed, &place)?;
    Ok(Some(Redirect { place, proxy_protocol, authority }))
}

fn place<'a>(section: &Section<'a>) -> Result<(Place, Field<'a>)> {
    let port = section.need("port")?;
    match section.find("address") {
        Some(_) if port.node().origin != Origin::Default => {
            Err(port.fail("contradicts the address beside it, which has a port of its own"))
        }
        Some(address) => Ok((listen::place(&address, MODE)?, address)),
        None => {
            let number = u16::try_from(port.integer()?).map_err(|_| port.fail("must be a port, from 0 to 65535"))?;
            Ok((everywhere(number), port))
        }
    }
}

const fn everywhere(port: u16) -> Place {
    Place::Tcp(Address { host: String::new(), port })
}

/// The host is never the one that a client names: whoever can put a name into somebody's request would choose where the
/// redirect leads.
fn authority(field: &Field<'_>, external: Option<&Url>) -> Result<String> {
    let Some(url) = external else {
        return Err(field.fail("needs edge.external_url, the address that clients are sent to"));
    };
    match (url.uri().scheme_str(), url.uri().authority()) {
        (Some("https"), Some(authority)) => Ok(authority.as_str().to_owned()),
        _ => Err(field.fail(format_args!("needs an edge.external_url with https; it is {url}"))),
    }
}
