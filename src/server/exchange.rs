//! One request and its answer, whatever the protocol, and the record of them.

use std::{
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use http::{HeaderMap, HeaderName, Method, StatusCode, Uri, Version, header};
use pingora::protocols::http::ServerSession;
use tracing::error;
use uuid::Uuid;

use crate::{
    api,
    server::{
        Rules, challenges,
        connection::Context,
        door::{Door, Visit},
        framing::Refusal,
        passthrough::passage::{Kind, Passage},
        proxies::Hop,
        reply::{self, After},
        request::{self, Shared},
        stream::Prompt,
    },
};

/// Is told of every connection, and of every request that was answered.
pub trait Observer: Send + Sync + 'static {
    /// A connection was accepted.
    fn opened(&self) {}

    /// A connection is over.
    fn closed(&self) {}

    /// A head on HTTP/1 never became a request and was answered. What HTTP/2 cannot read ends in a reset of the stream
    /// or connection, of which nobody is told.
    fn refused(&self, _head: &RefusedHead<'_>) {}

    /// A request's head was read.
    fn begin(&self) {}

    /// A connection or a request goes on to another server, by the rule that begins with this name.
    fn passing(&self, _rule: &str, _kind: Kind) {}

    /// That is over.
    fn passed(&self, _passage: &Passage<'_>) {}

    /// A request that began is over.
    fn observe(&self, exchange: &Exchange);
}

/// What there is to know of a head that could not be read.
#[derive(Clone, Copy, Debug)]
pub struct RefusedHead<'a> {
    pub connection: &'a api::Connection,
    pub status: StatusCode,
}

/// What there is to know of a request when it is over; nothing in it is secret except what a client put in its target.
#[derive(Debug)]
pub struct Exchange {
    pub id: Uuid,
    pub method: Method,
    pub uri: Uri,
    pub version: Version,
    /// As the handler saw it: the client's, not that of a trusted proxy.
    pub connection: api::Connection,
    pub host: Option<String>,
    pub user_agent: Option<String>,
    pub referer: Option<String>,
    pub status: StatusCode,
    /// Bytes of the request's body that were read.
    pub received: u64,
    /// Bytes of the answer's body that were written.
    pub sent: u64,
    pub elapsed: Duration,
    pub ending: Ending,
    /// `Content-Type` of the answer.
    pub content_type: Option<String>,
    /// What the handler says of it.
    pub log: api::Log,
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ending {
    Complete,
    /// The body failed on our side and the client was cut off.
    Cut,
    /// The client went away, or did not read.
    Disconnected,
}

/// Answers the request whose head `session` has read, with `refusal` if there is one. The session comes back unless
/// it has been used up. `prompt` is there where what is written may be held back.
pub(super) async fn run(
    context: &Arc<Context>,
    rules: &Rules,
    session: ServerSession,
    hop: &Hop,
    prompt: Option<&Arc<Prompt>>,
    refusal: Option<Refusal>,
) -> (Ending, Option<ServerSession>) {
    let started = Instant::now();
    let _running = context.control.begin();
    context.observer.begin();
    let id = Uuid::new_v4();
    let mut head = request::head(&session);
    let connection = rules.proxies.resolve(hop, &head.headers);
    rules.proxies.silence(hop, &mut head.headers);
    let mut exchange = record(id, &head, &connection);
    let session = request::share(session, &head, prompt);
    let visit = Visit::new(hop.end, &connection, &rules.proxies, &context.admission);
    // Where a badly framed request ends is not known for sure.
    let after = if refusal.is_some() { After::Close } else { After::Reuse };
    let reply = if let Some(refusal) = refusal {
        // It costs its client as much as any other request.
        context.door.turns_away(&visit).unwrap_or_else(|| refusal.reply())
    } else {
        let request = request::request(id, head, &connection, &session, rules.deadlines, &visit);
        handle(context, rules, request, &visit).await
    };
    let session = answer(context, rules, &session, &mut exchange, reply, after, &visit).await;
    exchange.elapsed = started.elapsed();
    context.observer.observe(&exchange);
    (exchange.ending, session)
}

/// Writes a reply down in the record, and then to the client. The session comes back unless it has been used up.
pub(super) async fn answer(
    context: &Context,
    rules: &Rules,
    session: &Shared,
    exchange: &mut Exchange,
    mut reply: api::Reply,
    after: After,
    visit: &Visit,
) -> Option<ServerSession> {
    exchange.status = reply.status;
    exchange.content_type = text(&reply.headers, &header::CONTENT_TYPE);
    exchange.log = std::mem::take(&mut reply.log);
    exchange.ending = reply::write(context, rules, session, &exchange.method, reply, after, visit).await;
    finish(rules, session, exchange).await
}

async fn handle(context: &Context, rules: &Rules, request: api::Request, visit: &Visit) -> api::Reply {
    let id = request.id;
    let handled = AssertUnwindSafe(reply_to(context, rules, request, visit)).catch_unwind().await;
    handled.unwrap_or_else(|_| {
        error!(http.request.id = %id, "the handler panicked");
        Refusal::PANICKED.reply()
    })
}

/// Whoever asks for a proof comes from anywhere, but not as often as it likes.
async fn reply_to(context: &Context, rules: &Rules, request: api::Request, visit: &Visit) -> api::Reply {
    let asked = context.challenges.as_deref().zip(challenges::token(&request));
    let door = if asked.is_some() { Door::Open } else { context.door };
    if let Some(reply) = door.turns_away(visit) {
        return reply;
    }
    match asked {
        Some((challenges, token)) => challenges::answer(challenges, &token).await,
        None => context.handler(rules).handle(request).await,
    }
}

/// Takes the session back from the body, which from now on reads nothing more.
pub(super) async fn finish(rules: &Rules, session: &Shared, exchange: &mut Exchange) -> Option<ServerSession> {
    let (mut session, lost) = {
        let mut session = session.lock().await;
        (session.take()?, session.is_body_lost())
    };
    if lost {
        session.set_keepalive(None);
    }
    if exchange.ending == Ending::Complete {
        reply::drain(&mut session, &rules.deadlines).await;
    } else if session.is_http2() {
        session.shutdown().await;
    }
    exchange.received = session.body_bytes_read() as u64;
    exchange.sent = session.body_bytes_sent() as u64;
    Some(session)
}

pub(super) fn record(id: Uuid, head: &request::Head, connection: &api::Connection) -> Exchange {
    Exchange {
        id,
        method: head.method.clone(),
        uri: head.uri.clone(),
        version: head.version,
        connection: connection.clone(),
        host: text(&head.headers, &header::HOST),
        user_agent: text(&head.headers, &header::USER_AGENT),
        referer: text(&head.headers, &header::REFERER),
        status: StatusCode::INTERNAL_SERVER_ERROR,
        received: 0,
        sent: 0,
        elapsed: Duration::ZERO,
        ending: Ending::Complete,
        content_type: None,
        log: api::Log::default(),
    }
}

pub(super) fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}
