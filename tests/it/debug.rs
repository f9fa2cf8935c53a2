//! The debug listener: its pages and its bounds on loopback, and what a real process shows on it.

use std::{fs, net::SocketAddr, path::PathBuf, process::Command, sync::Arc, time::Duration};

use pierhead::{
    health::{Health, probe::Probe, readiness::Readiness},
    server::debug::{Debug, Pages},
    telemetry::metrics::Metrics,
};
use pprof::protos::{Message as _, Profile};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinHandle,
    time::{Instant, timeout},
};

use crate::support::process::{Process, free_address};

/// Longer than the listener's own deadline for a head.
const PATIENCE: Duration = Duration::from_secs(20);

async fn start() -> (SocketAddr, JoinHandle<()>) {
    let debug = Debug::bind("127.0.0.1:0").await.unwrap();
    assert_eq!(debug.warning(), None);
    let address = debug.address().unwrap();
    let health = Health::default();
    let pages = Pages {
        health: health.clone(),
        readiness: Readiness::new(health, "storage".to_owned(), Probe::call(|| async { Ok(()) })),
        metrics: Arc::new(Metrics::new().unwrap()),
        metrics_path: Some("/metrics".to_owned()),
        started: Instant::now(),
    };
    (address, tokio::spawn(debug.run(pages, std::future::pending())))
}

/// The status and the body.
async fn send(address: SocketAddr, bytes: &[u8]) -> (u16, Vec<u8>) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("an answer in time").unwrap();
    let end = answer.windows(4).position(|end| end == b"\r\n\r\n").expect("a whole head");
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let status = head.strip_prefix("HTTP/1.1 ").unwrap()[..3].parse().unwrap();
    let length = format!("\r\ncontent-length: {}\r\n", answer.len() - end - 4);
    assert!(format!("{head}\r\n").to_ascii_lowercase().contains(&length), "{head}");
    (status, answer.split_off(end + 4))
}

async fn ask(address: SocketAddr, request: &str) -> (u16, Vec<u8>) {
    send(address, format!("{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes()).await
}

#[tokio::test]
async fn each_page_answers() {
    let (address, server) = start().await;
    for (request, status, part) in [
        ("GET /healthz", 200, "ok"),
        ("GET /readyz", 200, "{}"),
        ("GET /debug/health", 200, "{}"),
        ("GET /debug/health/down", 404, ""),
        ("POST /debug/health/down", 200, ""),
        ("GET /debug/health", 503, "manual"),
        ("GET /readyz", 503, "manual"),
        ("GET /healthz", 200, "ok"),
        ("POST /debug/health/up", 200, ""),
        ("GET /debug/health", 200, "{}"),
        ("GET /metrics", 200, "pierhead_build_info{version=\""),
        ("GET /debug/vars?pretty", 200, "\"cmdline\":[\"pierhead\"]"),
        ("GET /debug/pprof/", 200, "go tool pprof"),
        ("GET /debug/pprof/profile?seconds=0", 400, "1 to 60"),
        ("GET /debug/pprof/profile?seconds=61", 400, "1 to 60"),
        ("GET /debug/pprof/profile?seconds=x", 400, "1 to 60"),
        ("GET /nothing", 404, ""),
        ("GET /debug/health too many words", 400, ""),
    ] {
        let (found, body) = ask(address, request).await;
        let body = String::from_utf8(body).unwrap();
        assert!(found == status && body.contains(part), "{request}: {found} {body}");
    }
    server.abort();
}

#[tokio::test]
async fn a_head_has_bounds() {
    let (address, server) = start().await;
    let mut head = b"GET /debug/health HTTP/1.1\r\nx: ".to_vec();
    head.resize(10_000, b'a');
    assert_eq!(send(address, &head).await.0, 431);
    // One byte a second would take forever: after its deadline the peer is cut off, unanswered.
    let mut slow = TcpStream::connect(address).await.unwrap();
    slow.write_all(b"GET /debug/health HT").await.unwrap();
    let mut nothing = Vec::new();
    timeout(PATIENCE, slow.read_to_end(&mut nothing)).await.expect("cut off").unwrap();
    assert_eq!(String::from_utf8(nothing).unwrap(), "");
    server.abort();
}

/// A real process: the sampling timer of a profile is one for all that runs in it.
struct Serving {
    process: Process,
    main: SocketAddr,
    debug: SocketAddr,
    /// Both of its outputs.
    log: PathBuf,
    _directory: tempfile::TempDir,
}

const SECRET: &str = "nobody-may-see-this";

fn serve() -> Serving {
    let directory = tempfile::tempdir().unwrap();
    let (main, debug, root) = (free_address(), free_address(), directory.path().join("store"));
    let config = directory.path().join("config.yml");
    let text = format!(
        "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {root}}}}}\nauth: {{none: {{}}}}\n\
         http:\n  addr: {main}\n  secret: {SECRET}\n  debug: {{addr: {debug}, prometheus: {{enabled: true}}}}\n",
        root = root.display(),
    );
    fs::write(&config, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_pierhead"));
    command.arg("serve").arg(&config).env("PIERHEAD_TEST_MARK", SECRET);
    let log = directory.path().join("log");
    let mut process = Process::start(&mut command, &log);
    process.wait_for_port(main);
    process.wait_for_port(debug);
    Serving { process, main, debug, log, _directory: directory }
}

#[tokio::test]
async fn variables_are_numbers_and_no_page_tells_a_secret() {
    let serving = serve();
    assert_eq!(ask(serving.main, "GET /v2/").await.0, 200);
    let (status, body) = ask(serving.debug, "GET /debug/vars").await;
    assert_eq!(status, 200);
    let variables: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let names: Vec<&str> = variables.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = [
        "cmdline",
        "config_generation",
        "descriptors_open",
        "log_lines_dropped",
        "requests_total",
        "resident_bytes",
        "resident_bytes_max",
        "uploads_memory_bytes",
        "uptime_secs",
        "version",
    ];
    assert_eq!(names, expected);
    assert!(names.iter().filter(|name| !["cmdline", "version"].contains(name)).all(|name| variables[name].is_u64()));
    assert_eq!(variables["requests_total"], 1);
    for page in ["/debug/vars", "/debug/health", "/debug/pprof/", "/metrics"] {
        let (status, body) = ask(serving.debug, &format!("GET {page}")).await;
        let text = String::from_utf8(body).unwrap();
        assert!(status == 200 && !text.contains(SECRET) && !text.contains("config.yml"), "{page}: {status} {text}");
    }
}

#[tokio::test]
async fn connections_and_unreadable_heads_are_counted() {
    let serving = serve();
    // Both are open while the metrics are read: one idle, one whose head was refused and who waits for the close.
    let _idle = TcpStream::connect(serving.main).await.unwrap();
    let mut refused = TcpStream::connect(serving.main).await.unwrap();
    refused.write_all(b"no HTTP at all\r\n\r\n").await.unwrap();
    let mut answer = [0; 12];
    refused.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 400");
    let metrics = String::from_utf8(ask(serving.debug, "GET /metrics").await.1).unwrap();
    let line = |name: &str| metrics.lines().find(|line| line.starts_with(name)).unwrap_or("").to_owned();
    assert_eq!(
        line("registry_http_requests_total"),
        "registry_http_requests_total{code=\"400\",handler=\"unreadable\",method=\"other\"} 1"
    );
    let open: u32 = line("pierhead_connections").rsplit(' ').next().unwrap().parse().unwrap();
    assert!((1..=3).contains(&open), "{open}");
    let Serving { mut process, log, .. } = serving;
    process.wait_until("the access log has the refused head", || {
        fs::read_to_string(&log).unwrap().contains("] \"-\" 400 0 \"\" \"\"\n")
    });
}

#[tokio::test]
async fn a_profile_is_taken_one_at_a_time() {
    let serving = serve();
    let (debug, main) = (serving.debug, serving.main);
    let first = tokio::spawn(async move { ask(debug, "GET /debug/pprof/profile?seconds=4").await });
    // Long enough to have begun, and not to have ended.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(ask(debug, "GET /debug/pprof/profile?seconds=1").await.0, 503);
    while !first.is_finished() {
        // Something to sample.
        ask(main, "GET /v2/").await;
    }
    let (status, body) = first.await.unwrap();
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    let profile = Profile::parse_from_bytes(&body).unwrap();
    assert_eq!(profile.sample_type.len(), 2);
    assert!(!profile.sample.is_empty() && !profile.function.is_empty(), "{} bytes", body.len());
}
