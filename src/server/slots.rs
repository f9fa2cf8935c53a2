//! How many connections may be open at once: a number that can change while they are.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Places for connections.
#[derive(Debug)]
pub(super) struct Slots {
    free: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    limit: usize,
    /// Places that are taken, and not to be given again: the limit was lowered below what was open.
    surplus: usize,
}

/// One place, until it is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    slots: Arc<Slots>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Slots {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        let limit = limit.min(Semaphore::MAX_PERMITS);
        Arc::new(Self { free: Arc::new(Semaphore::new(limit)), state: Mutex::new(State { limit, surplus: 0 }) })
    }

    /// Waits for a place.
    pub(super) async fn take(self: &Arc<Self>) -> Slot {
        // An error would mean that the semaphore was closed, which nobody does.
        let permit = Arc::clone(&self.free).acquire_owned().await.ok();
        Slot { slots: Arc::clone(self), permit }
    }

    /// What is open stays open, and each listener keeps the place that it holds for the next to come; beyond that there
    /// are no new ones before there are fewer than this.
    pub(super) fn resize(&self, limit: usize) {
        let limit = limit.min(Semaphore::MAX_PERMITS);
        let mut state = self.state();
        if limit >= state.limit {
            let more = limit - state.limit;
            let settled = more.min(state.surplus);
            state.surplus -= settled;
            self.free.add_permits(more - settled);
        } else {
            let fewer = state.limit - limit;
            state.surplus += fewer - self.free.forget_permits(fewer);
        }
        state.limit = limit;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.slots.state();
        if state.surplus > 0
            && let Some(permit) = self.permit.take()
        {
            state.surplus -= 1;
            permit.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    /// Takes as many as there are.
    fn take_all(slots: &Arc<Slots>) -> Vec<Slot> {
        std::iter::from_fn(|| slots.take().now_or_never()).collect()
    }

    #[test]
    fn a_limit_rises_and_falls_under_those_who_hold_places() {
        let slots = Slots::new(3);
        let mut held = take_all(&slots);
        assert_eq!(held.len(), 3);
        slots.resize(1);
        assert_eq!(take_all(&slots).len(), 0);
        held.truncate(2);
        held.truncate(1);
        assert_eq!(take_all(&slots).len(), 0);
        slots.resize(4);
        let more = take_all(&slots);
        assert_eq!(more.len(), 3);
        // Lowered and raised again while all are taken.
        slots.resize(2);
        slots.resize(4);
        drop((held, more));
        assert_eq!(take_all(&slots).len(), 4);
        slots.resize(2);
        assert_eq!(take_all(&slots).len(), 2);
    }
}
