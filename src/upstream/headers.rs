//! What of a head belongs to one connection and stays there, and what is said of the client instead.
//!
//! First everything is taken off, then ours is put on: a `Connection` that names one of our headers can take off only
//! what the client sent under that name.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::{api::Scheme, upstream::body::Framing};

const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_SSL: HeaderName = HeaderName::from_static("x-forwarded-ssl");

/// Never passed on (RFC 9110 section 7.6.1), besides those that `Connection` names. `Expect` and the two of framing are
/// said anew where they hold.
const HOP_BY_HOP: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What is said about the way here is said anew. The rim has taken it off already where it came from nobody who is
/// believed, with `X-Forwarded-For` and whatever `real_ip` names. Names with underscores are read as if they were hyphens by
/// some.
const FORWARDED: &[&str] = &[
    "forwarded",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-proto",
    "x-forwarded-scheme",
    "x-forwarded-server",
    "x-forwarded-ssl",
    "x-real-ip",
];

/// Who sends a request, for those behind us.
#[derive(Clone, Copy, Debug)]
pub(in crate::upstream) struct Client<'a> {
    /// `None` on a unix socket.
    pub(in crate::upstream) address: Option<IpAddr>,
    /// As the client sees it.
    pub(in crate::upstream) scheme: Scheme,
    /// What is sent as `Host`: the operator's, or else the client's.
    pub(in crate::upstream) host: &'a HeaderValue,
    pub(in crate::upstream) framing: &'a Framing,
}

/// A request's head as the server gets it.
pub(in crate::upstream) fn outward(received: &HeaderMap, client: &Client<'_>) -> HeaderMap {
    let mut headers = without_connection(received);
    let spoofed = |name: &HeaderName| {
        let hyphened = name.as_str().replace('_', "-");
        let chain = hyphened == FORWARDED_FOR.as_str() && name != FORWARDED_FOR;
        chain || FORWARDED.contains(&hyphened.as_str())
    };
    let spoofed: Vec<HeaderName> = headers.keys().filter(|name| spoofed(name)).cloned().collect();
    for name in spoofed {
        headers.remove(name);
    }
    headers.insert(header::HOST, client.host.clone());
    match client.address {
        Some(address) => {
            let address = HeaderValue::try_from(address.to_string()).expect("an address is visible ASCII");
            let chain = chain(&headers, &address);
            headers.insert(FORWARDED_FOR, chain);
            headers.insert(REAL_IP, address);
        }
        // Nobody can be named, and what the client says of itself is worth nothing.
        None => drop(headers.remove(FORWARDED_FOR)),
    }
    let https = client.scheme == Scheme::Https;
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static(if https { "https" } else { "http" }));
    if https {
        headers.insert(FORWARDED_SSL, HeaderValue::from_static("on"));
    }
    match client.framing {
        Framing::None => {}
        Framing::Sized(length) => drop(headers.insert(header::CONTENT_LENGTH, HeaderValue::from(*length))),
        Framing::Chunked => {
            headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
    }
    // Asked of the server only where the client waits, and where there is something to wait for.
    if received.contains_key(header::EXPECT) && !matches!(client.framing, Framing::None | Framing::Sized(0)) {
        headers.insert(header::EXPECT, HeaderValue::from_static("100-continue"));
    }
    headers
}

/// An answer's head as the client gets it. How it is framed is the rim's to say.
pub(in crate::upstream) fn inward(received: &HeaderMap) -> HeaderMap {
    let mut headers = without_connection(received);
    if let Some(length) = received.get(header::CONTENT_LENGTH) {
        headers.insert(header::CONTENT_LENGTH, length.clone());
    }
    headers
}

/// What the client says of those before it, and the client.
fn chain(headers: &HeaderMap, address: &HeaderValue) -> HeaderValue {
    let mut chain = Vec::new();
    for value in headers.get_all(FORWARDED_FOR) {
        chain.extend_from_slice(value.as_bytes());
        chain.extend_from_slice(b", ");
    }
    chain.extend_from_slice(address.as_bytes());
    HeaderValue::from_bytes(&chain).unwrap_or_else(|_| address.clone())
}

fn without_connection(received: &HeaderMap) -> HeaderMap {
    let named: Vec<HeaderName> = received
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .collect();
    let stays = |name: &HeaderName| !HOP_BY_HOP.contains(&name.as_str()) && !named.contains(name);
    let mut headers = HeaderMap::with_capacity(received.len() + 4);
    for (name, value) in received.iter().filter(|(name, _)| stays(name)) {
        headers.append(name, value.clone());
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(text: &str) -> HeaderMap {
        let pair = |line: &str| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap())
        };
        let mut headers = HeaderMap::new();
        for (name, value) in text.lines().map(str::trim).filter(|line| !line.is_empty()).map(pair) {
            headers.append(name, value);
        }
        headers
    }

    fn lines(headers: &HeaderMap) -> Vec<String> {
        let line = |(name, value): (&HeaderName, &HeaderValue)| format!("{name}: {}", value.to_str().unwrap());
        let mut lines: Vec<_> = headers.iter().map(line).collect();
        lines.sort();
        lines
    }

    fn check(received: &str, address: Option<&str>, scheme: Scheme, framing: &Framing, expected: &str) {
        let host = HeaderValue::from_static("registry.example");
        let address = address.map(|address| address.parse().unwrap());
        let sent = outward(&map(received), &Client { address, scheme, host: &host, framing });
        assert_eq!(lines(&sent), lines(&map(expected)), "{received}");
    }

    #[test]
    fn the_server_hears_who_asks() {
        check(
            "host: registry.example\naccept: a\naccept: b\nauthorization: Bearer t",
            Some("192.0.2.7"),
            Scheme::Https,
            &Framing::None,
            "host: registry.example\naccept: a\naccept: b\nauthorization: Bearer t\nx-real-ip: 192.0.2.7\n\
             x-forwarded-for: 192.0.2.7\nx-forwarded-proto: https\nx-forwarded-ssl: on",
        );
        check(
            "x-forwarded-for: 10.0.0.1\nx-forwarded-for: 10.0.0.2, 10.0.0.3",
            Some("::1"),
            Scheme::Http,
            &Framing::Sized(0),
            "host: registry.example\nx-real-ip: ::1\nx-forwarded-for: 10.0.0.1, 10.0.0.2, 10.0.0.3, ::1\n\
             x-forwarded-proto: http\ncontent-length: 0",
        );
    }

    #[test]
    fn what_a_client_claims_is_taken_off() {
        let claims = "forwarded: for=1.1.1.1;proto=https;host=evil\nx-forwarded-host: evil\nx-forwarded-proto: https\n\
                      x-forwarded-ssl: on\nx-real-ip: 1.1.1.1\nx_real_ip: 1.1.1.1\nx_forwarded_for: 1.1.1.1\n\
                      x-forwarded_proto: https\nx-forwarded-port: 1\nx-forwarded-prefix: /evil";
        check(claims, None, Scheme::Http, &Framing::None, "host: registry.example\nx-forwarded-proto: http");
        check(
            "x-forwarded-for: 1.1.1.1",
            None,
            Scheme::Http,
            &Framing::None,
            "host: registry.example\nx-forwarded-proto: http",
        );
    }

    #[test]
    fn what_belongs_to_a_connection_stays_there() {
        let hop = "connection: keep-alive, X-Real-IP, x-forwarded-proto, HOST, content-length, x-own\n\
                   connection: upgrade, , x-other\nkeep-alive: timeout=5\nupgrade: h2c\nhttp2-settings: AAMAAABk\n\
                   te: trailers\ntrailer: x\ntransfer-encoding: chunked\nproxy-connection: close\n\
                   proxy-authorization: Basic x\nx-own: 1\nx-other: 2\nx-real-ip: 1.1.1.1\nuser-agent: kept";
        check(
            hop,
            Some("192.0.2.7"),
            Scheme::Http,
            &Framing::Chunked,
            "host: registry.example\nuser-agent: kept\nx-real-ip: 192.0.2.7\nx-forwarded-for: 192.0.2.7\n\
             x-forwarded-proto: http\ntransfer-encoding: chunked",
        );
    }

    #[test]
    fn an_expectation_goes_with_a_body() {
        let named = "host: registry.example\nx-forwarded-proto: http\n";
        for (framing, more) in [
            (Framing::None, ""),
            (Framing::Sized(0), "content-length: 0"),
            (Framing::Sized(7), "content-length: 7\nexpect: 100-continue"),
            (Framing::Chunked, "transfer-encoding: chunked\nexpect: 100-continue"),
        ] {
            check("expect: 100-Continue", None, Scheme::Http, &framing, &format!("{named}{more}"));
        }
    }

    #[test]
    fn an_answer_keeps_what_is_not_of_its_connection() {
        let received = "content-length: 5\nlink: </a>\nlink: </b>\nset-cookie: a\nset-cookie: b\nserver: theirs\n\
                        location: http://elsewhere/x\nconnection: close, x-own\nx-own: 1\nkeep-alive: 5\ntrailer: x\n\
                        www-authenticate: Bearer realm=\"r\"";
        let expected = "content-length: 5\nlink: </a>\nlink: </b>\nset-cookie: a\nset-cookie: b\nserver: theirs\n\
                        location: http://elsewhere/x\nwww-authenticate: Bearer realm=\"r\"";
        assert_eq!(lines(&inward(&map(received))), lines(&map(expected)));
    }
}
