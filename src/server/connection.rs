//! One connection from accept to close: who is at its other end, handshake, choice of protocol, and the way it ends.

use std::{fmt, sync::Arc, time::Duration};

use rustls::ServerConfig;
use tokio::time::{sleep, timeout};
use tracing::debug;

use crate::{
    api::{self, Scheme},
    server::{
        Handler, Rules, Terms,
        challenges::{self, Challenges},
        control::{Control, Phase},
        exchange::Observer,
        http1, http2,
        proxies::{End, Hop},
        proxy_protocol::{self, Named, ProxyProtocol},
        socket::{HeadAllowance, Socket, Wire},
        stream::Downstream,
    },
};

/// How long an idle connection outlives the listeners.
const FAREWELL: Duration = Duration::from_secs(1);

/// What every connection of a listener shares.
pub(super) struct Context {
    pub(super) control: Control,
    pub(super) answers: Answers,
    pub(super) observer: Arc<dyn Observer>,
    pub(super) challenges: Option<Arc<dyn Challenges>>,
}

/// Who answers requests.
pub(super) enum Answers {
    /// The handler of the rules in force.
    InForce,
    /// Whatever the rules.
    Always(Arc<dyn Handler>),
}

impl Context {
    /// Those in force. Whoever has begun under some goes on under them.
    pub(super) fn rules(&self) -> Arc<Rules> {
        self.control.rules()
    }

    pub(super) fn handler<'a>(&'a self, rules: &'a Rules) -> &'a dyn Handler {
        match &self.answers {
            Answers::InForce => rules.handler.as_ref(),
            Answers::Always(handler) => handler.as_ref(),
        }
    }

    /// Whether connections are to end with their next answer.
    pub(super) fn is_leaving(&self) -> bool {
        self.control.phase() >= Phase::Leaving
    }

    /// Completes when connections are to end.
    pub(super) async fn leaving(&self) {
        self.control.reached(Phase::Leaving).await;
    }

    /// Completes when an idle connection is to be closed: a little after the listeners, because a client may have sent
    /// its next request just before it could see the end.
    pub(super) async fn farewell(&self) {
        self.control.reached(Phase::Draining).await;
        sleep(FAREWELL).await;
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("control", &self.control).finish_non_exhaustive()
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

pub(super) async fn serve(context: Arc<Context>, socket: Socket, terms: Terms) {
    socket.send_at_once();
    let rules = context.rules();
    let socket = Arc::new(socket);
    let allowance = HeadAllowance::unlimited();
    let mut wire = Wire::new(Arc::clone(&socket), Arc::clone(&allowance), rules.deadlines.write);
    let Some(hop) = other_end(&rules, &socket, &mut wire, &terms).await else {
        return;
    };
    let Some((stream, protocol)) = handshake(&context, rules.deadlines.handshake, wire, terms.tls).await else {
        return;
    };
    match protocol {
        Protocol::Http2 => {
            // The connection closes with its stream, even while requests that it carried still run.
            drop(socket);
            http2::serve(&context, stream, &hop).await;
        }
        Protocol::Http1 => match http1::serve(&context, stream, &allowance, &hop).await {
            Closing::Now => {}
            Closing::AfterAnswer => socket.linger(rules.deadlines.linger).await,
            Closing::Reset => socket.reset_on_close(),
        },
    }
}

/// Who is at the other end, by the PROXY header where one is required; `None` drops the connection.
async fn other_end(rules: &Rules, socket: &Socket, wire: &mut Wire, terms: &Terms) -> Option<Hop> {
    let scheme = if terms.tls.is_some() { Scheme::Https } else { Scheme::Http };
    let peer = socket.peer();
    let hop = |peer, end| Hop { connection: api::Connection { peer, scheme, origin: None }, end };
    if terms.proxy_protocol == ProxyProtocol::Off {
        return Some(hop(peer, End::Known));
    }
    if !rules.proxies.trusts(peer.map(|peer| peer.ip())) {
        debug!(peer = ?peer, "a connection was dropped: its other end is not one of edge.trusted_proxies");
        return None;
    }
    match timeout(rules.deadlines.handshake, proxy_protocol::read(wire)).await {
        Ok(Ok(Named::Client(client))) => Some(hop(Some(client), End::Known)),
        // The balancer speaks no HTTP: whose headers come over such a connection is not known.
        Ok(Ok(Named::Nobody)) => Some(hop(peer, End::Unknown)),
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

async fn handshake(
    context: &Context,
    deadline: Duration,
    wire: Wire,
    tls: Option<Arc<ServerConfig>>,
) -> Option<(Downstream, Protocol)> {
    let Some(config) = tls else {
        return Some((Downstream::plain(wire), Protocol::Http1));
    };
    let accepted = challenges::accept(context.challenges.as_deref(), wire, config);
    match timeout(deadline, accepted).await {
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
