//! Where clients find this API: the values of `Location` and `Link`.
//!
//! What a client sent about its way here (`Host`, `X-Forwarded-*`) decides nothing: a `Location` is a path unless the
//! configuration names the origin, or lets trusted proxies name it. So it is right behind any proxy that keeps paths.

use std::borrow::Cow;

use http::{HeaderValue, Uri, uri::Scheme};
use uuid::Uuid;

use crate::{
    api::{Origin, query::encode},
    oci::{digest::Digest, name::RepositoryName},
};

/// The root of the API, as clients see it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Base {
    /// `https://registry.example.com[/path]`, without a slash at its end; empty for relative answers.
    origin: String,
    /// Begins and ends with a slash.
    prefix: String,
    otherwise: Otherwise,
}

/// What a location is where the configuration names no origin.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Otherwise {
    #[default]
    Path,
    /// Below the origin that a trusted proxy names; a path where none does.
    Proxied,
}

/// A base that no location can be made of.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidBase {
    #[error("'{0}' is not a path prefix: it begins and ends with a slash and holds letters, digits and '/-._~' only")]
    Prefix(String),
    #[error("'{0}' is not an http or https URL with a host and without a query")]
    Origin(String),
}

impl Base {
    /// `prefix` is `http.prefix`, `/` where it is unset; `origin` is the external URL where locations are to be
    /// absolute.
    ///
    /// # Errors
    /// [`InvalidBase`] names the text that cannot stand in a location.
    pub fn new(prefix: &str, origin: Option<&str>) -> Result<Self, InvalidBase> {
        let legal = |c: char| c.is_ascii_alphanumeric() || "/-._~".contains(c);
        if !prefix.starts_with('/') || !prefix.ends_with('/') || !prefix.chars().all(legal) {
            return Err(InvalidBase::Prefix(prefix.to_owned()));
        }
        let origin = origin.map(parse_origin).transpose()?.unwrap_or_default();
        Ok(Self { origin, prefix: prefix.to_owned(), otherwise: Otherwise::Path })
    }

    #[must_use]
    pub const fn or(mut self, otherwise: Otherwise) -> Self {
        self.otherwise = otherwise;
        self
    }

    /// The base for a client that sees us at `proxied`, as a trusted proxy says.
    pub(in crate::api) fn seen(&self, proxied: Option<&Origin>) -> Cow<'_, Self> {
        match proxied {
            Some(Origin { scheme, authority }) if self.origin.is_empty() && self.otherwise == Otherwise::Proxied => {
                Cow::Owned(Self { origin: format!("{}://{authority}", scheme.name()), ..self.clone() })
            }
            _ => Cow::Borrowed(self),
        }
    }

    /// Scheme and authority of the origin that the configuration names.
    pub(in crate::api) fn named(&self) -> Option<(&str, &str)> {
        let (scheme, rest) = self.origin.split_once("://")?;
        Some((scheme, rest.split('/').next().unwrap_or(rest)))
    }

    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(in crate::api) fn blob(&self, repository: &RepositoryName, digest: &Digest) -> HeaderValue {
        self.value(&format!("{repository}/blobs/{digest}"))
    }

    pub(in crate::api) fn manifest(&self, repository: &RepositoryName, digest: &Digest) -> HeaderValue {
        self.value(&format!("{repository}/manifests/{digest}"))
    }

    pub(in crate::api) fn upload(&self, repository: &RepositoryName, id: Uuid, state: &str) -> HeaderValue {
        self.value(&format!("{repository}/blobs/uploads/{id}?_state={}", encode(state)))
    }

    /// `Link` to the next page of `path` below `/v2/`: always relative, with the parameters given, in order.
    pub(in crate::api) fn next(&self, path: &str, parameters: &[(&str, &str)]) -> HeaderValue {
        let pairs = parameters.iter().map(|(name, value)| format!("{name}={}", encode(value)));
        let query = pairs.collect::<Vec<_>>().join("&");
        visible(format!("<{}v2/{path}?{query}>; rel=\"next\"", self.prefix))
    }

    fn value(&self, path: &str) -> HeaderValue {
        visible(format!("{}{}v2/{path}", self.origin, self.prefix))
    }
}

fn parse_origin(text: &str) -> Result<String, InvalidBase> {
    let invalid = || InvalidBase::Origin(text.to_owned());
    let uri: Uri = text.parse().map_err(|_| invalid())?;
    let known = [Scheme::HTTP, Scheme::HTTPS].iter().any(|scheme| uri.scheme() == Some(scheme));
    match uri.host() {
        Some(host) if known && !host.is_empty() && uri.query().is_none() => Ok(text.trim_end_matches('/').to_owned()),
        _ => Err(invalid()),
    }
}

/// Text made of configured URLs, names, digests and percent-encoded values.
fn visible(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("base, names, digests and encoded values are visible ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(prefix: &str, origin: Option<&str>, expected: &str) {
        let base = Base::new(prefix, origin).unwrap();
        let id = Uuid::nil();
        assert_eq!(
            base.upload(&"a/b".parse().unwrap(), id, "x="),
            format!("{expected}v2/a/b/blobs/uploads/{id}?_state=x%3D")
        );
    }

    #[test]
    fn locations() {
        check("/", None, "/");
        check("/registry/", None, "/registry/");
        check("/", Some("https://r.example.com:5050"), "https://r.example.com:5050/");
        check("/", Some("https://r.example.com/"), "https://r.example.com/");
        check("/registry/", Some("http://[::1]:80/behind"), "http://[::1]:80/behind/registry/");
    }

    #[test]
    fn what_proxies_say_counts_only_where_nothing_is_named() {
        let seen = Origin { scheme: crate::api::Scheme::Https, authority: "r.example.com:5050".to_owned() };
        let check = |origin, otherwise, seen: Option<&Origin>, expected: &str| {
            let base = Base::new("/p/", origin).unwrap().or(otherwise);
            let location = base.seen(seen).upload(&"a".parse().unwrap(), Uuid::nil(), "x");
            assert!(location.to_str().unwrap().starts_with(&format!("{expected}/p/v2/a/blobs/")), "{location:?}");
        };
        check(None, Otherwise::Path, Some(&seen), "");
        check(None, Otherwise::Proxied, Some(&seen), "https://r.example.com:5050");
        check(None, Otherwise::Proxied, None, "");
        check(Some("http://named"), Otherwise::Proxied, Some(&seen), "http://named");
        assert_eq!(Base::new("/", Some("https://h:1/behind")).unwrap().named(), Some(("https", "h:1")));
        assert_eq!(Base::new("/", None).unwrap().named(), None);
    }

    #[test]
    fn links() {
        let base = Base::new("/p/", Some("https://r.example.com")).unwrap();
        assert_eq!(
            base.next("_catalog", &[("last", "a/b"), ("n", "1")]),
            "</p/v2/_catalog?last=a%2Fb&n=1>; rel=\"next\""
        );
    }

    #[test]
    fn refused() {
        for prefix in ["", "x", "/x", "x/", "/a b/", "/a?/", "/\n/"] {
            assert!(matches!(Base::new(prefix, None), Err(InvalidBase::Prefix(_))), "{prefix}");
        }
        for origin in ["", "r.example.com", "/x", "ftp://x/", "https://", "https://x/?y", "https://x y/"] {
            assert!(matches!(Base::new("/", Some(origin)), Err(InvalidBase::Origin(_))), "{origin}");
        }
    }
}
