//! Why a request to the store failed, as the store or the way to it said.

use std::{error, fmt, time::Duration};

use http::{HeaderMap, Method, StatusCode, header};
use serde::Deserialize;

use crate::store::{
    error::{Error, Kind, Operation},
    key::Key,
};

/// Most bytes of an error's body that are looked at.
pub(super) const BODY_MAX: usize = 64 << 10;

/// Longest text of the store's that is kept, in bytes.
const TEXT_MAX: usize = 600;

/// One request that came to nothing.
#[derive(Clone, Debug)]
pub struct Failure {
    pub method: Method,
    pub trouble: Trouble,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Trouble {
    /// The store answered with an error.
    Answer(Answer),
    /// No connection, or one that broke: whether the request took effect is not known.
    Transport(String),
    /// Nothing moved for too long.
    Stalled(Duration),
    /// There is nothing to sign with.
    Credentials(String),
    /// The store's answer is not one that its protocol knows.
    Nonsense(String),
}

/// An error as S3 says it (API reference, "Error responses").
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Answer {
    pub status: u16,
    /// `NoSuchKey` and the like; empty where there was no body, as for HEAD.
    pub code: String,
    pub message: String,
    /// The region in which the bucket lies, where the store says that it is another one.
    pub region: Option<String>,
    /// What names the request in the store's own logs.
    pub request_id: Option<String>,
    pub retry_after: Option<Duration>,
}

/// The elements of an error's body.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Body {
    code: String,
    message: String,
    region: Option<String>,
    request_id: Option<String>,
}

impl Answer {
    /// From an answer's head and the beginning of its body.
    pub(super) fn read(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(bounded);
        let body: Body =
            std::str::from_utf8(body).ok().and_then(|xml| quick_xml::de::from_str(xml).ok()).unwrap_or_default();
        let retry_after =
            text(header::RETRY_AFTER.as_str()).and_then(|secs| secs.parse().ok()).map(Duration::from_secs);
        Self {
            status: status.as_u16(),
            code: bounded(&body.code),
            message: bounded(&body.message),
            region: text("x-amz-bucket-region").or_else(|| body.region.as_deref().map(bounded)),
            request_id: text("x-amz-request-id").or_else(|| body.request_id.as_deref().map(bounded)),
            retry_after,
        }
    }

    /// Whether the keys that a request was signed with are not taken, whatever it asked for.
    pub(super) fn refuses_keys(&self) -> bool {
        matches!(self.code.as_str(), "ExpiredToken" | "InvalidToken" | "TokenRefreshRequired" | "InvalidAccessKeyId")
    }

    fn kind(&self) -> Kind {
        match (self.status, self.code.as_str()) {
            (_, "NoSuchUpload") => Kind::UploadGone,
            (_, "InvalidPart" | "InvalidPartOrder" | "EntityTooSmall" | "BadDigest" | "InvalidDigest") => Kind::Corrupt,
            (_, "SlowDown" | "RequestLimitExceeded" | "TooManyRequests") | (429, _) => Kind::Throttled,
            (_, "QuotaExceeded" | "XMinioStorageFull" | "ServiceQuotaExceededException") | (507, _) => Kind::Full,
            (_, "NoSuchBucket") | (401 | 403, _) => Kind::Denied,
            (404, _) => Kind::NotFound,
            (409 | 412, _) => Kind::AlreadyExists,
            (416, _) => Kind::Range,
            _ => Kind::Unavailable,
        }
    }
}

impl Failure {
    /// Whether the same request may succeed a little later.
    pub(super) fn is_transient(&self) -> bool {
        match &self.trouble {
            Trouble::Answer(answer) => {
                matches!(answer.status, 408 | 429 | 500 | 502 | 503 | 504)
                    || matches!(
                        answer.code.as_str(),
                        "SlowDown"
                            | "RequestTimeout"
                            | "ConditionalRequestConflict"
                            | "OperationAborted"
                            | "InternalError"
                    )
            }
            Trouble::Transport(_) | Trouble::Stalled(_) => true,
            Trouble::Credentials(_) | Trouble::Nonsense(_) => false,
        }
    }

    /// Whether the request may have taken effect although nobody was told.
    pub(super) const fn is_ambiguous(&self) -> bool {
        match &self.trouble {
            // The store's own refusal is one; a 503 without its words may come from something in between.
            Trouble::Answer(answer) => answer.status >= 500 && (answer.status != 503 || answer.code.is_empty()),
            Trouble::Transport(_) | Trouble::Stalled(_) => true,
            Trouble::Credentials(_) | Trouble::Nonsense(_) => false,
        }
    }

    /// What the store said, if it said anything.
    #[must_use]
    pub const fn answer(&self) -> Option<&Answer> {
        match &self.trouble {
            Trouble::Answer(answer) => Some(answer),
            _ => None,
        }
    }

    pub(super) fn kind(&self) -> Kind {
        match &self.trouble {
            Trouble::Answer(answer) => answer.kind(),
            Trouble::Transport(_) | Trouble::Stalled(_) => Kind::Unavailable,
            Trouble::Credentials(_) => Kind::Denied,
            Trouble::Nonsense(_) => Kind::Corrupt,
        }
    }

    pub(super) fn into_error(self, operation: Operation, key: impl fmt::Display) -> Error {
        Error::new(operation, key, self.kind()).with_source(self)
    }
}

/// What `object_store` made of a failure of ours, or of an answer that it did not understand.
pub(super) fn translate(error: object_store::Error, operation: Operation, key: &Key) -> Error {
    match find(&error) {
        // What object_store wraps around it says the same once more.
        Some(failure) => failure.clone().into_error(operation, key),
        None => Error::new(operation, key, unknown(&error)).with_source(error),
    }
}

/// The failure of ours in a chain of causes.
pub(super) fn find<'a>(error: &'a (dyn error::Error + 'static)) -> Option<&'a Failure> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(failure) = error.downcast_ref::<Failure>() {
            return Some(failure);
        }
        next = error.source();
    }
    None
}

const fn unknown(error: &object_store::Error) -> Kind {
    match error {
        object_store::Error::NotFound { .. } => Kind::NotFound,
        object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. } => Kind::AlreadyExists,
        object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => Kind::Denied,
        _ => Kind::Unavailable,
    }
}

fn bounded(text: &str) -> String {
    text[..text.floor_char_boundary(TEXT_MAX)].to_owned()
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.method, self.trouble)
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer(answer) => answer.fmt(f),
            Self::Transport(what) => f.write_str(what),
            Self::Stalled(patience) => write!(f, "nothing moved for {patience:?}"),
            Self::Credentials(what) => write!(f, "no credentials: {what}"),
            Self::Nonsense(what) => write!(f, "the answer cannot be understood: {what}"),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status)?;
        if !self.code.is_empty() {
            write!(f, " {}", self.code)?;
        }
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        if let Some(region) = &self.region {
            write!(f, " (the bucket's region is {region})")?;
        }
        if let Some(id) = &self.request_id {
            write!(f, " [request {id}]")?;
        }
        Ok(())
    }
}

impl error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer::read(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), body.as_bytes())
    }

    #[test]
    fn bodies_are_read() {
        let read = answer(
            301,
            "<?xml version=\"1.0\"?><Error><Code>PermanentRedirect</Code><Message>elsewhere</Message>\
             <Endpoint>x</Endpoint><Region>eu-west-1</Region><RequestId>7</RequestId></Error>",
        );
        assert_eq!((read.code.as_str(), read.region.as_deref()), ("PermanentRedirect", Some("eu-west-1")));
        assert_eq!(read.to_string(), "301 PermanentRedirect: elsewhere (the bucket's region is eu-west-1) [request 7]");
        for junk in ["", "<", "<Error>", "{}", "<Error><Code>a</Error>"] {
            assert_eq!(answer(500, junk).code, "", "{junk}");
        }
        let long = format!("<Error><Code>C</Code><Message>{}</Message></Error>", "é".repeat(5000));
        assert!(answer(400, &long).message.len() <= TEXT_MAX);
    }

    #[test]
    fn kinds_follow_code_and_status() {
        let error = |code: &str| format!("<Error><Code>{code}</Code></Error>");
        for (status, code, kind) in [
            (404, "NoSuchKey", Kind::NotFound),
            (404, "", Kind::NotFound),
            (404, "NoSuchBucket", Kind::Denied),
            (404, "NoSuchUpload", Kind::UploadGone),
            (403, "AccessDenied", Kind::Denied),
            (403, "", Kind::Denied),
            (412, "PreconditionFailed", Kind::AlreadyExists),
            (416, "InvalidRange", Kind::Range),
            (503, "SlowDown", Kind::Throttled),
            (503, "", Kind::Unavailable),
            (400, "InvalidPart", Kind::Corrupt),
            (507, "", Kind::Full),
        ] {
            assert_eq!(answer(status, &error(code)).kind(), kind, "{status} {code}");
        }
    }
}
