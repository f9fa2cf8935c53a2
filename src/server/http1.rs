//! HTTP/1.1: requests one after the other on a connection, pipelined ones in their order.

use std::sync::Arc;

use bytes::BytesMut;
use pingora::{ErrorType, http::ResponseHeader, protocols::Stream, protocols::http::ServerSession};
use tokio::{io::AsyncReadExt, time::timeout};
use tracing::debug;

use crate::{
    api,
    server::{
        Rules,
        connection::{Closing, Context},
        exchange::{self, Ending, RefusedHead},
        framing::{self, Refusal},
        passthrough,
        proxies::Hop,
        reply,
        seats::Seat,
        socket::HeadAllowance,
        stream::Downstream,
    },
};

/// The parser sees a head's last bytes together with what follows them, so more than a head must be readable before
/// the size of the head itself is known.
const READ_PAST_HEAD: usize = 64 << 10;

/// Serves requests until one side wants no more.
pub(super) async fn serve(
    context: &Arc<Context>,
    stream: Downstream,
    allowance: &HeadAllowance,
    hop: &Hop,
    seat: &Seat,
) -> Closing {
    let prompt = stream.prompt();
    let mut stream: Stream = Box::new(stream);
    let mut ahead = BytesMut::new();
    let mut closing = Closing::Now;
    loop {
        seat.waits();
        if ahead.is_empty() && !begins(context, &mut stream, &mut ahead).await {
            return closing;
        }
        let rules = context.rules();
        let mut session = ServerSession::new_http1(stream);
        session.set_pipelining_enabled(true);
        session.set_pipelined_prefix(ahead);
        // Reads are timed here and in the body, where it is known who waits for whom.
        session.set_read_timeout(None);
        match head(&rules, &mut session, allowance).await {
            Head::Complete => {}
            Head::Gone => return Closing::Now,
            Head::Unreadable(refusal) => {
                debug!(peer = ?hop.connection.peer, reason = refusal.message, "a request's head was refused");
                context.observer.refused(&RefusedHead { connection: &hop.connection, status: refusal.status });
                return refuse(session, refusal).await;
            }
        }
        if !seat.works() {
            return Closing::Now;
        }
        let (refusal, elsewhere) = match destination(context, &rules, &session, hop) {
            Ok(elsewhere) => (None, elsewhere),
            Err(refusal) => (Some(refusal), None),
        };
        let answered = match elsewhere {
            Some(there) => {
                // When the other server says the next word, nobody knows.
                prompt.set(true);
                let answered = passthrough::http::forward(context, &rules, session, hop, there).await;
                prompt.set(false);
                answered
            }
            None => exchange::run(context, &rules, session, hop, Some(&prompt), refusal).await,
        };
        match answered {
            (Ending::Cut, _) => return Closing::Reset,
            (Ending::Complete, Some(session)) => match session.finish().await.ok().flatten() {
                Some(reusable) => {
                    let (next, prefix) = reusable.into_parts();
                    stream = next;
                    ahead = prefix.unwrap_or_default();
                    closing = Closing::Now;
                }
                None => return Closing::AfterAnswer,
            },
            (Ending::Complete | Ending::Disconnected, _) => return Closing::Now,
        }
    }
}

/// Whom the request is passed on to whose head was read, if that is not us.
fn destination<'a>(
    context: &'a Context,
    rules: &Rules,
    session: &ServerSession,
    hop: &Hop,
) -> Result<Option<passthrough::http::There<'a>>, Refusal> {
    framing::judge(session, &rules.limits)?;
    context.passthrough.as_ref().map_or(Ok(None), |passthrough| passthrough.elsewhere(session, hop))
}

/// Waits for the first bytes of a request; false when there will be none.
async fn begins(context: &Context, stream: &mut Stream, ahead: &mut BytesMut) -> bool {
    let idle = context.rules().deadlines.idle;
    tokio::select! {
        biased;
        read = timeout(idle, stream.read_buf(ahead)) => matches!(read, Ok(Ok(1..))),
        () = context.farewell() => false,
    }
}

enum Head {
    Complete,
    /// The client went away.
    Gone,
    Unreadable(Refusal),
}

/// Reads a whole head within one deadline and one bound of memory.
async fn head(rules: &Rules, session: &mut ServerSession, allowance: &HeadAllowance) -> Head {
    allowance.limit(rules.limits.head_bytes + READ_PAST_HEAD);
    let read = timeout(rules.deadlines.head, session.read_request()).await;
    let too_large = allowance.is_used_up();
    allowance.lift();
    match read {
        Err(_) => Head::Unreadable(Refusal::HEAD_TIMEOUT),
        Ok(Ok(true)) => Head::Complete,
        Ok(Err(_)) if too_large => Head::Unreadable(Refusal::HEAD_TOO_LARGE),
        Ok(Err(error)) if *error.etype() == ErrorType::InvalidHTTPHeader => Head::Unreadable(Refusal::MALFORMED),
        Ok(Ok(false) | Err(_)) => Head::Gone,
    }
}

/// Answers a head that never became a request.
async fn refuse(mut session: ServerSession, refusal: Refusal) -> Closing {
    let reply = refusal.reply();
    let api::Body::Full(body) = reply.body else {
        return Closing::Now;
    };
    let Ok(mut head) = ResponseHeader::build(reply.status, Some(reply.headers.len() + 3)) else {
        return Closing::Now;
    };
    reply::copy_headers(&reply.headers, &mut head);
    reply::set_length(&mut head, body.len() as u64);
    session.set_keepalive(None);
    let written = async {
        session.write_response_header(Box::new(head)).await?;
        session.write_response_body(body, true).await
    };
    match written.await {
        Ok(()) => Closing::AfterAnswer,
        Err(_) => Closing::Now,
    }
}
