//! The private debug listener: health, counters and metrics, over plain HTTP/1.1.
//!
//! Written by hand: it reads one bodyless head of bounded size, answers and closes; an HTTP engine would bring more
//! states than that. Never: configuration, arguments or environment in an answer.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, timeout},
};

use crate::{health::Health, telemetry::metrics::Metrics};

const HEAD_BYTES_MAX: usize = 8 * 1024;
const DEADLINE: Duration = Duration::from_secs(10);
const CONNECTIONS_MAX: usize = 32;

/// What the listener shows.
#[derive(Clone, Debug)]
pub struct Pages {
    pub health: Health,
    pub metrics: Arc<Metrics>,
    /// Where Prometheus scrapes, when enabled.
    pub metrics_path: Option<String>,
    pub started: Instant,
}

/// The bound listener.
#[derive(Debug)]
pub struct Debug(TcpListener);

impl Debug {
    /// Binds `addr` (host:port).
    pub async fn bind(addr: &str) -> io::Result<Self> {
        TcpListener::bind(addr).await.map(Self)
    }

    pub fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// What the caller should log when others than this machine can reach the listener.
    pub fn warning(&self) -> Option<String> {
        let address = self.0.local_addr().ok()?;
        (!address.ip().is_loopback())
            .then(|| format!("http.debug.addr {address} is not a loopback address: it has no authentication"))
    }

    /// Serves until `shutdown` completes; then ends what is open.
    pub async fn run(self, pages: Pages, shutdown: impl Future<Output = ()>) {
        let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut open = JoinSet::new();
        tokio::pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                () = &mut shutdown => return,
                Some(_) = open.join_next() => continue,
                accepted = self.0.accept() => accepted,
            };
            let Ok((stream, _)) = accepted else {
                // Out of descriptors, most likely: a pause instead of a spin.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else { continue };
            let pages = pages.clone();
            open.spawn(async move {
                // A peer that is slow or gone is owed nothing.
                drop(timeout(DEADLINE, exchange(stream, &pages)).await);
                drop(slot);
            });
        }
    }
}

struct Answer {
    status: http::StatusCode,
    content_type: &'static str,
    body: Vec<u8>,
}

async fn exchange(mut stream: TcpStream, pages: &Pages) -> io::Result<()> {
    let mut head = Vec::with_capacity(1024);
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if head.len() >= HEAD_BYTES_MAX {
            return reply(&mut stream, &plain(http::StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)).await;
        }
        let mut chunk = [0; 1024];
        let count = stream.read(&mut chunk).await?;
        if count == 0 {
            return Ok(());
        }
        head.extend_from_slice(&chunk[..count]);
    }
    let text = String::from_utf8_lossy(&head);
    let mut words = text.lines().next().unwrap_or_default().split(' ');
    let answer = match (words.next(), words.next(), words.next()) {
        (Some(method), Some(target), Some("HTTP/1.1" | "HTTP/1.0")) => {
            pages.answer(method, target.split('?').next().unwrap_or_default())
        }
        _ => plain(http::StatusCode::BAD_REQUEST),
    };
    reply(&mut stream, &answer).await
}

impl Pages {
    fn answer(&self, method: &str, path: &str) -> Answer {
        match (method, path) {
            ("GET", "/debug/health") => self.health(),
            ("POST", "/debug/health/down") => {
                self.health.down();
                plain(http::StatusCode::OK)
            }
            ("POST", "/debug/health/up") => {
                self.health.up();
                plain(http::StatusCode::OK)
            }
            ("GET", "/debug/vars") => {
                let uptime = self.started.elapsed().as_secs();
                json(http::StatusCode::OK, &serde_json::json!({ "cmdline": ["pierhead"], "uptime_secs": uptime }))
            }
            ("GET", path) if self.metrics_path.as_deref() == Some(path) => self.metrics.render().map_or_else(
                |_| plain(http::StatusCode::INTERNAL_SERVER_ERROR),
                |body| Answer { status: http::StatusCode::OK, content_type: "text/plain; version=0.0.4", body },
            ),
            _ => plain(http::StatusCode::NOT_FOUND),
        }
    }

    fn health(&self) -> Answer {
        let report = self.health.report();
        let fit = report.is_empty();
        let status = if fit { http::StatusCode::OK } else { http::StatusCode::SERVICE_UNAVAILABLE };
        json(status, &serde_json::json!(report))
    }
}

fn json(status: http::StatusCode, value: &serde_json::Value) -> Answer {
    Answer { status, content_type: "application/json", body: value.to_string().into_bytes() }
}

fn plain(status: http::StatusCode) -> Answer {
    Answer { status, content_type: "text/plain", body: Vec::new() }
}

async fn reply(stream: &mut TcpStream, answer: &Answer) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 {}\r\ncontent-type: {}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        answer.status,
        answer.content_type,
        answer.body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&answer.body).await?;
    stream.shutdown().await
}
