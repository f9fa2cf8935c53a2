//! What is done beside serving.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use crate::{
    config::storage::Purging,
    registry::{Registry, format::OpenError, uploads::purge::Mode},
    telemetry::{metrics::Metrics, writer::Writer},
};

/// How often the store is asked whether this version may still write to it, and finished uploads are erased.
const RECHECK: Duration = Duration::from_mins(1);

/// How often counters that nobody pushes are read.
const GAUGES: Duration = Duration::from_secs(5);

/// The first purge comes at a random moment of its first hour, so that replicas do not walk all at once.
const PURGE_SPREAD_SECS: u64 = 3600;

pub(super) struct Tasks {
    pub(super) registry: Arc<Registry>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) lines: Writer,
    pub(super) purging: Option<Purging>,
    /// Set when a newer version has claimed the store: from then on we only read.
    pub(super) demoted: Arc<AtomicBool>,
}

impl Tasks {
    pub(super) async fn run(self, stopped: impl Future<Output = ()>) {
        tokio::select! {
            () = stopped => {}
            () = self.recheck() => {}
            () = self.gauges() => {}
            () = self.purge() => {}
        }
    }

    async fn recheck(&self) {
        let mut ticks = interval(RECHECK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match self.registry.recheck().await {
                Ok(()) => self.demoted.store(false, Ordering::Relaxed),
                Err(error @ (OpenError::NewerWriter { .. } | OpenError::NewerLayout { .. })) => {
                    if !self.demoted.swap(true, Ordering::Relaxed) {
                        tracing::error!("read-only from now on: {error}");
                    }
                }
                Err(error) => tracing::warn!("the store's format could not be read: {error}"),
            }
            if let Err(error) = self.registry.erase_finished().await {
                tracing::warn!("what is left of finished uploads could not be erased: {error}");
            }
        }
    }

    async fn gauges(&self) {
        let mut ticks = interval(GAUGES);
        loop {
            ticks.tick().await;
            self.metrics.set_log_lines_dropped(self.lines.dropped());
            self.metrics.set_uploads_memory(self.registry.upload_memory_taken());
            let cache = self.registry.cache_counts();
            self.metrics.set_cache_looks(cache.looks, cache.hits);
        }
    }

    async fn purge(&self) {
        let Some(purging) = self.purging else { return std::future::pending().await };
        let spread = Duration::from_secs(u64::from(uuid::Uuid::new_v4().as_fields().0) % PURGE_SPREAD_SECS);
        let mut next = Instant::now() + spread;
        loop {
            sleep_until(next).await;
            let mode = if purging.dry_run { Mode::Report } else { Mode::Remove };
            match self.registry.purge_uploads(purging.age, mode).await {
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
            next += purging.interval.max(Duration::from_secs(1));
        }
    }
}
