//! Metrics of the servers behind us and of what a shadow saw. Servers are labelled by the operator's own words.

use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};

/// What there is to count where another registry answers.
#[derive(Debug)]
pub struct Upstream {
    requests: IntCounterVec,
    connections: IntCounterVec,
    in_flight: IntGaugeVec,
    up: IntGaugeVec,
    compared: IntCounterVec,
    differences: IntCounterVec,
}

/// How a request to a server ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// The first digit of the status that it answered.
    Answered(u16),
    /// No connection.
    Unreachable,
    /// No connection for want of room, descriptors or ports here.
    Crowded,
    /// The connection ended, before the answer or within.
    Broken,
    /// Nothing moved for too long.
    Stalled,
    /// The client gave up.
    Abandoned,
}

impl Outcome {
    #[must_use]
    pub fn of(status: http::StatusCode) -> Self {
        Self::Answered(status.as_u16() / 100)
    }

    const fn label(self) -> &'static str {
        match self {
            Self::Answered(1) => "1xx",
            Self::Answered(2) => "2xx",
            Self::Answered(3) => "3xx",
            Self::Answered(4) => "4xx",
            Self::Answered(5) => "5xx",
            Self::Answered(_) => "other",
            Self::Unreachable => "unreachable",
            Self::Crowded => "crowded",
            Self::Broken => "broken",
            Self::Stalled => "stalled",
            Self::Abandoned => "abandoned",
        }
    }
}

impl Upstream {
    /// Makes and registers them. An error names two metrics of one name: a mistake in this file.
    pub(in crate::telemetry) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let server = &["upstream"];
        let metrics = Self {
            requests: IntCounterVec::new(
                Opts::new("pierhead_upstream_requests_total", "Requests passed on, by the class of what came back"),
                &["upstream", "outcome"],
            )?,
            connections: IntCounterVec::new(
                Opts::new("pierhead_upstream_connections_total", "Connections made for requests"),
                server,
            )?,
            in_flight: IntGaugeVec::new(
                Opts::new("pierhead_upstream_in_flight_requests", "Requests on their way"),
                server,
            )?,
            up: IntGaugeVec::new(Opts::new("pierhead_upstream_up", "Whether the last check succeeded"), server)?,
            compared: IntCounterVec::new(
                Opts::new("pierhead_shadow_requests_total", "Reads that were sampled, by what became of them"),
                &["outcome"],
            )?,
            differences: IntCounterVec::new(
                Opts::new("pierhead_shadow_differences_total", "Differences between the upstream's answers and ours"),
                &["kind", "explained"],
            )?,
        };
        for counter in [&metrics.requests, &metrics.connections, &metrics.compared, &metrics.differences] {
            registry.register(Box::new(counter.clone()))?;
        }
        for gauge in [&metrics.in_flight, &metrics.up] {
            registry.register(Box::new(gauge.clone()))?;
        }
        Ok(metrics)
    }

    /// A server is there, and taken to be up.
    pub fn known(&self, server: &str) {
        self.set_up(server, true);
    }

    pub fn set_up(&self, server: &str, up: bool) {
        self.up.with_label_values(&[server]).set(i64::from(up));
    }

    pub fn entered(&self, server: &str) {
        self.in_flight.with_label_values(&[server]).inc();
    }

    pub fn left(&self, server: &str) {
        self.in_flight.with_label_values(&[server]).dec();
    }

    pub fn connected(&self, server: &str) {
        self.connections.with_label_values(&[server]).inc();
    }

    pub fn count(&self, server: &str, outcome: Outcome) {
        self.requests.with_label_values(&[server, outcome.label()]).inc();
    }

    /// What became of a read that a shadow took up.
    pub fn shadowed(&self, outcome: &'static str) {
        self.compared.with_label_values(&[outcome]).inc();
    }

    /// One difference; `explained` is the reason's name where there is one.
    pub fn differed(&self, kind: &'static str, explained: Option<&'static str>) {
        self.differences.with_label_values(&[kind, explained.unwrap_or("")]).inc();
    }
}
