//! Prometheus metrics: distribution's names where they exist, ours under `pierhead_`.

use std::time::Duration;

use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};

use crate::telemetry::exchange::Exchange;

/// Sizes from 1 KiB to 16 GiB, in steps of 4.
const SIZES: [f64; 13] = [
    1024.0,
    4096.0,
    16384.0,
    65536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
    268_435_456.0,
    1_073_741_824.0,
    4_294_967_296.0,
    17_179_869_184.0,
];

/// Every metric of the process; shared as an `Arc`, never global.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    in_flight: IntGauge,
    requests: IntCounterVec,
    duration: HistogramVec,
    request_size: HistogramVec,
    response_size: HistogramVec,
    storage: HistogramVec,
    cache: IntCounterVec,
    connections: IntGauge,
    uploads_memory: IntGauge,
    lines_dropped: IntCounter,
}

/// What a look into the descriptor cache gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    Hit,
    Miss,
}

impl Metrics {
    /// Makes and registers every metric. An error names two metrics of one name: a mistake in this file.
    pub fn new() -> prometheus::Result<Self> {
        let metrics = Self {
            registry: Registry::new(),
            in_flight: IntGauge::new("registry_http_in_flight_requests", "Requests being served")?,
            requests: IntCounterVec::new(
                Opts::new("registry_http_requests_total", "Finished requests"),
                &["code", "handler", "method"],
            )?,
            duration: histogram("registry_http_request_duration_seconds", "Head read to last byte written", None)?,
            request_size: histogram("registry_http_request_size_bytes", "Bytes of request bodies", Some(&SIZES))?,
            response_size: histogram("registry_http_response_size_bytes", "Bytes of response bodies", Some(&SIZES))?,
            storage: HistogramVec::new(
                HistogramOpts::new("registry_storage_action_seconds", "Time that storage calls took"),
                &["driver", "action"],
            )?,
            cache: IntCounterVec::new(
                Opts::new("registry_storage_cache_total", "Looks into the blob descriptor cache"),
                &["type"],
            )?,
            connections: IntGauge::new("pierhead_connections", "Open client connections")?,
            uploads_memory: IntGauge::new("pierhead_uploads_memory_bytes", "Bytes buffered for running uploads")?,
            lines_dropped: IntCounter::new("pierhead_log_lines_dropped_total", "Log lines lost to a slow reader")?,
        };
        metrics.register()?;
        Ok(metrics)
    }

    fn register(&self) -> prometheus::Result<()> {
        let build = IntGauge::with_opts(
            Opts::new("pierhead_build_info", "The running version").const_label("version", env!("CARGO_PKG_VERSION")),
        )?;
        build.set(1);
        self.registry.register(Box::new(build))?;
        self.registry.register(Box::new(self.in_flight.clone()))?;
        self.registry.register(Box::new(self.requests.clone()))?;
        for histogram in [&self.duration, &self.request_size, &self.response_size, &self.storage] {
            self.registry.register(Box::new(histogram.clone()))?;
        }
        self.registry.register(Box::new(self.cache.clone()))?;
        self.registry.register(Box::new(self.connections.clone()))?;
        self.registry.register(Box::new(self.uploads_memory.clone()))?;
        self.registry.register(Box::new(self.lines_dropped.clone()))?;
        self.registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))
    }

    /// A request's head was read; its end is told by [`Metrics::finished`].
    pub fn started(&self) {
        self.in_flight.inc();
    }

    /// The exchange of an earlier [`Metrics::started`] has ended.
    pub fn finished(&self, exchange: &Exchange) {
        let (handler, method) = (exchange.route, method_label(&exchange.method));
        self.in_flight.dec();
        self.requests.with_label_values(&[exchange.status.as_str(), handler, method]).inc();
        let labels = [handler, method];
        self.duration.with_label_values(&labels).observe(exchange.duration.as_secs_f64());
        self.request_size.with_label_values(&labels).observe(as_f64(exchange.bytes_received));
        self.response_size.with_label_values(&labels).observe(as_f64(exchange.bytes_sent));
    }

    pub fn storage_action(&self, driver: &'static str, action: &'static str, took: Duration) {
        self.storage.with_label_values(&[driver, action]).observe(took.as_secs_f64());
    }

    pub fn cache_lookup(&self, lookup: Lookup) {
        self.cache.with_label_values(&["Request"]).inc();
        self.cache.with_label_values(&[if lookup == Lookup::Hit { "Hit" } else { "Miss" }]).inc();
    }

    pub fn connection_opened(&self) {
        self.connections.inc();
    }

    pub fn connection_closed(&self) {
        self.connections.dec();
    }

    pub fn uploads_memory(&self, bytes: u64) {
        self.uploads_memory.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Takes over the total that a [`crate::telemetry::writer::Writer`] counted.
    pub fn log_lines_dropped(&self, total: u64) {
        self.lines_dropped.inc_by(total.saturating_sub(self.lines_dropped.get()));
    }

    /// The text exposition format, version 0.0.4.
    pub fn render(&self) -> prometheus::Result<Vec<u8>> {
        let mut out = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut out)?;
        Ok(out)
    }
}

fn histogram(name: &str, help: &str, buckets: Option<&[f64]>) -> prometheus::Result<HistogramVec> {
    let options = HistogramOpts::new(name, help);
    let options = buckets.map_or(options.clone(), |bounds| options.buckets(bounds.to_vec()));
    HistogramVec::new(options, &["handler", "method"])
}

/// A client may invent methods; a label must not follow it.
fn method_label(method: &http::Method) -> &'static str {
    match method.as_str() {
        "GET" => "get",
        "HEAD" => "head",
        "POST" => "post",
        "PUT" => "put",
        "PATCH" => "patch",
        "DELETE" => "delete",
        "OPTIONS" => "options",
        _ => "other",
    }
}

#[expect(clippy::cast_precision_loss, reason = "a histogram's sum is a float; 2^53 bytes is beyond any body")]
fn as_f64(bytes: u64) -> f64 {
    bytes as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_dashboards_ask_for() {
        let metrics = Metrics::new().unwrap();
        metrics.started();
        metrics.cache_lookup(Lookup::Hit);
        metrics.storage_action("filesystem", "Stat", Duration::from_millis(1));
        metrics.log_lines_dropped(3);
        metrics.log_lines_dropped(3);
        let text = String::from_utf8(metrics.render().unwrap()).unwrap();
        for line in [
            "registry_http_in_flight_requests 1",
            "registry_storage_cache_total{type=\"Hit\"} 1",
            "registry_storage_action_seconds_count{action=\"Stat\",driver=\"filesystem\"} 1",
            "pierhead_log_lines_dropped_total 3",
            "process_resident_memory_bytes",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }

    #[test]
    fn an_invented_method_makes_no_label() {
        assert_eq!(method_label(&http::Method::from_bytes(b"BREW").unwrap()), "other");
    }
}
