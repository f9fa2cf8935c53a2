//! What a run came to: as JSON, as a table, as a page to look at, and as an exit code.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    measure::{Operation, Recording, Second, machine::Machine, server::Usage},
    quantity::float,
};

pub(crate) mod chart;
pub(crate) mod html;
pub(crate) mod requirement;
pub(crate) mod table;

/// Everything that was measured. Its form in JSON is what other programs read: names carry their units.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Report {
    pub(crate) scenario: String,
    pub(crate) arguments: Vec<String>,
    pub(crate) target: String,
    pub(crate) clients: u64,
    /// Turns in a second, where they were begun at a rate.
    pub(crate) rate: Option<f64>,
    /// RFC 3339.
    pub(crate) started: String,
    pub(crate) elapsed_secs: f64,
    pub(crate) machine: Machine,
    pub(crate) operations: Vec<Summary>,
    pub(crate) seconds: Vec<Second>,
    pub(crate) server: Option<Usage>,
    pub(crate) requirements: Vec<requirement::Judged>,
}

/// All of one kind of operation.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Summary {
    pub(crate) name: String,
    /// That succeeded.
    pub(crate) count: u64,
    pub(crate) errors: u64,
    /// How often each kind of error came.
    pub(crate) error_kinds: Vec<(String, u64)>,
    pub(crate) bytes: u64,
    /// Per second.
    pub(crate) rate: f64,
    /// Bytes per second.
    pub(crate) throughput: f64,
    pub(crate) latency_us: Latency,
}

/// In microseconds, of the operations that succeeded.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Latency {
    pub(crate) min: u64,
    pub(crate) mean: f64,
    pub(crate) p50: u64,
    pub(crate) p75: u64,
    pub(crate) p90: u64,
    pub(crate) p95: u64,
    pub(crate) p99: u64,
    pub(crate) p999: u64,
    pub(crate) max: u64,
    /// Pairs of quantile and time, for a curve.
    pub(crate) curve: Vec<(f64, u64)>,
}

/// Points of the curve: dense where it is steep.
const CURVE: [f64; 16] = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 0.9999];

/// Of each operation that was taken down.
pub(crate) fn summary(recording: &Recording, elapsed: Duration) -> Vec<Summary> {
    let elapsed = elapsed.as_secs_f64().max(1e-9);
    let each = |(name, operation): (&&str, &Operation)| Summary {
        name: (*name).to_owned(),
        count: operation.latency.len(),
        errors: operation.errors(),
        error_kinds: operation.errors.iter().map(|(kind, count)| (kind.clone(), *count)).collect(),
        bytes: operation.bytes,
        rate: float(operation.latency.len()) / elapsed,
        throughput: float(operation.bytes) / elapsed,
        latency_us: latency(operation),
    };
    recording.operations.iter().map(each).collect()
}

fn latency(operation: &Operation) -> Latency {
    let histogram = &operation.latency;
    if histogram.is_empty() {
        return Latency::default();
    }
    let at = |quantile| histogram.value_at_quantile(quantile);
    Latency {
        min: histogram.min(),
        mean: histogram.mean(),
        p50: at(0.5),
        p75: at(0.75),
        p90: at(0.9),
        p95: at(0.95),
        p99: at(0.99),
        p999: at(0.999),
        max: histogram.max(),
        curve: CURVE.iter().map(|quantile| (*quantile, at(*quantile))).collect(),
    }
}

impl Report {
    /// What costs the server something: of operations that consist of others only the parts count.
    pub(crate) fn bytes(&self) -> u64 {
        self.operations.iter().map(|operation| operation.bytes).sum()
    }

    pub(crate) fn errors(&self) -> u64 {
        self.operations.iter().map(|operation| operation.errors).sum()
    }

    /// The operation that is named; without a name the first that moves content, else the first.
    pub(crate) fn operation(&self, name: Option<&str>) -> Option<&Summary> {
        match name {
            Some(name) => self.operations.iter().find(|operation| operation.name == name),
            None => self.operations.iter().find(|operation| operation.bytes > 0).or_else(|| self.operations.first()),
        }
    }
}
