//! SIGTERM: not ready first, then no new connections, then the last transfer's end or the deadline.

use std::sync::{Arc, atomic::AtomicBool};

use rustix::process::Signal;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{
    lifecycle::server::{PATIENCE, Server},
    support::push::{Content, Family, Flow, Pace, Pusher},
};

/// A push of this content that goes slowly until `hurry`.
fn push(server: &Server, content: &Content, hurry: &Arc<AtomicBool>) -> tokio::task::JoinHandle<Result<(), String>> {
    let (pusher, content) = (Pusher::new(server.address, "a/b"), content.clone());
    let pace = Pace::Slow(256 << 10, Arc::clone(hurry));
    tokio::spawn(async move {
        let outcome = pusher.push(&content, Flow::Put, &pace).await;
        outcome.map(drop).map_err(|stopped| format!("{stopped:?}"))
    })
}

#[tokio::test]
async fn who_stops_is_not_ready_before_it_refuses_and_lets_transfers_finish() {
    let mut server = Server::start("", "  shutdown: {lame_duck: 3s}\n");
    assert_eq!(server.ask("/readyz").await, (200, "{}".to_owned()));
    assert_eq!(server.get("/").await.status(), 200);
    let (content, hurry) = (Family::new(8 << 20).member(1), Arc::default());
    let pushing = push(&server, &content, &hurry);
    server.until_pushing().await;
    server.signal(Signal::TERM);
    server.wait_for("not ready any more", 0);
    let (status, why) = server.ask("/readyz").await;
    assert!(status == 503 && why.contains("shutdown"), "{status} {why}");
    assert_eq!(server.ask("/healthz").await.0, 200);
    // Served still, and told to go.
    let answer = server.get("/v2/").await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["connection"], "close");
    let refused = async { while TcpStream::connect(server.address).await.is_ok() {} };
    timeout(PATIENCE, refused).await.expect("the listener stayed open");
    // Whoever asks hears it to the end.
    assert_eq!(server.ask("/readyz").await.0, 503);
    hurry.store(true, std::sync::atomic::Ordering::Relaxed);
    timeout(PATIENCE, pushing).await.unwrap().unwrap().unwrap();
    assert!(server.process.wait_for_end().success());
    assert!(!server.log().contains("were cut"), "{}", server.log());
    assert!(!server.path("registry.sock").exists());
}

#[tokio::test]
async fn a_drain_ends_at_its_deadline_or_at_once() {
    for (drain, second) in [("300ms", None), ("0s", None), ("5m", Some(Signal::TERM)), ("5m", Some(Signal::INT))] {
        let mut server = Server::start(&format!("#http draintimeout: {drain}\n"), "");
        let content = Family::new(8 << 20).member(1);
        let pushing = push(&server, &content, &Arc::default());
        server.until_pushing().await;
        server.signal(Signal::INT);
        server.wait_for("stopping: SIGINT", 0);
        if let Some(second) = second {
            let refused = async { while TcpStream::connect(server.address).await.is_ok() {} };
            timeout(PATIENCE, refused).await.expect("the listener stayed open");
            server.signal(second);
        }
        assert!(server.process.wait_for_end().success());
        timeout(PATIENCE, pushing).await.unwrap().unwrap().unwrap_err();
        let log = server.log();
        assert!(
            log.contains("running requests were cut at the end of the drain") && log.contains("requests=1"),
            "{log}"
        );
    }
}

#[tokio::test]
async fn an_idle_connection_may_ask_once_more() {
    let mut server = Server::start("", "  shutdown: {lame_duck: 1s}\n");
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    let ask = b"GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n";
    idle.write_all(ask).await.unwrap();
    let mut buffer = [0; 4096];
    assert!(idle.read(&mut buffer).await.unwrap() > 0);
    server.signal(Signal::TERM);
    let refused = async { while TcpStream::connect(server.address).await.is_ok() {} };
    timeout(PATIENCE, refused).await.expect("the listener stayed open");
    // What a client had sent just before it could know.
    idle.write_all(ask).await.unwrap();
    let mut answer = Vec::new();
    timeout(PATIENCE, idle.read_to_end(&mut answer)).await.unwrap().unwrap();
    let answer = String::from_utf8_lossy(&answer).to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 200") && answer.contains("connection: close"), "{answer}");
    assert!(server.process.wait_for_end().success());
}
