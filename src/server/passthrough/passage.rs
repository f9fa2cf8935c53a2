//! What is told of a connection, or a request, that was passed on.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    api,
    server::{connection::Context, exchange::Observer, passthrough::Entry},
};

/// What there is to know of it when it is over.
#[derive(Debug)]
pub struct Passage<'a> {
    /// The first name of the rule.
    pub rule: &'a str,
    pub kind: Kind,
    /// What the client asked for. It chose that.
    pub name: &'a str,
    pub connection: &'a api::Connection,
    /// Bytes that came from the client: of HTTP those of bodies, and of what follows an upgrade.
    pub received: u64,
    /// Bytes that went to the client.
    pub sent: u64,
    pub elapsed: Duration,
    pub ending: Ending,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// A connection that speaks TLS with the other server.
    Tls,
    /// A plain request.
    Http,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ending {
    Complete,
    /// One of both went away in the middle, or the process stopped.
    Cut,
    /// Nobody said anything for too long, or the client was too slow.
    Idle,
    /// The other server did not take it.
    Unreachable,
}

/// Bytes that have passed, in both directions.
#[derive(Debug, Default)]
pub(super) struct Tally {
    received: AtomicU64,
    sent: AtomicU64,
    held: AtomicUsize,
}

/// Bytes wait for their client's rate until it is dropped.
pub(super) struct Held<'a>(&'a Tally);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.held.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Tally {
    pub(super) fn receive(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn send(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// From now on it is we who let them wait.
    pub(super) fn hold(&self) -> Held<'_> {
        self.held.fetch_add(1, Ordering::Relaxed);
        Held(self)
    }

    pub(super) fn is_held(&self) -> bool {
        self.held.load(Ordering::Relaxed) > 0
    }

    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

/// One that goes on; tells the observer when it ends, also when it is dropped in the middle.
pub(super) struct Passing {
    observer: Arc<dyn Observer>,
    entry: Arc<Entry>,
    kind: Kind,
    name: String,
    connection: api::Connection,
    started: Instant,
    pub(super) tally: Tally,
    pub(super) ending: Ending,
}

impl Passing {
    pub(super) fn begin(
        context: &Context,
        entry: &Arc<Entry>,
        kind: Kind,
        name: &str,
        connection: &api::Connection,
    ) -> Self {
        context.observer.passing(entry.rule.label(), kind);
        Self {
            observer: Arc::clone(&context.observer),
            entry: Arc::clone(entry),
            kind,
            name: name.to_owned(),
            connection: connection.clone(),
            started: Instant::now(),
            tally: Tally::default(),
            ending: Ending::Cut,
        }
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        self.observer.passed(&Passage {
            rule: self.entry.rule.label(),
            kind: self.kind,
            name: &self.name,
            connection: &self.connection,
            received: self.tally.received(),
            sent: self.tally.sent(),
            elapsed: self.started.elapsed(),
            ending: self.ending,
        });
    }
}
