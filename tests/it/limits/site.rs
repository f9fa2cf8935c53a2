//! A process with limits of a test's own, and clients from many addresses.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::{
    hostile::client::{Answer, Headers, answer, request},
    support::{
        certificate::write_private,
        command::{command, run},
        digest,
        process::{Process, free_address},
        registry::{Program, spawn, spawn_with_files},
    },
};

/// How long anything may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Where a proxy that is believed connects from, if `edge.trusted_proxies` says so.
pub(super) const PROXY: &str = "127.0.0.9";

pub(super) struct Site {
    pub(super) address: SocketAddr,
    pub(super) process: Process,
    debug: SocketAddr,
    directory: TempDir,
}

/// An answer, or a connection that was closed without one.
pub(super) type Outcome = Option<Answer>;

impl Site {
    /// `edge` is the YAML of that section, indented as what stands below a key; in it, `HERE` is the process's directory and
    /// `ADDRESS` where it listens.
    pub(super) fn start(edge: &str) -> Self {
        Self::begin(edge, "", |directory, address| spawn(&Program::pierhead(), directory, address))
    }

    /// The same with at most this many open files.
    pub(super) fn with_files(files: u32, edge: &str) -> Self {
        Self::begin(edge, "", |directory, address| spawn_with_files(&Program::pierhead(), files, directory, address))
    }

    /// The same for users with a password that is their name.
    pub(super) fn with_users(edge: &str, users: &[&str]) -> Self {
        let line = |name: &&str| run(&mut command("htpasswd", ["-B", "-b", "-n", name, name]));
        let lines = users.iter().map(line).collect::<Vec<_>>().join("\n");
        Self::begin(edge, &lines, |directory, address| spawn(&Program::pierhead(), directory, address))
    }

    fn begin(edge: &str, users: &str, spawn: impl FnOnce(&Path, SocketAddr) -> Process) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (address, debug) = (free_address(), free_address());
        let path = |name: &str| directory.path().join(name).display().to_string();
        let auth = if users.is_empty() {
            "auth: none\n".to_owned()
        } else {
            write_private(&directory.path().join("users"), users);
            format!("auth:\n  htpasswd:\n    realm: registry\n    path: {}\n", path("users"))
        };
        let config = format!(
            "version: 0.1\nlog:\n  level: debug\nstorage:\n  filesystem:\n    rootdirectory: {}\n{auth}\
             http:\n  addr: {address}\n  secret: limits\n  debug:\n    addr: {debug}\n    \
             prometheus:\n      enabled: true\n      path: /metrics\nedge:\n{}",
            path("data"),
            edge.replace("HERE", &directory.path().display().to_string()).replace("ADDRESS", &address.to_string())
        );
        write_private(&directory.path().join("config.yml"), &config);
        let process = spawn(directory.path(), address);
        Self { address, process, debug, directory }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A connection from one of this machine's addresses.
    pub(super) async fn connect(&self, from: &str) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(from.parse().unwrap(), 0)).unwrap();
        timeout(PATIENCE, socket.connect(self.address)).await.expect("nobody accepts").unwrap()
    }

    /// One request on a connection of its own.
    pub(super) async fn ask(&self, from: &str, method: &str, target: &str, headers: Headers<'_>) -> Outcome {
        exchange(&mut self.connect(from).await, &request(method, target, headers, b"")).await
    }

    /// The status of `GET /v2/`, 0 where the connection is closed.
    pub(super) async fn get(&self, from: &str, headers: Headers<'_>) -> u16 {
        self.ask(from, "GET", "/v2/", headers).await.map_or(0, |answer| answer.status)
    }

    /// Pushes a blob in one request; its path.
    pub(super) async fn push(&self, from: &str, headers: Headers<'_>, bytes: &[u8]) -> String {
        let digest = digest::of(bytes);
        let headers = [headers, &[("Content-Type", "application/octet-stream")]].concat();
        let post = request("POST", &format!("/v2/a/blobs/uploads/?digest={digest}"), &headers, bytes);
        let answer = exchange(&mut self.connect(from).await, &post).await.expect("an answer");
        assert_eq!(answer.status, 201, "{answer:?}");
        format!("/v2/a/blobs/{digest}")
    }

    /// What a line of the metrics says now.
    async fn metric(&self, name: &str) -> u64 {
        let mut stream = TcpStream::connect(self.debug).await.unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut text = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut text)).await.unwrap().unwrap();
        text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap_or_default()
    }

    async fn until(&self, name: &str, holds: impl Fn(u64) -> bool) {
        let started = Instant::now();
        while !holds(self.metric(name).await) {
            assert!(started.elapsed() < PATIENCE, "{name} did not become what it should be");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until the metrics say that a limit was met this often; they follow within seconds.
    pub(super) async fn until_limited(&self, limit: &str, times: u64) {
        self.until(&format!("pierhead_limited_total{{limit=\"{limit}\"}}"), |met| met >= times).await;
    }

    /// Waits until this many connections are open, as the process sees it.
    pub(super) async fn until_open(&self, count: u64) {
        self.until("pierhead_connections ", |open| open == count).await;
    }

    pub(super) fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.process.id())).unwrap().count()
    }
}

/// Sends a request and reads its answer; `None` where the connection is closed.
pub(super) async fn exchange(
    stream: &mut (impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin),
    raw: &[u8],
) -> Outcome {
    // A connection that was closed may take these bytes or not.
    let _ = stream.write_all(raw).await;
    Some(answer(stream).await).filter(|answer| answer.status != 0)
}

/// Sends `GET /v2/` on an open connection; the status, 0 where it is closed.
pub(super) async fn again(stream: &mut TcpStream, headers: Headers<'_>) -> u16 {
    exchange(stream, &request("GET", "/v2/", headers, b"")).await.map_or(0, |answer| answer.status)
}

/// Whether the other side has closed, or does so soon.
pub(super) async fn is_closed(stream: &mut TcpStream) -> bool {
    let mut byte = [0];
    matches!(timeout(Duration::from_secs(5), stream.read(&mut byte)).await, Ok(Ok(0) | Err(_)))
}
