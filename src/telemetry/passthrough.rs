//! Counters of what is passed on to other servers. Rules are named by their first name, which the operator wrote.

use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};

/// What is counted of one connection or request.
#[derive(Clone, Copy, Debug)]
pub struct Passage<'a> {
    pub rule: &'a str,
    pub kind: &'static str,
    pub outcome: &'static str,
    /// Bytes from the client.
    pub received: u64,
    /// Bytes to the client.
    pub sent: u64,
}

#[derive(Debug)]
pub struct Passages {
    open: IntGaugeVec,
    ended: IntCounterVec,
    bytes: IntCounterVec,
}

impl Passages {
    /// Makes and registers them.
    pub(in crate::telemetry) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let passages = Self {
            open: IntGaugeVec::new(
                Opts::new("pierhead_passthrough_open", "Connections and requests that are being passed on"),
                &["rule", "kind"],
            )?,
            ended: IntCounterVec::new(
                Opts::new("pierhead_passthrough_total", "Those that are over, by how they ended"),
                &["rule", "kind", "outcome"],
            )?,
            bytes: IntCounterVec::new(
                Opts::new("pierhead_passthrough_bytes_total", "Bytes of those that are over"),
                &["rule", "kind", "direction"],
            )?,
        };
        registry.register(Box::new(passages.open.clone()))?;
        registry.register(Box::new(passages.ended.clone()))?;
        registry.register(Box::new(passages.bytes.clone()))?;
        Ok(passages)
    }

    /// One goes on; its end is told by [`Passages::ended`].
    pub fn began(&self, rule: &str, kind: &'static str) {
        self.open.with_label_values(&[rule, kind]).inc();
    }

    pub fn ended(&self, passage: &Passage<'_>) {
        let Passage { rule, kind, outcome, received, sent } = *passage;
        self.open.with_label_values(&[rule, kind]).dec();
        self.ended.with_label_values(&[rule, kind, outcome]).inc();
        self.bytes.with_label_values(&[rule, kind, "received"]).inc_by(received);
        self.bytes.with_label_values(&[rule, kind, "sent"]).inc_by(sent);
    }
}
