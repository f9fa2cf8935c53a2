//! The rim: sockets on one side, [`Handler`] on the other. The only module that knows pingora.
//!
//! `listener` accepts as long as there are `seats`, on what it has bound or what was passed to us (`inherited`);
//! `connection` reads who the client is where a balancer says so (`proxy_protocol`), asks the `door` whether it may come in,
//! does the TLS handshake with our own configuration and gives the stream to `http1` or `http2`; both read a request's head
//! with pingora's session types and give it to `exchange`, which refuses what is badly framed (`framing`), finds the client
//! behind trusted proxies (`proxies`), lets the handler pull the body (`request`) and writes what it answers (`reply`).
//! Before the handler come the proofs that certificate authorities ask for (`challenges`), to which the door's lists do not
//! apply, and before those the names that are another server's (`passthrough`). Each side waits for the other: a body chunk
//! is read when the handler asks for it, a chunk of an answer is asked for when the last one was written.
//!
//! The accept loop and the loop over requests are ours, because pingora's own know no deadline for a whole head, no
//! limit of connections, no drain that ends when idle and no TLS settings; pingora parses, frames and multiplexes.
//! Its proxy (`HttpProxy`) reads heads by itself and would bring back those gaps: requests that have to be forwarded
//! go through its connector (`pingora::connectors::http`), whose answer is a stream like any other.
//!
//! A running server is led by its `control`: the rules that every request goes by are exchanged as one value, and its end
//! comes in phases, from the first answers with `Connection: close` to what is cut when the drain has lasted too long.
//!
//! Nothing here knows what a registry is. Time spent waiting for the handler never counts against the client.

pub mod address;
pub mod bounds;
pub mod challenges;
pub mod debug;
pub mod exchange;

mod ahead;
mod connection;
pub mod control;
pub mod descriptors;
mod door;
mod forwarded;
mod framing;
mod gathered;
mod http1;
mod http2;
pub mod inherited;
mod listener;
mod pace;
pub mod passthrough;
pub mod proxies;
pub mod proxy_protocol;
pub mod redirect;
mod reply;
mod request;
mod seats;
mod socket;
mod stream;

use std::{
    fmt,
    future::Future,
    io,
    os::fd::OwnedFd,
    sync::{Arc, Once},
    time::Duration,
};

use async_trait::async_trait;
use rustls::{ServerConfig, server::ClientHello};
use tokio::{task::JoinSet, time::sleep};
use tracing::warn;

use crate::{
    admission::Admission,
    api,
    server::{
        address::Address,
        ahead::Bulk,
        bounds::{Deadlines, Limits},
        challenges::{Challenges, Nothing},
        connection::{Answers, Context},
        control::{Control, Phase, Rules},
        door::Door,
        exchange::Observer,
        inherited::Inherited,
        listener::Listener,
        passthrough::Passthrough,
        proxies::Proxies,
        proxy_protocol::ProxyProtocol,
        redirect::Redirect,
    },
};

/// Answers requests. A panic becomes a 500.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// The answer's body may still read the request's.
    async fn handle(&self, request: api::Request) -> api::Reply;
}

/// Where to listen, and within which bounds.
#[derive(Clone, Debug)]
pub struct Settings {
    pub listeners: Vec<Endpoint>,
    pub limits: Limits,
    pub deadlines: Deadlines,
    /// Who may come in, and at which rate.
    pub admission: Arc<Admission>,
    /// Whose word about clients counts.
    pub proxies: Proxies,
    /// How long running requests may take once a shutdown was asked for; `None` cuts them at once, which is what the
    /// registry's `draintimeout: 0` means.
    pub drain: Option<Duration>,
    /// What is proven to certificate authorities, on every listener; `None` where nobody asks for certificates.
    pub challenges: Option<Arc<dyn Challenges>>,
}

/// One address, and what is spoken and served on it.
#[derive(Clone, Debug)]
pub struct Endpoint {
    pub address: Address,
    /// `None`: plain HTTP/1.1.
    pub tls: Option<Arc<dyn Handshakes>>,
    pub proxy_protocol: ProxyProtocol,
    pub serves: Serves,
    /// Names that are somebody else's on this address.
    pub passthrough: Option<Arc<Passthrough>>,
}

/// Who answers the requests of a listener, beside the answers to challenges, which come first everywhere.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Serves {
    /// The handler that the server runs with.
    Registry,
    /// Nobody: clients are sent to https.
    Redirect(Redirect),
    /// Nothing else: every other path is 404.
    Challenges,
}

/// What is spoken before HTTP.
#[derive(Clone, Debug)]
struct Terms {
    tls: Option<Arc<dyn Handshakes>>,
    proxy_protocol: ProxyProtocol,
}

impl Endpoint {
    /// For the registry, without the PROXY protocol.
    #[must_use]
    pub const fn new(address: Address, tls: Option<Arc<dyn Handshakes>>) -> Self {
        Self { address, tls, proxy_protocol: ProxyProtocol::Off, serves: Serves::Registry, passthrough: None }
    }

    fn terms(&self) -> Terms {
        Terms { tls: self.tls.clone(), proxy_protocol: self.proxy_protocol }
    }
}

/// A listener as it came to be.
#[derive(Clone, Debug)]
pub struct Bound {
    /// Where it really listens: a port 0 became the port that the system chose.
    pub address: Address,
    pub scheme: api::Scheme,
    pub proxy_protocol: ProxyProtocol,
    pub serves: Serves,
}

/// Decides on a handshake when the client has said what it wants.
pub trait Handshakes: fmt::Debug + Send + Sync + 'static {
    /// `None` where nobody has the name that it asks for: it hears the alert `unrecognized_name` (RFC 6066 section 3).
    fn answer(&self, hello: &ClientHello<'_>) -> Option<Arc<ServerConfig>>;
}

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct BindError {
    pub address: Address,
    pub source: io::Error,
}

/// Bound sockets on which nothing is served yet.
#[derive(Debug)]
pub struct Server {
    listeners: Vec<Listener>,
    challenges: Option<Arc<dyn Challenges>>,
    admission: Arc<Admission>,
    control: Control,
}

/// A listener's socket, for a process that replaces this one.
#[derive(Debug)]
pub struct Handed {
    /// As it was configured.
    pub address: Address,
    pub socket: OwnedFd,
}

impl Server {
    /// Binds every address or none.
    pub fn bind(settings: Settings) -> Result<Self, BindError> {
        Self::bind_with(settings, &mut Inherited::default())
    }

    /// The same, taking from `inherited` the sockets that the settings ask for by name, and those that stand under an
    /// address that would be bound otherwise.
    pub fn bind_with(settings: Settings, inherited: &mut Inherited) -> Result<Self, BindError> {
        let Settings { listeners: endpoints, limits, deadlines, admission, proxies, drain, challenges } = settings;
        // Until it runs, nobody is answered.
        let rules = Rules { handler: Arc::new(Nothing), limits, deadlines, proxies };
        let control = Control::new(rules, drain, Arc::clone(&admission));
        let mut listeners = Vec::with_capacity(endpoints.len());
        for endpoint in &endpoints {
            listeners.extend(Listener::bind(endpoint, inherited, control.handed_over())?);
        }
        Ok(Self { listeners, challenges, admission, control })
    }

    /// What it is led by while it runs.
    #[must_use]
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// The sockets, for another process to accept on as well. While somebody holds them, connections queue there even if
    /// nobody accepts.
    pub fn sockets(&self) -> io::Result<Vec<Handed>> {
        self.listeners.iter().map(Listener::handed).collect()
    }

    /// Where it really listens, in the order of the settings; a port 0 became the port that the system chose.
    pub fn local_addresses(&self) -> Vec<Address> {
        self.listeners.iter().map(|listener| listener.local().clone()).collect()
    }

    /// Every listener, in the order of the settings.
    pub fn bound(&self) -> Vec<Bound> {
        let bound = |listener: &Listener| Bound {
            address: listener.local().clone(),
            scheme: if listener.terms().tls.is_some() { api::Scheme::Https } else { api::Scheme::Http },
            proxy_protocol: listener.terms().proxy_protocol,
            serves: listener.serves().clone(),
        };
        self.listeners.iter().map(bound).collect()
    }

    /// Serves until `shutdown` completes, then closes the listeners and idle connections, and returns as soon as the
    /// last running request has ended or the drain's time is over.
    pub async fn run(
        self,
        handler: Arc<dyn Handler>,
        observer: Arc<dyn Observer>,
        shutdown: impl Future<Output = ()> + Send,
    ) -> io::Result<()> {
        let Self { listeners, challenges, admission, control } = self;
        let Rules { limits, deadlines, proxies, .. } = &*control.rules();
        let (limits, deadlines, proxies) = (*limits, *deadlines, proxies.clone());
        control.replace(Rules { handler, limits, deadlines, proxies });
        let strangers = Arc::new(Once::new());
        let listening: Arc<[_]> = listeners.iter().filter_map(|listener| listener.local().socket()).collect();
        let bulk = Bulk::of_machine();
        let mut loops = JoinSet::new();
        for listener in listeners {
            let (answers, door) = match listener.serves() {
                Serves::Registry => (Answers::InForce, Door::Guarded),
                Serves::Redirect(redirect) => (Answers::Always(Arc::new(redirect.clone())), Door::Open),
                Serves::Challenges => (Answers::Always(Arc::new(Nothing)), Door::Open),
            };
            let (observer, challenges) = (Arc::clone(&observer), challenges.clone());
            let context = Arc::new(Context {
                control: control.clone(),
                answers,
                observer,
                challenges,
                door,
                admission: Arc::clone(&admission),
                strangers: Arc::clone(&strangers),
                bulk: bulk.clone(),
                passthrough: listener.passthrough().cloned(),
                listening: Arc::clone(&listening),
            });
            loops.spawn(listener.start()?.serve(context));
        }
        shutdown.await;
        control.advance(Phase::Draining);
        tokio::select! {
            () = async { while loops.join_next().await.is_some() {} } => return Ok(()),
            () = sleep(control.drain()) => {}
            () = control.reached(Phase::Over) => {}
        }
        match control.running() {
            0 => {}
            running => warn!(requests = running, "running requests were cut at the end of the drain"),
        }
        // With each loop go its connections.
        loops.shutdown().await;
        Ok(())
    }
}
