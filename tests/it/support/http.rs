//! Requests to a registry in plain HTTP/1.1, each on a connection of its own, with bodies that are made as they go.

use std::{convert::Infallible, net::SocketAddr};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, header};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

pub(crate) type Body = http_body_util::combinators::BoxBody<Bytes, Infallible>;
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

pub(crate) fn empty(method: Method, target: &str) -> Request<Body> {
    Request::builder().method(method).uri(target).body(BodyExt::boxed(Empty::new())).unwrap()
}

/// Sends it and takes the whole answer.
pub(crate) async fn send(address: SocketAddr, mut request: Request<Body>) -> Result<Response<Bytes>, Failure> {
    request.headers_mut().insert(header::HOST, address.to_string().parse()?);
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let exchange = async {
        let reply = sender.send_request(request).await?;
        let (head, body) = reply.into_parts();
        Ok(Response::from_parts(head, body.collect().await?.to_bytes()))
    };
    // The connection is driven here; it goes with the exchange.
    tokio::select! {
        outcome = exchange => outcome,
        ended = connection => Err(ended.map_or_else(Failure::from, |()| Failure::from("connection ended"))),
    }
}

/// Path and query of `Location`, where there is one. It is absolute when the registry says its own name; the way in is
/// the one that was taken before all the same.
pub(crate) fn location(headers: &HeaderMap) -> Option<String> {
    let location = headers.get(header::LOCATION)?.to_str().unwrap();
    let path = location.strip_prefix("http://").map_or(location, |rest| &rest[rest.find('/').unwrap()..]);
    Some(path.to_owned())
}

/// A target with a parameter more.
pub(crate) fn with_query(target: &str, parameter: &str) -> String {
    format!("{target}{}{parameter}", if target.contains('?') { '&' } else { '?' })
}

/// How many bytes `Range: 0-LAST` says are there; `0-0` stands for none at all, and one byte cannot be told from it.
pub(crate) fn committed(headers: &HeaderMap) -> usize {
    let range = headers.get(header::RANGE).unwrap().to_str().unwrap();
    let last: usize = range.strip_prefix("0-").unwrap().parse().unwrap();
    if last == 0 { 0 } else { last + 1 }
}
