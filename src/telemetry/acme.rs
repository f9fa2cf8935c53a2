//! Metrics of certificates that are asked for by themselves. They exist only where that is configured, so that an alarm
//! on them is about something.

use prometheus::{Gauge, IntCounterVec, IntGauge, Opts, Registry};
use time::OffsetDateTime;

/// Clones share the numbers.
#[derive(Clone, Debug)]
pub struct Figures {
    expiry: IntGauge,
    days_left: Gauge,
    succeeded: IntGauge,
    failed: IntGauge,
    failures: IntGauge,
    attempts: IntCounterVec,
}

impl Figures {
    /// Makes and registers them.
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let figures = Self {
            expiry: IntGauge::new(
                "pierhead_acme_certificate_expiry_timestamp_seconds",
                "When the issued certificate ends; 0 without one",
            )?,
            days_left: Gauge::new("pierhead_acme_certificate_days_left", "Until the issued certificate ends")?,
            succeeded: IntGauge::new("pierhead_acme_last_success_timestamp_seconds", "0 where there was none")?,
            failed: IntGauge::new("pierhead_acme_last_error_timestamp_seconds", "Since the last success; 0 for none")?,
            failures: IntGauge::new("pierhead_acme_failures", "In a row, since the last success")?,
            attempts: IntCounterVec::new(
                Opts::new("pierhead_acme_attempts_total", "Certificates that this process tried to get"),
                &["outcome"],
            )?,
        };
        for gauge in [&figures.expiry, &figures.succeeded, &figures.failed, &figures.failures] {
            registry.register(Box::new(gauge.clone()))?;
        }
        registry.register(Box::new(figures.days_left.clone()))?;
        registry.register(Box::new(figures.attempts.clone()))?;
        for outcome in ["issued", "failed"] {
            // Shown from the beginning, so that the first one is an increase.
            figures.attempts.with_label_values(&[outcome]).inc_by(0);
        }
        Ok(figures)
    }

    /// The certificate that is shown.
    pub fn certificate(&self, expires: Option<OffsetDateTime>, now: OffsetDateTime) {
        self.expiry.set(timestamp(expires));
        self.days_left.set(expires.map_or(0.0, |expires| (expires - now).as_seconds_f64() / 86400.0));
    }

    /// What all processes together have been through.
    pub fn history(&self, succeeded: Option<OffsetDateTime>, failed: Option<OffsetDateTime>, failures: u32) {
        self.succeeded.set(timestamp(succeeded));
        self.failed.set(timestamp(failed));
        self.failures.set(failures.into());
    }

    pub fn succeeded(&self) {
        self.attempts.with_label_values(&["issued"]).inc();
    }

    pub fn failed(&self) {
        self.attempts.with_label_values(&["failed"]).inc();
    }
}

fn timestamp(time: Option<OffsetDateTime>) -> i64 {
    time.map_or(0, OffsetDateTime::unix_timestamp)
}
