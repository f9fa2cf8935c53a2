//! Several ranges in one answer: `multipart/byteranges` (RFC 9110 section 14.6).

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use futures_util::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use http::HeaderValue;
use uuid::Uuid;

use crate::{
    api::{Body, StreamError},
    oci::name::RepositoryName,
    registry::{Registry, blobs::Blob},
};

/// Ranges of one blob as one body.
pub(in crate::api) struct Multipart {
    boundary: String,
    parts: Vec<Part>,
    closing: Bytes,
}

struct Part {
    /// Everything between the bytes before and these.
    head: Bytes,
    range: Range<u64>,
}

impl Multipart {
    /// `boundary` must not occur in the content: a random one does not.
    pub(in crate::api) fn new(ranges: Vec<Range<u64>>, size: u64, boundary: Uuid) -> Self {
        let boundary = boundary.simple().to_string();
        let part = |(at, range): (usize, Range<u64>)| {
            let separator = if at == 0 { "" } else { "\r\n" };
            let content_range = content_range(&range, size);
            let head = format!(
                "{separator}--{boundary}\r\nContent-Type: application/octet-stream\r\n\
                 Content-Range: {content_range}\r\n\r\n"
            );
            Part { head: head.into(), range }
        };
        let parts = ranges.into_iter().enumerate().map(part).collect();
        let closing = format!("\r\n--{boundary}--\r\n").into();
        Self { boundary, parts, closing }
    }

    pub(in crate::api) fn content_type(&self) -> HeaderValue {
        HeaderValue::try_from(format!("multipart/byteranges; boundary={}", self.boundary))
            .expect("a boundary of hexadecimal digits is visible ASCII")
    }

    /// Opens one range after the other, each when the one before has been sent.
    pub(in crate::api) fn into_body(self, registry: Arc<Registry>, repository: RepositoryName, blob: Blob) -> Body {
        let parts = self.parts.iter().map(|part| part.head.len() as u64 + (part.range.end - part.range.start));
        let length = parts.sum::<u64>() + self.closing.len() as u64;
        let source = Arc::new((registry, repository, blob));
        let content = stream::iter(self.parts).then(move |part| read(Arc::clone(&source), part)).try_flatten();
        let content = content.chain(stream::once(async move { Ok(self.closing) })).boxed();
        Body::Stream { length, content }
    }
}

async fn read(
    source: Arc<(Arc<Registry>, RepositoryName, Blob)>,
    part: Part,
) -> Result<BoxStream<'static, Result<Bytes, StreamError>>, StreamError> {
    let (registry, repository, blob) = &*source;
    let object = registry.blobs(repository).open(blob, Some(part.range)).await;
    let content = object.map_err(|error| StreamError(error.to_string()))?.content;
    let content = content.map_err(|error| StreamError(error.to_string()));
    Ok(stream::once(async move { Ok(part.head) }).chain(content).boxed())
}

/// `bytes <first>-<last>/<size>`, both ends inclusive.
pub(in crate::api) fn content_range(range: &Range<u64>, size: u64) -> String {
    format!("bytes {}-{}/{size}", range.start, range.end - 1)
}
