//! Connections that are kept between two requests.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::upstream::connection::Connection;

/// How long an idle connection is kept: shorter than servers and what stands in between usually keep their end.
const IDLE: Duration = Duration::from_secs(30);

/// How long it may have been idle to be trusted with a request that cannot be sent again: a server that closes its end at
/// the same moment would take the request with it.
const FRESH: Duration = Duration::from_secs(5);

/// Most idle connections to one server.
const IDLE_MAX: usize = 128;

#[derive(Debug, Default)]
pub(in crate::upstream) struct Pool(Mutex<VecDeque<Kept>>);

/// The latest at the end.
#[derive(Debug)]
struct Kept {
    connection: Connection,
    since: Instant,
}

/// Whether a request that a stale connection has lost can be sent again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::upstream) enum Repeatable {
    Yes,
    No,
}

impl Pool {
    /// The connection that was used last, as it is the least likely to be stale.
    pub(in crate::upstream) fn take(&self, repeatable: Repeatable) -> Option<Connection> {
        let idle_max = if repeatable == Repeatable::Yes { IDLE } else { FRESH };
        let mut kept = self.lock();
        // One that was put back a moment ago may not be ready yet; it will be for the next.
        let at = kept.iter().rposition(|it| it.connection.is_ready())?;
        let is_young = kept.get(at).is_some_and(|it| it.since.elapsed() < idle_max);
        if is_young { kept.remove(at).map(|it| it.connection) } else { None }
    }

    pub(in crate::upstream) fn put(&self, connection: Connection) {
        let mut kept = self.lock();
        while kept.front().is_some_and(|first| {
            kept.len() >= IDLE_MAX || first.since.elapsed() >= IDLE || first.connection.sender.is_closed()
        }) {
            kept.pop_front();
        }
        kept.push_back(Kept { connection, since: Instant::now() });
    }

    /// Since when the one that was used the longest time ago has been idle, of those that are open still.
    pub(in crate::upstream) fn oldest(&self) -> Option<Instant> {
        let mut kept = self.lock();
        kept.retain(|it| !it.connection.sender.is_closed());
        kept.front().map(|kept| kept.since)
    }

    /// Closes that one.
    pub(in crate::upstream) fn drop_oldest(&self) {
        self.lock().pop_front();
    }

    /// After this only new connections are there: a server that was down is another one now.
    pub(in crate::upstream) fn clear(&self) {
        self.lock().clear();
    }

    /// Nothing under this lock can leave the queue half changed.
    fn lock(&self) -> MutexGuard<'_, VecDeque<Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
