//! HTTP without sockets: a request in, an answer out.
//!
//! 1. [`route`] reads the path into a [`route::Route`], a value; `query` the query.
//! 2. `access` says what that route needs, and the authority answers with a grant, before anything is read from
//!    storage or from the body.
//! 3. One file for each family of endpoints does the work, on the repository that the grant names: `base`, `catalog`,
//!    `tags`, `manifests`, `blobs` (with `conditional`, `delivery` and `multipart_ranges`), `uploads`, `referrers`.
//! 4. Where another registry answers, [`gate::Gate`] is what remains of this: who is let in.
//! 5. What went wrong goes through the one table in `error`; [`gateway::Gateway`] adds what every answer has.
//!
//! Nothing here knows about connections, and no handler reaches the registry without a grant.

use std::{fmt, net::SocketAddr};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use http::{HeaderMap, Method, StatusCode, Uri};
use tracing::Level;
use uuid::Uuid;

use crate::oci::name::RepositoryName;

mod access;
mod base;
mod blobs;
mod catalog;
mod conditional;
mod delivery;
mod error;
pub mod gate;
pub mod gateway;
mod headers;
pub mod location;
mod manifests;
mod metered;
pub mod method;
mod multipart_ranges;
mod paging;
mod query;
mod referrers;
pub mod route;
pub mod settings;
mod tags;
mod uploads;

/// A request as the rim read it: the whole head, and a body that is fetched chunk by chunk.
pub struct Request {
    pub id: Uuid,
    pub method: Method,
    /// Origin form: path and query.
    pub uri: Uri,
    pub headers: HeaderMap,
    pub connection: Connection,
    pub body: Box<dyn RequestBody>,
}

/// A request without its body, for those who look at it only.
#[derive(Clone, Copy)]
pub struct Head<'a> {
    pub id: Uuid,
    pub method: &'a Method,
    pub uri: &'a Uri,
    pub headers: &'a HeaderMap,
    pub connection: &'a Connection,
}

impl Request {
    #[must_use]
    pub fn head(&self) -> Head<'_> {
        let Self { id, method, uri, headers, connection, .. } = self;
        Head { id: *id, method, uri, headers, connection }
    }
}

/// What is known of the way that a request came.
#[derive(Clone, Debug)]
pub struct Connection {
    /// The client: the other end of the connection, or whom a trusted proxy names; then port 0 stands for an unknown
    /// one. `None` on a unix socket.
    pub peer: Option<SocketAddr>,
    /// What the client speaks, with us or with a trusted proxy that says so.
    pub scheme: Scheme,
    /// How the client sees us, where a trusted proxy says so.
    pub origin: Option<Origin>,
}

/// Scheme, host and port of an address.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Origin {
    pub scheme: Scheme,
    /// `host` or `host:port`, fit for an address.
    pub authority: String,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scheme {
    Http,
    Https,
}

impl Scheme {
    /// As it stands in an address.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// The bytes a client sends; the next chunk is read from the socket only when it is asked for.
#[async_trait]
pub trait RequestBody: Send {
    /// The next chunk, `None` at the end. The first call answers `Expect: 100-continue`.
    async fn chunk(&mut self) -> Result<Option<Bytes>, BodyError>;

    /// Returns when the client is known to be gone, after the body's end: for those who wait for somebody else and would
    /// wait for nobody. Before the end, [`RequestBody::chunk`] tells.
    async fn gone(&mut self) {
        std::future::pending::<()>().await;
    }
}

/// Why a body ended early.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BodyError {
    #[error("the client went away in the middle of the body")]
    Disconnected,
    #[error("the client sent too slowly")]
    TimedOut,
    #[error("the body's framing is broken")]
    Malformed,
}

/// The answer to one request.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    /// With `Content-Length`, of HEAD answers too; 204 and 304 have none.
    pub headers: HeaderMap,
    pub body: Body,
    pub log: Log,
}

/// The bytes of an answer.
pub enum Body {
    Empty,
    Full(Bytes),
    /// `length` is what `Content-Length` says; a stream that fails or ends short must reset the connection.
    Stream {
        length: u64,
        content: BoxStream<'static, Result<Bytes, StreamError>>,
    },
    /// Of a length that nobody knows beforehand: it ends where the stream ends. There is no `Content-Length`.
    Open(BoxStream<'static, Result<Bytes, StreamError>>),
}

/// The storage, or whoever else the bytes come from, failed in the middle of an answer.
#[derive(Debug, thiserror::Error)]
#[error("the answer's body could not be read: {0}")]
pub struct StreamError(pub String);

/// What the access log and the metrics say about a request, beyond what stands in its reply.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Log {
    /// [`route::Route::label`]; `None` for a path that leads nowhere.
    pub route: Option<&'static str>,
    pub repository: Option<RepositoryName>,
    pub target: Option<Target>,
    /// Who was let in, at most [`LOG_TEXT_MAX`] bytes. It comes from outside: escape it wherever it is shown.
    pub subject: Option<String>,
    pub failure: Option<Failure>,
}

/// What within its repository a request is about.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Target {
    /// A tag or a digest: `vars.reference`.
    Reference(String),
    /// `vars.digest`
    Digest(String),
    /// An upload, at most [`LOG_TEXT_MAX`] bytes as the client wrote it: `vars.uuid`.
    Upload(String),
}

/// Why a request failed. Nobody has logged it yet: whoever writes the request's line does.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Failure {
    /// As in the error body.
    pub code: &'static str,
    pub level: Level,
    /// The whole chain of causes, at most [`LOG_TEXT_MAX`] bytes, with text that clients chose.
    pub reason: String,
}

/// Longest text from outside in a [`Log`], in bytes.
pub const LOG_TEXT_MAX: usize = 1024;

impl Failure {
    #[must_use]
    pub fn new(code: &'static str, level: Level, reason: &str) -> Self {
        Self { code, level, reason: bounded(reason) }
    }
}

/// The beginning of a text, fit for a [`Log`].
fn bounded(text: &str) -> String {
    text[..text.floor_char_boundary(LOG_TEXT_MAX)].to_owned()
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.head().fmt(f)
    }
}

impl fmt::Debug for Head<'_> {
    /// Neither headers nor query: tokens, passwords and upload states travel in them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut request = f.debug_struct("Request");
        request.field("id", &self.id).field("method", &self.method).field("path", &self.uri.path());
        request.field("connection", &self.connection).finish_non_exhaustive()
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("Empty"),
            Self::Full(bytes) => write!(f, "Full({} bytes)", bytes.len()),
            Self::Stream { length, .. } => write!(f, "Stream({length} bytes)"),
            Self::Open(_) => f.write_str("Open"),
        }
    }
}
