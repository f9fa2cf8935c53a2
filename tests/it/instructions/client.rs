//! One client on one TLS connection that it keeps: a request after another, HTTP/1.1.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::stream;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::{
    body::{Frame, Incoming},
    client::conn::http1::{SendRequest, handshake},
};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

use crate::support::{
    certificate::trusting,
    http::{Body, empty, location, with_query},
    push::Content,
};

/// A request takes longer than this only if something hangs: 64 MiB take a quarter of a minute on an idle machine.
const PATIENCE: Duration = Duration::from_mins(5);

pub(super) struct Client {
    sender: SendRequest<Body>,
    host: String,
}

impl Client {
    pub(super) async fn connect(address: SocketAddr, authority: &Path) -> Self {
        let config = trusting(&[authority]);
        let stream = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
        let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self { sender, host: address.to_string() }
    }

    /// Takes the whole answer, in the pieces in which it came.
    pub(super) async fn get(&mut self, target: &str) -> Vec<Bytes> {
        let answer = self.send(empty(Method::GET, target), StatusCode::OK).await;
        let mut body = answer.into_body();
        let mut pieces = Vec::new();
        while let Some(frame) = timeout(PATIENCE, body.frame()).await.unwrap() {
            pieces.extend(frame.unwrap().into_data());
        }
        pieces
    }

    /// `POST`, then `PUT` with all bytes and their digest.
    pub(super) async fn push(&mut self, repository: &str, content: &Content) {
        let start = empty(Method::POST, &format!("/v2/{repository}/blobs/uploads/"));
        let opened = self.finish(start, StatusCode::ACCEPTED).await;
        let target = location(opened.headers()).unwrap();
        let pieces = content.pieces(0, content.length).map(|piece| Ok(Frame::data(piece)));
        let put = Request::put(with_query(&target, &format!("digest={}", content.digest)))
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .header(header::CONTENT_LENGTH, content.length)
            .body(StreamBody::new(stream::iter(pieces)).boxed())
            .unwrap();
        self.finish(put, StatusCode::CREATED).await;
    }

    pub(super) async fn put_manifest(&mut self, target: &str, media_type: &str, manifest: String) {
        let put =
            Request::put(target).header(header::CONTENT_TYPE, media_type).body(Full::from(manifest).boxed()).unwrap();
        self.finish(put, StatusCode::CREATED).await;
    }

    /// An answer with its body, of which nothing is wanted.
    async fn finish(&mut self, request: Request<Body>, expected: StatusCode) -> Response<()> {
        let (head, body) = self.send(request, expected).await.into_parts();
        timeout(PATIENCE, body.collect()).await.unwrap().unwrap();
        Response::from_parts(head, ())
    }

    async fn send(&mut self, mut request: Request<Body>, expected: StatusCode) -> Response<Incoming> {
        let what = format!("{} {}", request.method(), request.uri());
        request.headers_mut().insert(header::HOST, self.host.parse().unwrap());
        timeout(PATIENCE, self.sender.ready()).await.unwrap().unwrap();
        let answer = timeout(PATIENCE, self.sender.send_request(request)).await.unwrap();
        let answer = answer.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(answer.status(), expected, "{what}");
        answer
    }
}
