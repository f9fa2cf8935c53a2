//! What is remembered of an answer: its head, a hash of its beginning, and a document as it is.

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{HeaderMap, StatusCode, header};

use crate::{
    api::{Body, Reply},
    oci::{
        digest::{Algorithm, Digest},
        hasher::Hasher,
    },
    upstream::shadow::{Admission, Subject},
};

/// How much of a body is hashed, in bytes: all of a manifest, and of a blob enough to know it by.
const HASHED_MAX: u64 = 4 << 20;

/// Longest document that is kept, in bytes.
const DOCUMENT_MAX: usize = 4 << 20;

/// Longest error that is kept, in bytes.
const ERROR_MAX: usize = 64 << 10;

/// One answer.
#[derive(Clone, Debug)]
pub(in crate::upstream::shadow) struct Side {
    pub(in crate::upstream::shadow) status: StatusCode,
    pub(in crate::upstream::shadow) headers: HeaderMap,
    pub(in crate::upstream::shadow) body: Recorded,
}

/// What came of a body.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::upstream::shadow) struct Recorded {
    /// Of its beginning.
    pub(in crate::upstream::shadow) hash: Digest,
    /// In bytes, as far as it was read.
    pub(in crate::upstream::shadow) length: u64,
    /// A document or an error, unless it is too long.
    pub(in crate::upstream::shadow) text: Option<Vec<u8>>,
    end: End,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum End {
    /// It was read to its end, or to where no more is hashed.
    Seen,
    BrokenOff,
}

impl Side {
    /// Whether it says anything that can be compared.
    pub(in crate::upstream::shadow) fn tells(&self, admission: Admission) -> bool {
        match self.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => admission != Admission::Unknown,
            StatusCode::TOO_MANY_REQUESTS => false,
            status => !status.is_server_error(),
        }
    }

    pub(in crate::upstream::shadow) fn is_whole(&self) -> bool {
        self.body.end == End::Seen
    }

    /// As text; several values are joined.
    pub(in crate::upstream::shadow) fn header(&self, name: &str) -> Option<String> {
        let values: Vec<_> =
            self.headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        (!values.is_empty()).then(|| values.join(", "))
    }

    pub(in crate::upstream::shadow) fn document(&self) -> Option<serde_json::Value> {
        serde_json::from_slice(self.body.text.as_deref()?).ok()
    }
}

/// Takes notes while a body passes.
pub(in crate::upstream::shadow) struct Recorder {
    status: StatusCode,
    headers: HeaderMap,
    hasher: Hasher,
    length: u64,
    text: Option<Vec<u8>>,
    text_max: usize,
}

impl Recorder {
    pub(in crate::upstream::shadow) fn new(subject: Subject, reply: &Reply) -> Self {
        let text_max = match reply.status {
            StatusCode::OK if subject.is_document() => DOCUMENT_MAX,
            status if status.is_client_error() => ERROR_MAX,
            _ => 0,
        };
        Self {
            status: reply.status,
            headers: reply.headers.clone(),
            hasher: Hasher::new(Algorithm::Sha256),
            length: 0,
            text: (text_max > 0).then(Vec::new),
            text_max,
        }
    }

    pub(in crate::upstream::shadow) fn note(&mut self, bytes: &[u8]) {
        let hashed = HASHED_MAX.saturating_sub(self.length).min(bytes.len() as u64);
        self.hasher.update(&bytes[..usize::try_from(hashed).unwrap_or(bytes.len())]);
        self.length += bytes.len() as u64;
        match &mut self.text {
            Some(text) if text.len() + bytes.len() <= self.text_max => text.extend_from_slice(bytes),
            text => *text = None,
        }
    }

    /// In bytes, so far.
    pub(in crate::upstream::shadow) const fn length(&self) -> u64 {
        self.length
    }

    pub(in crate::upstream::shadow) fn finish(self) -> Side {
        self.conclude(End::Seen)
    }

    fn conclude(self, end: End) -> Side {
        let body = Recorded { hash: self.hasher.finish(), length: self.length, text: self.text, end };
        Side { status: self.status, headers: self.headers, body }
    }
}

/// Reads an answer that nobody else reads, as far as it is looked at.
pub(in crate::upstream::shadow) async fn whole(subject: Subject, reply: Reply) -> Side {
    let mut recorder = Recorder::new(subject, &reply);
    let mut content = match reply.body {
        Body::Empty => return recorder.finish(),
        Body::Full(bytes) => {
            recorder.note(&bytes);
            return recorder.finish();
        }
        Body::Stream { content, .. } | Body::Open(content) => content,
    };
    while let Some(chunk) = content.next().await {
        let Ok(chunk): Result<Bytes, _> = chunk else { return recorder.conclude(End::BrokenOff) };
        recorder.note(&chunk);
        // What comes then is said by the length alone.
        if recorder.length >= HASHED_MAX && recorder.headers.contains_key(header::CONTENT_LENGTH) {
            break;
        }
    }
    recorder.finish()
}
