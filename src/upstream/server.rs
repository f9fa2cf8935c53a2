//! One of the servers behind us: whether it is well, how busy it is, and its connections.

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use http::{Method, Request, header};
use tokio::time::timeout;

use crate::{
    health::Health,
    telemetry::upstream::{Outcome, Upstream as Metrics},
    upstream::{
        balance::{Fitness, Standing},
        body::Outgoing,
        connection::Connection,
        endpoint::Endpoint,
        failure::is_ours,
        pool::{Pool, Repeatable},
        room::{Room, Slot},
    },
};

/// How long a server is passed over after a connection to it failed, where there are others.
const EJECTED: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(in crate::upstream) struct Server {
    endpoint: Endpoint,
    pool: Pool,
    /// What its check says.
    health: Health,
    /// That a connection failed, and why.
    ejection: Mutex<Option<Ejection>>,
    busy: AtomicUsize,
    /// Shared by all servers.
    room: Arc<Room>,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
struct Ejection {
    until: Instant,
    why: String,
}

/// What came of a check that found nothing wrong.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Asked {
    Well,
    /// We could not ask, for want of something here: all stays as it was.
    Not,
}

/// A request that is on its way to a server.
#[derive(Debug)]
pub(in crate::upstream) struct Busy(Arc<Server>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
        self.0.metrics.left(self.0.name());
    }
}

impl Server {
    pub(in crate::upstream) fn new(endpoint: Endpoint, room: Arc<Room>, metrics: Arc<Metrics>) -> Self {
        metrics.known(endpoint.name());
        Self {
            endpoint,
            pool: Pool::default(),
            health: Health::default(),
            ejection: Mutex::default(),
            busy: AtomicUsize::new(0),
            room,
            metrics,
        }
    }

    pub(in crate::upstream) fn name(&self) -> &str {
        self.endpoint.name()
    }

    pub(in crate::upstream) const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    pub(in crate::upstream) const fn health(&self) -> &Health {
        &self.health
    }

    pub(in crate::upstream) fn standing(&self) -> Standing {
        let fitness = if !self.health.is_healthy() {
            Fitness::Unfit
        } else if self.is_ejected() {
            Fitness::Doubtful
        } else {
            Fitness::Fit
        };
        Standing { fitness, busy: self.busy.load(Ordering::Relaxed) }
    }

    /// Why it is passed over, if it is.
    pub(in crate::upstream) fn trouble(&self) -> Option<String> {
        let checked = self.health.report().into_values().next();
        checked.or_else(|| self.ejection().as_ref().filter(|it| it.until > Instant::now()).map(|it| it.why.clone()))
    }

    pub(in crate::upstream) fn occupy(self: &Arc<Self>) -> Busy {
        self.busy.fetch_add(1, Ordering::Relaxed);
        self.metrics.entered(self.name());
        Busy(Arc::clone(self))
    }

    pub(in crate::upstream) fn count(&self, outcome: Outcome) {
        self.metrics.count(self.name(), outcome);
    }

    /// A connection that was used before, if one is there.
    pub(in crate::upstream) fn reuse(&self, repeatable: Repeatable) -> Option<Connection> {
        self.pool.take(repeatable)
    }

    pub(in crate::upstream) fn idle_since(&self) -> Option<Instant> {
        self.pool.oldest()
    }

    /// Closes the connection that has been idle for the longest time.
    pub(in crate::upstream) fn close_idle(&self) {
        self.pool.drop_oldest();
    }

    /// A new connection. One that fails by the server's fault makes it doubtful for a while.
    pub(in crate::upstream) async fn open(&self, slot: Slot, patience: Duration) -> io::Result<Connection> {
        match Connection::open(&self.endpoint, Some(slot), patience).await {
            Ok(connection) => {
                self.metrics.connected(self.name());
                self.set_ejection(None);
                Ok(connection)
            }
            Err(error) if is_ours(&error) => {
                self.count(Outcome::Crowded);
                Err(error)
            }
            Err(error) => {
                self.count(Outcome::Unreachable);
                self.eject(error.to_string());
                Err(error)
            }
        }
    }

    pub(in crate::upstream) fn keep(&self, connection: Connection) {
        self.pool.put(connection);
        self.room.tell();
    }

    /// Asks it for something that costs nothing; the error is a sentence for the operator.
    pub(in crate::upstream) async fn probe(&self, path: &str, patience: Duration) -> Result<(), String> {
        let outcome = match timeout(patience, self.ask(path, patience)).await {
            Ok(Ok(Asked::Not)) => return self.health.report().into_values().next().map_or(Ok(()), Err),
            Ok(asked) => asked.map(drop),
            Err(_) => Err(format!("no answer within {patience:?}")),
        };
        self.metrics.set_up(self.name(), outcome.is_ok());
        if outcome.is_ok() {
            self.set_ejection(None);
        }
        outcome
    }

    /// On a connection of its own: whether new ones can be had is part of the question.
    async fn ask(&self, path: &str, patience: Duration) -> Result<Asked, String> {
        let mut connection = match Connection::open(&self.endpoint, None, patience).await {
            Ok(connection) => connection,
            Err(error) if is_ours(&error) => {
                tracing::warn!(upstream = self.name(), err.detail = %error, "an upstream could not be checked");
                return Ok(Asked::Not);
            }
            Err(error) => return Err(error.to_string()),
        };
        let request = Request::builder()
            .method(Method::GET)
            .uri(path)
            .header(header::HOST, self.endpoint.host())
            .header(header::CONNECTION, "close")
            .header(header::USER_AGENT, concat!("pierhead/", env!("CARGO_PKG_VERSION"), " (health check)"))
            .body(Outgoing::Empty)
            .map_err(|error| error.to_string())?;
        let answer = connection.sender.send_request(request).await.map_err(|error| error.to_string())?;
        if answer.status().is_server_error() {
            return Err(format!("status {}", answer.status().as_u16()));
        }
        Ok(Asked::Well)
    }

    fn is_ejected(&self) -> bool {
        self.ejection().as_ref().is_some_and(|ejection| ejection.until > Instant::now())
    }

    fn eject(&self, why: String) {
        if !self.is_ejected() {
            tracing::warn!(upstream = self.name(), err.detail = why, "an upstream cannot be reached");
        }
        self.pool.clear();
        self.set_ejection(Some(Ejection { until: Instant::now() + EJECTED, why }));
    }

    fn set_ejection(&self, ejection: Option<Ejection>) {
        *self.ejection() = ejection;
    }

    fn ejection(&self) -> std::sync::MutexGuard<'_, Option<Ejection>> {
        self.ejection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
