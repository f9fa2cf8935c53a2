//! What is done beside serving.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use crate::{
    admission::{Admission, tally::Kind},
    app::{certificates::Watch, networks::Update},
    config::storage::Purging,
    registry::{Registry, format::OpenError, uploads::purge::Mode},
    telemetry::{metrics::Metrics, writer::Losses},
};

/// How often the store is asked whether this version may still write to it, and finished uploads are erased.
const RECHECK: Duration = Duration::from_mins(1);

/// How often counters that nobody pushes are read.
const GAUGES: Duration = Duration::from_secs(5);

/// The first purge comes at a random moment of its first hour, or of its interval where that is shorter, so that
/// replicas do not walk all at once.
const PURGE_SPREAD_SECS: u64 = 3600;

pub(super) struct Tasks {
    /// `None` where another registry answers.
    pub(super) registry: Option<Arc<Registry>>,
    /// `None` where no TLS is spoken.
    pub(super) certificates: Option<Watch>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) admission: Arc<Admission>,
    pub(super) losses: Losses,
    /// Of networks that clients are told apart by.
    pub(super) updates: Vec<Update>,
    pub(super) purging: Option<Purging>,
    /// Set when a newer version has claimed the store: from then on we only read.
    pub(super) demoted: Arc<AtomicBool>,
    /// Set while the configuration refuses writes.
    pub(super) read_only: Arc<AtomicBool>,
}

impl Tasks {
    /// Never ends.
    pub(super) async fn run(self) {
        tokio::select! {
            () = self.recheck() => {}
            () = self.gauges() => {}
            () = self.purge() => {}
            () = self.update() => {}
            () = self.watch_certificates() => {}
        }
    }

    async fn recheck(&self) {
        let Some(registry) = &self.registry else { return std::future::pending().await };
        let mut ticks = interval(RECHECK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match registry.recheck().await {
                Ok(()) => self.demoted.store(false, Ordering::Relaxed),
                // A record that we cannot read was written by somebody who knows more than we do.
                Err(
                    error @ (OpenError::NewerWriter { .. }
                    | OpenError::NewerLayout { .. }
                    | OpenError::Unreadable { .. }),
                ) => {
                    if !self.demoted.swap(true, Ordering::Relaxed) {
                        tracing::error!("read-only from now on: {error}");
                    }
                }
                Err(error) => tracing::warn!("the store's format could not be read: {error}"),
            }
            if self.is_demoted() {
                continue;
            }
            if let Err(error) = registry.erase_finished().await {
                tracing::warn!("what is left of finished uploads could not be erased: {error}");
            }
        }
    }

    fn is_demoted(&self) -> bool {
        self.demoted.load(Ordering::Relaxed)
    }

    async fn gauges(&self) {
        let mut ticks = interval(GAUGES);
        loop {
            ticks.tick().await;
            self.metrics.set_log_lines_dropped(self.losses.total());
            if let Some(registry) = &self.registry {
                self.metrics.set_uploads_memory(registry.upload_memory_taken());
                let cache = registry.cache_counts();
                self.metrics.set_cache_looks(cache.looks, cache.hits);
            }
            for kind in Kind::ALL {
                self.metrics.set_limited(kind.label(), self.admission.tally().total(kind));
            }
        }
    }

    async fn purge(&self) {
        let (Some(purging), Some(registry)) = (self.purging, &self.registry) else {
            return std::future::pending().await;
        };
        let interval = purging.interval.max(Duration::from_secs(1));
        let spread = u64::from(uuid::Uuid::new_v4().as_fields().0) % PURGE_SPREAD_SECS.min(interval.as_secs());
        let mut next = Instant::now() + Duration::from_secs(spread);
        loop {
            sleep_until(next).await;
            next += interval;
            self.purge_once(registry, purging).await;
        }
    }

    /// Never ends, or nothing to keep up to date would end the others.
    async fn update(&self) {
        join_all(self.updates.iter().map(Update::run)).await;
        std::future::pending::<()>().await;
    }

    async fn watch_certificates(&self) {
        match &self.certificates {
            Some(watch) => watch.run().await,
            None => std::future::pending().await,
        }
    }

    async fn purge_once(&self, registry: &Registry, purging: Purging) {
        if self.is_demoted() || self.read_only.load(Ordering::Relaxed) {
            return;
        }
        let mode = if purging.dry_run { Mode::Report } else { Mode::Remove };
        match registry.purge_uploads(purging.age, mode).await {
            Ok(purged) => tracing::info!(
                purge.abandoned = purged.abandoned,
                purge.finished = purged.finished,
                purge.unfinished_writes = purged.unfinished_writes,
                purge.failed = purged.failed,
                purge.dry_run = purging.dry_run,
                "unfinished uploads were purged"
            ),
            Err(error) => tracing::warn!("unfinished uploads could not be purged: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{
        clock::{Clock, SystemClock},
        registry::{Settings, format::Signing, manifests::validation::Validation},
        store::{Distance, Limits, Parts, Precondition, Store, memory::Memory},
    };

    /// Whether an upload of long ago is purged.
    async fn check(demoted: bool, read_only: bool, purged: bool) {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let limits = Limits { parts: Parts::Appended, parts_max: 1, distance: Distance::Here };
        let store: Arc<dyn Store> = Arc::new(Memory::new(limits, Arc::clone(&clock)));
        let id = uuid::Uuid::nil();
        let started = crate::registry::layout::Layout.upload_started_at(&"a".parse().unwrap(), &id);
        store.put(&started, vec![Bytes::from("2001-01-01T00:00:00Z")], Precondition::Always).await.unwrap();
        let settings = Settings {
            validation: Validation::default(),
            descriptor_cache: None,
            upload_lifetime: Duration::from_mins(1),
            upload_memory: 1 << 20,
            upload_checkpoint: 1 << 30,
            upload_size_max: None,
            // More than a semaphore can count.
            upload_bodies_max: Some(usize::MAX),
            signing: Signing::Shared,
        };
        let registry = Arc::new(Registry::open(Arc::clone(&store), clock, settings).await.unwrap());
        let tasks = Tasks {
            registry: Some(Arc::clone(&registry)),
            certificates: None,
            metrics: Arc::new(Metrics::new().unwrap()),
            admission: Arc::default(),
            losses: Losses::default(),
            updates: Vec::new(),
            purging: None,
            demoted: Arc::new(AtomicBool::new(demoted)),
            read_only: Arc::new(AtomicBool::new(read_only)),
        };
        let minute = Duration::from_mins(1);
        tasks.purge_once(&registry, Purging { age: minute, interval: minute, dry_run: false }).await;
        assert_eq!(store.head(&started).await.is_err(), purged, "{demoted} {read_only}");
    }

    #[tokio::test]
    async fn a_store_that_is_not_to_be_written_is_left_alone() {
        check(false, false, true).await;
        check(true, false, false).await;
        check(false, true, false).await;
    }
}
