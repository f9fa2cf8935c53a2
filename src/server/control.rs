//! The strings that a running server is led by: what it goes by, and how far its end has come.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::{
    admission::Admission,
    server::{
        Handler, Proxies,
        bounds::{Deadlines, Limits},
        seats::Seats,
    },
};

/// What a server goes by. It is exchanged as one value, so that no request sees a half of one and a half of another.
pub struct Rules {
    pub handler: Arc<dyn Handler>,
    pub limits: Limits,
    pub deadlines: Deadlines,
    pub proxies: Proxies,
}

/// How far the end has come.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Phase {
    Serving,
    /// New connections are taken, and each ends with its next answer.
    Leaving,
    /// The listeners are closed; what is running may finish.
    Draining,
    /// Whatever still runs is cut.
    Over,
}

/// Clones lead the same server.
#[derive(Clone)]
pub struct Control(Arc<Shared>);

struct Shared {
    rules: ArcSwap<Rules>,
    phase: watch::Sender<Phase>,
    seats: Arc<Seats>,
    drain: Mutex<Option<Duration>>,
    running: AtomicUsize,
    handed_over: Arc<AtomicBool>,
}

/// Counts as a running request until it is dropped.
pub(super) struct Running(Control);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Control {
    pub(super) fn new(rules: Rules, drain: Option<Duration>, admission: Arc<Admission>) -> Self {
        Self(Arc::new(Shared {
            seats: Seats::new(rules.limits.connections, admission),
            rules: ArcSwap::from_pointee(rules),
            phase: watch::Sender::new(Phase::Serving),
            drain: Mutex::new(drain),
            running: AtomicUsize::new(0),
            handed_over: Arc::default(),
        }))
    }

    /// From the next request on the server goes by these.
    pub fn replace(&self, rules: Rules) {
        self.0.seats.resize(rules.limits.connections);
        self.0.rules.store(Arc::new(rules));
    }

    /// From now on each connection ends with its next answer. New ones are still taken.
    pub fn leave(&self) {
        self.advance(Phase::Leaving);
    }

    /// How long requests may go on when the listeners are closed; `None` cuts them at once.
    pub fn set_drain(&self, drain: Option<Duration>) {
        *self.0.drain.lock().unwrap_or_else(PoisonError::into_inner) = drain;
    }

    /// Ends the drain now.
    pub fn cut(&self) {
        self.advance(Phase::Over);
    }

    /// Somebody else listens on the sockets now: their files in the file system stay.
    pub fn hand_over(&self) {
        self.0.handed_over.store(true, Ordering::Relaxed);
    }

    /// Requests that are being answered.
    #[must_use]
    pub fn running(&self) -> usize {
        self.0.running.load(Ordering::Relaxed)
    }

    pub(super) fn rules(&self) -> Arc<Rules> {
        self.0.rules.load_full()
    }

    pub(super) fn seats(&self) -> &Arc<Seats> {
        &self.0.seats
    }

    pub(super) fn handed_over(&self) -> &Arc<AtomicBool> {
        &self.0.handed_over
    }

    pub(super) fn drain(&self) -> Duration {
        self.0.drain.lock().unwrap_or_else(PoisonError::into_inner).unwrap_or_default()
    }

    pub(super) fn begin(&self) -> Running {
        self.0.running.fetch_add(1, Ordering::Relaxed);
        Running(self.clone())
    }

    pub(super) fn phase(&self) -> Phase {
        *self.0.phase.borrow()
    }

    /// Never goes back.
    pub(super) fn advance(&self, to: Phase) {
        self.0.phase.send_if_modified(|phase| {
            let later = to > *phase;
            *phase = to.max(*phase);
            later
        });
    }

    pub(super) async fn reached(&self, phase: Phase) {
        // The sender lives as long as we do.
        let _ = self.0.phase.subscribe().wait_for(|now| *now >= phase).await;
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control")
            .field("phase", &self.phase())
            .field("running", &self.running())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rules = f.debug_struct("Rules");
        rules.field("limits", &self.limits).field("deadlines", &self.deadlines).field("proxies", &self.proxies);
        rules.finish_non_exhaustive()
    }
}
