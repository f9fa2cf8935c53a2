//! What is taken down while a scenario runs: how long each operation took, how much moved in each second, what the server
//! used.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;

use crate::client;

pub(crate) mod machine;
pub(crate) mod server;

/// Longest time that a histogram tells from longer ones.
const LONGEST: Duration = Duration::from_hours(1);

/// Most kinds of errors that are told apart.
const ERRORS_MAX: usize = 20;

/// Takes everything down, from every client at once.
#[derive(Clone, Debug)]
pub(crate) struct Recorder(Arc<Mutex<Recording>>);

#[derive(Debug)]
pub(crate) struct Recording {
    started: Instant,
    pub(crate) operations: BTreeMap<&'static str, Operation>,
    /// One for each second since the start, the last of them still going on.
    pub(crate) seconds: Vec<Second>,
    /// Latencies of the second that goes on.
    current: Histogram<u64>,
}

/// All that one kind of operation came to.
#[derive(Debug)]
pub(crate) struct Operation {
    /// In microseconds, of those that succeeded.
    pub(crate) latency: Histogram<u64>,
    /// Content that moved.
    pub(crate) bytes: u64,
    pub(crate) errors: BTreeMap<String, u64>,
}

/// What ended in one second.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Deserialize, serde::Serialize)]
pub(crate) struct Second {
    pub(crate) count: u64,
    pub(crate) errors: u64,
    pub(crate) bytes: u64,
    /// In microseconds; 0 where nothing ended.
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
}

/// Microseconds with three digits.
fn histogram() -> Histogram<u64> {
    let longest = u64::try_from(LONGEST.as_micros()).unwrap_or(u64::MAX);
    Histogram::new_with_bounds(1, longest, 3).expect("the bounds are in order")
}

impl Recorder {
    /// Of a scenario that begins now.
    pub(crate) fn start() -> Self {
        Self(Arc::new(Mutex::new(Recording {
            started: Instant::now(),
            operations: BTreeMap::new(),
            seconds: Vec::new(),
            current: histogram(),
        })))
    }

    /// Runs one operation that moves so many bytes, and takes it down.
    pub(crate) async fn time<T>(
        &self,
        operation: &'static str,
        bytes: u64,
        act: impl Future<Output = Result<T, client::Error>>,
    ) -> Option<T> {
        self.time_since(Instant::now(), operation, bytes, act).await
    }

    /// The same for an operation that should have begun at a moment that may have passed: what it waited for others counts,
    /// or a server that stalls would hide its stalls ("coordinated omission").
    pub(crate) async fn time_since<T>(
        &self,
        due: Instant,
        operation: &'static str,
        bytes: u64,
        act: impl Future<Output = Result<T, client::Error>>,
    ) -> Option<T> {
        let outcome = act.await;
        self.took(operation, due.elapsed(), bytes, outcome.as_ref().err());
        outcome.ok()
    }

    /// What an operation's answer must be: takes down only that it is not.
    pub(crate) fn need<T>(&self, operation: &'static str, found: Result<T, client::Error>) -> Option<T> {
        if let Err(error) = &found {
            self.took(operation, Duration::ZERO, 0, Some(error));
        }
        found.ok()
    }

    pub(crate) fn took(&self, operation: &'static str, took: Duration, bytes: u64, error: Option<&client::Error>) {
        let mut recording = self.lock();
        recording.roll();
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
        let taken = recording.operations.entry(operation).or_insert_with(|| Operation {
            latency: histogram(),
            bytes: 0,
            errors: BTreeMap::new(),
        });
        let Some(error) = error else {
            taken.latency.saturating_record(micros);
            taken.bytes += bytes;
            recording.current.saturating_record(micros);
            if let Some(second) = recording.seconds.last_mut() {
                second.count += 1;
                second.bytes += bytes;
            }
            return;
        };
        let kind = error.to_string();
        let kind = if taken.errors.len() < ERRORS_MAX || taken.errors.contains_key(&kind) {
            kind
        } else {
            "others".to_owned()
        };
        *taken.errors.entry(kind).or_default() += 1;
        if let Some(second) = recording.seconds.last_mut() {
            second.errors += 1;
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Recording> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recording {
    /// Begins the seconds that have come since the last one.
    pub(crate) fn roll(&mut self) {
        let now = usize::try_from(self.started.elapsed().as_secs()).unwrap_or(usize::MAX);
        if self.seconds.len() > now {
            return;
        }
        if let Some(last) = self.seconds.last_mut() {
            last.p50_us = self.current.value_at_quantile(0.5);
            last.p99_us = self.current.value_at_quantile(0.99);
        }
        self.current.clear();
        self.seconds.resize(now + 1, Second::default());
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

impl Operation {
    pub(crate) fn errors(&self) -> u64 {
        self.errors.values().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_taken_down() {
        let recorder = Recorder::start();
        recorder.took("pull", Duration::from_millis(10), 100, None);
        recorder.took("pull", Duration::from_millis(30), 100, None);
        recorder.took("pull", Duration::from_millis(1), 100, Some(&client::Error::Patience));
        recorder.took("push", Duration::from_hours(99), 1, None);
        let recording = recorder.lock();
        let pull = &recording.operations["pull"];
        assert_eq!((pull.latency.len(), pull.bytes, pull.errors()), (2, 200, 1));
        assert!((29_900..30_100).contains(&pull.latency.max()));
        let total = recording.seconds.iter().fold((0, 0, 0), |(count, errors, bytes), second| {
            (count + second.count, errors + second.errors, bytes + second.bytes)
        });
        assert_eq!(total, (3, 1, 201));
    }

    #[test]
    fn kinds_of_errors_are_bounded() {
        let recorder = Recorder::start();
        for number in 0..100 {
            let why = number.to_string();
            recorder.took("pull", Duration::ZERO, 0, Some(&client::Error::Answer { what: "an answer", why }));
        }
        let recording = recorder.lock();
        assert_eq!(recording.operations["pull"].errors.len(), ERRORS_MAX + 1);
        assert_eq!(recording.operations["pull"].errors(), 100);
    }
}
