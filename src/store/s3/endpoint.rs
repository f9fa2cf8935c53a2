//! Where the bucket is.

use http::{Uri, uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::store::{
    key::Key,
    s3::settings::{Addressing, Settings},
};

/// What AWS leaves as it is in a query (RFC 3986, "unreserved").
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const PATH: &AsciiSet = &QUERY.remove(b'/');

/// An endpoint, a bucket or a root that makes no address.
#[derive(Debug, thiserror::Error)]
#[error("{what} makes no address")]
pub struct Unusable {
    what: String,
}

/// Everything in front of a key.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    /// Without a slash at its end.
    base: String,
    /// The same under the name that clients know.
    public: String,
    name: String,
    /// With a slash at its end, or empty.
    root: String,
}

impl Bucket {
    pub(super) fn new(settings: &Settings) -> Result<Self, Unusable> {
        let (scheme, host) = parts(&settings.endpoint)?;
        let address = base(&scheme, &host, settings);
        let public = match &settings.presigning.endpoint {
            None => address.clone(),
            Some(uri) => {
                let (scheme, host) = parts(uri)?;
                // A name of its own leads to the bucket already; only a path says which one it is.
                match settings.addressing {
                    Addressing::Path => format!("{scheme}://{host}/{}", settings.bucket),
                    Addressing::VirtualHost => format!("{scheme}://{host}"),
                }
            }
        };
        for text in [&address, &public] {
            text.parse::<Uri>().map_err(|_| Unusable { what: text.clone() })?;
        }
        let root = settings.root.trim_matches('/');
        let root = if root.is_empty() { String::new() } else { format!("{root}/") };
        Ok(Self { base: address, public, name: settings.bucket.clone(), root })
    }

    /// The address that `object_store` puts paths behind.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The key as the store knows it.
    pub(super) fn full(&self, key: &Key) -> String {
        format!("{}{key}", self.root)
    }

    /// The part of a full key that callers know; `None` when it lies elsewhere.
    pub(super) fn relative<'a>(&self, full: &'a str) -> Option<&'a str> {
        full.strip_prefix(&self.root)
    }

    /// An object's address with query parameters, in their order.
    pub(super) fn object(&self, key: &Key, query: &[(&str, &str)]) -> String {
        let path = utf8_percent_encode(&self.full(key), PATH).to_string();
        format!("{}/{path}{}", self.base, Query(query))
    }

    /// The same where clients find it.
    pub(super) fn public(&self, key: &Key) -> String {
        format!("{}/{}", self.public, utf8_percent_encode(&self.full(key), PATH))
    }

    /// The bucket's own address.
    pub(super) fn bucket(&self, query: &[(&str, &str)]) -> String {
        format!("{}/{}", self.base, Query(query))
    }

    /// The value of `x-amz-copy-source`.
    pub(super) fn copy_source(&self, key: &Key) -> String {
        format!("{}/{}", self.name, utf8_percent_encode(&self.full(key), PATH))
    }
}

struct Query<'a>(&'a [(&'a str, &'a str)]);

impl std::fmt::Display for Query<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, (name, value)) in self.0.iter().enumerate() {
            let separator = if at == 0 { '?' } else { '&' };
            write!(f, "{separator}{}={}", utf8_percent_encode(name, QUERY), utf8_percent_encode(value, QUERY))?;
        }
        Ok(())
    }
}

/// Scheme and host; a port that the scheme implies is left out, as a `Host` header has it.
fn parts(uri: &Uri) -> Result<(String, String), Unusable> {
    let unusable = || Unusable { what: uri.to_string() };
    let (scheme, authority) = (uri.scheme().ok_or_else(unusable)?, uri.authority().ok_or_else(unusable)?);
    let implied = if *scheme == uri::Scheme::HTTPS { 443 } else { 80 };
    let host = match authority.port_u16() {
        Some(port) if port != implied => format!("{}:{port}", authority.host()),
        _ => authority.host().to_owned(),
    };
    Ok((scheme.to_string(), host))
}

fn base(scheme: &str, host: &str, settings: &Settings) -> String {
    match settings.addressing {
        Addressing::Path => format!("{scheme}://{host}/{}", settings.bucket),
        Addressing::VirtualHost => format!("{scheme}://{}.{host}", settings.bucket),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn implied_ports_are_left_out() {
        for (uri, expected) in [
            ("https://s3.eu-west-1.amazonaws.com", "s3.eu-west-1.amazonaws.com"),
            ("https://store:443", "store"),
            ("http://store:80/", "store"),
            ("http://store:443", "store:443"),
            ("http://127.0.0.1:9000", "127.0.0.1:9000"),
            ("http://[::1]:9000", "[::1]:9000"),
        ] {
            let found = parts(&uri.parse().unwrap()).unwrap();
            assert_eq!(found.1, expected, "{uri}");
        }
    }

    #[test]
    fn queries_are_encoded() {
        let query = Query(&[("uploads", ""), ("prefix", "a b/c+d&é")]);
        assert_eq!(query.to_string(), "?uploads=&prefix=a%20b%2Fc%2Bd%26%C3%A9");
        assert_eq!(Query(&[]).to_string(), "");
    }
}
