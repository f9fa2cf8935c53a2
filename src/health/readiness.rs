//! Should a balancer send clients here? Asked on the debug listener, by balancers and orchestrators.
//!
//! Not ready is who is unhealthy, whose storage does not answer, or who is about to go. A process that may only read is
//! ready: pulls are most of what is asked for, and another replica would refuse the pushes as well.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Mutex, time::Instant};

use crate::health::{Health, probe::Probe};

/// How long an answer of the storage counts: however often we are asked, the storage is not asked more often.
const FRESH: Duration = Duration::from_secs(5);

/// Under which the going is reported.
const LEAVING: &str = "shutdown";

/// The present state; clones share it.
#[derive(Clone)]
pub struct Readiness {
    health: Health,
    storage: Arc<Storage>,
    leaving: Arc<AtomicBool>,
}

struct Storage {
    name: String,
    probe: Probe,
    last: Mutex<Option<(Instant, Result<(), String>)>>,
}

impl Readiness {
    /// `name` is the storage's, `probe` asks it.
    #[must_use]
    pub fn new(health: Health, name: String, probe: Probe) -> Self {
        let storage = Storage { name, probe, last: Mutex::new(None) };
        Self { health, storage: Arc::new(storage), leaving: Arc::default() }
    }

    /// This process is about to go.
    pub fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    /// Why it is not ready; empty when it is.
    pub async fn report(&self) -> BTreeMap<String, String> {
        let mut report = self.health.report();
        if self.leaving.load(Ordering::Relaxed) {
            report.insert(LEAVING.to_owned(), "is stopping".to_owned());
            // Enough to know, and the storage may be what it is being stopped for.
            return report;
        }
        if let Err(why) = self.storage.ask().await {
            report.entry(self.storage.name.clone()).or_insert(why);
        }
        report
    }
}

impl Storage {
    /// Those who ask at once wait for one answer.
    async fn ask(&self) -> Result<(), String> {
        let mut last = self.last.lock().await;
        if let Some((at, outcome)) = &*last
            && at.elapsed() < FRESH
        {
            return outcome.clone();
        }
        let outcome = self.probe.run().await;
        *last = Some((Instant::now(), outcome.clone()));
        outcome
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readiness").field("leaving", &self.leaving).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_storage_is_asked_now_and_then() {
        let (asked, broken) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, fails) = (Arc::clone(&asked), Arc::clone(&broken));
        let probe = Probe::call(move || {
            count.fetch_add(1, Ordering::Relaxed);
            let fails = fails.load(Ordering::Relaxed);
            async move { if fails { Err("gone".to_owned()) } else { Ok(()) } }
        });
        let readiness = Readiness::new(Health::default(), "s".to_owned(), probe);
        assert!(readiness.report().await.is_empty() && readiness.report().await.is_empty());
        broken.store(true, Ordering::Relaxed);
        assert!(readiness.report().await.is_empty());
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        tokio::time::advance(FRESH).await;
        assert_eq!(readiness.report().await.get("s").map(String::as_str), Some("gone"));
    }

    #[tokio::test]
    async fn the_unhealthy_and_the_leaving_are_not_ready() {
        let health = Health::default();
        let readiness = Readiness::new(health.clone(), "s".to_owned(), Probe::call(|| async { Ok(()) }));
        health.down();
        assert_eq!(readiness.report().await.len(), 1);
        health.up();
        assert!(readiness.report().await.is_empty());
        readiness.clone().leave();
        assert_eq!(readiness.report().await.keys().collect::<Vec<_>>(), ["shutdown"]);
    }
}
