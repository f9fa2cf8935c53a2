//! Who may speak for clients, and how what they say is read.
//!
//! Trust goes hop by hop. The other end of a connection is believed if it is in one of the networks; the address that it
//! names is believed in turn only if it is a trusted proxy, too. What a client itself wrote into such a header stands
//! before all that, and is never reached.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, header, uri::Authority};
use ipnet::IpNet;

use crate::{
    api::{self, Origin, Scheme},
    server::forwarded::{self, Element},
};

/// Most hops that are looked at; longer chains are attempts to keep us busy.
const HOPS_MAX: usize = 32;

const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const PORT: HeaderName = HeaderName::from_static("x-forwarded-port");

/// Proxies whose word about clients counts.
#[derive(Clone, Debug)]
pub struct Proxies {
    pub networks: Vec<IpNet>,
    pub unix: UnixPeers,
    /// Where they say who the client is: `Forwarded`, or a header with addresses.
    pub header: HeaderName,
    pub depth: Depth,
}

/// Whether whoever connects through a unix socket is believed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum UnixPeers {
    Trusted,
    #[default]
    Unknown,
}

/// How far back a chain of proxies is followed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Depth {
    /// To the last address that no trusted proxy has.
    #[default]
    Chain,
    /// To the last address, whoever has it.
    Last,
}

impl Default for Proxies {
    /// Nobody is believed.
    fn default() -> Self {
        Self {
            networks: Vec::new(),
            unix: UnixPeers::Unknown,
            header: HeaderName::from_static("x-forwarded-for"),
            depth: Depth::Chain,
        }
    }
}

/// One end of a connection as the kernel, or a trusted PROXY header, names it.
#[derive(Clone, Debug)]
pub(super) struct Hop {
    /// As it holds for requests that nobody forwarded.
    pub(super) connection: api::Connection,
    pub(super) end: End,
}

/// Whether it is known who speaks over a connection. Whether whoever does is trusted is asked for each request, because
/// that may change.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum End {
    Known,
    /// A client that its balancer cannot name. Headers come from nobody knows whom, and are not believed.
    Unknown,
    /// A balancer that speaks for itself. It speaks no HTTP, so headers are not believed, either.
    Local,
}

impl Proxies {
    /// `None` is the other end of a unix socket.
    pub(super) fn trusts(&self, peer: Option<IpAddr>) -> bool {
        peer.map_or(self.unix == UnixPeers::Trusted, |peer| self.holds(peer))
    }

    /// Whether what whoever speaks at that end says of others is believed.
    pub(super) fn believes(&self, hop: &Hop) -> bool {
        hop.end == End::Known && self.trusts(hop.connection.peer.map(|peer| peer.ip()))
    }

    /// Takes out what whoever is not believed says of its way here: those behind us believe what comes from us.
    pub(super) fn silence(&self, hop: &Hop, headers: &mut HeaderMap) {
        if self.believes(hop) {
            return;
        }
        let said: Vec<_> = headers.keys().filter(|name| self.speaks_for_others(name)).cloned().collect();
        for name in said {
            headers.remove(name);
        }
    }

    /// Whether a header is one of those by which proxies speak, in any spelling that some server takes for the same: those
    /// that know only letters and `_` in names read `X_Real_IP` as `X-Real-IP`.
    pub(super) fn speaks_for_others(&self, name: &HeaderName) -> bool {
        let name = name.as_str().as_bytes();
        let begins = |with: &str| name.len() >= with.len() && is_alike(&name[..with.len()], with.as_bytes());
        let is = |other: &str| name.len() == other.len() && begins(other);
        begins("x-forwarded") || is("forwarded") || is("x-real-ip") || is(self.header.as_str())
    }

    fn holds(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&address))
    }

    /// Where a request with these headers comes from.
    pub(super) fn resolve(&self, hop: &Hop, headers: &HeaderMap) -> api::Connection {
        let mut connection = hop.connection.clone();
        if !self.believes(hop) {
            return connection;
        }
        let mut said = if self.header == header::FORWARDED {
            self.forwarded(&mut connection, headers)
        } else {
            self.addresses(&mut connection, headers);
            Said::of_headers(headers)
        };
        // Of a plain connection nobody knows whether the proxy has ended TLS before it, unless it says so.
        if connection.scheme == Scheme::Https {
            said.scheme.get_or_insert(Scheme::Https);
        }
        connection.scheme = said.scheme.unwrap_or(connection.scheme);
        connection.origin = said.origin(headers);
        connection
    }

    /// Follows a list of addresses.
    fn addresses(&self, connection: &mut api::Connection, headers: &HeaderMap) {
        for text in forwarded::values(headers, &self.header).take(HOPS_MAX) {
            // Behind a proxy that does not say, or not legibly, nobody knows.
            let Some(address) = forwarded::address(&text) else { return };
            connection.peer = Some(address);
            if !self.goes_on(address) {
                return;
            }
        }
    }

    /// Follows the elements of `Forwarded`. What the outermost trusted proxy says is how the client sees us.
    fn forwarded(&self, connection: &mut api::Connection, headers: &HeaderMap) -> Said {
        let mut said = Said::default();
        for text in forwarded::values(headers, &header::FORWARDED).take(HOPS_MAX) {
            let Some(element) = Element::parse(&text) else { return said };
            said = Said { scheme: element.proto.and_then(forwarded::scheme), host: element.host.clone(), port: None };
            let Some(address) = element.client.as_deref().and_then(forwarded::address) else { return said };
            connection.peer = Some(address);
            if !self.goes_on(address) {
                return said;
            }
        }
        said
    }

    fn goes_on(&self, address: SocketAddr) -> bool {
        self.depth == Depth::Chain && self.holds(address.ip())
    }
}

/// Whether two names are the same for those to whom `-` and `_` are; both have as many letters.
fn is_alike(name: &[u8], other: &[u8]) -> bool {
    let plain = |byte: u8| if byte == b'_' { b'-' } else { byte };
    name.iter().zip(other).all(|(one, other)| plain(*one) == plain(*other))
}

/// How the client sees us, as far as a proxy says.
#[derive(Debug, Default)]
struct Said {
    scheme: Option<Scheme>,
    host: Option<String>,
    port: Option<u16>,
}

impl Said {
    /// Of each header the last value: the only one that the proxy next to us has seen, and surely not a client's.
    fn of_headers(headers: &HeaderMap) -> Self {
        let last = |name: &HeaderName| forwarded::values(headers, name).next();
        Self {
            scheme: last(&PROTO).and_then(forwarded::scheme),
            host: last(&HOST),
            port: last(&PORT).and_then(|port| port.parse().ok()).filter(|port| *port != 0),
        }
    }

    /// The host is the one that was said, else the one that the proxy asks for; one without a port gets the one that was
    /// said.
    fn origin(&self, headers: &HeaderMap) -> Option<Origin> {
        let scheme = self.scheme?;
        let asked = || headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let host = self.host.as_deref().filter(|host| !host.is_empty()).or_else(asked)?;
        let authority = legible(host)?;
        let usual = match scheme {
            Scheme::Http => 80,
            Scheme::Https => 443,
        };
        let authority = match self.port {
            Some(port) if authority.port().is_none() && port != usual => format!("{authority}:{port}"),
            _ => authority.to_string(),
        };
        Some(Origin { scheme, authority })
    }
}

/// A host, perhaps with a port, that can stand in an address.
fn legible(host: &str) -> Option<Authority> {
    let authority: Authority = host.parse().ok()?;
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    let fits = host.len() <= 255 && host.bytes().all(legal) && !authority.host().is_empty();
    // A port that is no number would be passed over.
    let port = authority.port_u16().is_some() || authority.as_str().len() == authority.host().len();
    (fits && port).then_some(authority)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(header: &str, depth: Depth) -> Proxies {
        let networks = ["10.0.0.0/8", "fd00::/8"].map(|network| network.parse().unwrap());
        Proxies { networks: networks.into(), unix: UnixPeers::Unknown, header: header.parse().unwrap(), depth }
    }

    /// Address (with port), scheme and origin of a request.
    fn seen(proxies: &Proxies, peer: Option<&str>, headers: &[(&str, &str)]) -> (String, String) {
        let peer = peer.map(|peer| SocketAddr::new(peer.parse().unwrap(), 7));
        let hop = Hop { connection: api::Connection { peer, scheme: Scheme::Http, origin: None }, end: End::Known };
        let mut map = HeaderMap::new();
        map.insert(header::HOST, "inner:5000".parse().unwrap());
        for (name, value) in headers {
            map.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        let connection = proxies.resolve(&hop, &map);
        let scheme = |scheme| if scheme == Scheme::Https { "https" } else { "http" };
        let origin = connection.origin.map_or_else(
            || format!("{} -", scheme(connection.scheme)),
            |origin| format!("{}://{}", scheme(origin.scheme), origin.authority),
        );
        (connection.peer.map_or_else(|| "-".to_owned(), |peer| peer.to_string()), origin)
    }

    #[test]
    fn addresses_are_followed_back_to_the_last_that_is_not_trusted() {
        let check = |depth, values: &[&str], expected: &str| {
            let headers: Vec<_> = values.iter().map(|value| ("x-forwarded-for", *value)).collect();
            assert_eq!(seen(&proxies("X-Forwarded-For", depth), Some("10.0.0.1"), &headers).0, expected, "{values:?}");
        };
        check(Depth::Chain, &[], "10.0.0.1:7");
        check(Depth::Chain, &["192.0.2.1"], "192.0.2.1:0");
        check(Depth::Chain, &["6.6.6.6, 192.0.2.1, 10.0.0.2"], "192.0.2.1:0");
        check(Depth::Chain, &["6.6.6.6, 192.0.2.1", "10.0.0.2,10.0.0.3 "], "192.0.2.1:0");
        check(Depth::Last, &["192.0.2.1, 10.0.0.2"], "10.0.0.2:0");
        check(Depth::Chain, &["10.0.0.9, 10.0.0.2"], "10.0.0.9:0");
        check(Depth::Chain, &["192.0.2.1:4711, [fd00::1]:5"], "192.0.2.1:4711");
        check(Depth::Chain, &["2001:db8::1"], "[2001:db8::1]:0");
        check(Depth::Chain, &["::ffff:192.0.2.1"], "192.0.2.1:0");
        // Behind this there is no telling.
        check(Depth::Chain, &["192.0.2.1, unknown, 10.0.0.2"], "10.0.0.2:0");
        check(Depth::Chain, &["192.0.2.1, , 10.0.0.2"], "10.0.0.2:0");
        check(Depth::Chain, &[&format!("6.6.6.6{}", ", 10.0.0.2".repeat(40))], "10.0.0.2:0");
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let lies = [("x-forwarded-for", "6.6.6.6"), ("x-forwarded-proto", "https"), ("x-forwarded-host", "evil")];
        let check = |unix, peer, expected: (&str, &str)| {
            let proxies = Proxies { unix, ..proxies("X-Forwarded-For", Depth::Chain) };
            let found = seen(&proxies, peer, &lies);
            assert_eq!((found.0.as_str(), found.1.as_str()), expected, "{peer:?}");
        };
        let (client, proxy) = ("http -", "https://evil");
        check(UnixPeers::Unknown, Some("11.0.0.1"), ("11.0.0.1:7", client));
        check(UnixPeers::Trusted, Some("11.0.0.1"), ("11.0.0.1:7", client));
        check(UnixPeers::Unknown, Some("10.0.0.1"), ("6.6.6.6:0", proxy));
        check(UnixPeers::Unknown, Some("fd00::7"), ("6.6.6.6:0", proxy));
        check(UnixPeers::Unknown, None, ("-", client));
        check(UnixPeers::Trusted, None, ("6.6.6.6:0", proxy));
    }

    #[test]
    fn what_nobody_is_believed_is_not_passed_on() {
        let said = [
            "forwarded",
            "x-forwarded-for",
            "x_forwarded_for",
            "x-forwarded-anything",
            "x-forwarded",
            "x-real-ip",
            "x_real-ip",
            "cf-connecting_ip",
            "cf-connecting-ip",
        ];
        let kept = ["cf-connecting", "cf-connecting-ip-country", "x-real", "forward", "host", "x"];
        let check = |peer: &str, end: End, expected: usize| {
            let peer = Some(SocketAddr::new(peer.parse().unwrap(), 7));
            let hop = Hop { connection: api::Connection { peer, scheme: Scheme::Http, origin: None }, end };
            let mut headers = HeaderMap::new();
            for name in said.iter().chain(&kept) {
                headers.append(*name, "6.6.6.6".parse().unwrap());
                headers.append(*name, "7.7.7.7".parse().unwrap());
            }
            proxies("CF-Connecting-IP", Depth::Chain).silence(&hop, &mut headers);
            assert_eq!(headers.keys_len(), expected, "{peer:?} {headers:?}");
            assert!(kept.iter().all(|name| headers.get_all(*name).iter().count() == 2), "{headers:?}");
        };
        check("11.0.0.1", End::Known, kept.len());
        check("10.0.0.1", End::Unknown, kept.len());
        check("10.0.0.1", End::Local, kept.len());
        check("10.0.0.1", End::Known, kept.len() + said.len());
    }

    #[test]
    fn scheme_host_and_port() {
        let check = |headers: &[(&str, &str)], expected: &str| {
            let found = seen(&proxies("X-Real-IP", Depth::Chain), Some("10.0.0.1"), headers);
            assert_eq!(found.1, expected, "{headers:?}");
        };
        let (proto, host, port) = ("x-forwarded-proto", "x-forwarded-host", "x-forwarded-port");
        check(&[], "http -");
        check(&[(host, "r"), (port, "443")], "http -");
        check(&[(proto, "http")], "http://inner:5000");
        check(&[(proto, "HTTPS")], "https://inner:5000");
        check(&[(proto, "https"), (host, "r.example.com")], "https://r.example.com");
        check(&[(proto, "https"), (host, "r.example.com"), (port, "443")], "https://r.example.com");
        check(&[(proto, "https"), (host, "r.example.com"), (port, "5050")], "https://r.example.com:5050");
        check(&[(proto, "https"), (host, "r.example.com:1"), (port, "5050")], "https://r.example.com:1");
        check(&[(proto, "http"), (host, "[2001:db8::1]"), (port, "81")], "http://[2001:db8::1]:81");
        check(&[(proto, "http"), (host, "r"), (port, "80")], "http://r");
        // The client wrote the first, the proxy added the second.
        check(&[(proto, "http, https"), (host, "evil, good")], "https://good");
        check(&[(proto, "gopher"), (host, "r")], "http -");
        check(&[(proto, "http"), (host, "r"), (port, "x")], "http://r");
        check(&[(proto, "https"), (host, "r,")], "https://inner:5000");
        for host_said in ["a b", "u@r", "r/x", "r:", "r:port", "r?x", "r\"", ":1", &"r".repeat(256)] {
            check(&[(proto, "https"), (host, host_said)], "https -");
        }
    }

    #[test]
    fn forwarded_elements() {
        let check = |value: &str, expected: (&str, &str)| {
            let headers = [("forwarded", value), ("x-forwarded-for", "6.6.6.6"), ("x-forwarded-proto", "http")];
            let found = seen(&proxies("Forwarded", Depth::Chain), Some("10.0.0.1"), &headers);
            assert_eq!((found.0.as_str(), found.1.as_str()), expected, "{value}");
        };
        check("for=192.0.2.1;proto=https;host=r.example.com", ("192.0.2.1:0", "https://r.example.com"));
        check("for=6.6.6.6, FOR=\"[2001:db8::1]:9\" ; Proto=https", ("[2001:db8::1]:9", "https://inner:5000"));
        check(
            "for=6.6.6.6;host=evil, for=192.0.2.1;host=\"r:1\";proto=https, for=10.0.0.2;host=inner;proto=http",
            ("192.0.2.1:0", "https://r:1"),
        );
        check("for=_hidden;proto=https;host=r", ("10.0.0.1:7", "https://r"));
        check("for=192.0.2.1;host=\"a,b;c\"", ("192.0.2.1:0", "http -"));
        check("for=\"192.0.2.1", ("10.0.0.1:7", "http -"));
        check("nonsense", ("10.0.0.1:7", "http -"));
    }
}
