//! A connection whose hello asks for somebody else.

use std::sync::Arc;

use tokio::time::timeout;
use tracing::debug;

use crate::server::{
    connection::Context,
    door::Visit,
    passthrough::{
        Entry, Passthrough, hello,
        passage::{Ending, Kind, Passing},
        splice::{Side, splice},
        target::{Ends, Target},
    },
    proxies::Hop,
    seats::Seat,
    socket::Wire,
};

/// Reads the hello and passes the connection on if it asks for somebody else; gives it back, with all its bytes, if it is
/// ours.
pub(in crate::server) async fn take(
    context: &Context,
    passthrough: &Passthrough,
    mut wire: Wire,
    hop: &Hop,
    seat: &Seat,
) -> Option<Wire> {
    let name = match timeout(context.rules().deadlines.handshake, hello::name(&mut wire)).await {
        Ok(Ok(name)) => name,
        // Anyone can cause these, so they are no news to an operator.
        Ok(Err(error)) => {
            debug!(error = %error, "a TLS handshake failed");
            return None;
        }
        Err(_) => {
            debug!("a TLS handshake took too long");
            return None;
        }
    };
    let Some(name) = name else { return Some(wire) };
    match passthrough.of_hello(&name) {
        Some((entry, target)) => {
            // From here on nobody knows who waits for whom.
            if seat.works() {
                pass(context, entry, target, &name, wire, hop).await;
            }
            None
        }
        None => Some(wire),
    }
}

/// A client whose server cannot be reached is told nothing but the end: whatever we said would be in our own name.
async fn pass(context: &Context, entry: &Arc<Entry>, target: &Target, name: &str, wire: Wire, hop: &Hop) {
    let _running = context.control.begin();
    let (socket, ahead) = wire.into_parts();
    let mut passing = Passing::begin(context, entry, Kind::Tls, name, &hop.connection);
    let rule = &entry.rule;
    let connected = match target.connect(rule.connect_timeout, &context.listening).await {
        Ok(connected) => Arc::new(connected),
        Err(error) => {
            entry.complaints.about(rule.label(), &error);
            passing.ending = Ending::Unreachable;
            return;
        }
    };
    let ends = Ends { client: hop.connection.peer, here: socket.local() };
    if connected.write(&mut rule.announcement.header(ends)).await.is_err() {
        return;
    }
    let (client, server) = (Side { socket, ahead }, Side { socket: connected, ahead: bytes::BytesMut::new() });
    let visit = Visit::new(hop.end, &hop.connection, &context.rules().proxies, &context.admission);
    passing.ending = splice(context, &visit, client, server, rule.idle_timeout, &passing.tally).await;
}
