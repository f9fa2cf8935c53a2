//! The other registry behind us: requests go on to it, and its answers come back as they are.
//!
//! This is the reverse proxy of GitLab's template for NGINX: the same headers, both bodies streamed, nothing kept.
//!
//! 1. `headers` takes off what belongs to the client's connection and puts on who it is.
//! 2. `balance` orders the `server`s; a connection (`way`) comes from the server's `pool`, or is made by `endpoint`
//!    where there is `room`.
//! 3. `forward` sends the head, feeds the body chunk by chunk (`body`) and turns what comes back into a reply whose
//!    body is read as the client takes it (`answer`).
//! 4. [`shadow`] may ask our own gateway the same question afterwards, and compare.
//!
//! Nothing is sent twice once a byte of its body was taken. A client that goes away takes its connection with it; an
//! answer that breaks off here resets the client's connection. Never: an answer that is kept, a redirect that is
//! followed.

mod answer;
mod balance;
mod body;
mod connection;
pub mod endpoint;
mod failure;
mod forward;
mod headers;
mod pool;
mod room;
mod server;
pub mod shadow;
mod way;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::HeaderValue;

use crate::{
    api::{self, Scheme, gate},
    health::{Check, Checks, Parts, probe::Probe},
    telemetry::upstream::Upstream as Metrics,
    upstream::{endpoint::Endpoint, failure::Failure, room::Room, server::Server},
};

/// Everything that the configuration says about the registry behind us.
#[derive(Clone, Debug)]
pub struct Settings {
    /// One or more, which share what they store.
    pub endpoints: Vec<Endpoint>,
    pub balance: Balance,
    /// In the place of the `Host` that clients send.
    pub host: Option<HeaderValue>,
    /// How clients reach us, where that is not how they reached this listener.
    pub scheme: Option<Scheme>,
    /// `http.prefix`, to tell in the log what a request is about.
    pub prefix: String,
    /// Open at once to all of them, checks of health aside; at least one.
    pub connections_max: usize,
    /// For a connection, with its TLS handshake, and before that for room for it.
    pub connect_timeout: Duration,
    /// Without a byte from a server, or without one that it takes.
    pub read_timeout: Duration,
    /// `None`: only connections that fail tell that a server is down.
    pub probing: Option<Probing>,
}

/// Which of several servers is next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Balance {
    RoundRobin,
    /// The one with the fewest requests on their way, in turn where they are equal.
    LeastConnections,
}

/// How a server is asked whether it is well. Any answer below 500 says so: 401 is what a guarded registry answers.
#[derive(Clone, Debug)]
pub struct Probing {
    pub path: String,
    pub interval: Duration,
    /// Failures in a row, from 1.
    pub threshold: u32,
}

/// Answers requests with what the registry behind us says.
#[derive(Debug)]
pub struct Proxy {
    settings: Settings,
    servers: Vec<Arc<Server>>,
    room: Arc<Room>,
    /// Counts requests, for the order of servers.
    turn: AtomicUsize,
    _checks: Vec<Checks>,
}

impl Proxy {
    /// Begins to watch the servers, on the current runtime.
    #[must_use]
    pub fn new(settings: Settings, metrics: &Arc<Metrics>) -> Self {
        let room = Room::new(settings.connections_max);
        let server =
            |endpoint: &Endpoint| Arc::new(Server::new(endpoint.clone(), Arc::clone(&room), Arc::clone(metrics)));
        let servers: Vec<_> = settings.endpoints.iter().map(server).collect();
        let checks = settings.probing.iter().flat_map(|probing| {
            let patience = settings.connect_timeout;
            servers.iter().map(move |server| watch(server, probing, patience))
        });
        let checks = checks.collect();
        Self { settings, servers, room, turn: AtomicUsize::new(0), _checks: checks }
    }

    /// The answer of the registry behind us, or why there is none.
    pub async fn handle(&self, request: api::Request) -> api::Reply {
        let log = gate::describe(request.uri.path(), &self.settings.prefix);
        let mut reply = match self.forward(request).await {
            Ok(reply) => reply,
            Err(failure) => failure.into_reply(),
        };
        reply.log = api::Log { failure: reply.log.failure.take(), ..log };
        reply
    }

    /// The servers that may be asked, the best first.
    fn candidates(&self) -> Vec<Arc<Server>> {
        let standings: Vec<_> = self.servers.iter().map(|server| server.standing()).collect();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        balance::order(&standings, self.settings.balance, turn)
            .into_iter()
            .map(|at| Arc::clone(&self.servers[at]))
            .collect()
    }
}

/// The answer while one of the operator's health checks fails.
#[must_use]
pub fn unhealthy() -> api::Reply {
    Failure::Unhealthy.into_reply()
}

impl Parts for Proxy {
    fn failing(&self) -> BTreeMap<String, String> {
        let failing = |server: &Arc<Server>| Some((format!("upstream {}", server.name()), server.trouble()?));
        self.servers.iter().filter_map(failing).collect()
    }

    fn serve(&self) -> bool {
        self.servers.iter().any(|server| server.trouble().is_none())
    }
}

fn watch(server: &Arc<Server>, probing: &Probing, patience: Duration) -> Checks {
    let (asked, path) = (Arc::clone(server), probing.path.clone());
    let probe = Probe::call(move || {
        let (server, path) = (Arc::clone(&asked), path.clone());
        async move { server.probe(&path, patience).await }
    });
    let name = format!("upstream {}", server.name());
    server.health().watch(vec![Check { name, probe, interval: probing.interval, threshold: probing.threshold }])
}
