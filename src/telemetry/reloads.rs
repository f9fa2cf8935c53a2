//! What metrics say of the configuration in force.

use prometheus::{IntCounterVec, IntGauge, Opts, Registry};
use time::OffsetDateTime;

/// How often, and when, the configuration was read.
#[derive(Debug)]
pub struct Reloads {
    generation: IntGauge,
    total: IntCounterVec,
    last_successful: IntGauge,
    last_success: IntGauge,
    last_failure: IntGauge,
    needs_restart: IntGauge,
}

impl Reloads {
    pub(super) fn new() -> prometheus::Result<Self> {
        let reloads = Self {
            generation: IntGauge::new(
                "pierhead_config_generation",
                "How many configurations have been in force since the start; 1 is the first",
            )?,
            total: IntCounterVec::new(
                Opts::new("pierhead_config_reloads_total", "Attempts to read the configuration again"),
                &["outcome"],
            )?,
            last_successful: IntGauge::new(
                "pierhead_config_last_reload_successful",
                "Whether the configuration that was last read is in force",
            )?,
            last_success: IntGauge::new(
                "pierhead_config_last_reload_success_timestamp_seconds",
                "When the configuration in force was read",
            )?,
            last_failure: IntGauge::new(
                "pierhead_config_last_reload_failure_timestamp_seconds",
                "When a configuration was last refused; 0 is never",
            )?,
            needs_restart: IntGauge::new(
                "pierhead_config_keys_awaiting_restart",
                "Keys whose value in the file is not in force before a restart or an upgrade",
            )?,
        };
        reloads.generation.set(1);
        for outcome in ["success", "failure"] {
            // Shown before it first happens.
            reloads.total.with_label_values(&[outcome]).inc_by(0);
        }
        Ok(reloads)
    }

    pub(super) fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        registry.register(Box::new(self.total.clone()))?;
        let gauges =
            [&self.generation, &self.last_successful, &self.last_success, &self.last_failure, &self.needs_restart];
        gauges.into_iter().try_for_each(|gauge| registry.register(Box::new(gauge.clone())))
    }

    /// The first configuration is in force.
    pub fn started(&self, now: OffsetDateTime) {
        self.last_successful.set(1);
        self.last_success.set(now.unix_timestamp());
    }

    /// Another one is; so many of its keys are not.
    pub fn succeeded(&self, now: OffsetDateTime, needs_restart: usize) {
        self.generation.inc();
        self.total.with_label_values(&["success"]).inc();
        self.last_successful.set(1);
        self.last_success.set(now.unix_timestamp());
        self.needs_restart.set(i64::try_from(needs_restart).unwrap_or(i64::MAX));
    }

    /// It was refused.
    pub fn failed(&self, now: OffsetDateTime) {
        self.total.with_label_values(&["failure"]).inc();
        self.last_successful.set(0);
        self.last_failure.set(now.unix_timestamp());
    }

    /// 1 is the configuration of the start.
    pub fn generation(&self) -> i64 {
        self.generation.get()
    }
}
