//! One connection: TCP, TLS and HTTP/1.1 or HTTP/2 on it.

use std::{
    convert::Infallible,
    fmt, io,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::{
    client::{Error, Origin},
    content::Blob,
    quantity::float,
};

pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// HTTP/2 windows, in bytes: as large as those of clients that pull fast.
const WINDOW: u32 = 4 << 20;

/// Which HTTP is spoken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

/// Whom clients believe; one configuration for each protocol, because they differ in what they offer.
#[derive(Clone)]
pub(crate) struct Trust {
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
}

pub(crate) struct Connection {
    sender: Sender,
    /// Whether TLS went on from an earlier session.
    pub(crate) resumed: bool,
}

enum Sender {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
}

pub(crate) fn empty() -> Body {
    Empty::new().boxed_unsync()
}

pub(crate) fn full(bytes: Bytes) -> Body {
    Full::new(bytes).boxed_unsync()
}

/// Made as it is sent, and no faster than `pace` bytes in a second.
pub(crate) fn of_blob(blob: &Blob, start: u64, end: u64, pace: Option<f64>) -> Body {
    let pieces = blob.pieces(start, end);
    let Some(pace) = pace else {
        return StreamBody::new(stream::iter(pieces.map(|piece| Ok(Frame::data(piece))))).boxed_unsync();
    };
    let begin = Instant::now();
    let paced = stream::unfold((pieces, 0), move |(mut pieces, sent)| async move {
        let piece = pieces.next()?;
        tokio::time::sleep_until((begin + Duration::from_secs_f64(float(sent) / pace)).into()).await;
        let sent = sent + piece.len() as u64;
        Some((Ok(Frame::data(piece)), (pieces, sent)))
    });
    StreamBody::new(paced).boxed_unsync()
}

impl Trust {
    pub(crate) fn new(config: &ClientConfig) -> Self {
        let speaking = |protocol: &[u8]| {
            let mut config = config.clone();
            config.alpn_protocols = vec![protocol.to_vec()];
            Arc::new(config)
        };
        Self { http1: speaking(b"http/1.1"), http2: speaking(b"h2") }
    }

    fn config(&self, protocol: Protocol) -> Arc<ClientConfig> {
        match protocol {
            Protocol::Http1 => Arc::clone(&self.http1),
            Protocol::Http2 => Arc::clone(&self.http2),
        }
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Trust")
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("protocol", &self.protocol()).finish_non_exhaustive()
    }
}

impl Connection {
    pub(crate) async fn open(origin: &Origin, protocol: Protocol, trust: &Trust) -> Result<Self, Error> {
        let host = origin.authority.host().trim_matches(['[', ']']);
        let stream = TcpStream::connect((host, origin.port())).await.map_err(Error::Connect)?;
        stream.set_nodelay(true).map_err(Error::Connect)?;
        if !origin.tls {
            return Ok(Self { sender: http(protocol, TokioIo::new(stream)).await?, resumed: false });
        }
        let name = ServerName::try_from(host.to_owned()).map_err(|error| Error::Connect(io::Error::other(error)))?;
        let stream = TlsConnector::from(trust.config(protocol)).connect(name, stream).await.map_err(Error::Connect)?;
        let session = stream.get_ref().1;
        let resumed = session.handshake_kind() == Some(rustls::HandshakeKind::Resumed);
        if protocol == Protocol::Http2 && session.alpn_protocol() != Some(b"h2") {
            return Err(Error::Connect(io::Error::other("the server does not speak HTTP/2")));
        }
        Ok(Self { sender: http(protocol, TokioIo::new(stream)).await?, resumed })
    }

    pub(crate) const fn protocol(&self) -> Protocol {
        match self.sender {
            Sender::Http1(_) => Protocol::Http1,
            Sender::Http2(_) => Protocol::Http2,
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        match &self.sender {
            Sender::Http1(sender) => sender.is_closed(),
            Sender::Http2(sender) => sender.is_closed(),
        }
    }

    pub(crate) async fn send(&mut self, request: Request<Body>) -> Result<Response<Incoming>, Error> {
        Ok(match &mut self.sender {
            Sender::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Sender::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
        })
    }
}

async fn http<S>(protocol: Protocol, stream: TokioIo<S>) -> Result<Sender, Error>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    // How a connection ends is told to whoever waits for an answer on it.
    Ok(match protocol {
        Protocol::Http1 => {
            let (sender, connection) = http1::Builder::new().max_buf_size(512 << 10).handshake(stream).await?;
            tokio::spawn(connection);
            Sender::Http1(sender)
        }
        Protocol::Http2 => {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder.initial_stream_window_size(WINDOW).initial_connection_window_size(2 * WINDOW);
            let (sender, connection) = builder.handshake(stream).await?;
            tokio::spawn(connection);
            Sender::Http2(sender)
        }
    })
}
