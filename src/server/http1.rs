//! HTTP/1.1: requests one after the other on a connection, pipelined ones in their order.

use std::sync::Arc;

use bytes::BytesMut;
use pingora::{ErrorType, http::ResponseHeader, protocols::Stream, protocols::http::ServerSession};
use tokio::{io::AsyncReadExt, time::timeout};
use tracing::debug;

use crate::{
    api,
    server::{
        connection::{Closing, Context},
        exchange::{self, Ending, RefusedHead},
        framing::{self, Refusal},
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
    let mut stream: Stream = Box::new(stream);
    let mut ahead = BytesMut::new();
    let mut closing = Closing::Now;
    loop {
        seat.waits();
        if ahead.is_empty() && !begins(context, &mut stream, &mut ahead).await {
            return closing;
        }
        let mut session = ServerSession::new_http1(stream);
        session.set_pipelining_enabled(true);
        session.set_pipelined_prefix(ahead);
        // Reads are timed here and in the body, where it is known who waits for whom.
        session.set_read_timeout(None);
        match head(context, &mut session, allowance).await {
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
        let refusal = framing::judge(&session, &context.bounds.limits()).err();
        match exchange::run(context, session, hop, refusal).await {
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

/// Waits for the first bytes of a request; false when there will be none.
async fn begins(context: &Context, stream: &mut Stream, ahead: &mut BytesMut) -> bool {
    tokio::select! {
        biased;
        read = timeout(context.bounds.deadlines().idle, stream.read_buf(ahead)) => matches!(read, Ok(Ok(1..))),
        () = context.stopped() => false,
    }
}

enum Head {
    Complete,
    /// The client went away.
    Gone,
    Unreadable(Refusal),
}

/// Reads a whole head within one deadline and one bound of memory.
async fn head(context: &Context, session: &mut ServerSession, allowance: &HeadAllowance) -> Head {
    allowance.limit(context.bounds.limits().head_bytes + READ_PAST_HEAD);
    let read = timeout(context.bounds.deadlines().head, session.read_request()).await;
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
