//! HTTP without sockets: a request in, an answer out.

use std::{fmt, net::SocketAddr};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use http::{HeaderMap, Method, StatusCode, Uri};
use uuid::Uuid;

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

/// What is known of the connection that a request came on.
#[derive(Clone, Debug)]
pub struct Connection {
    /// `None` on a unix socket.
    pub peer: Option<SocketAddr>,
    pub scheme: Scheme,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scheme {
    Http,
    Https,
}

/// The bytes a client sends; the next chunk is read from the socket only when it is asked for.
#[async_trait]
pub trait RequestBody: Send {
    /// The next chunk, `None` at the end. The first call answers `Expect: 100-continue`.
    async fn chunk(&mut self) -> Result<Option<Bytes>, BodyError>;
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
    pub headers: HeaderMap,
    pub body: Body,
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
}

/// The storage failed in the middle of an answer.
#[derive(Debug, thiserror::Error)]
#[error("the answer's body could not be read: {0}")]
pub struct StreamError(pub String);

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("Empty"),
            Self::Full(bytes) => write!(f, "Full({} bytes)", bytes.len()),
            Self::Stream { length, .. } => write!(f, "Stream({length} bytes)"),
        }
    }
}
