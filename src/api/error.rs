//! Everything that can go wrong, and the one table that says what a client is told about it.
//!
//! What a client reads (status, code, message, detail) and what the log gets (level, reason) are apart: the reason may
//! name keys and causes, the answer never does.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use tracing::Level;

use crate::{
    admission::TooMany,
    api::{Body, BodyError, Failure, Log, Reply, method::Methods, paging::InvalidCount, route::Unrouted},
    auth::{
        challenge::{Reason, Refusal},
        rules::InvalidRules,
    },
    oci::{
        byte_range::{self, InvalidChunkRange},
        digest::{Digest, InvalidDigest},
        error_code::ErrorCode,
        manifest,
        tag::{InvalidTag, Tag},
    },
    registry::{
        self,
        uploads::{self, Interrupted},
    },
    store::error::{Error as StoreError, Kind},
};

/// Seconds after which a client may try again when the storage is in trouble.
const RETRY_AFTER_SECS: HeaderValue = HeaderValue::from_static("5");

/// nginx's status for a client that went away: nobody reads it, the access log has it.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// Why a request was not done.
#[derive(Debug, thiserror::Error)]
pub(in crate::api) enum Error {
    #[error(transparent)]
    Unrouted(#[from] Unrouted),
    #[error("a health check failed")]
    Unhealthy,
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The subject of the login asks too often.
    #[error(transparent)]
    TooMany(#[from] TooMany),
    #[error("the method is not allowed here")]
    MethodNotAllowed(Methods),
    #[error(transparent)]
    Registry(#[from] registry::error::Error),
    #[error(transparent)]
    Upload(#[from] uploads::Error),
    /// The bytes do not follow what was committed; the headers say how to go on.
    #[error("the chunk is out of order")]
    OutOfOrder { resume: HeaderMap },
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error(transparent)]
    Digest(#[from] InvalidDigest),
    #[error("the digest of the content is missing")]
    DigestMissing,
    #[error("{0}")]
    ChunkRange(#[from] InvalidChunkRange),
    #[error("content of type {0} is not a blob's bytes")]
    ContentType(String),
    #[error("content encoded as {0} is not stored")]
    ContentEncoding(String),
    #[error("the manifest is larger than {} bytes", manifest::SIZE_MAX)]
    ManifestTooLarge,
    #[error(transparent)]
    Tag(#[from] InvalidTag),
    #[error("more than {most} tags in one request")]
    TooManyTags { most: usize },
    #[error("tag {0} is protected")]
    TagProtected(Tag),
    #[error("tag {0} is immutable")]
    TagImmutable(Tag),
    #[error("manifest {0} may carry protected tags")]
    ManifestProtected(Digest),
    #[error(transparent)]
    TagRules(#[from] InvalidRules),
    #[error(transparent)]
    Count(#[from] InvalidCount),
    #[error("more than {} ranges in one request", byte_range::RANGES_MAX)]
    TooManyRanges,
    /// A defect of ours.
    #[error("the grant does not fit the route")]
    GrantMismatch,
}

/// What a client is told.
struct Answer {
    status: StatusCode,
    code: ErrorCode,
    message: Cow<'static, str>,
    /// One entry of the body for each; none at all makes one entry without a detail.
    details: Vec<Value>,
    headers: HeaderMap,
    level: Level,
}

impl Answer {
    fn new(code: ErrorCode) -> Self {
        let level = if code.status().is_server_error() { Level::ERROR } else { Level::INFO };
        let message = Cow::Borrowed(code.message());
        Self { status: code.status(), code, message, details: Vec::new(), headers: HeaderMap::new(), level }
    }

    fn status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    fn message(self, message: impl Into<Cow<'static, str>>) -> Self {
        Self { message: message.into(), ..self }
    }

    fn detail(mut self, detail: impl Into<Value>) -> Self {
        self.details.push(detail.into());
        self
    }

    fn header(mut self, name: header::HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    fn level(self, level: Level) -> Self {
        Self { level, ..self }
    }

    fn into_reply(self) -> Reply {
        let (code, message) = (self.code.as_str(), self.message);
        let entries = if self.details.is_empty() {
            vec![json!({ "code": code, "message": message })]
        } else {
            let entry = |detail| json!({ "code": code, "message": message, "detail": detail });
            self.details.into_iter().map(entry).collect()
        };
        let body = format!("{}\n", json!({ "errors": entries }));
        let mut headers = self.headers;
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Reply { status: self.status, headers, body: Body::Full(Bytes::from(body)), log: Log::default() }
    }
}

impl Error {
    /// The reply, and the line for the log.
    pub(in crate::api) fn into_reply(self) -> (Reply, Failure) {
        let reason = self.reason();
        let answer = self.answer();
        let failure = Failure::new(answer.code.as_str(), answer.level, &reason);
        (answer.into_reply(), failure)
    }

    /// With every cause, for the log only.
    pub(in crate::api) fn reason(&self) -> String {
        let mut reason = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            reason = format!("{reason}: {cause}");
            source = cause.source();
        }
        reason
    }

    fn answer(self) -> Answer {
        use ErrorCode as Code;
        let said = self.to_string();
        match self {
            Self::Unrouted(unrouted) => unrouted_answer(&unrouted),
            Self::Unhealthy => Answer::new(Code::Unavailable).detail("health check failed: please see /debug/health"),
            Self::Refused(refusal) => refused(&refusal),
            Self::TooMany(early) => Answer::new(Code::TooManyRequests)
                .header(header::RETRY_AFTER, HeaderValue::from(early.retry_after_secs())),
            Self::MethodNotAllowed(allowed) => {
                let allow = HeaderValue::try_from(allowed.allow()).expect("method names are visible ASCII");
                Answer::new(Code::Unsupported).header(header::ALLOW, allow)
            }
            Self::Registry(error) => registry_answer(error),
            Self::Upload(error) => upload_answer(error),
            Self::OutOfOrder { resume } => Answer { headers: resume, ..Answer::new(Code::RangeInvalid) },
            Self::Body(error) => body_answer(error),
            Self::Digest(_) | Self::DigestMissing => Answer::new(Code::DigestInvalid).detail(said),
            Self::ChunkRange(_) => Answer::new(Code::RangeInvalid).detail(said),
            Self::ContentType(_) | Self::ContentEncoding(_) => {
                Answer::new(Code::Unsupported).status(StatusCode::UNSUPPORTED_MEDIA_TYPE).detail(said)
            }
            Self::ManifestTooLarge => {
                Answer::new(Code::ManifestInvalid).status(StatusCode::PAYLOAD_TOO_LARGE).message(said)
            }
            Self::Tag(_) => Answer::new(Code::TagInvalid).detail(said),
            Self::TooManyTags { .. } => Answer::new(Code::TagInvalid).status(StatusCode::URI_TOO_LONG).detail(said),
            Self::TagProtected(tag) => Answer::new(Code::ProtectedTag).detail(json!({ "tag": tag.as_str() })),
            Self::TagImmutable(tag) => immutable(&tag),
            Self::ManifestProtected(digest) => Answer::new(Code::ProtectedManifest).detail(json!({ "digest": digest })),
            Self::TagRules(_) => Answer::new(Code::Unsupported).status(StatusCode::BAD_REQUEST).detail(said),
            Self::Count(InvalidCount::NotANumber(text)) => {
                Answer::new(Code::PaginationNumberInvalid).detail(json!({ "n": text }))
            }
            Self::Count(InvalidCount::TooMany { asked, .. }) => {
                Answer::new(Code::PaginationNumberInvalid).detail(json!({ "n": asked }))
            }
            // 400 rather than 416: clients of partial pulls merge their ranges and try again.
            Self::TooManyRanges => Answer::new(Code::RangeInvalid).status(StatusCode::BAD_REQUEST).detail(said),
            Self::GrantMismatch => Answer::new(Code::Unknown),
        }
    }
}

fn unrouted_answer(unrouted: &Unrouted) -> Answer {
    let said = unrouted.to_string();
    match unrouted {
        Unrouted::Nothing | Unrouted::Version1 => {
            Answer::new(ErrorCode::Unsupported).status(StatusCode::NOT_FOUND).message(said)
        }
        Unrouted::Name(_) => Answer::new(ErrorCode::NameInvalid).detail(said),
        Unrouted::Tag(_) => Answer::new(ErrorCode::TagInvalid).detail(said),
        Unrouted::Digest(_) => Answer::new(ErrorCode::DigestInvalid).detail(said),
    }
}

fn refused(refusal: &Refusal) -> Answer {
    if *refusal.reason() == Reason::Busy {
        return Answer::new(ErrorCode::TooManyRequests)
            .header(header::RETRY_AFTER, RETRY_AFTER_SECS)
            .level(Level::WARN);
    }
    let challenge = HeaderValue::from_str(refusal.challenge()).expect("a challenge is printable ASCII");
    Answer::new(ErrorCode::Unauthorized)
        .detail(json!(refusal.detail()))
        .header(header::WWW_AUTHENTICATE, challenge)
        .level(Level::WARN)
}

fn registry_answer(error: registry::error::Error) -> Answer {
    use registry::error::Error as E;
    match error {
        E::BlobUnknown(digest) => Answer::new(ErrorCode::BlobUnknown).detail(digest.to_string()),
        E::ManifestUnknown(reference) => {
            Answer::new(ErrorCode::ManifestUnknown).detail(json!({ "reference": reference.to_string() }))
        }
        E::RepositoryUnknown(name) => Answer::new(ErrorCode::NameUnknown).detail(json!({ "name": name.as_str() })),
        // The sentence stands in the message because that is all that docker shows.
        E::ManifestInvalid(fault) => Answer::new(ErrorCode::ManifestInvalid).message(fault.0),
        E::ManifestReferencesUnknown(digests) => {
            let details = digests.iter().map(|digest| json!(digest)).collect();
            Answer { details, ..Answer::new(ErrorCode::ManifestBlobUnknown) }
        }
        E::TagTaken(tag) => immutable(&tag),
        E::DigestMismatch { expected, actual } => mismatch(&expected, &actual),
        E::Store(error) => store_answer(&error),
    }
}

fn immutable(tag: &Tag) -> Answer {
    Answer::new(ErrorCode::ImmutableTag).detail(json!({ "tag": tag.as_str() }))
}

fn mismatch(expected: &Digest, actual: &Digest) -> Answer {
    Answer::new(ErrorCode::DigestInvalid).detail(json!({ "expected": expected, "actual": actual }))
}

fn upload_answer(error: uploads::Error) -> Answer {
    use uploads::Error as E;
    match error {
        E::Unknown => Answer::new(ErrorCode::BlobUploadUnknown),
        E::StateInvalid => Answer::new(ErrorCode::BlobUploadInvalid).detail("invalid secret"),
        E::OutOfOrder { .. } => Answer::new(ErrorCode::RangeInvalid),
        E::SizeMismatch => Answer::new(ErrorCode::SizeInvalid),
        E::DigestMismatch { expected, actual } => mismatch(&expected, &actual),
        E::Busy => Answer::new(ErrorCode::TooManyRequests).header(header::RETRY_AFTER, RETRY_AFTER_SECS),
        E::TooLarge { limit } => {
            Answer::new(ErrorCode::SizeInvalid).status(StatusCode::PAYLOAD_TOO_LARGE).detail(json!({ "limit": limit }))
        }
        E::Interrupted(interrupted) => body_answer(match interrupted {
            Interrupted::Disconnected => BodyError::Disconnected,
            Interrupted::TimedOut => BodyError::TimedOut,
            Interrupted::Malformed => BodyError::Malformed,
        }),
        // A rule of the bucket removed it; the client starts again.
        E::Store(error) if error.kind == Kind::UploadGone => Answer::new(ErrorCode::BlobUploadUnknown),
        E::Store(error) => store_answer(&error),
    }
}

fn body_answer(error: BodyError) -> Answer {
    let status = match error {
        BodyError::Disconnected => StatusCode::from_u16(CLIENT_CLOSED_REQUEST).unwrap_or(StatusCode::BAD_REQUEST),
        BodyError::TimedOut => StatusCode::REQUEST_TIMEOUT,
        BodyError::Malformed => StatusCode::BAD_REQUEST,
    };
    Answer::new(ErrorCode::Unknown).status(status).message(error.to_string()).level(Level::INFO)
}

fn store_answer(error: &StoreError) -> Answer {
    match error.kind {
        Kind::Throttled | Kind::Unavailable => {
            Answer::new(ErrorCode::Unavailable).header(header::RETRY_AFTER, RETRY_AFTER_SECS)
        }
        Kind::Denied => Answer::new(ErrorCode::Unavailable).detail("the storage refuses access"),
        // Not 503: trying again at once would not help.
        Kind::Full => {
            Answer::new(ErrorCode::Unavailable).status(StatusCode::INSUFFICIENT_STORAGE).detail("the storage is full")
        }
        // Whoever could make sense of these has done so before they come here.
        Kind::NotFound | Kind::AlreadyExists | Kind::UploadGone | Kind::Range | Kind::Corrupt => {
            Answer::new(ErrorCode::Unknown)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::error::Operation;

    fn check(error: Error, status: u16, body: &str) -> Reply {
        let (reply, failure) = error.into_reply();
        let Body::Full(bytes) = &reply.body else { panic!("an error has a body") };
        let text = String::from_utf8_lossy(bytes);
        assert_eq!((reply.status.as_u16(), text.as_ref()), (status, format!("{body}\n").as_str()));
        assert!(body.contains(failure.code));
        reply
    }

    fn digest() -> Digest {
        format!("sha256:{}", "0".repeat(64)).parse().unwrap()
    }

    #[test]
    fn a_detail_is_left_out_or_repeated() {
        check(
            Error::Upload(uploads::Error::Unknown),
            404,
            r#"{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN","message":"blob upload unknown to registry"}]}"#,
        );
        let zeros = digest();
        let entry =
            format!(r#"{{"code":"MANIFEST_BLOB_UNKNOWN","detail":"{zeros}","message":"blob unknown to registry"}}"#);
        check(
            Error::Registry(registry::error::Error::ManifestReferencesUnknown(vec![zeros.clone(), zeros])),
            400,
            &format!(r#"{{"errors":[{entry},{entry}]}}"#),
        );
    }

    #[test]
    fn storage_trouble_is_not_described() {
        let store = |kind| StoreError::new(Operation::Get, "secret/key", kind);
        for (kind, status) in [
            (Kind::Throttled, 503),
            (Kind::Unavailable, 503),
            (Kind::Denied, 503),
            (Kind::Full, 507),
            (Kind::Corrupt, 500),
            (Kind::NotFound, 500),
        ] {
            let (reply, failure) = Error::Registry(store(kind).into()).into_reply();
            let Body::Full(body) = reply.body else { panic!("an error has a body") };
            assert_eq!(reply.status, status, "{kind:?}");
            assert!(!String::from_utf8_lossy(&body).contains("secret/key"));
            assert!(failure.reason.contains("secret/key"));
            assert_eq!(failure.level, Level::ERROR);
            let retry = matches!(kind, Kind::Throttled | Kind::Unavailable);
            assert_eq!(reply.headers.contains_key(header::RETRY_AFTER), retry, "{kind:?}");
        }
        let (reply, _) = Error::Upload(store(Kind::UploadGone).into()).into_reply();
        assert_eq!(reply.status, 404);
    }

    #[test]
    fn allowed_methods_are_named() {
        let reply = check(
            Error::MethodNotAllowed(Methods::READ),
            405,
            r#"{"errors":[{"code":"UNSUPPORTED","message":"The operation is unsupported."}]}"#,
        );
        assert_eq!(reply.headers[header::ALLOW], "GET, HEAD, OPTIONS");
    }

    #[test]
    fn bodies_that_break_off() {
        for (error, status) in [(BodyError::Disconnected, 499), (BodyError::TimedOut, 408), (BodyError::Malformed, 400)]
        {
            let (reply, failure) = Error::Body(error).into_reply();
            assert_eq!((reply.status.as_u16(), failure.level), (status, Level::INFO));
        }
    }
}
