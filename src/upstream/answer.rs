//! From a server's answer to a reply: its head at once, its body as the client takes it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use http::{Method, Response, StatusCode, header};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::time::timeout;

use crate::{
    api::{Body, Log, Reply, RequestBody, StreamError},
    telemetry::upstream::Outcome,
    upstream::{
        body::Feeder,
        connection::Connection,
        failure::Failure,
        forward::told,
        headers,
        server::{Busy, Server},
    },
};

/// What a request holds until its answer is over. Dropped before that, it closes the connection.
pub(in crate::upstream) struct Lease {
    pub(in crate::upstream) server: Arc<Server>,
    pub(in crate::upstream) connection: Connection,
    #[expect(dead_code, reason = "held for its Drop, which ends the count")]
    pub(in crate::upstream) busy: Busy,
    /// Of a request that was answered before its end: without it the server would see it broken off.
    pub(in crate::upstream) unfed: Option<Feeder>,
    pub(in crate::upstream) body: Box<dyn RequestBody>,
}

impl Lease {
    /// The answer is over: the connection can carry another request, if it has carried this one whole.
    fn end(self) {
        if self.unfed.is_none() {
            self.server.keep(self.connection);
        }
    }
}

/// The reply to a request of this method. `patience` is for the next bytes of the body.
pub(in crate::upstream) fn reply(
    answer: Response<Incoming>,
    method: &Method,
    lease: Lease,
    patience: Duration,
) -> Result<Reply, Failure> {
    let status = answer.status();
    if status.is_informational() {
        // Nobody asked for another protocol.
        let why = format!("it answered {}", status.as_u16());
        lease.server.count(Outcome::Broken);
        return Err(Failure::Broken { server: lease.server.name().to_owned(), why });
    }
    let mut headers = headers::inward(answer.headers());
    let incoming = answer.into_body();
    let bodiless = *method == Method::HEAD || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let body = if bodiless || incoming.is_end_stream() {
        lease.end();
        Body::Empty
    } else {
        let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let content = content(incoming, lease, patience);
        if let Some(length) = length {
            Body::Stream { length, content }
        } else {
            headers.remove(header::CONTENT_LENGTH);
            Body::Open(content)
        }
    };
    Ok(Reply { status, headers, body, log: Log::default() })
}

/// The body, piece by piece; trailers are not passed on.
fn content(incoming: Incoming, lease: Lease, patience: Duration) -> BoxStream<'static, Result<Bytes, StreamError>> {
    let pieces = stream::unfold(Some((incoming, lease)), move |state| async move {
        let (mut incoming, mut lease) = state?;
        loop {
            let frame = tokio::select! {
                biased;
                frame = timeout(patience, incoming.frame()) => frame,
                () = lease.body.gone(), if lease.unfed.is_none() => {
                    lease.server.count(Outcome::Abandoned);
                    return Some((Err(StreamError("the client went away".to_owned())), None));
                }
            };
            match frame {
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => return Some((Ok(data), Some((incoming, lease)))),
                    Ok(_) | Err(_) => {}
                },
                Ok(None) => {
                    lease.end();
                    return None;
                }
                Ok(Some(Err(error))) => {
                    lease.server.count(Outcome::Broken);
                    let why = format!("{} broke off: {}", lease.server.name(), told(&error));
                    return Some((Err(StreamError(why)), None));
                }
                Err(_) => {
                    lease.server.count(Outcome::Stalled);
                    let why = format!("nothing came from {} for {patience:?}", lease.server.name());
                    return Some((Err(StreamError(why)), None));
                }
            }
        }
    });
    pieces.boxed()
}
