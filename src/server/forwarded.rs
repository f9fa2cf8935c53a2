//! Reading what proxies write into headers: lists, addresses, and the elements of `Forwarded` (RFC 7239).

use std::{
    iter,
    net::{IpAddr, Ipv6Addr, SocketAddr},
};

use http::{HeaderMap, HeaderName, header};

use crate::api::Scheme;

/// Items of a list that may be spread over several headers, the last one first; each is sought when it is asked for, so that
/// a client pays for long lists and we do not. What a client wrote stands in the same line as what a proxy has added to it:
/// nothing there may hide the end of the line, neither bytes that are no text nor a quote that nobody closes.
pub(super) fn values<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = String> + use<'a> {
    let comma = if *name == header::FORWARDED { last_comma_between_elements } else { last_comma };
    headers.get_all(name).iter().rev().flat_map(move |value| backwards(value.as_bytes(), comma))
}

/// The parts of a line, the last one first.
fn backwards(line: &[u8], comma: fn(&[u8]) -> Option<usize>) -> impl Iterator<Item = String> {
    let mut rest = Some(line);
    iter::from_fn(move || {
        let line = rest?;
        let cut = comma(line);
        let item = &line[cut.map_or(0, |at| at + 1)..];
        rest = cut.map(|at| &line[..at]);
        Some(String::from_utf8_lossy(item).trim().to_owned())
    })
}

fn last_comma(line: &[u8]) -> Option<usize> {
    line.iter().rposition(|byte| *byte == b',')
}

/// The last comma that is not within quotes, as they look from the end: that is where proxies write. Where a quote there has
/// no beginning, it is none.
fn last_comma_between_elements(line: &[u8]) -> Option<usize> {
    let mut quoted = false;
    for (at, byte) in line.iter().enumerate().rev() {
        match byte {
            b'"' => quoted = !quoted || is_escaped(&line[..at]),
            b',' if !quoted => return Some(at),
            _ => {}
        }
    }
    if quoted { last_comma(line) } else { None }
}

/// Whether the byte behind these is taken literally within quotes.
fn is_escaped(before: &[u8]) -> bool {
    before.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

/// An IP address with or without a port, IPv6 with or without brackets. Port 0 stands for none.
pub(super) fn address(text: &str) -> Option<SocketAddr> {
    let unbracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::from);
    let bare = text.parse::<IpAddr>().ok().or_else(unbracketed).map(|ip| SocketAddr::new(ip, 0));
    let address = bare.or_else(|| text.parse().ok())?;
    // The same client must not have two names.
    Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

pub(super) fn scheme(text: impl AsRef<str>) -> Option<Scheme> {
    let known = [("http", Scheme::Http), ("https", Scheme::Https)];
    known.into_iter().find(|(name, _)| text.as_ref().eq_ignore_ascii_case(name)).map(|(_, scheme)| scheme)
}

/// What one proxy says in `Forwarded`.
#[derive(Debug, Default)]
pub(super) struct Element {
    pub(super) client: Option<String>,
    pub(super) proto: Option<String>,
    pub(super) host: Option<String>,
}

impl Element {
    /// `for=…;proto=…;host=…`, in any order; `None` if it is written wrongly.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut element = Self::default();
        let mut rest = text.trim();
        while !rest.is_empty() {
            let (name, behind) = rest.split_once('=')?;
            let (value, behind) = value(behind.trim_start())?;
            let place = match name.trim().to_ascii_lowercase().as_str() {
                "for" => &mut element.client,
                "proto" => &mut element.proto,
                "host" => &mut element.host,
                _ => &mut None,
            };
            if place.replace(value).is_some() {
                return None;
            }
            rest = behind.trim_start();
            if !rest.is_empty() {
                rest = rest.strip_prefix(';')?.trim_start();
            }
        }
        Some(element)
    }
}

/// A token or a quoted text, and what stands behind it.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(';').unwrap_or(text.len());
        return Some((text[..end].trim_end().to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut letters = quoted.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(letters.next()?.1),
            letter => value.push(letter),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_backwards() {
        let check = |line: &str, expected: &[&str]| {
            let found: Vec<_> = backwards(line.as_bytes(), last_comma_between_elements).collect();
            assert_eq!(found, expected, "{line}");
        };
        check("", &[""]);
        check("a", &["a"]);
        check("a, b ,c", &["c", "b", "a"]);
        check("a,,b,", &["", "b", "", "a"]);
        check(r#"for="a,b", c"#, &["c", r#"for="a,b""#]);
        check(r#""a\",b",c"#, &["c", r#""a\",b""#]);
        check(r#"a,"b,c"#, &["c", r#""b"#, "a"]);
        check(r#"a, for="b\\", "c\"d,""#, &[r#""c\"d,""#, r#"for="b\\""#, "a"]);
    }

    #[test]
    fn nothing_hides_what_a_proxy_has_added() {
        let check = |name: HeaderName, line: &[u8], expected: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(&name, http::HeaderValue::from_bytes(line).unwrap());
            assert_eq!(values(&headers, &name).next().unwrap(), expected, "{name}: {}", String::from_utf8_lossy(line));
        };
        let list = HeaderName::from_static("x-forwarded-for");
        for line in [&b"\", 198.51.100.1"[..], b"\xff, 198.51.100.1", b"\"\\, 198.51.100.1", b"a\"b\"\",198.51.100.1"] {
            check(list.clone(), line, "198.51.100.1");
        }
        for line in [&b"for=\", for=198.51.100.1"[..], b"for=\"\\, for=198.51.100.1", b"\xff, for=198.51.100.1"] {
            check(header::FORWARDED, line, "for=198.51.100.1");
        }
        check(header::FORWARDED, b"for=\"x, for=\"[2001:db8::1]\"", "for=\"[2001:db8::1]\"");
        check(header::FORWARDED, b"for=a, for=\"_b,c\"", "for=\"_b,c\"");
    }

    /// Of a list of many items only those that are asked for are made.
    #[test]
    fn a_long_list_is_read_as_far_as_it_is_wanted() {
        let mut headers = HeaderMap::new();
        for line in ["first", &"\"a,".repeat(300_000), "last"] {
            headers.append(header::FORWARDED, line.parse().unwrap());
        }
        let mut items = values(&headers, &header::FORWARDED);
        assert_eq!(items.by_ref().take(4).collect::<Vec<_>>(), ["last", "", "\"a,\"a", "\"a,\"a"]);
        drop(items);
        let list = HeaderName::from_static("x-forwarded-for");
        headers.append(&list, "192.0.2.1,".repeat(100_000).parse().unwrap());
        assert_eq!(values(&headers, &list).take(2).collect::<Vec<_>>(), ["", "192.0.2.1"]);
        assert_eq!(values(&headers, &list).count(), 100_001);
    }

    #[test]
    fn addresses() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(address(text), expected.map(|text| text.parse().unwrap()), "{text}");
        };
        check("192.0.2.1", Some("192.0.2.1:0"));
        check("192.0.2.1:80", Some("192.0.2.1:80"));
        check("2001:db8::1", Some("[2001:db8::1]:0"));
        check("[2001:db8::1]", Some("[2001:db8::1]:0"));
        check("[2001:db8::1]:80", Some("[2001:db8::1]:80"));
        check("[::ffff:192.0.2.1]:80", Some("192.0.2.1:80"));
        for text in
            ["", "unknown", "_x", "192.0.2.1:", "192.0.2", "[192.0.2.1]", "host:1", "192.0.2.1 ", "1.2.3.4:99999"]
        {
            check(text, None);
        }
    }
}
