//! What manifests must satisfy before they are stored (`validation` in the configuration).

use regex::RegexSet;

use crate::oci::descriptor::{Descriptor, Platform};

/// What a manifest must satisfy before it is stored, beyond being one.
#[derive(Clone, Debug)]
pub enum Validation {
    /// Every URL is taken, and indexes whose children are missing. The blobs of an image must exist all the same, as in
    /// Distribution: what is acknowledged can be pulled.
    Off,
    On(Rules),
}

impl Default for Validation {
    fn default() -> Self {
        Self::On(Rules::default())
    }
}

/// Which references are looked at, and how.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    pub urls: Urls,
    pub children: Children,
}

/// Which children of an index must exist (`validation.manifests.indexes`).
#[derive(Clone, Debug, Default)]
pub enum Children {
    #[default]
    All,
    None,
    /// Those for one of these platforms; what names no platform need not exist.
    For(Vec<Platform>),
}

impl Children {
    /// Whether this child of an index must exist; letter case does not matter.
    #[must_use]
    pub fn must_exist(&self, child: &Descriptor) -> bool {
        let same = |listed: &Platform, platform: &Platform| {
            listed.architecture.eq_ignore_ascii_case(&platform.architecture)
                && listed.os.eq_ignore_ascii_case(&platform.os)
        };
        match self {
            Self::All => true,
            Self::None => false,
            Self::For(list) => {
                child.platform.as_ref().is_some_and(|platform| list.iter().any(|listed| same(listed, platform)))
            }
        }
    }
}

/// Which foreign URLs may stand in manifests: clients will fetch from them.
#[derive(Clone, Debug, Default)]
pub struct Urls {
    allow: RegexSet,
    deny: RegexSet,
}

impl Urls {
    /// `allow` and `deny` are regular expressions that match anywhere in a URL.
    ///
    /// # Errors
    /// When one of them is none.
    pub fn new(
        allow: impl IntoIterator<Item = impl AsRef<str>>,
        deny: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Result<Self, regex::Error> {
        Ok(Self { allow: RegexSet::new(allow)?, deny: RegexSet::new(deny)? })
    }

    /// Whether a Docker manifest may name this URL. Without any rule, none may.
    #[must_use]
    pub fn permit(&self, url: &str) -> bool {
        !(self.allow.is_empty() && self.deny.is_empty()) && self.permit_standard(url)
    }

    /// Whether an OCI manifest may name this URL. The image-spec gives every descriptor `urls`, so without any rule,
    /// all may.
    #[must_use]
    pub fn permit_standard(&self, url: &str) -> bool {
        let allowed = self.allow.is_empty() || self.allow.is_match(url);
        is_web_address(url) && allowed && !self.deny.is_match(url)
    }
}

/// `http` or `https` with a host, and neither a fragment nor anything that has to be escaped (RFC 3986, section 2).
fn is_web_address(url: &str) -> bool {
    let Some((scheme, rest)) = url.split_once("://") else { return false };
    let host = rest.split(['/', '?']).next().is_some_and(|authority| !authority.is_empty());
    let web = ["http", "https"].iter().any(|web| web.eq_ignore_ascii_case(scheme));
    web && host && url.bytes().all(|byte| byte.is_ascii_graphic() && !br##""#<>\^`{|}"##.contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let check = |allow: &[&str], deny: &[&str], url: &str, docker: bool, oci: bool| {
            let urls = Urls::new(allow, deny).expect("regular expressions");
            assert_eq!((urls.permit(url), urls.permit_standard(url)), (docker, oci), "{allow:?} {deny:?} {url}");
        };
        check(&[], &[], "https://a.example/x", false, true);
        check(&["a.example"], &[], "https://a.example/x", true, true);
        check(&["^https://a"], &[], "http://a.example/x", false, false);
        check(&[], &["evil"], "https://a.example/x", true, true);
        check(&["example"], &["evil"], "https://evil.example/x", false, false);
        for bad in ["ftp://a.example/x", "https://a.example/#x", "/x", "", "https:///x", "a b", "https://a b/"] {
            check(&[".*"], &[], bad, false, false);
        }
        assert!(Urls::new(["("], [""; 0]).is_err());
    }

    #[test]
    fn children() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let child = |platform: &str| {
            let text = format!(r#"{{"mediaType":"a/b","digest":"{digest}","size":1{platform}}}"#);
            serde_json::from_str::<Descriptor>(&text).expect("a descriptor")
        };
        let amd64 = child(r#","platform":{"architecture":"AMD64","os":"linux"}"#);
        let arm64 = child(r#","platform":{"architecture":"arm64","os":"linux"}"#);
        let listed = Children::For(vec![Platform { architecture: "amd64".into(), os: "Linux".into() }]);
        assert_eq!([&amd64, &arm64, &child("")].map(|c| listed.must_exist(c)), [true, false, false]);
        assert_eq!([Children::All, Children::None].map(|all| all.must_exist(&arm64)), [true, false]);
    }
}
