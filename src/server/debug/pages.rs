//! What each path of the debug listener answers.

use std::collections::BTreeMap;

use http::StatusCode;

use crate::{
    server::debug::{
        Pages,
        http::{Answer, Request},
        profile,
    },
    telemetry::process::Process,
};

const PROFILES: &str = "profile?seconds=N   CPU time by call stack, sampled for N seconds (1 to 60, by default 30):\n\
                        \x20                   go tool pprof http://<this address>/debug/pprof/profile?seconds=10\n";

impl Pages {
    pub(super) async fn answer(&self, request: &Request) -> Answer {
        match (request.method.as_str(), request.path.as_str()) {
            // The process answers, whatever its storage does: nobody is helped by another start.
            ("GET", "/healthz") => Answer::text(StatusCode::OK, "ok\n"),
            ("GET", "/readyz") => report(&self.readiness.report().await),
            ("GET", "/debug/health") => report(&self.health.report()),
            ("POST", "/debug/health/down") => {
                self.health.down();
                Answer::status(StatusCode::OK)
            }
            ("POST", "/debug/health/up") => {
                self.health.up();
                Answer::status(StatusCode::OK)
            }
            ("GET", "/debug/vars") => Answer::json(StatusCode::OK, &self.variables()),
            ("GET", "/debug/pprof/") => Answer::text(StatusCode::OK, PROFILES),
            ("GET", "/debug/pprof/profile") => profile(&request.query).await,
            ("GET", path) if self.metrics_path.as_deref() == Some(path) => self.metrics.render().map_or_else(
                |_| Answer::status(StatusCode::INTERNAL_SERVER_ERROR),
                |body| Answer { status: StatusCode::OK, content_type: "text/plain; version=0.0.4", body },
            ),
            _ => Answer::status(StatusCode::NOT_FOUND),
        }
    }

    /// Numbers only: where Go's `expvar` would show the command line, arguments could be secret.
    fn variables(&self) -> serde_json::Value {
        let process = Process::now();
        serde_json::json!({
            "cmdline": ["pierhead"],
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_secs": self.started.elapsed().as_secs(),
            "resident_bytes": process.resident_bytes,
            "resident_bytes_max": process.resident_bytes_max,
            "descriptors_open": process.descriptors_open,
            "log_lines_dropped": self.metrics.log_lines_dropped(),
            "config_generation": self.metrics.reloads.generation(),
            "uploads_memory_bytes": self.metrics.uploads_memory(),
            "requests_total": self.metrics.requests_total(),
        })
    }
}

/// What fails, and why.
fn report(failures: &BTreeMap<String, String>) -> Answer {
    let status = if failures.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Answer::json(status, &serde_json::json!(failures))
}

async fn profile(query: &str) -> Answer {
    let Some(duration) = profile::duration(query) else {
        return Answer::text(StatusCode::BAD_REQUEST, "seconds must be a number from 1 to 60\n");
    };
    match profile::take(duration).await {
        Ok(body) => Answer { status: StatusCode::OK, content_type: "application/octet-stream", body },
        Err(profile::Error::Running) => {
            Answer::text(StatusCode::SERVICE_UNAVAILABLE, "a profile is being taken: try again when it has ended\n")
        }
        Err(error) => {
            tracing::warn!("a profile could not be taken: {error}");
            Answer::status(StatusCode::INTERNAL_SERVER_ERROR)
        }
    }
}
