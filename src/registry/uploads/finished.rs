//! Uploads that came to their end: their last record answers a retried PUT for a while, then goes.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    oci::name::RepositoryName,
    registry::{Registry, uploads::journal::Journal},
    store,
};

/// How long the last record of a finished upload stays.
pub const KEPT: Duration = Duration::from_hours(1);

/// Most uploads remembered; the purge finds the others.
const REMEMBERED_MAX: usize = 1 << 16;

/// The uploads that this process finished, the oldest first.
#[derive(Debug, Default)]
pub struct Finished(Mutex<VecDeque<(OffsetDateTime, RepositoryName, Uuid)>>);

impl Finished {
    pub(in crate::registry) fn push(&self, now: OffsetDateTime, repository: &RepositoryName, id: Uuid) {
        let mut queue = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.len() < REMEMBERED_MAX {
            queue.push_back((now, repository.clone(), id));
        }
    }

    fn pop(&self, before: OffsetDateTime) -> Option<(RepositoryName, Uuid)> {
        let mut queue = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.front().is_none_or(|(finished, ..)| *finished > before) {
            return None;
        }
        queue.pop_front().map(|(_, repository, id)| (repository, id))
    }
}

impl Registry {
    /// Erases what is left of uploads that this process finished long enough ago; returns how many.
    pub async fn erase_finished(&self) -> store::Result<usize> {
        let mut erased = 0;
        while let Some((repository, id)) = self.finished.pop(self.clock.now() - KEPT) {
            Journal { registry: self, repository: &repository, id }.erase().await?;
            erased += 1;
        }
        Ok(erased)
    }
}
