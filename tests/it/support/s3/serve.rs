//! HTTP/1.1 on loopback, on threads of its own, for as long as the test binary runs.

use std::{
    future::Future,
    net::{Ipv4Addr, SocketAddr},
    os::fd::{AsFd as _, OwnedFd},
    sync::Arc,
    thread,
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty, Full, combinators::BoxBody};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rustix::net::sockopt::set_socket_linger;
use tokio::net::TcpListener;

pub(super) type Failure = Box<dyn std::error::Error + Send + Sync>;
pub(super) type Body = BoxBody<Bytes, Failure>;

pub(super) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed()
}

pub(super) fn full(content: impl Into<Bytes>) -> Body {
    Full::new(content.into()).map_err(|never| match never {}).boxed()
}

/// The connection on which a request came.
#[derive(Clone, Debug)]
pub(super) struct Wire(Arc<OwnedFd>);

impl Wire {
    /// From now on it ends with a reset and not in order.
    pub(super) fn end_with_reset(&self) {
        // It fails on a connection that is gone already.
        let _ = set_socket_linger(&*self.0, Some(Duration::ZERO));
    }
}

/// Answers every request by `handler`; an error of that, or of an answer's body, ends the connection at once.
pub(super) fn serve<H, F>(handler: H) -> SocketAddr
where
    H: Fn(Wire, Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Result<Response<Body>, Failure>> + Send + 'static,
{
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    thread::spawn(move || runtime.block_on(accept(listener, handler)));
    address
}

async fn accept<H, F>(listener: std::net::TcpListener, handler: H)
where
    H: Fn(Wire, Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Result<Response<Body>, Failure>> + Send + 'static,
{
    let listener = TcpListener::from_std(listener).unwrap();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        stream.set_nodelay(true).unwrap();
        let wire = Wire(Arc::new(stream.as_fd().try_clone_to_owned().unwrap()));
        let handler = handler.clone();
        let service = service_fn(move |request| handler(wire.clone(), request));
        // How a connection ends is the client's affair.
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}
