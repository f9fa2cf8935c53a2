//! `listen`: an address and what is spoken there.

/// One `listen` directive.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Listen {
    /// As our configuration writes it.
    pub(super) address: String,
    /// `None` for a socket of the file system.
    pub(super) port: Option<u16>,
    pub(super) tls: bool,
    pub(super) proxy_protocol: bool,
    /// Parameters that do nothing here.
    pub(super) others: Vec<String>,
}

impl Listen {
    /// `[address:]port`, `address` (port 80), `unix:/path`, and parameters. `None` where it is none.
    pub(super) fn read(arguments: &[String]) -> Option<Self> {
        let (place, parameters) = arguments.split_first()?;
        let (address, port) = address(place)?;
        let mut listen = Self { address, port, tls: false, proxy_protocol: false, others: Vec::new() };
        for parameter in parameters {
            match parameter.as_str() {
                "ssl" => listen.tls = true,
                "proxy_protocol" => listen.proxy_protocol = true,
                // HTTP/2 is offered wherever TLS is, and there is one server only.
                "http2" | "default_server" | "default" => {}
                other => listen.others.push(other.to_owned()),
            }
        }
        Some(listen)
    }
}

/// `*`, and no host, are every address of IPv4; `[::]` is every one of IPv6.
fn address(place: &str) -> Option<(String, Option<u16>)> {
    if place.starts_with("unix:/") {
        return Some((place.to_owned(), None));
    }
    if let Ok(port) = place.parse::<u16>() {
        return Some((format!("0.0.0.0:{port}"), Some(port)));
    }
    let (host, port) = match place.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
        _ => (place, 80),
    };
    let host = if host == "*" { "0.0.0.0" } else { host };
    let bracketed = host.starts_with('[') == host.ends_with(']') && host.starts_with('[') == host.contains(':');
    let number = host.bytes().all(|byte| byte.is_ascii_digit());
    (!number && !host.contains('$') && bracketed).then(|| (format!("{host}:{port}"), Some(port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_out() {
        for (text, expected) in [
            ("443", Some(("0.0.0.0:443", Some(443)))),
            ("*:443", Some(("0.0.0.0:443", Some(443)))),
            ("[::]:443", Some(("[::]:443", Some(443)))),
            ("[::1]", Some(("[::1]:80", Some(80)))),
            ("127.0.0.1", Some(("127.0.0.1:80", Some(80)))),
            ("localhost:8080", Some(("localhost:8080", Some(8080)))),
            ("unix:/run/a.sock", Some(("unix:/run/a.sock", None))),
            ("70000", None),
            ("a:b", None),
            ("::1:80", None),
            ("[::1:80", None),
            ("$port", None),
            ("", None),
        ] {
            let read = Listen::read(&[text.to_owned()]);
            let read = read.as_ref().map(|listen| (listen.address.as_str(), listen.port));
            assert_eq!(read, expected, "{text}");
        }
        let words = ["443", "ssl", "http2", "proxy_protocol", "backlog=9"].map(str::to_owned);
        let listen = Listen::read(&words).unwrap();
        assert!(listen.tls && listen.proxy_protocol);
        assert_eq!(listen.others, ["backlog=9"]);
    }
}
