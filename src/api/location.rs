//! Where clients find this API: the values of `Location` and `Link`.
//!
//! What a client sent about its way here (`Host`, `X-Forwarded-*`) decides nothing: a `Location` is a path unless the
//! configuration names the origin, so it is right behind any proxy that keeps paths.

use http::{HeaderValue, Uri, uri::Scheme};
use uuid::Uuid;

use crate::{
    api::query::encode,
    oci::{digest::Digest, name::RepositoryName},
};

/// The root of the API, as clients see it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Base {
    /// `https://registry.example.com[/path]`, without a slash at its end; empty for relative answers.
    origin: String,
    /// Begins and ends with a slash.
    prefix: String,
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
        Ok(Self { origin, prefix: prefix.to_owned() })
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
