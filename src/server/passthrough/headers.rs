//! What changes in a head on its way: what is between neighbours stays there, and the other server hears who the client is
//! as it would from NGINX.
//!
//! Headers that speak for a client go on only from proxies that are believed; everybody else's are taken out, in every
//! spelling that some server takes for the same, because the other server believes us.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Version, header};
use pingora::http::{RequestHeader, ResponseHeader};

use crate::{
    api::{self, Scheme},
    server::proxies::{Hop, Proxies},
};

/// Between neighbours by definition (RFC 9110 section 7.6.1).
const BETWEEN_NEIGHBOURS: [HeaderName; 5] = [
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::UPGRADE,
];

/// Say where a message ends and whom it is for: naming them in `Connection` takes them from nobody.
const ESSENTIAL: [HeaderName; 3] = [header::HOST, header::CONTENT_LENGTH, header::TRANSFER_ENCODING];

const FORWARDED_FOR: &str = "x-forwarded-for";

/// A protocol that is HTTP again: whoever changes to it would send requests that nobody judges.
const CLEARTEXT_HTTP2: &str = "h2c";

/// Whether a request asks for another protocol on its connection, and may.
pub(super) fn asks_for_upgrade(head: &RequestHeader) -> bool {
    let protocols: Vec<_> = tokens(&head.headers, &header::UPGRADE).collect();
    head.version == Version::HTTP_11
        && tokens(&head.headers, &header::CONNECTION).any(|token| token.eq_ignore_ascii_case("upgrade"))
        && !protocols.is_empty()
        && !protocols.iter().any(|protocol| protocol.eq_ignore_ascii_case(CLEARTEXT_HTTP2))
}

/// The head for the other server. `client` is whom a trusted proxy names, else the hop's end.
pub(super) fn to_target(
    head: &RequestHeader,
    proxies: &Proxies,
    hop: &Hop,
    client: &api::Connection,
) -> pingora::Result<RequestHeader> {
    let mut out = head.clone();
    let upgrade = asks_for_upgrade(head).then(|| head.headers.get(header::UPGRADE).cloned()).flatten();
    strip(&head.headers, |name| drop(out.remove_header(name)));
    if let Some(path) = head.uri.path_and_query().filter(|_| !head.raw_path().starts_with(b"/")) {
        // The absolute form is for proxies, and `Host` says the same.
        out.set_uri(path.clone().into());
    }
    match upgrade {
        Some(protocols) => {
            out.insert_header("Connection", "upgrade")?;
            out.insert_header("Upgrade", protocols)?;
        }
        // One connection for each request: none can be mistaken for another's answer.
        None => out.insert_header("Connection", "close")?,
    }
    if !proxies.believes(hop) {
        let said = head.headers.keys().filter(|name| proxies.speaks_for_others(name));
        said.for_each(|name| drop(out.remove_header(name)));
    }
    announce(&mut out, hop, client)?;
    Ok(out)
}

fn announce(out: &mut RequestHeader, hop: &Hop, client: &api::Connection) -> pingora::Result<()> {
    let scheme = match client.scheme {
        Scheme::Http => "http",
        Scheme::Https => "https",
    };
    out.insert_header("X-Forwarded-Proto", scheme)?;
    if let Some(client) = client.peer {
        out.insert_header("X-Real-IP", client.ip().to_string())?;
    }
    if let Some(neighbour) = hop.connection.peer {
        let chain = chain(&out.headers, neighbour.ip());
        out.remove_header(FORWARDED_FOR);
        out.insert_header("X-Forwarded-For", chain)?;
    }
    Ok(())
}

/// What proxies said, and our neighbour behind it.
fn chain(headers: &HeaderMap, neighbour: IpAddr) -> Vec<u8> {
    let mut chain = Vec::new();
    for value in headers.get_all(FORWARDED_FOR) {
        chain.extend_from_slice(value.as_bytes());
        chain.extend_from_slice(b", ");
    }
    chain.extend_from_slice(neighbour.to_string().as_bytes());
    chain
}

/// The answer as it goes to the client.
pub(super) fn to_client(head: &mut ResponseHeader) {
    let headers = head.headers.clone();
    let upgrade = headers.get(header::UPGRADE).filter(|_| head.status == http::StatusCode::SWITCHING_PROTOCOLS);
    strip(&headers, |name| drop(head.remove_header(name)));
    if let Some(protocol) = upgrade {
        // A header's name and a header's value are no error.
        let _ = head.insert_header("Connection", HeaderValue::from_static("upgrade"));
        let _ = head.insert_header("Upgrade", protocol);
    }
    head.set_version(Version::HTTP_11);
}

/// Takes out what is between neighbours, and what `Connection` names as such.
fn strip(headers: &HeaderMap, mut take_out: impl FnMut(&HeaderName)) {
    let named = tokens(headers, &header::CONNECTION).filter_map(|token| token.parse::<HeaderName>().ok());
    for name in named.filter(|name| !ESSENTIAL.contains(name)) {
        take_out(&name);
    }
    BETWEEN_NEIGHBOURS.iter().for_each(&mut take_out);
    take_out(&header::CONNECTION);
}

/// The items of a list, which may be spread over several headers.
fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim).filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::proxies::End;

    /// The head that goes to the other server, a line for each header in the order of their names.
    fn sent(trusted: &[&str], client: &str, target: &str, lines: &[(&'static str, &str)]) -> String {
        let mut head = RequestHeader::build("GET", target.as_bytes(), None).unwrap();
        head.insert_header("Host", "gitlab.test").unwrap();
        for (name, value) in lines {
            head.append_header(*name, *value).unwrap();
        }
        let connection =
            |peer: &str, scheme| api::Connection { peer: Some(peer.parse().unwrap()), scheme, origin: None };
        let hop = Hop { connection: connection("10.0.0.9:7", Scheme::Http), end: End::Known };
        let trusted = trusted.iter().map(|network| network.parse().unwrap()).collect();
        let proxies = Proxies { networks: trusted, ..Proxies::default() };
        let out = to_target(&head, &proxies, &hop, &connection(client, Scheme::Https)).unwrap();
        let mut headers: Vec<_> =
            out.headers.iter().map(|(name, value)| format!("{name}={}", value.to_str().unwrap())).collect();
        headers.sort();
        format!("{} {}", String::from_utf8_lossy(out.raw_path()), headers.join(" "))
    }

    #[test]
    fn only_proxies_speak_for_others() {
        let said = [
            ("X-Forwarded-For", "192.0.2.1"),
            ("X-Forwarded-Proto", "ftp"),
            ("X-Forwarded-Host", "said.test"),
            ("X_Forwarded_For", "6.6.6.6"),
            ("X-Real-IP", "6.6.6.6"),
            ("Forwarded", "for=6.6.6.6"),
        ];
        assert_eq!(
            sent(&[], "10.0.0.9:7", "/a?b", &said),
            "/a?b connection=close host=gitlab.test x-forwarded-for=10.0.0.9 x-forwarded-proto=https x-real-ip=10.0.0.9"
        );
        assert_eq!(
            sent(&["10.0.0.0/8"], "192.0.2.1:0", "/", &said[..3]),
            "/ connection=close host=gitlab.test x-forwarded-for=192.0.2.1, 10.0.0.9 x-forwarded-host=said.test \
             x-forwarded-proto=https x-real-ip=192.0.2.1"
        );
    }

    #[test]
    fn what_is_between_neighbours_stays_there() {
        let check = |lines: &[(&'static str, &str)], expected: &str| {
            let sent = sent(&[], "10.0.0.9:7", "http://gitlab.test/x", lines);
            let expected = format!("/x {expected} x-forwarded-for=10.0.0.9 x-forwarded-proto=https x-real-ip=10.0.0.9");
            assert_eq!(sent, expected, "{lines:?}");
        };
        check(
            &[("Connection", "keep-alive, x-own"), ("Keep-Alive", "timeout=5"), ("X-Own", "1"), ("TE", "trailers")],
            "connection=close host=gitlab.test",
        );
        check(
            &[("Connection", "host, content-length, X-Forwarded-For"), ("Content-Length", "5")],
            "connection=close content-length=5 host=gitlab.test",
        );
        check(
            &[("Connection", "Upgrade"), ("Upgrade", "websocket")],
            "connection=upgrade host=gitlab.test upgrade=websocket",
        );
        check(&[("Upgrade", "websocket")], "connection=close host=gitlab.test");
        check(
            &[("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c"), ("HTTP2-Settings", "AAMA")],
            "connection=close host=gitlab.test",
        );
        check(&[("Connection", "upgrade"), ("Upgrade", "websocket, H2C")], "connection=close host=gitlab.test");
    }

    #[test]
    fn answers_lose_what_is_between_neighbours() {
        let check = |status: u16, expected: &str| {
            let mut head = ResponseHeader::build(status, None).unwrap();
            head.insert_header("Connection", "close, upgrade, X-Own").unwrap();
            head.insert_header("Upgrade", "websocket").unwrap();
            head.insert_header("X-Own", "1").unwrap();
            head.insert_header("Content-Length", "5").unwrap();
            to_client(&mut head);
            let mut headers: Vec<_> =
                head.headers.iter().map(|(name, value)| format!("{name}={}", value.to_str().unwrap())).collect();
            headers.sort();
            assert_eq!(headers.join(" "), expected);
        };
        check(200, "content-length=5");
        check(101, "connection=upgrade content-length=5 upgrade=websocket");
    }
}
