//! A plain request for somebody else, passed on by itself: who is asked next on the same connection is judged anew.
//!
//! Each request has a connection to the other server of its own. Bodies go both ways at once, chunk by chunk, each waiting
//! for the other side, and the client is held to the rates that our own bodies are held to; after an upgrade, as for web
//! sockets, the two connections are spliced.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use pingora::{
    http::ResponseHeader,
    protocols::{
        Stream,
        http::{HttpTask, ServerSession, v1::client::HttpSession},
    },
};
use tokio::time::sleep;
use tracing::debug;
use uuid::Uuid;

use crate::{
    api,
    server::{
        Rules,
        ahead::{Ahead, Bulk},
        connection::Context,
        door::{Door, Visit},
        exchange::{self, Ending, Exchange},
        framing::Refusal,
        pace::{Least, Pace, TooSlow},
        passthrough::{
            Entry, Passthrough, Place, Rule, headers,
            passage::{self, Kind, Passing, Tally},
            splice::{Side, splice},
            target::{Ends, Target},
        },
        proxies::Hop,
        reply::{self, After, Chunk, Writing},
        request,
        socket::{HeadAllowance, Socket, Wire},
        stream::Downstream,
    },
};

/// How such requests are counted.
const LABEL: &str = "passthrough";

/// Whom a request goes to.
pub(in crate::server) struct There<'a> {
    entry: &'a Arc<Entry>,
    target: &'a Target,
}

impl Passthrough {
    /// Whom the request goes to whose head was read, if that is not us.
    pub(in crate::server) fn elsewhere(
        &self,
        session: &ServerSession,
        hop: &Hop,
    ) -> Result<Option<There<'_>>, Refusal> {
        let head = session.req_header();
        let host = head.uri.authority().map(|authority| authority.as_str().as_bytes());
        let host = host.or_else(|| head.headers.get(header::HOST).map(HeaderValue::as_bytes)).unwrap_or_default();
        match self.of_host(&String::from_utf8_lossy(host), hop.connection.scheme) {
            Place::Here => Ok(None),
            Place::There(entry, target) => Ok(Some(There { entry, target })),
            Place::Misdirected => Err(Refusal::MISDIRECTED),
        }
    }
}

/// What became of a request.
enum Outcome {
    Answered,
    /// The client was told that the protocol changes.
    Upgraded,
    /// The client went away, or does not read.
    Gone,
    /// Nothing was said to the client yet.
    Unanswered(Refusal, passage::Ending),
    /// The answer ends in the middle.
    Cut(passage::Ending),
}

/// Passes on the request whose head `session` has read; the session comes back unless it has been used up.
pub(in crate::server) async fn forward(
    context: &Arc<Context>,
    rules: &Rules,
    mut session: ServerSession,
    hop: &Hop,
    there: There<'_>,
) -> (Ending, Option<ServerSession>) {
    let started = Instant::now();
    let _running = context.control.begin();
    context.observer.begin();
    let head = request::head(&session);
    let client = rules.proxies.resolve(hop, &head.headers);
    let mut exchange = exchange::record(Uuid::new_v4(), &head, &client);
    exchange.log.route = Some(LABEL);
    let name = exchange.host.clone().unwrap_or_default();
    let visit = Visit::new(hop.end, &client, &rules.proxies, &context.admission);
    // Whatever else the listener is for: behind this there is more than a redirect.
    if let Some(reply) = Door::Guarded.turns_away(&visit) {
        let shared = request::share(session, &head, None);
        let session = exchange::answer(context, rules, &shared, &mut exchange, reply, After::Reuse, &visit).await;
        exchange.elapsed = started.elapsed();
        context.observer.observe(&exchange);
        return (exchange.ending, session);
    }
    let mut passing = Passing::begin(context, there.entry, Kind::Http, &name, &client);
    let outcome = match connect(context, rules, &session, hop, &client, &there).await {
        Some(target) => {
            let rule = &there.entry.rule;
            let mut relay = Relay {
                context,
                rules,
                rule,
                visit: &visit,
                client: session,
                target,
                request: Request::Open,
                pace: Pace::default(),
                writing: Writing::new(&rules.deadlines),
                answer: None,
            };
            let outcome = relay.run(&passing.tally).await;
            if let Some((status, headers)) = &relay.answer {
                exchange.status = *status;
                exchange.content_type = exchange::text(headers, &header::CONTENT_TYPE);
            }
            if matches!(outcome, Outcome::Upgraded) {
                passing.ending = relay.upgraded(&passing.tally).await;
                return (settle(context, &mut exchange, &passing, started, Ending::Complete), None);
            }
            session = relay.client;
            outcome
        }
        None => Outcome::Unanswered(Refusal::BAD_GATEWAY, passage::Ending::Unreachable),
    };
    let (ending, session) = match outcome {
        Outcome::Unanswered(refusal, ending) => {
            passing.ending = ending;
            exchange.status = refusal.status;
            let method = exchange.method.clone();
            let shared = request::share(session, &head, None);
            exchange.ending =
                reply::write(context, rules, &shared, &method, refusal.reply(), After::Close, &visit).await;
            (exchange.ending, exchange::finish(rules, &shared, &mut exchange).await)
        }
        Outcome::Answered | Outcome::Upgraded => {
            passing.ending = passage::Ending::Complete;
            (Ending::Complete, Some(session))
        }
        Outcome::Gone => (Ending::Disconnected, None),
        Outcome::Cut(ending) => {
            passing.ending = ending;
            (Ending::Cut, None)
        }
    };
    (settle(context, &mut exchange, &passing, started, ending), session)
}

fn settle(context: &Context, exchange: &mut Exchange, passing: &Passing, started: Instant, ending: Ending) -> Ending {
    exchange.received = exchange.received.max(passing.tally.received());
    exchange.sent = exchange.sent.max(passing.tally.sent());
    exchange.ending = ending;
    exchange.elapsed = started.elapsed();
    context.observer.observe(exchange);
    ending
}

/// Connects and sends the head. What fails is complained about.
async fn connect(
    context: &Context,
    rules: &Rules,
    session: &ServerSession,
    hop: &Hop,
    client: &api::Connection,
    there: &There<'_>,
) -> Option<HttpSession> {
    let rule = &there.entry.rule;
    let socket = match there.target.connect(rule.connect_timeout, &context.listening).await {
        Ok(socket) => Arc::new(socket),
        Err(error) => {
            there.entry.complaints.about(rule.label(), &error);
            return None;
        }
    };
    let ends = Ends { client: client.peer, here: None };
    socket.write(&mut rule.announcement.header(ends)).await.ok()?;
    let ahead = Ahead::new(Bulk::none());
    let wire = Wire::new(Arc::clone(&socket), ahead, HeadAllowance::unlimited(), rules.deadlines.write);
    let mut target = HttpSession::new(Box::new(Downstream::unbuffered(wire)));
    let head = headers::to_target(session.req_header(), &rules.proxies, hop, client).ok()?;
    target.write_request_header(Box::new(head)).await.ok()?;
    Some(target)
}

/// Whether there is more of the request to pass on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Request {
    Open,
    /// All of it is there, or the other server takes no more.
    Over,
}

/// A request and its answer on their way.
struct Relay<'a> {
    context: &'a Context,
    rules: &'a Rules,
    rule: &'a Rule,
    visit: &'a Visit,
    client: ServerSession,
    target: HttpSession,
    request: Request,
    /// Of the request's body.
    pace: Pace,
    /// Of the answer's.
    writing: Writing,
    /// The head that was sent to the client.
    answer: Option<(StatusCode, HeaderMap)>,
}

enum Step {
    Client(pingora::Result<Option<Bytes>>),
    Target(pingora::Result<HttpTask>),
    Silence,
}

impl Relay<'_> {
    async fn run(&mut self, tally: &Tally) -> Outcome {
        self.end_request_if_done().await;
        loop {
            let patience = match self.request {
                Request::Open => self.rules.deadlines.body,
                Request::Over => self.rule.idle_timeout,
            };
            let started = Instant::now();
            let step = tokio::select! {
                chunk = self.client.read_body_or_idle(self.request == Request::Over) => Step::Client(chunk),
                task = self.target.read_response_task() => Step::Target(task),
                () = sleep(patience) => Step::Silence,
            };
            if self.keeps_pace(&step, started.elapsed()).is_err() {
                return self.broken(Refusal::BODY_TIMEOUT, passage::Ending::Idle);
            }
            let over = match step {
                Step::Client(Ok(chunk)) => {
                    self.pass_chunk(&chunk.unwrap_or_default(), tally).await;
                    None
                }
                Step::Client(Err(_)) => Some(Outcome::Gone),
                Step::Target(Ok(task)) => self.pass_task(task, tally).await,
                Step::Target(Err(error)) => {
                    debug!(rule = self.rule.label(), error = %error, "an answer of another server did not come");
                    Some(self.broken(Refusal::BAD_GATEWAY, passage::Ending::Cut))
                }
                Step::Silence if self.request == Request::Open => {
                    Some(self.broken(Refusal::BODY_TIMEOUT, passage::Ending::Idle))
                }
                Step::Silence => Some(self.broken(Refusal::GATEWAY_TIMEOUT, passage::Ending::Idle)),
            };
            if let Some(outcome) = over {
                return outcome;
            }
        }
    }

    /// As long as there is more of its body to come, it is the client who is waited for, whatever else happens meanwhile.
    fn keeps_pace(&mut self, step: &Step, waited: Duration) -> Result<(), TooSlow> {
        let bytes = match step {
            _ if self.request == Request::Over => return Ok(()),
            Step::Client(Ok(Some(chunk))) => chunk.len(),
            Step::Client(_) | Step::Target(_) | Step::Silence => 0,
        };
        self.pace.advance(waited, bytes as u64, Least::received(&self.rules.deadlines))
    }

    const fn broken(&self, refusal: Refusal, ending: passage::Ending) -> Outcome {
        if self.answer.is_none() { Outcome::Unanswered(refusal, ending) } else { Outcome::Cut(ending) }
    }

    async fn pass_chunk(&mut self, chunk: &[u8], tally: &Tally) {
        tally.receive(chunk.len());
        if !chunk.is_empty() && self.target.write_body(chunk).await.is_err() {
            // It may have answered before it closed. What is left of the body is nobody's.
            self.request = Request::Over;
            self.client.set_keepalive(None);
        }
        self.end_request_if_done().await;
        self.visit.received(chunk.len()).await;
    }

    async fn end_request_if_done(&mut self) {
        if self.request == Request::Open && self.client.is_body_done() {
            self.request = Request::Over;
            // As above.
            let _ = self.target.finish_body().await;
        }
    }

    async fn pass_task(&mut self, task: HttpTask, tally: &Tally) -> Option<Outcome> {
        let (written, end) = match task {
            HttpTask::Header(head, _) if head.status == StatusCode::SWITCHING_PROTOCOLS => {
                return Some(self.pass_upgrade(head).await);
            }
            HttpTask::Header(head, _) if head.status.is_informational() => (self.pass_interim(head).await.ok(), false),
            HttpTask::Header(head, end) => (self.pass_head(head, end).await.ok(), end),
            HttpTask::Body(chunk, end) => (self.pass_back(chunk.unwrap_or_default(), end, tally).await, end),
            HttpTask::Done | HttpTask::Trailer(_) => (self.pass_back(Bytes::new(), true, tally).await, true),
            HttpTask::UpgradedBody(..) | HttpTask::Failed(_) => {
                return Some(self.broken(Refusal::BAD_GATEWAY, passage::Ending::Cut));
            }
        };
        match (written, end) {
            (None, _) => Some(Outcome::Gone),
            (Some(()), true) => Some(Outcome::Answered),
            (Some(()), false) => None,
        }
    }

    /// `None` if the client is gone, or does not read.
    async fn pass_back(&mut self, bytes: Bytes, end: bool, tally: &Tally) -> Option<()> {
        let count = bytes.len();
        self.visit.sends(count).await;
        self.writing.write(&mut self.client, bytes, if end { Chunk::Last } else { Chunk::Inner }).await?;
        tally.send(count);
        Some(())
    }

    /// A client of HTTP/1.0 knows no interim answers.
    async fn pass_interim(&mut self, mut head: Box<ResponseHeader>) -> pingora::Result<()> {
        if self.client.req_header().version != http::Version::HTTP_11 {
            return Ok(());
        }
        headers::to_client(&mut head);
        self.client.write_response_header(head).await
    }

    async fn pass_head(&mut self, mut head: Box<ResponseHeader>, end: bool) -> pingora::Result<()> {
        headers::to_client(&mut head);
        let framed =
            head.headers.contains_key(header::CONTENT_LENGTH) || head.headers.contains_key(header::TRANSFER_ENCODING);
        if self.context.is_leaving() || !framed && !end {
            self.client.set_keepalive(None);
        }
        self.answer = Some((head.status, head.headers.clone()));
        self.client.write_response_header(head).await?;
        if end { self.client.write_response_body(Bytes::new(), true).await } else { Ok(()) }
    }

    async fn pass_upgrade(&mut self, mut head: Box<ResponseHeader>) -> Outcome {
        if !self.target.was_upgraded() {
            return self.broken(Refusal::BAD_GATEWAY, passage::Ending::Cut);
        }
        headers::to_client(&mut head);
        self.answer = Some((head.status, head.headers.clone()));
        match self.client.write_response_header(head).await {
            Ok(()) => Outcome::Upgraded,
            Err(_) => Outcome::Gone,
        }
    }

    /// From here on neither side speaks HTTP.
    async fn upgraded(mut self, tally: &Tally) -> passage::Ending {
        // What came behind the heads was read already; what is not there yet stays in the sockets.
        let from_client = self.client.read_request_body().now_or_never().and_then(Result::ok).flatten();
        let from_target = self.target.read_body_bytes().now_or_never().and_then(Result::ok).flatten();
        let ServerSession::H1(client) = self.client else { return passage::Ending::Cut };
        match (side(client.into_inner(), from_client), side(self.target.into_inner(), from_target)) {
            (Some(client), Some(target)) => {
                splice(self.context, self.visit, client, target, self.rule.idle_timeout, tally).await
            }
            _ => passage::Ending::Cut,
        }
    }
}

/// The socket below a stream of ours, and all that was read from it.
fn side(stream: Stream, first: Option<Bytes>) -> Option<Side> {
    let wire = stream.into_any().downcast::<Downstream>().ok()?.into_wire()?;
    let (socket, rest): (Arc<Socket>, BytesMut) = wire.into_parts();
    let mut ahead = BytesMut::from(first.unwrap_or_default());
    ahead.extend_from_slice(&rest);
    Some(Side { socket, ahead })
}
