//! HTTP/2: many requests at once on a connection, each its own task.

use std::{sync::Arc, time::Instant};

use pingora::protocols::{
    Digest,
    http::{
        ServerSession,
        v2::server::{self, H2Accept, H2Options, HttpSession},
    },
};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};
use tracing::debug;

use crate::{
    admission::{rate::Level, tally::Kind},
    server::{
        Rules,
        bounds::Limits,
        connection::Context,
        exchange::{self, Ending},
        framing,
        passthrough::Passthrough,
        proxies::Hop,
        seats::Seat,
        stream::Downstream,
    },
};

/// What one stream may send ahead of the handler: enough for a layer at full speed over a long line.
const STREAM_WINDOW: u32 = 1 << 20;
/// What all streams of a connection may send ahead together; it bounds the memory that a connection can pin.
const CONNECTION_WINDOW: u32 = 4 << 20;
/// Larger frames than the protocol's 16 KiB mean fewer turns per megabyte.
const FRAME: u32 = 64 << 10;
/// What waits to be sent on one stream.
const SEND_BUFFER: usize = 256 << 10;
/// Streams that the library itself resets for a client's mistakes before it gives up the connection (CVE-2025-8671). One
/// that behaves makes none; the library would bear a thousand, each of which may have begun a request.
const MISTAKES_MAX: usize = 32;
/// Streams that pingora itself refused before the connection is given up; its own loop uses the same number.
const REFUSED_MAX: usize = 32;

/// pingora's defaults carry the bounds on header lists and streams; options made from nothing would lose them.
fn options(limits: &Limits) -> H2Options {
    let mut options = server::default_h2_options();
    options
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME)
        .max_send_buffer_size(SEND_BUFFER)
        .max_local_error_reset_streams(Some(MISTAKES_MAX));
    options
}

/// A stream that the client resets no longer counts for the protocol's limit, but its request still runs. This many
/// running requests for each allowed stream are a client that opens and resets to keep us busy (CVE-2023-44487).
const RUNNING_PER_STREAM: usize = 2;

/// Serves streams until the client leaves, is idle for too long or breaks the rules, or the server stops.
pub(super) async fn serve(context: &Arc<Context>, stream: Downstream, hop: &Hop, seat: &Seat) {
    // What HTTP/2 agreed on at the beginning holds for the whole connection.
    let Rules { limits, deadlines, .. } = *context.rules();
    let handshake = server::handshake(Box::new(stream), Some(options(&limits)));
    let Ok(Ok(mut conn)) = timeout(deadlines.head, handshake).await else {
        debug!(peer = ?hop.connection.peer, "an HTTP/2 connection did not begin");
        return;
    };
    let digest = Arc::new(Digest::default());
    let mut streams = JoinSet::new();
    let mut refused = 0;
    let mut asked = false;
    let mut leaving = false;
    let mut resets = Resets::default();
    let running_max = limits.streams as usize * RUNNING_PER_STREAM;
    loop {
        // The first GOAWAY lets requests that are under way be heard; h2 sends the final one when all have ended.
        let Rules { limits, deadlines, .. } = *context.rules();
        let idle = if leaving { deadlines.linger } else { deadlines.idle };
        tokio::select! {
            biased;
            // Nobody is sent away from a connection before it was of any use: some clients would not try again.
            () = async { if asked { context.leaving().await } else { context.farewell().await } }, if !leaving => {
                conn.graceful_shutdown();
                leaving = true;
            }
            Some(ended) = streams.join_next(), if !streams.is_empty() => {
                if matches!(ended, Ok(Ending::Disconnected)) && !resets.allow(&limits) {
                    context.admission.tally().add(Kind::Resets);
                    debug!(peer = ?hop.connection.peer, "an HTTP/2 client took back too many requests");
                    break;
                }
                if streams.is_empty() {
                    seat.waits();
                }
            }
            accepted = HttpSession::from_h2_conn(&mut conn, Arc::clone(&digest)) => match accepted {
                Ok(Some(H2Accept::Session(session))) => {
                    asked = true;
                    if streams.len() >= running_max {
                        context.admission.tally().add(Kind::Resets);
                        debug!(peer = ?hop.connection.peer, "an HTTP/2 client opened and reset too many streams");
                        break;
                    }
                    if !seat.works() {
                        break;
                    }
                    let (context, hop) = (Arc::clone(context), hop.clone());
                    streams.spawn(async move { request(&context, session, &hop).await });
                }
                Ok(Some(H2Accept::Rejected)) => {
                    refused += 1;
                    if refused >= REFUSED_MAX {
                        break;
                    }
                }
                Ok(None) | Err(_) => break,
            },
            () = sleep(idle), if streams.is_empty() => {
                if leaving {
                    break;
                }
                conn.graceful_shutdown();
                leaving = true;
            }
        }
    }
    // Bodies now end with an error; their requests may still have to record what arrived.
    drop(conn);
    while streams.join_next().await.is_some() {}
}

async fn request(context: &Arc<Context>, session: HttpSession, hop: &Hop) -> Ending {
    let session = ServerSession::new_http2(session);
    let rules = context.rules();
    let misdirected = |passthrough: &Passthrough| passthrough.elsewhere(&session, hop).err();
    let refusal = framing::judge(&session, &rules.limits).err();
    let refusal = refusal.or_else(|| context.passthrough.as_deref().and_then(misdirected));
    exchange::run(context, &rules, session, hop, None, refusal).await.0
}

/// Counts the requests that a client has taken back. The library counts those that it took back before we knew of them.
struct Resets {
    level: Level,
    started: Instant,
}

impl Default for Resets {
    fn default() -> Self {
        Self { level: Level::default(), started: Instant::now() }
    }
}

impl Resets {
    fn allow(&mut self, limits: &Limits) -> bool {
        let now = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        limits.resets.take(&mut self.level, now).is_ok()
    }
}
