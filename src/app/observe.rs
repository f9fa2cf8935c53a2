//! What is written down about a request.

use std::sync::Arc;

use tracing::{Level, level_filters::LevelFilter};

use crate::{
    api::{Failure, Target},
    app::{access::AccessLog, passthrough},
    clock::Clock,
    config::log::{Formatter, Level as Configured, Log},
    server::{
        exchange::{Exchange, Observer, RefusedHead},
        passthrough::passage::{Kind, Passage},
    },
    telemetry::{self, access::Unreadable, metrics::Metrics},
};

/// Hears of every request and tells the log, the access log and the metrics.
pub(super) struct Requests {
    metrics: Arc<Metrics>,
    access: Arc<AccessLog>,
    clock: Arc<dyn Clock>,
}

impl Requests {
    pub(super) fn new(metrics: Arc<Metrics>, access: Arc<AccessLog>, clock: Arc<dyn Clock>) -> Self {
        Self { metrics, access, clock }
    }

    fn describe(&self, exchange: &Exchange) -> telemetry::exchange::Exchange {
        let log = &exchange.log;
        let (reference, digest) = match &log.target {
            Some(Target::Reference(reference)) => (Some(reference.clone()), None),
            Some(Target::Digest(digest)) => (None, Some(digest.clone())),
            Some(Target::Upload(_)) | None => (None, None),
        };
        telemetry::exchange::Exchange {
            id: exchange.id,
            time: self.clock.now() - exchange.elapsed,
            peer: exchange.connection.peer,
            host: exchange.host.clone().unwrap_or_default(),
            user: log.subject.clone(),
            method: exchange.method.clone(),
            uri: exchange.uri.to_string(),
            version: exchange.version,
            status: exchange.status,
            bytes_sent: exchange.sent,
            bytes_received: exchange.received,
            duration: exchange.elapsed,
            referer: exchange.referer.clone(),
            user_agent: exchange.user_agent.clone(),
            content_type: exchange.content_type.clone(),
            route: log.route.unwrap_or("unrouted"),
            repository: log.repository.as_ref().map(ToString::to_string),
            reference,
            digest,
            error: log.failure.as_ref().map(|failure| (failure.code, failure.reason.clone())),
        }
    }
}

impl Observer for Requests {
    fn opened(&self) {
        self.metrics.connection_opened();
    }

    fn closed(&self) {
        self.metrics.connection_closed();
    }

    fn refused(&self, head: &RefusedHead<'_>) {
        self.metrics.refused(head.status);
        let (time, peer, status) = (self.clock.now(), head.connection.peer, head.status);
        self.access.write(|format| format.unreadable(&Unreadable { time, peer, status }));
    }

    fn passing(&self, rule: &str, kind: Kind) {
        self.metrics.passthrough().began(rule, passthrough::kind(kind));
    }

    fn passed(&self, passage: &Passage<'_>) {
        self.metrics.passthrough().ended(&passthrough::passage(passage));
    }

    fn begin(&self) {
        self.metrics.started();
    }

    fn observe(&self, exchange: &Exchange) {
        let described = self.describe(exchange);
        self.metrics.finished(&described);
        self.access.write(|format| format.line(&described));
        if let Some(failure) = &exchange.log.failure {
            complain(exchange, failure);
        }
        described.log();
    }
}

/// The one line about a failure: its whole chain of causes, for whoever looks for it by its words.
fn complain(exchange: &Exchange, failure: &Failure) {
    let (id, code, reason) = (exchange.id, failure.code, &failure.reason);
    match failure.level {
        Level::ERROR => tracing::error!(http.request.id = %id, err.code = code, "{reason}"),
        Level::WARN => tracing::warn!(http.request.id = %id, err.code = code, "{reason}"),
        Level::INFO => tracing::info!(http.request.id = %id, err.code = code, "{reason}"),
        _ => tracing::debug!(http.request.id = %id, err.code = code, "{reason}"),
    }
}

/// `instance` is this process's own name.
pub(super) fn log_settings(log: &Log, instance: &str) -> telemetry::log::Settings {
    let text = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    // As the registry that we replace: replicas that write into one place are told apart. What is configured wins.
    let own =
        [("instance.id".to_owned(), instance.to_owned()), ("version".to_owned(), env!("CARGO_PKG_VERSION").to_owned())];
    let configured = log.fields.iter().map(|(name, value)| (name.clone(), text(value)));
    telemetry::log::Settings {
        level: match log.level {
            Configured::Error => LevelFilter::ERROR,
            Configured::Warn => LevelFilter::WARN,
            Configured::Info => LevelFilter::INFO,
            Configured::Debug => LevelFilter::DEBUG,
        },
        format: match log.formatter {
            Formatter::Text => telemetry::log::Format::Text,
            Formatter::Json => telemetry::log::Format::Json,
            Formatter::Logstash => telemetry::log::Format::Logstash,
        },
        fields: own.into_iter().chain(configured).collect(),
    }
}
