//! Where to listen and where to reach somebody: `host:port` as Go writes it, and absolute URLs.

use std::fmt;

use anyhow::Result;
use http::Uri;

use crate::config::{redact, section::Field};

/// `host:port`; an empty host means all interfaces.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Address {
    /// A name or an IP address, without brackets; empty for all interfaces.
    pub host: String,
    pub port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl Address {
    pub(in crate::config) fn read(field: &Field<'_>) -> Result<Self> {
        Self::parse(field.text()?)
            .ok_or_else(|| field.fail("must be an address such as :5000, 127.0.0.1:5000 or [::1]:5000"))
    }

    /// Whether only this machine reaches it.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let ip = self.host.split('%').next().and_then(|host| host.parse::<std::net::IpAddr>().ok());
        self.host == "localhost" || ip.is_some_and(|ip| ip.is_loopback())
    }

    pub(in crate::config) fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let port = port.bytes().all(|byte| byte.is_ascii_digit()).then(|| port.parse().ok())??;
        let host = match host.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']')?,
            None if host.contains([':', '/', ' ']) => return None,
            None => host,
        };
        Some(Self { host: host.to_owned(), port })
    }
}

/// An absolute http or https URL without user information. It is shown without the values of its query.
#[derive(Clone, Eq, PartialEq)]
pub struct Url(Uri);

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redact::url(&self.0.to_string()))
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Url({self})")
    }
}

impl Url {
    /// Errors do not quote the text: it may hold a password.
    pub(in crate::config) fn read(field: &Field<'_>) -> Result<Self> {
        Self::parse(field, field.text()?)
    }

    /// Reads another text as if it stood in this field.
    pub(in crate::config) fn parse(field: &Field<'_>, text: &str) -> Result<Self> {
        let uri: Uri = text.parse().map_err(|_| field.fail("must be a URL such as https://registry.example.com"))?;
        let Some(authority) = uri.authority() else {
            return Err(field.fail("must be a whole URL such as https://registry.example.com"));
        };
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(field.fail("must begin with http:// or https://"));
        }
        if authority.as_str().contains('@') {
            return Err(field.fail("must not carry a user name or a password"));
        }
        if uri.host().is_none_or(str::is_empty) {
            return Err(field.fail("must name a host"));
        }
        Ok(Self(uri))
    }

    /// The URL, which must be a scheme and a host alone.
    pub(in crate::config) fn without_path(self, field: &Field<'_>) -> Result<Uri> {
        match (self.0.path(), self.0.query()) {
            ("" | "/", None) => Ok(self.0),
            _ => Err(field.fail("must be a scheme and a host, without a path or a query")),
        }
    }

    #[must_use]
    pub const fn uri(&self) -> &Uri {
        &self.0
    }

    /// The address itself, which shows all of its query.
    #[must_use]
    pub fn into_uri(self) -> Uri {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let check = |text: &str, expected: Option<(&str, u16)>| {
            let address = Address::parse(text);
            assert_eq!(address.as_ref().map(|a| (a.host.as_str(), a.port)), expected, "{text}");
        };
        check(":5000", Some(("", 5000)));
        check("127.0.0.1:5050", Some(("127.0.0.1", 5050)));
        check("[::1]:80", Some(("::1", 80)));
        check("localhost:0", Some(("localhost", 0)));
        for text in ["", "5000", "host", "::1:80", "[::1:80", ":", "h:65536", "h:+1", "h:http", "http://h:1"] {
            check(text, None);
        }
        assert_eq!(Address::parse("[::1]:80").unwrap().to_string(), "[::1]:80");
        assert!(Address::parse("127.9.9.9:1").unwrap().is_loopback());
        assert!(!Address::parse(":1").unwrap().is_loopback());
    }
}
