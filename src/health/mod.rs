//! Is the process fit to serve? Periodic checks answer; `/debug/health` and the rim ask.
//!
//! Each [`Check`] has its own task on monotonic time. A check that fails `threshold` times in a row makes the whole
//! process unhealthy until it succeeds once. Never: a check in the path of a request.

pub mod probe;
pub mod readiness;

use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{task::JoinSet, time::MissedTickBehavior};

use crate::health::probe::Probe;

/// Distribution's default for `interval`.
pub const INTERVAL: Duration = Duration::from_secs(10);
/// Name under which an operator's `/debug/health/down` is reported.
const MANUAL: &str = "manual_http_status";

/// One probe, repeated.
#[derive(Debug)]
pub struct Check {
    /// `storagedriver_<type>`, or the path, URI or address that is probed.
    pub name: String,
    pub probe: Probe,
    pub interval: Duration,
    /// Consecutive failures until unhealthy; 0 counts as 1.
    pub threshold: u32,
}

/// The present state; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<State>);

#[derive(Debug, Default)]
struct State {
    unhealthy: Arc<AtomicBool>,
    failures: Mutex<BTreeMap<String, String>>,
    parts: OnceLock<Arc<dyn Parts>>,
}

/// Parts of the whole that may fail one by one; they answer when somebody asks.
pub trait Parts: Debug + Send + Sync + 'static {
    /// Those that fail and why, by their names.
    fn failing(&self) -> BTreeMap<String, String>;

    /// Whether what is left of them can do the work.
    fn serve(&self) -> bool;
}

/// The running checks: dropping it stops them.
#[derive(Debug)]
pub struct Checks(#[expect(dead_code, reason = "held for its Drop, which ends the tasks")] JoinSet<()>);

impl Health {
    /// Cheap enough to be asked for every request.
    pub fn is_healthy(&self) -> bool {
        !self.0.unhealthy.load(Ordering::Relaxed) && self.0.parts.get().is_none_or(|parts| parts.serve())
    }

    /// From now on these count, too, though not for [`Health::unhealthy`]: without them, requests say so by themselves.
    /// Only the first are taken.
    pub fn consist_of(&self, parts: Arc<dyn Parts>) {
        let _ = self.0.parts.set(parts);
    }

    /// Set while a check fails, for those who ask at every request.
    pub fn unhealthy(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0.unhealthy)
    }

    /// The failing checks and parts, and why they fail. Parts may fail while the whole is healthy.
    pub fn report(&self) -> BTreeMap<String, String> {
        let mut report = self.0.failures.lock().unwrap_or_else(PoisonError::into_inner).clone();
        report.extend(self.0.parts.get().map(|parts| parts.failing()).unwrap_or_default());
        report
    }

    /// Unhealthy by an operator's hand, until [`Health::up`].
    pub fn down(&self) {
        self.set(MANUAL, Some("manual downtime".to_owned()));
    }

    pub fn up(&self) {
        self.set(MANUAL, None);
    }

    /// Starts one task for each check on the current tokio runtime.
    pub fn watch(&self, checks: Vec<Check>) -> Checks {
        let mut tasks = JoinSet::new();
        for check in checks {
            tasks.spawn(watch(self.clone(), check));
        }
        Checks(tasks)
    }

    fn set(&self, name: &str, failure: Option<String>) {
        let mut failures = self.0.failures.lock().unwrap_or_else(PoisonError::into_inner);
        match failure {
            Some(why) => drop(failures.insert(name.to_owned(), why)),
            None => drop(failures.remove(name)),
        }
        self.0.unhealthy.store(!failures.is_empty(), Ordering::Relaxed);
    }
}

async fn watch(health: Health, check: Check) {
    // An interval of zero would panic, and would spin.
    let mut ticks = tokio::time::interval(check.interval.max(Duration::from_millis(100)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut streak = Streak::new(check.threshold);
    loop {
        ticks.tick().await;
        let outcome = check.probe.run().await;
        match streak.judge(outcome) {
            Verdict::Fit => health.set(&check.name, None),
            Verdict::Doubtful => {}
            Verdict::Unfit(why) => {
                tracing::warn!(health.check = check.name, err.detail = why, "health check failed");
                health.set(&check.name, Some(why));
            }
        }
    }
}

/// Failures in a row, and how many of them are too many.
#[derive(Debug)]
struct Streak {
    threshold: u32,
    failures: u32,
}

#[derive(Debug, Eq, PartialEq)]
enum Verdict {
    Fit,
    /// Failed, but not often enough to change anything.
    Doubtful,
    Unfit(String),
}

impl Streak {
    fn new(threshold: u32) -> Self {
        Self { threshold: threshold.max(1), failures: 0 }
    }

    fn judge(&mut self, outcome: Result<(), String>) -> Verdict {
        match outcome {
            Ok(()) => {
                self.failures = 0;
                Verdict::Fit
            }
            Err(why) => {
                self.failures = self.failures.saturating_add(1);
                if self.failures >= self.threshold { Verdict::Unfit(why) } else { Verdict::Doubtful }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(threshold: u32, outcomes: &str, expected: &str) {
        let mut streak = Streak::new(threshold);
        let verdicts = outcomes.chars().map(|outcome| {
            match streak.judge(if outcome == '+' { Ok(()) } else { Err("gone".to_owned()) }) {
                Verdict::Fit => '+',
                Verdict::Doubtful => '?',
                Verdict::Unfit(why) => {
                    assert_eq!(why, "gone");
                    '-'
                }
            }
        });
        assert_eq!(verdicts.collect::<String>(), expected);
    }

    #[test]
    fn a_threshold_counts_failures_in_a_row() {
        check(0, "-+-", "-+-");
        check(1, "--+-", "--+-");
        check(2, "-+-+--+-", "?+?+?-+?");
        check(3, "-----", "??---");
    }

    #[tokio::test]
    async fn a_failing_check_is_reported_until_it_succeeds() {
        let fails = Arc::new(AtomicBool::new(true));
        let seen = Arc::clone(&fails);
        let probe = Probe::call(move || {
            let fails = seen.load(Ordering::SeqCst);
            async move { if fails { Err("gone".to_owned()) } else { Ok(()) } }
        });
        let health = Health::default();
        let interval = Duration::ZERO;
        let checks = health.watch(vec![Check { name: "s".to_owned(), probe, interval, threshold: 1 }]);
        for healthy in [false, true] {
            while health.is_healthy() != healthy {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            assert_eq!(health.report().get("s").map(String::as_str), (!healthy).then_some("gone"));
            fails.store(false, Ordering::SeqCst);
        }
        drop(checks);
    }

    #[test]
    fn an_operator_takes_it_down_and_up() {
        let health = Health::default();
        health.down();
        assert!(!health.is_healthy());
        health.up();
        assert!(health.is_healthy() && health.report().is_empty());
    }
}
