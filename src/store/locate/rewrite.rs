//! The storage middleware `rewrite`: another scheme, another host or a shorter path for the address that the storage
//! names.

use std::sync::Arc;

use async_trait::async_trait;
use http::{
    Uri,
    uri::{Authority, PathAndQuery, Scheme},
};

use crate::store::{
    Result,
    key::Key,
    locate::{Locate, Visitor, encode, failure},
};

/// Edits what another one says. A signature that covers the host (AWS's does) holds only if whatever stands at the new
/// host asks the storage under the old one.
#[derive(Debug)]
pub struct Rewrite {
    inner: Arc<dyn Locate>,
    scheme: Option<Scheme>,
    authority: Option<Authority>,
    /// Encoded.
    trim: String,
}

/// What is edited.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Settings {
    pub scheme: Option<Scheme>,
    /// Host, with its port if it has one.
    pub authority: Option<Authority>,
    /// Not encoded, empty for nothing. A path that does not begin with it is kept whole.
    pub trim_path_prefix: String,
}

impl Rewrite {
    #[must_use]
    pub fn new(settings: Settings, inner: Arc<dyn Locate>) -> Self {
        let Settings { scheme, authority, trim_path_prefix } = settings;
        Self { inner, scheme, authority, trim: encode(&trim_path_prefix) }
    }

    fn edit(&self, address: Uri) -> Result<Uri, http::uri::InvalidUriParts> {
        let mut parts = address.into_parts();
        if let Some(scheme) = &self.scheme {
            parts.scheme = Some(scheme.clone());
        }
        if let Some(authority) = &self.authority {
            parts.authority = Some(authority.clone());
        }
        parts.path_and_query = parts.path_and_query.map(|path| self.trimmed(path));
        Uri::from_parts(parts)
    }

    fn trimmed(&self, path: PathAndQuery) -> PathAndQuery {
        let Some(rest) = path.as_str().strip_prefix(&self.trim).filter(|_| !self.trim.is_empty()) else { return path };
        let slash = if rest.starts_with('/') { "" } else { "/" };
        // The end of a path with a slash before it is a path.
        format!("{slash}{rest}").parse().unwrap_or(path)
    }
}

#[async_trait]
impl Locate for Rewrite {
    async fn locate(&self, key: &Key, visitor: &Visitor) -> Result<Option<Uri>> {
        let located = self.inner.locate(key, visitor).await?;
        located.map(|uri| self.edit(uri).map_err(|why| failure(key, why))).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::locate::{base::Base, redirect::Redirect};

    fn rewrite(scheme: &str, host: &str, trim: &str) -> Rewrite {
        let inner = Redirect::new(Base::new("https://s3.example.com/b%20u").unwrap());
        let settings = Settings {
            scheme: (!scheme.is_empty()).then(|| scheme.parse().unwrap()),
            authority: (!host.is_empty()).then(|| host.parse().unwrap()),
            trim_path_prefix: trim.to_owned(),
        };
        Rewrite::new(settings, Arc::new(inner))
    }

    #[tokio::test]
    async fn parts_are_replaced() {
        let check = async |scheme: &str, host: &str, trim: &str, expected: &str| {
            let rewrite = rewrite(scheme, host, trim);
            let located = rewrite.locate(&"docker/data".parse().unwrap(), &Visitor::default()).await.unwrap();
            assert_eq!(located.map(|uri| uri.to_string()).as_deref(), Some(expected), "{scheme} {host} {trim}");
        };
        check("", "", "", "https://s3.example.com/b%20u/docker/data").await;
        check("http", "cdn.example.com:80", "", "http://cdn.example.com:80/b%20u/docker/data").await;
        check("", "", "/b u", "https://s3.example.com/docker/data").await;
        check("", "", "/b u/", "https://s3.example.com/docker/data").await;
        check("", "", "/other", "https://s3.example.com/b%20u/docker/data").await;
        check("", "", "/b u/docker/data", "https://s3.example.com/").await;
    }

    #[test]
    fn what_is_signed_stays() {
        let signed: Uri = "https://s3.example.com/b/a?X-Amz-Signature=0%2F1&x=/b/".parse().unwrap();
        let edited = rewrite("", "cdn.example.com", "/b").edit(signed).unwrap();
        assert_eq!(edited.to_string(), "https://cdn.example.com/a?X-Amz-Signature=0%2F1&x=/b/");
    }
}
