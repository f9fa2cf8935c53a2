//! One connection from accept to close: who is at its other end, handshake, choice of protocol, and the way it ends.

use std::{
    fmt, io,
    net::SocketAddr,
    sync::{Arc, Once},
    time::Duration,
};

use rustls::server::Acceptor;
use tokio::{
    io::AsyncWriteExt,
    time::{sleep, timeout},
};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};
use tracing::{debug, warn};

use crate::{
    admission::Admission,
    api::{self, Scheme},
    server::{
        Handler, Handshakes, Rules, Terms,
        ahead::{Ahead, Bulk},
        challenges::{self, Challenges},
        control::{Control, Phase},
        door::{Door, Visit},
        exchange::Observer,
        http1, http2,
        passthrough::{self, Passthrough},
        proxies::{End, Hop},
        proxy_protocol::{self, Named, ProxyProtocol},
        seats::Seat,
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
    pub(super) door: Door,
    pub(super) admission: Arc<Admission>,
    /// Used up when somebody was told of connections that are dropped because nobody trusts their other end.
    pub(super) strangers: Arc<Once>,
    pub(super) bulk: Bulk,
    /// Names that are somebody else's, on the listener of this connection.
    pub(super) passthrough: Option<Arc<Passthrough>>,
    /// Every address that the server listens on.
    pub(super) listening: Arc<[SocketAddr]>,
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

/// Serves a connection until it ends or has to make room for another.
pub(super) async fn serve(context: Arc<Context>, socket: Socket, terms: Terms, seat: Seat) {
    socket.send_at_once();
    let rules = context.rules();
    let socket = Arc::new(socket);
    let allowance = HeadAllowance::unlimited();
    // What was read ahead goes along where a plain connection is passed on as a whole.
    let may_go_on = context.passthrough.is_some() && terms.tls.is_none();
    let ahead = Ahead::new(if may_go_on { Bulk::none() } else { context.bulk.clone() });
    let mut wire = Wire::new(Arc::clone(&socket), ahead, Arc::clone(&allowance), rules.deadlines.write);
    let named = tokio::select! {
        named = other_end(&context, &rules, &socket, &mut wire, &terms) => named,
        () = seat.revoked() => None,
    };
    let Some(hop) = named else { return };
    let visit = Visit::new(hop.end, &hop.connection, &rules.proxies, &context.admission);
    if !context.door.admits(&visit, &seat, &rules.limits) {
        return;
    }
    let parts = Admitted { socket, wire, allowance, terms };
    tokio::select! {
        () = admitted(&context, &rules, parts, &hop, &seat) => {}
        () = seat.revoked() => debug!(peer = ?hop.connection.peer, "an idle connection made room for another"),
    }
}

/// What a connection is made of before anything is spoken over it.
struct Admitted {
    socket: Arc<Socket>,
    wire: Wire,
    allowance: Arc<HeadAllowance>,
    terms: Terms,
}

async fn admitted(context: &Arc<Context>, rules: &Rules, admitted: Admitted, hop: &Hop, seat: &Seat) {
    let Admitted { socket, mut wire, allowance, terms } = admitted;
    if let (Some(passthrough), Some(_)) = (&context.passthrough, &terms.tls) {
        match passthrough::tls::take(context, passthrough, wire, hop, seat).await {
            Some(ours) => wire = ours,
            None => return,
        }
    }
    let Some((stream, protocol)) = handshake(context, rules.deadlines.handshake, wire, terms.tls).await else {
        return;
    };
    match protocol {
        Protocol::Http2 => {
            // The connection closes with its stream, even while requests that it carried still run.
            drop(socket);
            http2::serve(context, stream, hop, seat).await;
        }
        Protocol::Http1 => match http1::serve(context, stream, &allowance, hop, seat).await {
            Closing::Now => {}
            Closing::AfterAnswer => socket.linger(rules.deadlines.linger).await,
            Closing::Reset => socket.reset_on_close(),
        },
    }
}

/// Who is at the other end, by the PROXY header where one is required; `None` drops the connection.
async fn other_end(context: &Context, rules: &Rules, socket: &Socket, wire: &mut Wire, terms: &Terms) -> Option<Hop> {
    let scheme = if terms.tls.is_some() { Scheme::Https } else { Scheme::Http };
    let peer = socket.peer();
    let hop = |peer, end| Hop { connection: api::Connection { peer, scheme, origin: None }, end };
    if terms.proxy_protocol == ProxyProtocol::Off {
        return Some(hop(peer, End::Known));
    }
    if !rules.proxies.trusts(peer.map(|peer| peer.ip())) {
        // Said once, for the operator who forgot a balancer: strangers could fill the log otherwise.
        context.strangers.call_once(|| {
            warn!(peer = ?peer, "connections are dropped where the PROXY protocol is required: edge.trusted_proxies does not hold their other end");
        });
        debug!(peer = ?peer, "a connection was dropped: its other end is not trusted");
        return None;
    }
    match timeout(rules.deadlines.handshake, proxy_protocol::read(wire)).await {
        Ok(Ok(Named::Client(client))) => Some(hop(Some(client), End::Known)),
        Ok(Ok(Named::Unknown)) => Some(hop(peer, End::Unknown)),
        Ok(Ok(Named::Local)) => Some(hop(peer, End::Local)),
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

/// A fatal alert before any version is agreed on: `unrecognized_name` (RFC 8446 section 6, RFC 5246 section 7.2).
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// The handshake itself; `None` when it was one that proves a name, and an error when the client has been refused.
async fn secure(context: &Context, handshakes: &dyn Handshakes, wire: Wire) -> io::Result<Option<TlsStream<Wire>>> {
    let mut begun = LazyConfigAcceptor::new(Acceptor::default(), wire).await?;
    // Before all names: the proof is asked for when there may be no certificate yet.
    if let Some(proof) = challenges::proof(context.challenges.as_deref(), &begun.client_hello()).await {
        challenges::prove(begun, proof).await?;
        return Ok(None);
    }
    let Some(config) = handshakes.answer(&begun.client_hello()) else {
        begun.io.write_all(&UNRECOGNIZED_NAME).await?;
        begun.io.shutdown().await?;
        return Err(io::Error::other("nobody has the name that the client asked for"));
    };
    begun.into_stream(config).await.map(Some)
}

async fn handshake(
    context: &Context,
    deadline: Duration,
    wire: Wire,
    tls: Option<Arc<dyn Handshakes>>,
) -> Option<(Downstream, Protocol)> {
    let Some(handshakes) = tls else {
        return Some((Downstream::plain(wire), Protocol::Http1));
    };
    match timeout(deadline, secure(context, handshakes.as_ref(), wire)).await {
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
