//! Where a delivery network begins: scheme, host, and what stands in front of every path.

use http::{Uri, uri::Scheme};

/// What may stand in it, beside letters and digits: RFC 3986 without what begins a query, a fragment or a host after
/// credentials.
const LEGAL: &str = "-._~:/[]!$&'()*+,;=%";

/// An `http` or `https` URL without a query, a fragment or credentials.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Base {
    /// Without a slash at its end.
    text: String,
}

/// A text under which nothing can be fetched.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is not a URL like https://cdn.example.com/path, without query, fragment or user")]
pub struct InvalidBase(String);

impl Base {
    /// # Errors
    /// Names the text.
    pub fn new(text: &str) -> Result<Self, InvalidBase> {
        let invalid = || InvalidBase(text.to_owned());
        if !text.chars().all(|c| c.is_ascii_alphanumeric() || LEGAL.contains(c)) {
            return Err(invalid());
        }
        let uri: Uri = text.parse().map_err(|_| invalid())?;
        let known = [Scheme::HTTP, Scheme::HTTPS].iter().any(|scheme| uri.scheme() == Some(scheme));
        if !known || uri.host().is_none_or(str::is_empty) {
            return Err(invalid());
        }
        Ok(Self { text: text.trim_end_matches('/').to_owned() })
    }

    /// What lies at an encoded path, which begins without a slash.
    pub(in crate::store::locate) fn join(&self, path: &str) -> String {
        format!("{}/{path}", self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_joined() {
        let check = |base: &str, expected: &str| {
            assert_eq!(Base::new(base).map(|base| base.join("a/b")), Ok(expected.to_owned()), "{base}");
        };
        check("https://cdn.example.com", "https://cdn.example.com/a/b");
        check("http://cdn.example.com:5443/", "http://cdn.example.com:5443/a/b");
        check("https://cdn.example.com/path//", "https://cdn.example.com/path/a/b");
        check("https://[::1]:80", "https://[::1]:80/a/b");
    }

    #[test]
    fn refused() {
        for text in [
            "",
            "cdn.example.com",
            "/x",
            "ftp://x/",
            "file:///x",
            "https://",
            "https://x/?y",
            "https://x/#y",
            "https://u:p@x/",
            "https://x/\"",
            "https://x/\\",
            "https://x y/",
        ] {
            assert!(Base::new(text).is_err(), "{text}");
        }
    }
}
