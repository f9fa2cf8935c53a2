//! One request on its way: what is sent again, and who is waited for.

use std::{
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response, Uri, header};
use hyper::body::Incoming;
use tokio::{sync::Notify, time::sleep};

use crate::{
    api::{self, RequestBody},
    telemetry::upstream::Outcome,
    upstream::{
        Proxy,
        answer::{self, Lease},
        body::{self, Feeder, Framing, Outgoing, Unfed},
        connection::Connection,
        failure::Failure,
        headers::{self, Client},
        pool::Repeatable,
        server::Server,
        way::Way,
    },
};

/// How long a server may leave open whether it wants the body, as a client does that waits for nobody (RFC 9110 section
/// 10.1.1).
const UNDECIDED: Duration = Duration::from_secs(1);

/// A request, and how much of its body is left in the client's hands.
struct Errand {
    method: Method,
    target: Uri,
    headers: http::HeaderMap,
    framing: Framing,
    body: Box<dyn RequestBody>,
    /// What was read to see whether there is a body at all.
    first: Option<Bytes>,
    /// Whether bytes of the body have left for a server: then nothing is sent again.
    taken: bool,
}

/// Why there is no answer.
enum Broken {
    /// The server never saw a byte of it.
    Unsent,
    /// The connection ended first.
    Ended(String),
    Final(Failure),
}

/// What came back, and whether all of the body was sent before.
struct Answered {
    answer: Response<Incoming>,
    /// `None`: the whole request is with the server.
    unfed: Option<Feeder>,
}

impl Proxy {
    pub(in crate::upstream) async fn forward(&self, request: api::Request) -> Result<api::Reply, Failure> {
        let mut errand = self.errand(request).await?;
        let mut again = true;
        loop {
            let repeatable = errand.repeatable();
            let way = tokio::select! {
                biased;
                way = self.way(repeatable, again) => way?,
                () = errand.body.gone() => return Err(Failure::Gone),
            };
            let Way { server, mut connection, used } = way;
            let busy = server.occupy();
            match self.attempt(&mut errand, &server, &mut connection).await {
                Ok(Answered { answer, unfed }) => {
                    server.count(Outcome::of(answer.status()));
                    let lease = Lease { server, connection, busy, unfed, body: errand.body };
                    return answer::reply(answer, &errand.method, lease, self.settings.read_timeout);
                }
                // A connection that was kept may have ended at the moment at which it was used.
                Err(Broken::Unsent) if used && again && !errand.taken => again = false,
                Err(Broken::Ended(_)) if used && again && errand.repeatable() == Repeatable::Yes => again = false,
                Err(broken) => return Err(broken.into_failure(&server)),
            }
        }
    }

    async fn errand(&self, request: api::Request) -> Result<Errand, Failure> {
        let api::Request { method, uri, headers, connection, mut body, .. } = request;
        let (framing, first) = match Framing::said(&headers) {
            Some(framing) => (framing, None),
            // On HTTP/1 that is no body, on HTTP/2 it may be one of any length.
            None => match body.chunk().await.map_err(Failure::Client)? {
                Some(first) => (Framing::Chunked, Some(first)),
                None if matches!(method, Method::POST | Method::PUT | Method::PATCH) => (Framing::Sized(0), None),
                None => (Framing::None, None),
            },
        };
        let host = self.settings.host.as_ref().or_else(|| headers.get(header::HOST));
        let client = Client {
            address: connection.peer.map(|peer| peer.ip()),
            scheme: self.settings.scheme.unwrap_or(connection.scheme),
            host: host.unwrap_or_else(|| self.servers[0].endpoint().host()),
            framing: &framing,
        };
        let headers = headers::outward(&headers, &client);
        let target = uri.path_and_query().cloned().map_or_else(|| Uri::from_static("/"), Uri::from);
        Ok(Errand { method, target, headers, framing, body, taken: false, first })
    }

    /// Sends the request and waits for the head of the answer.
    async fn attempt(
        &self,
        errand: &mut Errand,
        server: &Server,
        connection: &mut Connection,
    ) -> Result<Answered, Broken> {
        let patience = self.settings.read_timeout;
        let stalled = || Broken::Final(Failure::Stalled { server: server.name().to_owned() });
        let (feeder, outgoing) = body::channel(&errand.framing);
        let wanted = Arc::new(Notify::new());
        let request = errand.request(outgoing, &wanted);
        let mut sending = pin!(async {
            connection.sender.try_send_request(request).await.map_err(|mut error| match error.take_message() {
                Some(_) => Broken::Unsent,
                None => Broken::Ended(told(error.error())),
            })
        });
        if let Some(feeder) = feeder {
            let waits = errand.headers.contains_key(header::EXPECT);
            let feeding = async {
                if waits {
                    tokio::select! {
                        () = wanted.notified() => {}
                        () = sleep(UNDECIDED) => {}
                    }
                }
                feeder.feed(errand.body.as_mut(), &mut errand.first, patience, &mut errand.taken).await
            };
            tokio::select! {
                // First, because an answer makes the rest of the body needless.
                biased;
                answer = sending.as_mut() => {
                    return Ok(Answered { answer: answer?, unfed: Some(feeder) });
                }
                fed = feeding => match fed {
                    // Closed: the reason comes with the answer, or in its place.
                    Ok(()) | Err(Unfed::Closed) => {}
                    Err(Unfed::Client(error)) => return Err(Broken::Final(Failure::Client(error))),
                    Err(Unfed::Stalled) => return Err(stalled()),
                },
            }
        }
        let answer = self.await_answer(sending, errand.body.as_mut()).await;
        answer.unwrap_or_else(|late| Err(late.unwrap_or_else(stalled))).map(|answer| Answered { answer, unfed: None })
    }

    /// The answer to a request that is with the server; an error is a client that is gone, or nothing for too long.
    async fn await_answer<A>(
        &self,
        sending: Pin<&mut impl Future<Output = A>>,
        body: &mut dyn RequestBody,
    ) -> Result<A, Option<Broken>> {
        tokio::select! {
            biased;
            answer = sending => Ok(answer),
            () = body.gone() => Err(Some(Broken::Final(Failure::Gone))),
            () = sleep(self.settings.read_timeout) => Err(None),
        }
    }
}

impl Errand {
    /// Only what changes nothing the second time, and what is still whole.
    fn repeatable(&self) -> Repeatable {
        let idempotent =
            matches!(self.method, Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE);
        let whole = !self.taken && matches!(self.framing, Framing::None | Framing::Sized(0));
        if idempotent && whole { Repeatable::Yes } else { Repeatable::No }
    }

    /// `wanted` is told when the server asks for the body.
    fn request(&self, body: Outgoing, wanted: &Arc<Notify>) -> Request<Outgoing> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.target.clone();
        *request.headers_mut() = self.headers.clone();
        if self.headers.contains_key(header::EXPECT) {
            let wanted = Arc::clone(wanted);
            hyper::ext::on_informational(&mut request, move |interim| {
                if interim.status() == 100 {
                    wanted.notify_one();
                }
            });
        }
        request
    }
}

impl Broken {
    fn into_failure(self, server: &Server) -> Failure {
        let broken = |why: String| Failure::Broken { server: server.name().to_owned(), why };
        let failure = match self {
            Self::Unsent => broken("the connection was closed".to_owned()),
            Self::Ended(why) => broken(why),
            Self::Final(failure) => failure,
        };
        match &failure {
            Failure::Broken { .. } => server.count(Outcome::Broken),
            Failure::Stalled { .. } => server.count(Outcome::Stalled),
            Failure::Client(_) | Failure::Gone => server.count(Outcome::Abandoned),
            Failure::Unhealthy | Failure::Down | Failure::Unreachable(_) | Failure::Crowded | Failure::Exhausted(_) => {
            }
        }
        failure
    }
}

/// An error with its causes: the outermost alone says next to nothing.
pub(in crate::upstream) fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
