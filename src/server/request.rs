//! From pingora's session to [`api::Request`]: the head at once, the body chunk by chunk.

use std::{sync::Arc, time::Instant};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Uri, Version, header};
use pingora::{ErrorType, protocols::http::ServerSession};
use tokio::{
    sync::Mutex,
    time::{Timeout, timeout},
};
use uuid::Uuid;

use crate::{
    api::{self, BodyError, RequestBody},
    server::{
        bounds::Deadlines,
        door::Visit,
        pace::{Least, Pace},
        stream::Prompt,
    },
};

/// A request's head in our terms.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) method: Method,
    /// Origin form.
    pub(super) uri: Uri,
    pub(super) version: Version,
    pub(super) headers: HeaderMap,
}

/// Copies the head; an authority that came in the target (HTTP/2, absolute form) becomes the `Host` header.
pub(super) fn head(session: &ServerSession) -> Head {
    let head = session.req_header();
    let mut headers = head.headers.clone();
    if let Some(authority) = head.uri.authority()
        && !headers.contains_key(header::HOST)
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        headers.insert(header::HOST, host);
    }
    // `Debug` of headers shows what is not marked.
    headers
        .iter_mut()
        .filter(|(name, _)| *name == header::AUTHORIZATION)
        .for_each(|(_, value)| value.set_sensitive(true));
    let uri = head.uri.path_and_query().cloned().map_or_else(Uri::default, Uri::from);
    Head { method: head.method.clone(), uri, version: head.version, headers }
}

/// The session while both the body and the writer of the answer need it. The one of them that waits for the socket
/// holds the lock; `None` once the answer is written.
pub(super) type Shared = Arc<Mutex<Session>>;

pub(super) struct Session {
    http: Option<ServerSession>,
    expectation: Expectation,
    failure: Option<BodyError>,
    pace: Pace,
    prompt: Option<Arc<Prompt>>,
}

/// Whether the client waits to be told to go on (RFC 9110 section 10.1.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Expectation {
    None,
    Waiting,
}

pub(super) fn share(http: ServerSession, head: &Head, prompt: Option<&Arc<Prompt>>) -> Shared {
    // On HTTP/2 pingora's sessions send no interim answers; clients there go on by themselves after a moment.
    let waits = head.version == Version::HTTP_11 && head.headers.contains_key(header::EXPECT);
    let expectation = if waits { Expectation::Waiting } else { Expectation::None };
    let (pace, prompt) = (Pace::default(), prompt.cloned());
    Arc::new(Mutex::new(Session { http: Some(http), expectation, failure: None, pace, prompt }))
}

impl Session {
    pub(super) const fn http(&mut self) -> Option<&mut ServerSession> {
        self.http.as_mut()
    }

    pub(super) const fn take(&mut self) -> Option<ServerSession> {
        self.http.take()
    }

    /// Whether what is written from now on leaves at once.
    pub(super) fn set_prompt(&self, prompt: bool) {
        if let Some(held) = &self.prompt {
            held.set(prompt);
        }
    }

    /// Whether the rest of the body will not come or cannot be found in the stream.
    pub(super) fn is_body_lost(&self) -> bool {
        self.expectation == Expectation::Waiting || self.failure.is_some()
    }

    async fn chunk(&mut self, deadlines: &Deadlines) -> Result<Option<Bytes>, BodyError> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        let result = self.read(deadlines).await;
        self.failure = result.as_ref().err().copied();
        result
    }

    /// Returns when the client is gone. Bytes behind the body are those of its next request, and stay.
    async fn gone(&mut self) {
        if let Some(http) = &mut self.http
            && self.failure.is_none()
            && http.is_body_done()
            && http.read_body_or_idle(true).await.is_err()
        {
            return;
        }
        std::future::pending::<()>().await;
    }

    async fn read(&mut self, deadlines: &Deadlines) -> Result<Option<Bytes>, BodyError> {
        let http = self.http.as_mut().ok_or(BodyError::Disconnected)?;
        if http.is_body_done() {
            return Ok(None);
        }
        if self.expectation == Expectation::Waiting {
            self.expectation = Expectation::None;
            // pingora takes any answer before the body's end for a reason to close, this one, too.
            http.set_close_on_response_before_downstream_finish(false);
            let written = http.write_continue_response().await;
            http.set_close_on_response_before_downstream_finish(true);
            written.map_err(|_| BodyError::Disconnected)?;
        }
        let started = Instant::now();
        let read: Timeout<_> = timeout(deadlines.body, http.read_request_body());
        let chunk = read.await.map_err(|_| BodyError::TimedOut)?.map_err(|error| body_error(&error))?;
        if let Some(chunk) = &chunk {
            let advanced = self.pace.advance(started.elapsed(), chunk.len() as u64, Least::received(deadlines));
            advanced.map_err(|_| BodyError::TimedOut)?;
        }
        Ok(chunk)
    }
}

fn body_error(error: &pingora::Error) -> BodyError {
    match error.etype() {
        ErrorType::ConnectionClosed | ErrorType::ReadError | ErrorType::H2Error => BodyError::Disconnected,
        ErrorType::ReadTimedout => BodyError::TimedOut,
        _ => BodyError::Malformed,
    }
}

/// The body that a handler pulls.
struct Body {
    session: Shared,
    deadlines: Deadlines,
    visit: Visit,
}

#[async_trait]
impl RequestBody for Body {
    async fn chunk(&mut self) -> Result<Option<Bytes>, BodyError> {
        let chunk = self.session.lock().await.chunk(&self.deadlines).await?;
        if let Some(chunk) = &chunk {
            self.visit.received(chunk.len()).await;
        }
        Ok(chunk)
    }

    async fn gone(&mut self) {
        self.session.lock().await.gone().await;
    }
}

pub(super) fn request(
    id: Uuid,
    head: Head,
    connection: &api::Connection,
    session: &Shared,
    deadlines: Deadlines,
    visit: &Visit,
) -> api::Request {
    let body = Body { session: Arc::clone(session), deadlines, visit: visit.clone() };
    api::Request {
        id,
        method: head.method,
        uri: head.uri,
        headers: head.headers,
        connection: connection.clone(),
        body: Box::new(body),
    }
}
