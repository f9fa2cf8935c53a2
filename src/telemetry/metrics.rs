//! Prometheus metrics: distribution's names where they exist, ours under `pierhead_`.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::telemetry::{
    acme::Figures, exchange::Exchange, passthrough::Passages, reloads::Reloads, upstream::Upstream,
};

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
    cache: CacheCounters,
    connections: IntGauge,
    uploads_memory: IntGauge,
    limited: IntCounterVec,
    lines_dropped: IntCounter,
    certificates: IntGaugeVec,
    /// The labels of the ones above.
    certificates_told: Mutex<Vec<(String, &'static str)>>,
    certificates_refused: IntCounter,
    passthrough: Passages,
    pub reloads: Reloads,
    /// All that `requests` counts, whatever the labels.
    answered: AtomicU64,
}

/// Looks into the blob descriptor cache, under the names of both major versions of distribution. Its third counter of
/// version 3, errors, has nothing to count where the cache is this process's memory.
#[derive(Debug)]
struct CacheCounters {
    requests: IntCounter,
    hits: IntCounter,
    /// Version 2: one name, with `type` Request, Hit or Miss.
    typed: IntCounterVec,
}

impl Metrics {
    /// Makes and registers every metric. An error names two metrics of one name: a mistake in this file.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let metrics = Self {
            passthrough: Passages::new(&registry)?,
            registry,
            in_flight: IntGauge::new(
                "registry_http_in_flight_requests",
                "Requests being served; without distribution's label handler, which is known only at their end",
            )?,
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
            cache: CacheCounters::new()?,
            connections: IntGauge::new("pierhead_connections", "Open client connections")?,
            uploads_memory: IntGauge::new("pierhead_uploads_memory_bytes", "Bytes buffered for running uploads")?,
            limited: IntCounterVec::new(
                Opts::new("pierhead_limited_total", "Clients that met a limit: turned away, or slowed down"),
                &["limit"],
            )?,
            lines_dropped: IntCounter::new("pierhead_log_lines_dropped_total", "Log lines lost to a slow reader")?,
            certificates: IntGaugeVec::new(
                Opts::new("pierhead_certificate_seconds_left", "Until a certificate ends; negative when it has ended"),
                &["name", "key"],
            )?,
            certificates_told: Mutex::default(),
            certificates_refused: IntCounter::new(
                "pierhead_certificate_reload_failures_total",
                "Changed certificate files that were not taken",
            )?,
            reloads: Reloads::new()?,
            answered: AtomicU64::new(0),
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
        self.registry.register(Box::new(self.cache.requests.clone()))?;
        self.registry.register(Box::new(self.cache.hits.clone()))?;
        self.registry.register(Box::new(self.cache.typed.clone()))?;
        self.registry.register(Box::new(self.connections.clone()))?;
        self.registry.register(Box::new(self.uploads_memory.clone()))?;
        self.registry.register(Box::new(self.limited.clone()))?;
        self.registry.register(Box::new(self.lines_dropped.clone()))?;
        self.registry.register(Box::new(self.certificates.clone()))?;
        self.registry.register(Box::new(self.certificates_refused.clone()))?;
        self.reloads.register(&self.registry)?;
        self.registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))
    }

    /// Those of the servers behind us, where there are any: once.
    pub fn upstream(&self) -> prometheus::Result<Upstream> {
        Upstream::register(&self.registry)
    }

    /// A request's head was read; its end is told by [`Metrics::finished`].
    pub fn started(&self) {
        self.in_flight.inc();
    }

    /// The exchange of an earlier [`Metrics::started`] has ended.
    pub fn finished(&self, exchange: &Exchange) {
        let (handler, method) = (exchange.route, method_label(&exchange.method));
        self.in_flight.dec();
        self.count(exchange.status, handler, method);
        let labels = [handler, method];
        self.duration.with_label_values(&labels).observe(exchange.duration.as_secs_f64());
        self.request_size.with_label_values(&labels).observe(as_f64(exchange.bytes_received));
        self.response_size.with_label_values(&labels).observe(as_f64(exchange.bytes_sent));
    }

    pub fn storage_action(&self, driver: &'static str, action: &'static str, took: Duration) {
        self.storage.with_label_values(&[driver, action]).observe(took.as_secs_f64());
    }

    /// A head that could not be read was answered; it never became a request that was in flight.
    pub fn refused(&self, status: http::StatusCode) {
        self.count(status, "unreadable", "other");
    }

    fn count(&self, status: http::StatusCode, handler: &'static str, method: &'static str) {
        self.requests.with_label_values(&[status.as_str(), handler, method]).inc();
        self.answered.fetch_add(1, Ordering::Relaxed);
    }

    /// Every answer since the start.
    pub fn requests_total(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Takes over the totals that the descriptor cache counted.
    pub fn set_cache_looks(&self, requests: u64, hits: u64) {
        raise(&self.cache.requests, requests);
        raise(&self.cache.hits, hits);
        for (kind, total) in [("Request", requests), ("Hit", hits), ("Miss", requests.saturating_sub(hits))] {
            raise(&self.cache.typed.with_label_values(&[kind]), total);
        }
    }

    pub const fn passthrough(&self) -> &Passages {
        &self.passthrough
    }

    pub fn connection_opened(&self) {
        self.connections.inc();
    }

    pub fn connection_closed(&self) {
        self.connections.dec();
    }

    pub fn set_uploads_memory(&self, bytes: u64) {
        self.uploads_memory.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// In bytes, as it was last told.
    pub fn uploads_memory(&self) -> u64 {
        u64::try_from(self.uploads_memory.get()).unwrap_or(0)
    }

    /// Takes over how often a limit was met.
    pub fn set_limited(&self, limit: &'static str, total: u64) {
        raise(&self.limited.with_label_values(&[limit]), total);
    }

    /// Takes over the total of [`crate::telemetry::writer::Losses`].
    pub fn set_log_lines_dropped(&self, total: u64) {
        raise(&self.lines_dropped, total);
    }

    /// As they were last told.
    pub fn log_lines_dropped(&self) -> u64 {
        self.lines_dropped.get()
    }

    /// The certificates in force: a name (the first that one is for), the type of its key, and the seconds until it ends.
    /// Those that were told before and are none of these are forgotten.
    pub fn set_certificates(&self, certificates: &[(String, &'static str, i64)]) {
        let mut told = self.certificates_told.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, key) in told.drain(..) {
            if !certificates.iter().any(|(other, kind, _)| (other, *kind) == (&name, key)) {
                // It was told, so it is there.
                let _ = self.certificates.remove_label_values(&[&name, key]);
            }
        }
        // Of two that read alike the earlier is the one that is shown.
        for (name, key, seconds) in certificates.iter().rev() {
            self.certificates.with_label_values(&[name, *key]).set(*seconds);
            told.push((name.clone(), *key));
        }
    }

    /// Files of certificates have changed and were not taken.
    pub fn certificate_refused(&self) {
        self.certificates_refused.inc();
    }

    /// Adds those of certificates that are asked for by themselves; once for each process.
    pub fn acme(&self) -> prometheus::Result<Figures> {
        Figures::new(&self.registry)
    }

    /// The text exposition format, version 0.0.4.
    pub fn render(&self) -> prometheus::Result<Vec<u8>> {
        let mut out = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut out)?;
        Ok(out)
    }
}

impl CacheCounters {
    fn new() -> prometheus::Result<Self> {
        let looks = "Looks into the blob descriptor cache";
        Ok(Self {
            requests: IntCounter::new("registry_storage_cache_requests_total", looks)?,
            hits: IntCounter::new("registry_storage_cache_hits_total", "Looks into it that found something")?,
            typed: IntCounterVec::new(Opts::new("registry_storage_cache_total", looks), &["type"])?,
        })
    }
}

/// Makes a counter show a total that is counted elsewhere.
fn raise(counter: &IntCounter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}

fn histogram(name: &str, help: &str, buckets: Option<&[f64]>) -> prometheus::Result<HistogramVec> {
    let options = HistogramOpts::new(name, help);
    let options = match buckets {
        Some(bounds) => options.buckets(bounds.to_vec()),
        None => options,
    };
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
        metrics.set_cache_looks(3, 1);
        metrics.set_cache_looks(5, 2);
        metrics.refused(http::StatusCode::REQUEST_TIMEOUT);
        metrics.connection_opened();
        metrics.storage_action("filesystem", "Stat", Duration::from_millis(1));
        metrics.set_limited("access", 2);
        metrics.set_log_lines_dropped(3);
        metrics.set_log_lines_dropped(3);
        metrics.set_certificates(&[("old.test".to_owned(), "rsa", 7), ("a.test".to_owned(), "ecdsa", 9)]);
        metrics.set_certificates(&[("a.test".to_owned(), "ecdsa", -5), ("a.test".to_owned(), "ecdsa", 8)]);
        metrics.certificate_refused();
        let text = String::from_utf8(metrics.render().unwrap()).unwrap();
        for line in [
            "registry_http_in_flight_requests 1",
            "pierhead_certificate_seconds_left{key=\"ecdsa\",name=\"a.test\"} -5",
            "pierhead_certificate_reload_failures_total 1",
            "registry_http_requests_total{code=\"408\",handler=\"unreadable\",method=\"other\"} 1",
            "registry_storage_cache_total{type=\"Request\"} 5",
            "registry_storage_cache_total{type=\"Hit\"} 2",
            "registry_storage_cache_total{type=\"Miss\"} 3",
            "registry_storage_cache_requests_total 5",
            "registry_storage_cache_hits_total 2",
            "pierhead_connections 1",
            "registry_storage_action_seconds_count{action=\"Stat\",driver=\"filesystem\"} 1",
            "pierhead_limited_total{limit=\"access\"} 2",
            "pierhead_log_lines_dropped_total 3",
            "process_resident_memory_bytes",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        assert_eq!(metrics.requests_total(), 1);
        assert!(!text.contains("old.test"), "{text}");
    }

    #[test]
    fn an_invented_method_makes_no_label() {
        assert_eq!(method_label(&http::Method::from_bytes(b"BREW").unwrap()), "other");
    }
}
