//! From `api::Reply` to the wire: the head, then the body chunk by chunk, then the decision about the connection.

use std::time::Instant;

use bytes::Bytes;
use futures_util::{StreamExt, stream::BoxStream};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header};
use pingora::{http::ResponseHeader, protocols::http::ServerSession};
use tokio::time::timeout;
use tracing::warn;

use crate::{
    api::{Body, Reply, StreamError},
    server::{
        Rules,
        bounds::Deadlines,
        connection::Context,
        door::Visit,
        exchange::Ending,
        pace::{Least, Pace},
        request::{Session, Shared},
    },
};

/// What is read away of a body that nobody wanted, to keep the connection: less costs than a new handshake.
const DRAIN_MAX: u64 = 64 << 10;

/// Whether an HTTP/1.1 connection may serve another request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum After {
    Reuse,
    Close,
}

/// What comes after the head.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Rest {
    Nothing,
    /// Of the length that the head says.
    Body,
    /// Of a length that shows at its end.
    Open,
}

/// Writes the answer.
pub(super) async fn write(
    context: &Context,
    rules: &Rules,
    session: &Shared,
    method: &Method,
    reply: Reply,
    after: After,
    visit: &Visit,
) -> Ending {
    let bodiless =
        method == Method::HEAD || reply.status == StatusCode::NO_CONTENT || reply.status == StatusCode::NOT_MODIFIED;
    let Ok(mut head) = ResponseHeader::build(reply.status, Some(reply.headers.len() + 3)) else {
        return Ending::Cut;
    };
    copy_headers(&reply.headers, &mut head);
    match &reply.body {
        // An answer to HEAD says the length that GET would have; 204 and 304 need none.
        Body::Empty if bodiless => {}
        Body::Empty => set_length(&mut head, 0),
        Body::Full(body) => set_length(&mut head, body.len() as u64),
        Body::Stream { length, .. } => set_length(&mut head, *length),
        Body::Open(_) => {}
    }
    let body = if bodiless { Body::Empty } else { reply.body };
    let after = if context.is_leaving() { After::Close } else { after };
    let rest = match &body {
        Body::Empty => Rest::Nothing,
        Body::Full(_) | Body::Stream { .. } => Rest::Body,
        Body::Open(_) => Rest::Open,
    };
    if begin(&mut *session.lock().await, head, rest, after).await.is_none() {
        return Ending::Disconnected;
    }
    let mut sending = Sending::new(session, visit, &rules.deadlines);
    match body {
        Body::Empty => Ending::Complete,
        Body::Full(body) => sending.send(body, Chunk::Last).await.map_or(Ending::Disconnected, |()| Ending::Complete),
        Body::Stream { length, content } => stream(sending, Some(length), content).await,
        Body::Open(pieces) => stream(sending, None, pieces).await,
    }
}

/// Writes the head; `None` if the client is gone.
async fn begin(session: &mut Session, mut head: ResponseHeader, rest: Rest, after: After) -> Option<()> {
    let lost = session.is_body_lost();
    let http = session.http()?;
    if let ServerSession::H2(stream) = http {
        return stream.write_response_header(Box::new(head), rest == Rest::Nothing).ok();
    }
    if after == After::Close || lost {
        http.set_keepalive(None);
    } else if is_drainable(http) {
        http.set_close_on_response_before_downstream_finish(false);
    }
    if rest == Rest::Open {
        if http.req_header().version == Version::HTTP_11 {
            // Two valid words; as below.
            let _ = head.insert_header(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        } else {
            http.set_keepalive(None);
        }
    }
    http.write_response_header(Box::new(head)).await.ok()?;
    match rest {
        Rest::Nothing => http.write_response_body(Bytes::new(), true).await.ok(),
        Rest::Body | Rest::Open => Some(()),
    }
}

/// Whether what is left of the request's body is known to be little.
fn is_drainable(http: &ServerSession) -> bool {
    let length = http.get_header(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    length.is_some_and(|length| length.saturating_sub(http.body_bytes_read() as u64) <= DRAIN_MAX)
}

/// `length` is what the head said, if it said anything.
async fn stream(
    mut sending: Sending<'_>,
    length: Option<u64>,
    mut content: BoxStream<'static, Result<Bytes, StreamError>>,
) -> Ending {
    let mut left = length.unwrap_or(u64::MAX);
    while let Some(chunk) = content.next().await {
        let chunk = match chunk {
            Ok(chunk) => chunk,
            Err(error) => {
                warn!(error = %error, "an answer was cut");
                return Ending::Cut;
            }
        };
        let Some(rest) = left.checked_sub(chunk.len() as u64) else {
            warn!(length, "an answer was longer than it said");
            return Ending::Cut;
        };
        left = rest;
        // The last piece leaves with the answer's end; when the one behind any other comes, nobody knows.
        sending.session.lock().await.set_prompt(left > 0);
        if sending.send(chunk, Chunk::Inner).await.is_none() {
            return Ending::Disconnected;
        }
    }
    sending.session.lock().await.set_prompt(false);
    if length.is_some() && left > 0 {
        warn!(length, missing = left, "an answer was shorter than it said");
        return Ending::Cut;
    }
    sending.send(Bytes::new(), Chunk::Last).await.map_or(Ending::Disconnected, |()| Ending::Complete)
}

/// Whether more comes behind it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Chunk {
    Inner,
    Last,
}

/// What is written to an HTTP/2 stream at once: a frame, as most clients take it. Each has the time of a stall, because
/// pingora does not say when a part of it went.
const PIECE: usize = 16 << 10;

/// Writes a body to one client, no faster than it may and no slower than it must.
struct Sending<'a> {
    session: &'a Shared,
    visit: &'a Visit,
    writing: Writing,
}

impl<'a> Sending<'a> {
    fn new(session: &'a Shared, visit: &'a Visit, deadlines: &Deadlines) -> Self {
        Self { session, visit, writing: Writing::new(deadlines) }
    }

    /// Returns when the bytes are with the socket, or in the bounded buffer before it; `None` if the client is gone, or
    /// as good as gone.
    async fn send(&mut self, bytes: Bytes, chunk: Chunk) -> Option<()> {
        self.visit.sends(bytes.len()).await;
        self.writing.write(self.session.lock().await.http()?, bytes, chunk).await
    }
}

/// The body of one answer, whose client takes it no slower than it must.
pub(super) struct Writing {
    pace: Pace,
    least: Least,
}

impl Writing {
    pub(super) fn new(deadlines: &Deadlines) -> Self {
        Self { pace: Pace::default(), least: Least::sent(deadlines) }
    }

    /// `None` if the client is gone, or as good as gone.
    pub(super) async fn write(&mut self, http: &mut ServerSession, bytes: Bytes, chunk: Chunk) -> Option<()> {
        let mut rest = bytes;
        loop {
            let piece = rest.split_to(rest.len().min(if http.is_http2() { PIECE } else { usize::MAX }));
            if rest.is_empty() {
                return self.write_piece(http, piece, chunk).await;
            }
            self.write_piece(http, piece, Chunk::Inner).await?;
        }
    }

    /// On HTTP/1 the socket tells when nothing moves; on HTTP/2 nobody does but the end of a write.
    async fn write_piece(&mut self, http: &mut ServerSession, piece: Bytes, chunk: Chunk) -> Option<()> {
        let (started, count) = (Instant::now(), piece.len());
        let time = if http.is_http2() { Some(self.least.period) } else { self.least.time_for(count) };
        let write = http.write_response_body(piece, chunk == Chunk::Last);
        match time {
            Some(time) => timeout(time, write).await.ok()?.ok()?,
            None => write.await.ok()?,
        }
        self.pace.advance(started.elapsed(), count as u64, self.least).ok()
    }
}

/// After the answer: reads away the rest of a small body, so that the next request is found on HTTP/1.1. When it does
/// not come in time the connection is closed.
pub(super) async fn drain(http: &mut ServerSession, deadlines: &Deadlines) {
    if http.is_http2() || http.is_body_done() || http.get_keepalive().is_none() {
        return;
    }
    let discard = async { while matches!(http.read_request_body().await, Ok(Some(_))) {} };
    // What matters is whether the body was finished.
    let _ = timeout(deadlines.linger, discard).await;
    if !http.is_body_done() {
        http.set_keepalive(None);
    }
}

pub(super) fn copy_headers(from: &HeaderMap, to: &mut ResponseHeader) {
    for (name, value) in from {
        // pingora refuses only names and values that are no header at all, and these are.
        let _ = to.append_header(name.clone(), value.clone());
    }
}

pub(super) fn set_length(head: &mut ResponseHeader, length: u64) {
    // As above: a number is a valid value.
    let _ = head.insert_header(header::CONTENT_LENGTH, HeaderValue::from(length));
}
