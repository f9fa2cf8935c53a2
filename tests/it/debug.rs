//! The debug listener on loopback.

use std::sync::Arc;

use pierhead::{
    health::Health,
    server::debug::{Debug, Pages},
    telemetry::metrics::Metrics,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::Instant,
};

#[tokio::test]
async fn pages_answer_within_their_bounds() {
    let debug = Debug::bind("127.0.0.1:0").await.unwrap();
    assert_eq!(debug.warning(), None);
    let address = debug.address().unwrap();
    let pages = Pages {
        health: Health::default(),
        metrics: Arc::new(Metrics::new().unwrap()),
        metrics_path: Some("/metrics".to_owned()),
        started: Instant::now(),
    };
    let server = tokio::spawn(debug.run(pages, std::future::pending()));
    for (request, status, part) in [
        ("GET /debug/health", "200", "\r\n\r\n{}"),
        ("GET /debug/health/down", "404", ""),
        ("POST /debug/health/down", "200", ""),
        ("GET /debug/health", "503", "manual"),
        ("POST /debug/health/up", "200", ""),
        ("GET /debug/health", "200", "{}"),
        ("GET /metrics", "200", "pierhead_build_info"),
        ("GET /debug/vars", "200", "\"cmdline\":[\"pierhead\"]"),
        ("GET /nothing", "404", ""),
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(format!("{request} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")) && answer.contains(part), "{request}: {answer}");
    }
    server.abort();
}
