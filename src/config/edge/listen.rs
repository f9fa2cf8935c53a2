//! `edge.listen`: the addresses that are listened on, and what is spoken on each; without it, `http.addr` and `http.net`.
//!
//! Nothing is bound here, but what cannot go together is found: one address under two keys is an error that names both.

use std::{fmt, net::IpAddr, path::PathBuf};

use anyhow::Result;

use crate::config::{
    Warning,
    address::Address,
    node::{Origin, Value},
    schema::{Key, value},
    section::{Field, Section},
};

pub(in crate::config) const KEYS: &[Key] = &[
    value("address"),
    value("tls"),
    value("proxy_protocol").or("off"),
    value("passthrough").or("true"),
    value("mode").or("0666"),
];

/// The permissions of the socket that `http.net: unix` means, and the default of `mode`: as with the registry that we
/// replace, whoever may enter the directory may connect.
const MODE: u32 = 0o666;

/// One address, and what is spoken there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listener {
    pub place: Place,
    pub encryption: Encryption,
    pub proxy_protocol: ProxyProtocol,
    /// Whether the names of `edge.passthrough` are somebody else's here.
    pub passthrough: bool,
}

/// Where a listener's socket comes from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Place {
    /// Without a host: all addresses of the machine, of both families. `::` is all of IPv6 alone.
    Tcp(Address),
    /// A socket in the file system, with its permissions.
    Unix { path: PathBuf, mode: u32 },
    /// Those that the service manager passes under this name.
    Systemd { name: String },
}

/// Whether TLS is spoken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Encryption {
    Plain,
    Tls,
}

/// Whether connections begin with a header that names the client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ProxyProtocol {
    Off,
    Required,
}

impl Listener {
    /// Whether only this machine reaches it, such as a proxy that has ended TLS.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match &self.place {
            Place::Tcp(address) => address.is_loopback(),
            Place::Unix { .. } => true,
            Place::Systemd { .. } => false,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix { path, .. } => write!(f, "unix:{}", path.display()),
            Self::Systemd { name } => write!(f, "systemd:{name}"),
        }
    }
}

/// The places that are taken, and by which keys.
#[derive(Default)]
pub(in crate::config) struct Claims<'a>(Vec<(Field<'a>, Place)>);

impl<'a> Claims<'a> {
    /// # Errors
    /// Another key has claimed the same, or a part of it.
    pub(in crate::config) fn claim(&mut self, field: Field<'a>, place: &Place) -> Result<()> {
        if let Some((other, taken)) = self.0.iter().find(|(_, taken)| overlap(taken, place)) {
            let origin = &other.node().origin;
            return Err(
                field.fail(format_args!("is {place}, but {} ({origin}) listens on {taken} already", other.key()))
            );
        }
        self.0.push((field, place.clone()));
        Ok(())
    }
}

/// Whether the kernel, or sense, lets only one of them be.
fn overlap(one: &Place, other: &Place) -> bool {
    match (one, other) {
        (Place::Tcp(one), Place::Tcp(other)) => {
            one.port == other.port && one.port != 0 && hosts_overlap(&one.host, &other.host)
        }
        (Place::Unix { path: one, .. }, Place::Unix { path: other, .. }) => one == other,
        (Place::Systemd { name: one }, Place::Systemd { name: other }) => one == other,
        _ => false,
    }
}

/// What another name than `localhost` stands for is not known before it is looked up.
fn hosts_overlap(one: &str, other: &str) -> bool {
    if one.is_empty() || other.is_empty() || one.eq_ignore_ascii_case(other) {
        return true;
    }
    match (literal(one), literal(other)) {
        (Some(one), Some(other)) => {
            one.is_ipv4() == other.is_ipv4() && (one.is_unspecified() || other.is_unspecified() || one == other)
        }
        (Some(literal), None) => literal.is_unspecified() || is_localhost(other) && literal.is_loopback(),
        (None, Some(literal)) => literal.is_unspecified() || is_localhost(one) && literal.is_loopback(),
        (None, None) => false,
    }
}

fn literal(host: &str) -> Option<IpAddr> {
    host.parse().ok()
}

fn is_localhost(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
}

/// Every listener, at least one. `usual` is spoken where nothing else is said.
pub(in crate::config) fn read<'a>(
    http: &Section<'a>,
    edge: &Section<'a>,
    usual: Encryption,
    claims: &mut Claims<'a>,
    warnings: &mut Vec<Warning>,
) -> Result<Vec<Listener>> {
    let Some(listed) = edge.find("listen") else {
        let field = http.need("addr")?;
        let place = of_http(http, &field)?;
        let listener = Listener { place, encryption: usual, proxy_protocol: ProxyProtocol::Off, passthrough: true };
        if usual == Encryption::Plain && !listener.is_local() {
            let text = "is not set: tokens, passwords and images travel unencrypted from here";
            warnings.push(Warning { key: "http.tls".to_owned(), text: text.to_owned() });
        }
        claims.claim(field, &listener.place)?;
        return Ok(vec![listener]);
    };
    let fields = listed.list()?;
    if fields.is_empty() {
        return Err(listed.fail("must list one address at least"));
    }
    for name in ["addr", "net"] {
        if let Some(field) = http.find(name).filter(|field| field.node().origin != Origin::Default) {
            warnings.push(Warning::of(&field, "has no effect beside edge.listen"));
        }
    }
    fields.iter().map(|field| of_edge(field, usual, claims, warnings)).collect()
}

fn of_edge<'a>(
    field: &Field<'a>,
    usual: Encryption,
    claims: &mut Claims<'a>,
    warnings: &mut Vec<Warning>,
) -> Result<Listener> {
    // A bare address says all that most listeners need.
    if let Value::Scalar { .. } = field.node().value {
        let place = place(field, MODE)?;
        return checked(
            Listener { place, encryption: usual, proxy_protocol: ProxyProtocol::Off, passthrough: true },
            field,
            claims,
            warnings,
        );
    }
    let section = field.section()?;
    let address = section.need("address")?;
    let mode = section.need("mode")?;
    let place = place(&address, permissions(&mode)?)?;
    if !matches!(place, Place::Unix { .. }) && mode.node().origin != Origin::Default {
        return Err(mode.fail("is for sockets of the file system, unix:/path"));
    }
    let proxy_protocol = proxy_protocol(&section.need("proxy_protocol")?)?;
    let passthrough = section.boolean("passthrough")?;
    let Some(written) = section.find("tls") else {
        let listener = Listener { place, encryption: usual, proxy_protocol, passthrough };
        return checked(listener, &address, claims, warnings);
    };
    let encryption = if written.boolean()? { Encryption::Tls } else { Encryption::Plain };
    if (encryption, usual) == (Encryption::Tls, Encryption::Plain) {
        return Err(written.fail("asks for TLS, but no certificate is configured"));
    }
    claims.claim(address, &place)?;
    Ok(Listener { place, encryption, proxy_protocol, passthrough })
}

/// A listener of which nobody has said whether it is meant to be plain.
fn checked<'a>(
    listener: Listener,
    field: &Field<'a>,
    claims: &mut Claims<'a>,
    warnings: &mut Vec<Warning>,
) -> Result<Listener> {
    claims.claim(field.clone(), &listener.place)?;
    if listener.encryption == Encryption::Plain && !listener.is_local() {
        let text =
            "has no certificate: tokens, passwords and images travel unencrypted from here; tls: off says it is meant";
        warnings.push(Warning::of(field, text));
    }
    Ok(listener)
}

pub(in crate::config) fn proxy_protocol(field: &Field<'_>) -> Result<ProxyProtocol> {
    field.word(&[
        ("off", ProxyProtocol::Off),
        ("false", ProxyProtocol::Off),
        ("required", ProxyProtocol::Required),
        ("true", ProxyProtocol::Required),
    ])
}

/// `host:port`, `unix:/path` or `systemd:name`.
pub(in crate::config) fn place(field: &Field<'_>, mode: u32) -> Result<Place> {
    let text = field.text()?;
    if let Some(path) = text.strip_prefix("unix:") {
        return unix(field, path, mode);
    }
    if let Some(name) = text.strip_prefix("systemd:") {
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':') {
            return Err(field.fail("must name a socket, as FileDescriptorName of its unit does: systemd:name"));
        }
        return Ok(Place::Systemd { name: name.to_owned() });
    }
    let all = text.strip_prefix('*').filter(|rest| rest.starts_with(':'));
    Address::parse(all.unwrap_or(text)).map(Place::Tcp).ok_or_else(|| {
        field.fail(
            "must be an address such as :443, 127.0.0.1:5000, [::1]:5000, unix:/run/pierhead.sock or systemd:name",
        )
    })
}

fn unix(field: &Field<'_>, path: &str, mode: u32) -> Result<Place> {
    if !path.starts_with('/') && !path.starts_with("./") {
        return Err(field.fail("must be the path of a socket that begins with / or ./"));
    }
    Ok(Place::Unix { path: path.into(), mode })
}

fn of_http(http: &Section<'_>, address: &Field<'_>) -> Result<Place> {
    #[derive(Clone, Copy)]
    enum Net {
        Tcp,
        Unix,
    }
    let net = http.need("net")?;
    // An empty `net` means tcp, as `net` that is missing does.
    match net.word(&[("tcp", Net::Tcp), ("", Net::Tcp), ("unix", Net::Unix)])? {
        Net::Tcp => {
            let mut address = Address::read(address)?;
            // To Go, and so to the registry that we replace, this is all addresses of both families.
            if address.host == "::" {
                address.host.clear();
            }
            Ok(Place::Tcp(address))
        }
        Net::Unix => match address.text()? {
            path if path.starts_with('/') || path.starts_with("./") => {
                Ok(Place::Unix { path: path.into(), mode: MODE })
            }
            _ => Err(address.fail("must be the path of a socket, because http.net is unix")),
        },
    }
}

/// Permissions as `chmod` takes them: octal with or without a zero before it.
fn permissions(field: &Field<'_>) -> Result<u32> {
    let text = field.text()?;
    let digits = text.strip_prefix("0o").unwrap_or(text);
    let octal = !digits.is_empty() && digits.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    match u32::from_str_radix(digits, 8) {
        Ok(mode) if octal && mode <= 0o777 => Ok(mode),
        _ => Err(field.fail(format_args!("is {text:?}; it must be permissions such as 0660"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_overlap() {
        let tcp = |text: &str| Place::Tcp(Address::parse(text).unwrap());
        let check = |one: &str, other: &str, expected: bool| {
            assert_eq!(overlap(&tcp(one), &tcp(other)), expected, "{one} {other}");
            assert_eq!(overlap(&tcp(other), &tcp(one)), expected, "{other} {one}");
        };
        check(":443", ":443", true);
        check(":443", ":444", false);
        check(":0", ":0", false);
        check(":443", "127.0.0.1:443", true);
        check(":443", "registry.example.com:443", true);
        check("0.0.0.0:443", "[::]:443", false);
        check("0.0.0.0:443", "10.0.0.1:443", true);
        check("0.0.0.0:443", "[::1]:443", false);
        check("[::]:443", "[::1]:443", true);
        check("10.0.0.1:443", "10.0.0.2:443", false);
        check("localhost:443", "127.0.0.1:443", true);
        check("localhost:443", "10.0.0.1:443", false);
        check("0.0.0.0:443", "registry.example.com:443", true);
        check("a.example.com:443", "b.example.com:443", false);
    }
}
