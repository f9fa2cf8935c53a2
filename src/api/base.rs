//! `/v2/`, where clients learn what speaks here and whether they are let in, and `/`, which asks nobody.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};

use crate::api::{Body, Reply, headers, settings::Mode};

/// GitLab takes any registry that sends these for its own kind and then deletes tags by name, not by pushing dummies.
const GITLAB_VERSION: HeaderName = HeaderName::from_static("gitlab-container-registry-version");
const GITLAB_FEATURES: HeaderName = HeaderName::from_static("gitlab-container-registry-features");
const GITLAB_DATABASE: HeaderName = HeaderName::from_static("gitlab-container-registry-database-enabled");

/// `/`
pub(in crate::api) fn root() -> Reply {
    headers::empty(StatusCode::OK, [(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"))])
}

/// `/v2/`
pub(in crate::api) fn version(mode: Mode) -> Reply {
    let mut reply = headers::empty(
        StatusCode::OK,
        [
            (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (GITLAB_VERSION, HeaderValue::from_static(env!("CARGO_PKG_VERSION"))),
            (GITLAB_DATABASE, HeaderValue::from_static("false")),
        ],
    );
    if mode == Mode::Full {
        reply.headers.insert(GITLAB_FEATURES, HeaderValue::from_static("tag_delete"));
    }
    reply.body = Body::Full(Bytes::from_static(b"{}"));
    reply
}
