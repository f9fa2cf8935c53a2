//! One connection from accept to close: who is at its other end, handshake, choice of protocol, and the way it ends.

use std::{fmt, sync::Arc};

use rustls::ServerConfig;
use tokio::{sync::watch, time::timeout};
use tracing::debug;

use crate::{
    admission::Admission,
    api::{self, Scheme},
    server::{
        Handler, Terms,
        bounds::Bounds,
        challenges::{self, Challenges},
        door::{Door, Visit},
        exchange::Observer,
        http1, http2,
        proxies::{Hop, Proxies, Standing},
        proxy_protocol::{self, Named, ProxyProtocol},
        seats::Seat,
        socket::{HeadAllowance, Socket, Wire},
        stream::Downstream,
    },
};

/// What every connection of a server shares.
pub(super) struct Context {
    pub(super) handler: Arc<dyn Handler>,
    pub(super) observer: Arc<dyn Observer>,
    pub(super) challenges: Option<Arc<dyn Challenges>>,
    pub(super) door: Door,
    pub(super) bounds: Arc<Bounds>,
    pub(super) admission: Arc<Admission>,
    pub(super) proxies: Arc<Proxies>,
    pub(super) stopping: watch::Receiver<bool>,
}

impl Context {
    pub(super) fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// Completes when the server begins to stop.
    pub(super) async fn stopped(&self) {
        // An error means that the server itself is gone.
        let _ = self.stopping.clone().wait_for(|stopping| *stopping).await;
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("bounds", &self.bounds).finish_non_exhaustive()
    }
}

/// How a connection is closed once HTTP is done with it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Closing {
    /// Nobody is left to tell anything.
    Now,
    /// An answer was just sent: the client has to see it, even if it still sends.
    AfterAnswer,
    /// An answer was cut: the client must not take it for complete.
    Reset,
}

/// Serves a connection until it ends or has to make room for another.
pub(super) async fn serve(context: Arc<Context>, socket: Socket, terms: Terms, seat: Seat) {
    socket.send_at_once();
    let socket = Arc::new(socket);
    let allowance = HeadAllowance::unlimited();
    let mut wire = Wire::new(Arc::clone(&socket), Arc::clone(&allowance), context.bounds.deadlines().write);
    let named = tokio::select! {
        named = other_end(&context, &socket, &mut wire, &terms) => named,
        () = seat.revoked() => None,
    };
    let Some(hop) = named else { return };
    let visit = Visit::new(&hop.connection, &context.proxies, &context.admission);
    if !context.door.admits(&visit, &seat, &context.bounds.limits()) {
        return;
    }
    tokio::select! {
        () = admitted(&context, socket, wire, &allowance, terms, &hop, &seat) => {}
        () = seat.revoked() => debug!(peer = ?hop.connection.peer, "an idle connection made room for another"),
    }
}

async fn admitted(
    context: &Arc<Context>,
    socket: Arc<Socket>,
    wire: Wire,
    allowance: &HeadAllowance,
    terms: Terms,
    hop: &Hop,
    seat: &Seat,
) {
    let Some((stream, protocol)) = handshake(context, wire, terms.tls).await else {
        return;
    };
    match protocol {
        Protocol::Http2 => {
            // The connection closes with its stream, even while requests that it carried still run.
            drop(socket);
            http2::serve(context, stream, hop, seat).await;
        }
        Protocol::Http1 => match http1::serve(context, stream, allowance, hop, seat).await {
            Closing::Now => {}
            Closing::AfterAnswer => socket.linger(context.bounds.deadlines().linger).await,
            Closing::Reset => socket.reset_on_close(),
        },
    }
}

/// Who is at the other end, by the PROXY header where one is required; `None` drops the connection.
async fn other_end(context: &Context, socket: &Socket, wire: &mut Wire, terms: &Terms) -> Option<Hop> {
    let scheme = if terms.tls.is_some() { Scheme::Https } else { Scheme::Http };
    let peer = socket.peer();
    let hop = |peer, standing| Hop { connection: api::Connection { peer, scheme, origin: None }, standing };
    if terms.proxy_protocol == ProxyProtocol::Off {
        return Some(hop(peer, context.proxies.standing(peer)));
    }
    if !context.proxies.trusts(peer.map(|peer| peer.ip())) {
        debug!(peer = ?peer, "a connection was dropped: its other end is not one of edge.trusted_proxies");
        return None;
    }
    match timeout(context.bounds.deadlines().handshake, proxy_protocol::read(wire)).await {
        Ok(Ok(Named::Client(client))) => Some(hop(Some(client), context.proxies.standing(Some(client)))),
        // The balancer speaks no HTTP: whose headers come over such a connection is not known.
        Ok(Ok(Named::Nobody)) => Some(hop(peer, Standing::Client)),
        Ok(Err(error)) => {
            debug!(peer = ?peer, error = %error, "a connection was dropped");
            None
        }
        Err(_) => {
            debug!(peer = ?peer, "a connection was dropped: the PROXY header took too long");
            None
        }
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Protocol {
    Http1,
    Http2,
}

async fn handshake(context: &Context, wire: Wire, tls: Option<Arc<ServerConfig>>) -> Option<(Downstream, Protocol)> {
    let Some(config) = tls else {
        return Some((Downstream::plain(wire), Protocol::Http1));
    };
    let accepted = challenges::accept(context.challenges.as_deref(), wire, config);
    match timeout(context.bounds.deadlines().handshake, accepted).await {
        Ok(Ok(None)) => None,
        Ok(Ok(Some(stream))) => {
            let protocol = match stream.get_ref().1.alpn_protocol() {
                Some(b"h2") => Protocol::Http2,
                _ => Protocol::Http1,
            };
            Some((Downstream::tls(stream), protocol))
        }
        // Anyone can cause these, so they are no news to an operator.
        Ok(Err(error)) => {
            debug!(error = %error, "a TLS handshake failed");
            None
        }
        Err(_) => {
            debug!("a TLS handshake took too long");
            None
        }
    }
}
