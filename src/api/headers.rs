//! Header fields of registries, and replies that are made of little else.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::{
    api::{Body, Log, Reply},
    oci::digest::Digest,
};

pub(in crate::api) const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
pub(in crate::api) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
pub(in crate::api) const UPLOAD_UUID: HeaderName = HeaderName::from_static("docker-upload-uuid");
pub(in crate::api) const CHUNK_MIN_LENGTH: HeaderName = HeaderName::from_static("oci-chunk-min-length");
pub(in crate::api) const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");
pub(in crate::api) const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
pub(in crate::api) const TAG: HeaderName = HeaderName::from_static("oci-tag");

pub(in crate::api) fn digest(digest: &Digest) -> HeaderValue {
    HeaderValue::try_from(digest.to_string()).expect("a digest is visible ASCII")
}

/// A reply without a body.
pub(in crate::api) fn empty<const N: usize>(status: StatusCode, fields: [(HeaderName, HeaderValue); N]) -> Reply {
    Reply { status, headers: HeaderMap::from_iter(fields), body: Body::Empty, log: Log::default() }
}

/// 200 with a JSON document.
pub(in crate::api) fn json(media_type: &'static str, document: &impl serde::Serialize) -> Reply {
    let mut text = serde_json::to_vec(document).expect("names, numbers and checked JSON always encode");
    text.push(b'\n');
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    Reply { status: StatusCode::OK, headers, body: Body::Full(Bytes::from(text)), log: Log::default() }
}
