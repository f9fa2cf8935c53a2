//! From a path to a [`Route`]: a value whose parts have been parsed.
//!
//! Repository names have slashes in them, so a path is read from its end: what stands there decides, and all that
//! comes before is the name. No two forms end alike. A slash at the end may be there or not, and nothing is
//! redirected: clients do not repeat a POST after a 301.

use percent_encoding::percent_decode_str;

use crate::{
    api::method::Methods,
    oci::{
        digest::{Digest, InvalidDigest},
        name::{InvalidName, RepositoryName},
        reference::{InvalidReference, Reference},
        tag::{InvalidTag, Tag},
    },
};

/// What a path names.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Route {
    /// `/`: for load balancers, which want a 200 without a login.
    Root,
    /// `/v2/`
    Base,
    /// `/v2/_catalog`
    Catalog,
    /// `/v2/<name>/tags/list`
    Tags { repository: RepositoryName },
    /// `/v2/<name>/tags/reference/<tag>`: how GitLab before 16.4 deletes tags.
    TagReference { repository: RepositoryName, tag: Tag },
    /// `/v2/<name>/manifests/<reference>`
    Manifest { repository: RepositoryName, reference: Reference },
    /// `/v2/<name>/blobs/<digest>`
    Blob { repository: RepositoryName, digest: Digest },
    /// `/v2/<name>/blobs/uploads/`
    Uploads { repository: RepositoryName },
    /// `/v2/<name>/blobs/uploads/<id>`
    Upload { repository: RepositoryName, id: String },
    /// `/v2/<name>/referrers/<digest>`
    Referrers { repository: RepositoryName, digest: Digest },
}

/// Why a path leads nowhere.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unrouted {
    #[error("there is nothing at this path")]
    Nothing,
    #[error("the version 1 registry API is not supported; this registry speaks version 2")]
    Version1,
    #[error(transparent)]
    Name(#[from] InvalidName),
    #[error(transparent)]
    Tag(#[from] InvalidTag),
    #[error(transparent)]
    Digest(#[from] InvalidDigest),
}

impl From<InvalidReference> for Unrouted {
    fn from(invalid: InvalidReference) -> Self {
        match invalid {
            InvalidReference::Digest(invalid) => Self::Digest(invalid),
            InvalidReference::Tag(invalid) => Self::Tag(invalid),
        }
    }
}

impl Route {
    /// Reads the path of a request target, still percent-encoded; `prefix` begins and ends with a slash.
    pub fn parse(path: &str, prefix: &str) -> Result<Self, Unrouted> {
        if path == "/" || path == prefix {
            return Ok(Self::Root);
        }
        let path = decode(path).ok_or(Unrouted::Nothing)?;
        let tail = path.strip_prefix(prefix).ok_or(Unrouted::Nothing)?;
        match tail.split_once('/').unwrap_or((tail, "")) {
            ("v1", _) => Err(Unrouted::Version1),
            ("v2", tail) => Self::parse_tail(tail.strip_suffix('/').unwrap_or(tail)),
            _ => Err(Unrouted::Nothing),
        }
    }

    fn parse_tail(tail: &str) -> Result<Self, Unrouted> {
        match tail {
            "" => return Ok(Self::Base),
            "_catalog" => return Ok(Self::Catalog),
            _ => {}
        }
        let segments: Vec<&str> = tail.split('/').collect();
        // The length of what comes after the name, with its slashes.
        let name = |rest: &[&str]| -> Result<RepositoryName, Unrouted> {
            let rest: usize = rest.iter().map(|segment| segment.len() + 1).sum();
            Ok(tail[..tail.len() - rest].parse()?)
        };
        match segments.as_slice() {
            [_, .., "tags", "list"] => Ok(Self::Tags { repository: name(&["tags", "list"])? }),
            [_, .., "blobs", "uploads"] => Ok(Self::Uploads { repository: name(&["blobs", "uploads"])? }),
            [_, .., "blobs", "uploads", id] => {
                Ok(Self::Upload { repository: name(&["blobs", "uploads", id])?, id: (*id).to_owned() })
            }
            [_, .., "tags", "reference", tag] => {
                Ok(Self::TagReference { repository: name(&["tags", "reference", tag])?, tag: tag.parse()? })
            }
            [_, .., "manifests", reference] => {
                Ok(Self::Manifest { repository: name(&["manifests", reference])?, reference: reference.parse()? })
            }
            [_, .., "blobs", digest] => {
                Ok(Self::Blob { repository: name(&["blobs", digest])?, digest: digest.parse()? })
            }
            [_, .., "referrers", digest] => {
                Ok(Self::Referrers { repository: name(&["referrers", digest])?, digest: digest.parse()? })
            }
            _ => Err(Unrouted::Nothing),
        }
    }

    /// The name of the family of endpoints, as distribution's metrics have it.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Base => "base",
            Self::Catalog => "catalog",
            Self::Tags { .. } | Self::TagReference { .. } => "tags",
            Self::Manifest { .. } => "manifest",
            Self::Blob { .. } => "blob",
            Self::Uploads { .. } => "blob_upload",
            Self::Upload { .. } => "blob_upload_chunk",
            Self::Referrers { .. } => "referrers",
        }
    }

    #[must_use]
    pub const fn repository(&self) -> Option<&RepositoryName> {
        match self {
            Self::Root | Self::Base | Self::Catalog => None,
            Self::Tags { repository }
            | Self::TagReference { repository, .. }
            | Self::Manifest { repository, .. }
            | Self::Blob { repository, .. }
            | Self::Uploads { repository }
            | Self::Upload { repository, .. }
            | Self::Referrers { repository, .. } => Some(repository),
        }
    }

    /// The methods that this route answers when nothing is switched off.
    #[must_use]
    pub const fn methods(&self) -> Methods {
        match self {
            Self::Root | Self::Base | Self::Catalog | Self::Tags { .. } | Self::Referrers { .. } => Methods::READ,
            Self::TagReference { .. } => Methods::DELETE,
            Self::Manifest { .. } => Methods::READ.and(Methods::PUT).and(Methods::DELETE),
            Self::Blob { .. } => Methods::READ.and(Methods::DELETE),
            Self::Uploads { .. } => Methods::POST,
            Self::Upload { .. } => Methods::READ.and(Methods::PATCH).and(Methods::PUT).and(Methods::CANCEL),
        }
    }
}

/// Decodes once. `None` where the text would not be the same path any more: not UTF-8, NUL, or a slash that was
/// hidden by its encoding.
fn decode(path: &str) -> Option<String> {
    let hidden = path.as_bytes().windows(3).any(|code| code.eq_ignore_ascii_case(b"%2f") || code == b"%00");
    if hidden {
        return None;
    }
    percent_decode_str(path).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn name(text: &str) -> RepositoryName {
        text.parse().unwrap()
    }

    fn digest() -> Digest {
        format!("sha256:{HEX}").parse().unwrap()
    }

    fn check(path: &str, expected: &Result<Route, Unrouted>) {
        assert_eq!(&Route::parse(path, "/"), expected, "{path}");
    }

    fn is_nothing(path: &str) {
        check(path, &Err(Unrouted::Nothing));
    }

    #[test]
    fn every_form() {
        check("/", &Ok(Route::Root));
        check("/v2", &Ok(Route::Base));
        check("/v2/", &Ok(Route::Base));
        check("/v2/_catalog", &Ok(Route::Catalog));
        check("/v2/_catalog/", &Ok(Route::Catalog));
        check("/v2/a/b/tags/list", &Ok(Route::Tags { repository: name("a/b") }));
        let tag = || "v1".parse().unwrap();
        check("/v2/a/tags/reference/v1", &Ok(Route::TagReference { repository: name("a"), tag: tag() }));
        let reference = Reference::Tag(tag());
        check("/v2/a/manifests/v1", &Ok(Route::Manifest { repository: name("a"), reference }));
        let reference = Reference::Digest(digest());
        let by_digest = Ok(Route::Manifest { repository: name("a"), reference });
        check(&format!("/v2/a/manifests/sha256:{HEX}"), &by_digest);
        check(&format!("/v2/a/manifests/sha256%3A{HEX}"), &by_digest);
        check(&format!("/v2/a/blobs/sha256:{HEX}"), &Ok(Route::Blob { repository: name("a"), digest: digest() }));
        for path in ["/v2/a/blobs/uploads", "/v2/a/blobs/uploads/"] {
            check(path, &Ok(Route::Uploads { repository: name("a") }));
        }
        let upload = Route::Upload { repository: name("a"), id: "0-1".to_owned() };
        check("/v2/a/blobs/uploads/0-1", &Ok(upload));
        let referrers = Route::Referrers { repository: name("a"), digest: digest() };
        check(&format!("/v2/a/referrers/sha256:{HEX}"), &Ok(referrers));
    }

    #[test]
    fn names_that_look_like_routes() {
        let tags = |text| Ok(Route::Tags { repository: name(text) });
        check("/v2/a/blobs/uploads/tags/list", &tags("a/blobs/uploads"));
        check("/v2/tags/list/tags/list", &tags("tags/list"));
        check("/v2/a/manifests/b/blobs/uploads/", &Ok(Route::Uploads { repository: name("a/manifests/b") }));
        check("/v2/v2/tags/list", &tags("v2"));
    }

    #[test]
    fn prefix() {
        let parse = |path| Route::parse(path, "/registry/");
        assert_eq!(parse("/registry/v2/"), Ok(Route::Base));
        assert_eq!(parse("/registry/"), Ok(Route::Root));
        assert_eq!(parse("/"), Ok(Route::Root));
        assert_eq!(parse("/v2/"), Err(Unrouted::Nothing));
        assert_eq!(parse("/registry/v2/a/tags/list"), Ok(Route::Tags { repository: name("a") }));
    }

    #[test]
    fn nothing_there() {
        for path in [
            "/favicon.ico",
            "/v3/",
            "//v2/",
            "/v2/a",
            "/v2/a/b",
            "/v2/tags/list",
            "/v2/manifests/latest",
            "/v2/a/tags",
            "/v2/a/tags/list/x",
            "/v2/a/blobs",
            "/v2/a/blobs/uploads/id/more",
            "/v2/a%2fb/tags/list",
            "/v2/a%2Fb/tags/list",
            "/v2/a%00/tags/list",
            "/v2/%c0%af/tags/list",
            "/v2/%ff/tags/list",
            "/gitlab/v1/",
        ] {
            is_nothing(path);
        }
        check("/v1/users/", &Err(Unrouted::Version1));
        check("/v1", &Err(Unrouted::Version1));
    }

    #[test]
    fn wrong_parts() {
        for path in ["/v2/A/tags/list", "/v2/a//b/tags/list", "/v2/../tags/list", "/v2/%2e%2e/tags/list"] {
            assert!(matches!(Route::parse(path, "/"), Err(Unrouted::Name(_))), "{path}");
        }
        for path in ["/v2/a;b/tags/list", "/v2/%252e/tags/list", "/v2/a/../b/tags/list", "/v2//tags/list"] {
            assert!(matches!(Route::parse(path, "/"), Err(Unrouted::Name(_))), "{path}");
        }
        for path in ["/v2/a/manifests/.x", "/v2/a/manifests/-x", "/v2/a/tags/reference/%C3%A4"] {
            assert!(matches!(Route::parse(path, "/"), Err(Unrouted::Tag(_))), "{path}");
        }
        for path in ["/v2/a/blobs/x", "/v2/a/blobs/md5:00", "/v2/a/manifests/sha256:x", "/v2/a/referrers/latest"] {
            assert!(matches!(Route::parse(path, "/"), Err(Unrouted::Digest(_))), "{path}");
        }
    }
}
