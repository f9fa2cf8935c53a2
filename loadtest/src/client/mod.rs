//! A client of a registry, as real ones behave: one connection that is kept, tokens fetched when a challenge asks for
//! them and renewed when they end, redirects followed without credentials, every byte that is pulled checked.
//!
//! `connection` opens and keeps connections, `token` answers challenges, `upload` and `download` are what clients do.

use std::{fmt, io, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header, uri::Authority};
use hyper::body::Incoming;

use crate::{
    client::{
        connection::{Body, Connection, Protocol, Trust, empty, full, of_blob},
        token::{Challenge, Credentials, Tokens},
    },
    content::Blob,
};

pub(crate) mod connection;
pub(crate) mod download;
pub(crate) mod token;
pub(crate) mod upload;

/// How long an answer may take to begin.
const PATIENCE: Duration = Duration::from_mins(2);

/// Most redirects that are followed.
const REDIRECTS_MAX: u32 = 3;

/// What clients connect to, and as whom.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) origin: Origin,
    pub(crate) trust: Trust,
    pub(crate) protocol: Protocol,
    pub(crate) credentials: Credentials,
}

/// Scheme and authority of an address.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Origin {
    pub(crate) tls: bool,
    pub(crate) authority: Authority,
}

/// Why a request came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    #[error("{0}")]
    Http(#[from] hyper::Error),
    #[error("no answer within {PATIENCE:?}")]
    Patience,
    #[error("{what}: {status}")]
    Status { what: &'static str, status: StatusCode },
    #[error("{what}: the answer is not what it must be: {why}")]
    Answer { what: &'static str, why: String },
    #[error("the token service: {0}")]
    Token(String),
    #[error("{what}: the bytes do not match their digest")]
    Digest { what: &'static str },
}

/// One request, which can be sent again.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) content: Content,
    /// Of a token that allows it; what a challenge says comes first.
    pub(crate) scope: Option<String>,
}

#[derive(Clone, Debug)]
pub(crate) enum Content {
    Empty,
    Bytes(Bytes),
    /// These bytes of a blob, with `Content-Length` or in chunks, and no faster than so many in a second.
    Blob {
        blob: Blob,
        start: u64,
        end: u64,
        framing: Framing,
        pace: Option<f64>,
    },
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Framing {
    Length,
    Chunked,
}

/// One client with its connections.
#[derive(Debug)]
pub(crate) struct Client {
    target: Arc<Target>,
    /// One for each origin, of which there are few.
    connections: Vec<(Origin, Connection)>,
    tokens: Tokens,
    /// Connections that were opened.
    pub(crate) opened: u64,
}

impl Origin {
    /// Of an address with a scheme and a host.
    pub(crate) fn of(uri: &Uri) -> Option<Self> {
        let tls = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        Some(Self { tls, authority: uri.authority()?.clone() })
    }

    pub(crate) fn port(&self) -> u16 {
        self.authority.port_u16().unwrap_or(if self.tls { 443 } else { 80 })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.tls { "https" } else { "http" }, self.authority)
    }
}

impl Call {
    pub(crate) fn new(method: Method, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), headers: HeaderMap::new(), content: Content::Empty, scope: None }
    }

    pub(crate) fn header(mut self, name: header::HeaderName, value: &str) -> Self {
        // What is put there is made here, of digits and letters.
        self.headers.extend(HeaderValue::try_from(value).ok().map(|value| (name, value)));
        self
    }

    pub(crate) fn content(mut self, content: Content) -> Self {
        self.content = content;
        self
    }

    pub(crate) fn scope(mut self, repository: &str, actions: &str) -> Self {
        self.scope = Some(format!("repository:{repository}:{actions}"));
        self
    }

    fn request(
        &self,
        origin: &Origin,
        protocol: Protocol,
        authorization: Option<HeaderValue>,
    ) -> Result<Request<Body>, Error> {
        let mut request = Request::builder().method(self.method.clone());
        if let Some(headers) = request.headers_mut() {
            headers.clone_from(&self.headers);
            headers.extend(authorization.map(|value| (header::AUTHORIZATION, value)));
        }
        request = match protocol {
            Protocol::Http1 => request.uri(&self.path).header(header::HOST, origin.authority.as_str()),
            Protocol::Http2 => {
                let scheme = if origin.tls { "https" } else { "http" };
                request.uri(format!("{scheme}://{}{}", origin.authority, self.path))
            }
        };
        let body = match &self.content {
            Content::Empty => empty(),
            Content::Bytes(bytes) => full(bytes.clone()),
            Content::Blob { blob, start, end, framing, pace } => {
                if *framing == Framing::Length {
                    request = request.header(header::CONTENT_LENGTH, end - start);
                }
                of_blob(blob, *start, *end, *pace)
            }
        };
        request.body(body).map_err(|error| Error::Answer { what: "an address", why: error.to_string() })
    }
}

impl Client {
    pub(crate) fn new(target: &Arc<Target>) -> Self {
        Self { target: Arc::clone(target), connections: Vec::new(), tokens: Tokens::default(), opened: 0 }
    }

    /// Another one of the same target, with connections and tokens of its own.
    pub(crate) fn fresh(&self) -> Self {
        Self::new(&self.target)
    }

    /// From now on it sends the token that it has, for everything, and never asks for another.
    pub(crate) const fn keep_token(&mut self) {
        self.tokens.keep_last();
    }

    /// Connects as far as that is not done, so that it is no part of what is measured later.
    pub(crate) async fn warm_up(&mut self) -> Result<(), Error> {
        let origin = self.target.origin.clone();
        self.connection(&origin).await.map(drop)
    }

    /// The answer to a request, with a token where one is asked for.
    pub(crate) async fn send(&mut self, call: &Call) -> Result<Response<Incoming>, Error> {
        let origin = self.target.origin.clone();
        let authorization = self.tokens.authorization(&self.target.credentials, call.scope.as_deref());
        let answer = self.exchange(&origin, call, authorization).await?;
        if answer.status() != StatusCode::UNAUTHORIZED || self.tokens.is_last_word() {
            return Ok(answer);
        }
        let Some(challenge) = Challenge::of(answer.headers()) else { return Ok(answer) };
        // The connection is used again once this answer is read.
        download::discard(answer).await?;
        let authorization = self.answer_challenge(challenge, call.scope.as_deref()).await?;
        self.exchange(&origin, call, Some(authorization)).await
    }

    /// The same, following redirects to where the content lies: there nobody is told who we are.
    pub(crate) async fn send_following(&mut self, call: &Call) -> Result<Response<Incoming>, Error> {
        let mut answer = self.send(call).await?;
        for _ in 0..REDIRECTS_MAX {
            if !matches!(answer.status().as_u16(), 302 | 303 | 307 | 308) {
                break;
            }
            let location = answer.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
            let uri: Option<Uri> = location.and_then(|text| text.parse().ok());
            let Some((uri, origin)) = uri.and_then(|uri| Origin::of(&uri).map(|origin| (uri, origin))) else { break };
            download::discard(answer).await?;
            let path = uri.path_and_query().map_or("/", |path| path.as_str());
            let call = Call { path: path.to_owned(), ..call.clone() };
            answer = self.exchange(&origin, &call, None).await?;
        }
        Ok(answer)
    }

    async fn answer_challenge(&mut self, challenge: Challenge, scope: Option<&str>) -> Result<HeaderValue, Error> {
        let (realm, scope) = match challenge {
            Challenge::Basic => {
                self.tokens.prefer_basic();
                let password = self.target.credentials.basic();
                return password.ok_or_else(|| Error::Token("the registry wants a password".to_owned()));
            }
            Challenge::Bearer { realm, service, scope: asked } => {
                let scope = asked.or_else(|| scope.map(str::to_owned));
                (token::question(&realm, service.as_deref(), scope.as_deref()), scope)
            }
        };
        let uri: Uri = realm.parse().map_err(|_| Error::Token(format!("{realm:?} is no address")))?;
        let origin = Origin::of(&uri).ok_or_else(|| Error::Token(format!("{realm:?} is no address")))?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let call = Call::new(Method::GET, path);
        let answer = self.exchange(&origin, &call, self.target.credentials.basic()).await?;
        if answer.status() != StatusCode::OK {
            return Err(Error::Token(format!("it answers {}", answer.status())));
        }
        let body = download::small(answer).await?;
        self.tokens.keep(scope.as_deref(), &body)
    }

    async fn exchange(
        &mut self,
        origin: &Origin,
        call: &Call,
        authorization: Option<HeaderValue>,
    ) -> Result<Response<Incoming>, Error> {
        let was_kept = self.connections.iter().any(|(to, _)| to == origin);
        // Boxed, because what waits for it is large.
        let first = Box::pin(self.attempt(origin, call, authorization.clone())).await;
        match first {
            // A kept connection may have been closed by the other side just now: clients try once more.
            Err(Error::Http(error)) if was_kept && (error.is_canceled() || error.is_closed()) => {
                self.forget(origin);
                Box::pin(self.attempt(origin, call, authorization)).await
            }
            Err(error) => {
                self.forget(origin);
                Err(error)
            }
            Ok(answer) => Ok(answer),
        }
    }

    async fn attempt(
        &mut self,
        origin: &Origin,
        call: &Call,
        authorization: Option<HeaderValue>,
    ) -> Result<Response<Incoming>, Error> {
        let connection = self.connection(origin).await?;
        let request = call.request(origin, connection.protocol(), authorization)?;
        tokio::time::timeout(PATIENCE, connection.send(request)).await.map_err(|_| Error::Patience)?
    }

    async fn connection(&mut self, origin: &Origin) -> Result<&mut Connection, Error> {
        let kept = self.connections.iter().position(|(to, kept)| to == origin && !kept.is_closed());
        let index = if let Some(index) = kept {
            index
        } else {
            let protocol = if *origin == self.target.origin { self.target.protocol } else { Protocol::Http1 };
            let connection = Connection::open(origin, protocol, &self.target.trust).await?;
            self.opened += 1;
            self.keep(origin.clone(), connection);
            self.connections.len() - 1
        };
        Ok(&mut self.connections[index].1)
    }

    fn keep(&mut self, origin: Origin, connection: Connection) {
        self.forget(&origin);
        self.connections.push((origin, connection));
    }

    fn forget(&mut self, origin: &Origin) {
        self.connections.retain(|(to, _)| to != origin);
    }

    /// Goes on with a connection to the target that somebody else opened.
    pub(crate) fn adopt(&mut self, connection: Connection) {
        self.keep(self.target.origin.clone(), connection);
    }

    /// Closes what is open; the next request connects anew.
    pub(crate) fn disconnect(&mut self) {
        self.connections.clear();
    }
}
