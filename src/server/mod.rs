//! The rim: sockets on one side, [`Handler`] on the other. The only module that knows pingora.
//!
//! `listener` accepts as long as there are `seats`, on what it has bound or what was passed to us (`inherited`);
//! `connection` reads who the client is where a balancer says so (`proxy_protocol`), asks the `door` whether it may come in,
//! does the TLS handshake with our own configuration and gives the stream to `http1` or `http2`; both read a request's head with pingora's session types and
//! give it to `exchange`, which refuses what is badly framed (`framing`), finds the client behind trusted proxies
//! (`proxies`), lets the handler pull the body (`request`) and writes what it answers (`reply`). Before all of that come
//! the proofs that certificate authorities ask for (`challenges`). Each side waits for the other: a body chunk is read
//! when the handler asks for it, a chunk of an answer is asked for when the last one was written.
//!
//! The accept loop and the loop over requests are ours, because pingora's own know no deadline for a whole head, no
//! limit of connections, no drain that ends when idle and no TLS settings; pingora parses, frames and multiplexes.
//! Its proxy (`HttpProxy`) reads heads by itself and would bring back those gaps: requests that have to be forwarded
//! go through its connector (`pingora::connectors::http`), whose answer is a stream like any other.
//!
//! Nothing here knows what a registry is. Time spent waiting for the handler never counts against the client.

pub mod address;
pub mod bounds;
pub mod challenges;
pub mod debug;
pub mod exchange;

mod connection;
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
pub mod proxies;
pub mod proxy_protocol;
pub mod redirect;
mod reply;
mod request;
mod seats;
mod socket;
mod stream;

use std::{future::Future, io, sync::Arc, time::Duration};

use async_trait::async_trait;
use rustls::ServerConfig;
use tokio::{sync::watch, task::JoinSet};

use crate::{
    admission::Admission,
    api,
    server::{
        address::Address,
        bounds::Bounds,
        challenges::{Challenges, Nothing},
        connection::Context,
        door::Door,
        exchange::Observer,
        inherited::Inherited,
        listener::Listener,
        proxies::Proxies,
        proxy_protocol::ProxyProtocol,
        redirect::Redirect,
        seats::Seats,
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
    pub bounds: Arc<Bounds>,
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
    pub tls: Option<Arc<ServerConfig>>,
    pub proxy_protocol: ProxyProtocol,
    pub serves: Serves,
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
    tls: Option<Arc<ServerConfig>>,
    proxy_protocol: ProxyProtocol,
}

impl Endpoint {
    /// For the registry, without the PROXY protocol.
    #[must_use]
    pub const fn new(address: Address, tls: Option<Arc<ServerConfig>>) -> Self {
        Self { address, tls, proxy_protocol: ProxyProtocol::Off, serves: Serves::Registry }
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
    settings: Settings,
}

impl Server {
    /// Binds every address or none.
    pub fn bind(settings: Settings) -> Result<Self, BindError> {
        Self::bind_with(settings, &mut Inherited::default())
    }

    /// The same, taking from `inherited` the sockets that the settings ask for by name.
    pub fn bind_with(settings: Settings, inherited: &mut Inherited) -> Result<Self, BindError> {
        let mut listeners = Vec::with_capacity(settings.listeners.len());
        for endpoint in &settings.listeners {
            listeners.extend(Listener::bind(endpoint, inherited)?);
        }
        Ok(Self { listeners, settings })
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
        let (stop, stopping) = watch::channel(false);
        let proxies = Arc::new(self.settings.proxies.clone());
        let context = |handler, door| {
            Arc::new(Context {
                handler,
                observer: Arc::clone(&observer),
                challenges: self.settings.challenges.clone(),
                door,
                bounds: Arc::clone(&self.settings.bounds),
                admission: Arc::clone(&self.settings.admission),
                proxies: Arc::clone(&proxies),
                stopping: stopping.clone(),
            })
        };
        let (registry, nothing) = (context(handler, Door::Guarded), context(Arc::new(Nothing), Door::Open));
        let seats = Seats::new(Arc::clone(&self.settings.admission));
        let mut loops = JoinSet::new();
        for listener in self.listeners {
            let context = match listener.serves() {
                Serves::Registry => Arc::clone(&registry),
                Serves::Redirect(redirect) => context(Arc::new(redirect.clone()), Door::Open),
                Serves::Challenges => Arc::clone(&nothing),
            };
            let accept = listener.start()?;
            loops.spawn(accept.serve(context, Arc::clone(&seats), self.settings.drain));
        }
        shutdown.await;
        stop.send_replace(true);
        while loops.join_next().await.is_some() {}
        Ok(())
    }
}
