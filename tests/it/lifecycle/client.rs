//! Clients that count what goes wrong: over TLS, on connections that they keep or on a new one each time.

use std::{
    io,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use rustls::pki_types::{CertificateDer, ServerName};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{lifecycle::server::PATIENCE, support::certificate::trusting};

/// Most failures that are kept by their words.
const REMEMBERED: usize = 20;

/// What clients together have seen.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) answers: AtomicU64,
    pub(crate) connections: AtomicU64,
    /// Certificates in the order in which they were first seen.
    certificates: Mutex<Vec<Vec<u8>>>,
    failures: Mutex<Vec<String>>,
    failed: AtomicU64,
    pub(crate) stop: AtomicBool,
}

impl Tally {
    pub(crate) fn fail(&self, why: String) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        let mut failures = self.failures.lock().unwrap();
        if failures.len() < REMEMBERED {
            failures.push(why);
        }
    }

    pub(crate) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    pub(crate) fn failures(&self) -> Vec<String> {
        self.failures.lock().unwrap().clone()
    }

    /// How many certificates were shown.
    pub(crate) fn certificates(&self) -> usize {
        self.certificates.lock().unwrap().len()
    }

    fn saw(&self, certificate: &CertificateDer<'_>) {
        let mut seen = self.certificates.lock().unwrap();
        if !seen.iter().any(|known| known == certificate.as_ref()) {
            seen.push(certificate.to_vec());
        }
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// Where clients go.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    tls: TlsConnector,
}

impl Target {
    pub(crate) fn new(address: SocketAddr, authorities: &[&Path]) -> Self {
        let mut config = trusting(authorities);
        // Each handshake shows a certificate.
        config.resumption = rustls::client::Resumption::disabled();
        Self { address, tls: TlsConnector::from(Arc::new(config)) }
    }

    async fn connect(&self, tally: &Tally) -> io::Result<Connection> {
        let stream = TcpStream::connect(self.address).await?;
        let stream = self.tls.connect(ServerName::try_from("localhost").unwrap(), stream).await?;
        if let Some([certificate, ..]) = stream.get_ref().1.peer_certificates() {
            tally.saw(certificate);
        }
        tally.connections.fetch_add(1, Ordering::Relaxed);
        Ok(Connection { stream, buffer: Vec::new() })
    }

    /// The certificate that is shown now.
    pub(crate) async fn certificate(&self) -> Vec<u8> {
        let tally = Tally::default();
        self.connect(&tally).await.unwrap();
        tally.certificates.into_inner().unwrap().remove(0)
    }
}

struct Connection {
    stream: TlsStream<TcpStream>,
    /// What came behind the last head.
    buffer: Vec<u8>,
}

/// How fast a client reads.
#[derive(Default)]
struct Pacing {
    /// Bytes after which it rests; `None` never rests.
    step: Option<u64>,
    next: u64,
    hurry: Arc<AtomicBool>,
}

impl Pacing {
    async fn hold(&mut self, taken: u64) {
        if let Some(step) = self.step
            && taken >= self.next
            && !self.hurry.load(Ordering::Relaxed)
        {
            self.next = taken + step;
            sleep(Duration::from_millis(75)).await;
        }
    }
}

struct Head {
    status: u16,
    length: u64,
    closes: bool,
}

impl Connection {
    async fn head(&mut self, path: &str, connection: &str) -> io::Result<Head> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: {connection}\r\n\r\n");
        self.stream.write_all(request.as_bytes()).await?;
        loop {
            if let Some(end) = self.buffer.windows(4).position(|end| end == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&self.buffer[..end]).to_ascii_lowercase();
                self.buffer.drain(..end + 4);
                let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
                let malformed = || io::Error::other(format!("not a head: {head}"));
                return Ok(Head {
                    status: head.get(9..12).and_then(|text| text.parse().ok()).ok_or_else(malformed)?,
                    length: field("content-length:").and_then(|text| text.parse().ok()).ok_or_else(malformed)?,
                    closes: field("connection:") == Some("close"),
                });
            }
            self.more().await?;
        }
    }

    async fn more(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed before the answer's end")),
            _ => Ok(()),
        }
    }

    /// Takes a body as fast as `pace` lets it.
    async fn body(&mut self, length: u64, pace: &mut Pacing) -> io::Result<()> {
        let mut taken = 0;
        loop {
            taken += self.buffer.len() as u64;
            self.buffer.clear();
            if taken >= length {
                return Ok(());
            }
            pace.hold(taken).await;
            self.more().await?;
        }
    }

    async fn small(&mut self, path: &str, connection: &str) -> io::Result<Head> {
        let head = self.head(path, connection).await?;
        self.body(head.length, &mut Pacing::default()).await?;
        Ok(head)
    }
}

/// How a client treats its connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Habit {
    Keeps,
    Opens,
}

/// Asks again and again until it is told to stop. Nothing is tried a second time.
pub(crate) async fn ask_on(target: Target, tally: Arc<Tally>, habit: Habit, pause: Duration) {
    let mut kept = None;
    while !tally.is_stopped() {
        let asked = async {
            let mut connection = match kept.take() {
                Some(connection) => connection,
                None => target.connect(&tally).await?,
            };
            let head = connection.small("/v2/", if habit == Habit::Keeps { "keep-alive" } else { "close" }).await?;
            if head.status != 200 {
                return Err(io::Error::other(format!("status {}", head.status)));
            }
            tally.answers.fetch_add(1, Ordering::Relaxed);
            if habit == Habit::Keeps && !head.closes {
                kept = Some(connection);
            }
            Ok(())
        };
        match timeout(PATIENCE, asked).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tally.fail(format!("{habit:?}: {error}")),
            Err(_) => tally.fail(format!("{habit:?}: no answer within {PATIENCE:?}")),
        }
        sleep(pause).await;
    }
}

/// Downloads one blob, slowly until somebody is in a hurry.
pub(crate) async fn download(target: Target, tally: Arc<Tally>, path: String, length: u64, hurry: Arc<AtomicBool>) {
    // Slow is a blob in more than half a minute.
    let mut pace = Pacing { step: Some(length / 512), next: 0, hurry };
    let outcome = async {
        let mut connection = target.connect(&tally).await?;
        let head = connection.head(&path, "keep-alive").await?;
        if (head.status, head.length) != (200, length) {
            return Err(io::Error::other(format!("status {}, length {}", head.status, head.length)));
        }
        connection.body(length, &mut pace).await
    };
    if let Err(error) = outcome.await {
        tally.fail(format!("download: {error}"));
    }
}
