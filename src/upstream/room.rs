//! How many connections to all servers are open at once, those that are kept among them: each takes a descriptor, and many
//! requests come over one connection of HTTP/2.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::{Notify, futures::Notified};

#[derive(Debug)]
pub(in crate::upstream) struct Room {
    most: usize,
    taken: AtomicUsize,
    /// A connection was closed, or can be used again.
    changed: Notify,
}

/// The right to have one connection open, until it is dropped.
#[derive(Debug)]
pub(in crate::upstream) struct Slot(Arc<Room>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::AcqRel);
        self.0.tell();
    }
}

impl Room {
    pub(in crate::upstream) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, taken: AtomicUsize::new(0), changed: Notify::new() })
    }

    /// `None` where all are taken.
    pub(in crate::upstream) fn take(self: &Arc<Self>) -> Option<Slot> {
        let more = |taken| (taken < self.most).then_some(taken + 1);
        let taken = self.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, more);
        taken.is_ok().then(|| Slot(Arc::clone(self)))
    }

    /// Wakes one who waits.
    pub(in crate::upstream) fn tell(&self) {
        self.changed.notify_one();
    }

    /// To be enabled before it is looked whether something is free: what becomes free after that completes it.
    pub(in crate::upstream) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_so_many() {
        let room = Room::new(2);
        let (one, two) = (room.take(), room.take());
        assert!(one.is_some() && two.is_some() && room.take().is_none());
        drop(one);
        assert!(room.take().is_some());
        drop(two);
        assert_eq!(room.taken.load(Ordering::Relaxed), 0);
    }
}
