//! From bind to the end of the drain.

use std::{
    os::unix::fs::PermissionsExt,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use http::{HeaderMap, Request, StatusCode};
use pierhead::{
    api::{self, Body, Log, Reply},
    server::{
        Endpoint, Handler, Server, Settings,
        address::Address,
        bounds::{Deadlines, Limits},
        control::Rules,
        exchange::{Exchange, Observer},
        inherited::{Inherited, Passed},
        proxies::Proxies,
    },
};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpStream, UnixStream},
    sync::{Notify, oneshot},
    time::timeout,
};

use crate::wire::rig::{PATIENCE, Plan, Rig, everything, status, until};

fn settings(address: Address) -> Settings {
    Settings {
        listeners: vec![Endpoint::new(address, None)],
        limits: Limits::default(),
        deadlines: Deadlines::default(),
        admission: Arc::default(),
        proxies: Proxies::default(),
        drain: None,
        challenges: None,
    }
}

#[test]
fn a_taken_port_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let error = Server::bind(settings(Address::tcp(&address.to_string()).unwrap())).unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot listen on {address}: ")), "{error}");
}

#[test]
fn a_socket_that_was_handed_on_is_not_bound_again() {
    let handed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = handed.local_addr().unwrap();
    let mut inherited = Inherited::default();
    inherited.add(address.to_string(), Passed::Tcp(handed));
    let server = Server::bind_with(settings(Address::tcp(&address.to_string()).unwrap()), &mut inherited).unwrap();
    assert_eq!(server.local_addresses()[0].to_string(), address.to_string());
    assert!(inherited.names().is_empty());
    assert!(std::net::TcpStream::connect(address).is_ok());
}

#[tokio::test]
async fn a_drain_lets_requests_finish_and_ends_when_idle() {
    let mut rig = Rig::start(Plan::default());
    let mut idle = rig.plain().await;
    idle.write_all(b"GET /ok HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    until(&mut idle, "\r\n\r\nok").await;
    let mut busy = rig.plain().await;
    busy.write_all(b"GET /hold HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    rig.probe.until("the held request", |probe| probe.requests.load(std::sync::atomic::Ordering::SeqCst) == 2).await;
    rig.stop();
    assert_eq!(everything(&mut idle).await, "");
    let refused = async { while TcpStream::connect(rig.address).await.is_ok() {} };
    timeout(PATIENCE, refused).await.expect("the listener stayed open");
    rig.probe.release.notify_one();
    let answer = everything(&mut busy).await;
    assert!(status(&answer) == 200 && answer.to_lowercase().contains("connection: close"), "{answer}");
    drop((busy, idle));
    let begun = Instant::now();
    rig.ended().await;
    assert!(begun.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn a_drain_tells_http2_to_go_and_lets_streams_finish() {
    let mut rig = Rig::start(Plan::secure());
    let mut client = rig.http2().await;
    let request = Request::get("https://localhost/hold").body(()).unwrap();
    let (answer, _) = client.send_request(request, true).unwrap();
    rig.probe.until("the held request", |probe| probe.requests.load(std::sync::atomic::Ordering::SeqCst) == 1).await;
    rig.stop();
    tokio::time::sleep(Duration::from_millis(100)).await;
    rig.probe.release.notify_one();
    assert_eq!(answer.await.unwrap().status(), 200);
    rig.ended().await;
}

#[tokio::test]
async fn who_comes_while_the_server_leaves_is_served_once() {
    let mut rig = Rig::start(Plan::secure());
    let mut known = rig.http2().await;
    let ask = || Request::get("https://localhost/ok").body(()).unwrap();
    assert_eq!(known.send_request(ask(), true).unwrap().0.await.unwrap().status(), 200);
    rig.control.leave();
    let gone = async {
        while known.clone().ready().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, gone).await.expect("a known connection was not told to go");
    // A new one is not told so before it has asked, however long it waits.
    let mut late = rig.http2().await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(late.send_request(ask(), true).unwrap().0.await.unwrap().status(), 200);
    let gone = async {
        while late.clone().ready().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, gone).await.expect("a new connection was not told to go");
    rig.stop();
    rig.ended().await;
}

#[tokio::test]
async fn rules_are_exchanged_as_one() {
    struct Says {
        text: &'static str,
        holds: Arc<Notify>,
        release: Arc<Notify>,
    }
    #[async_trait]
    impl Handler for Says {
        async fn handle(&self, request: api::Request) -> Reply {
            if request.uri.path() == "/hold" {
                self.holds.notify_one();
                self.release.notified().await;
            }
            Reply {
                status: StatusCode::OK,
                headers: HeaderMap::new(),
                body: Body::Full(self.text.into()),
                log: Log::default(),
            }
        }
    }
    let (holds, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let rules = |text, connections, target_bytes| Rules {
        handler: Arc::new(Says { text, holds: Arc::clone(&holds), release: Arc::clone(&release) }),
        limits: Limits { connections, target_bytes, ..Limits::default() },
        deadlines: Deadlines::default(),
        proxies: Proxies::default(),
    };
    let rig = Rig::start(Plan::default());
    let mut kept = rig.plain().await;
    let ask = b"GET /ok HTTP/1.1\r\nHost: a\r\n\r\n";
    kept.write_all(ask).await.unwrap();
    until(&mut kept, "\r\n\r\nok").await;
    rig.control.replace(rules("first", 1, 8));
    kept.write_all(b"GET /hold HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    timeout(PATIENCE, holds.notified()).await.unwrap();
    // The one seat is taken.
    let mut waits = rig.plain().await;
    waits.write_all(ask).await.unwrap();
    assert!(timeout(Duration::from_millis(300), until(&mut waits, "first")).await.is_err());
    rig.control.replace(rules("second", 3, 8 << 10));
    until(&mut waits, "\r\n\r\nsecond").await;
    // Who has begun under some rules goes on under them.
    release.notify_one();
    until(&mut kept, "\r\n\r\nfirst").await;
    rig.control.replace(rules("third", 3, 8));
    let long = "GET /longer-than-eight HTTP/1.1\r\nHost: a\r\n\r\n";
    kept.write_all(long.as_bytes()).await.unwrap();
    assert_eq!(status(&everything(&mut kept).await), 414);
}

#[tokio::test]
async fn a_drain_has_an_end() {
    let mut rig = Rig::start(Plan { drain: Some(Duration::from_millis(200)), ..Plan::default() });
    let mut busy = rig.plain().await;
    busy.write_all(b"GET /hold HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    rig.probe.until("the held request", |probe| probe.requests.load(std::sync::atomic::Ordering::SeqCst) == 1).await;
    rig.stop();
    rig.ended().await;
    assert_eq!(everything(&mut busy).await, "");
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_their_turn() {
    let limits = Limits { connections: 2, ..Limits::default() };
    let rig = Rig::start(Plan { limits, ..Plan::default() });
    let (mut first, mut second) = (rig.plain().await, rig.plain().await);
    for busy in [&mut first, &mut second] {
        busy.write_all(b"GET /hold HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    }
    rig.probe.until("both held", |probe| probe.requests.load(std::sync::atomic::Ordering::SeqCst) == 2).await;
    let mut third = rig.plain().await;
    third.write_all(b"GET /ok HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert!(timeout(Duration::from_millis(300), until(&mut third, "ok")).await.is_err());
    rig.probe.release.notify_waiters();
    until(&mut third, "\r\n\r\nok").await;
}

struct Peerless;

#[async_trait]
impl Handler for Peerless {
    async fn handle(&self, request: api::Request) -> Reply {
        let status = if request.connection.peer.is_none() { StatusCode::OK } else { StatusCode::CONFLICT };
        Reply { status, headers: HeaderMap::new(), body: Body::Empty, log: Log::default() }
    }
}

impl Observer for Peerless {
    fn observe(&self, _exchange: &Exchange) {}
}

#[tokio::test]
async fn a_unix_socket_replaces_a_stale_one_and_is_removed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("registry.sock");
    // Dropping the listener leaves its file, as a killed process does.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let address = Address::Unix { path: path.clone(), mode: 0o660 };
    let server = Server::bind(settings(address.clone())).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    let second = Server::bind(settings(address)).unwrap_err().to_string();
    assert!(second.contains("another process listens there"), "{second}");
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(server.run(Arc::new(Peerless), Arc::new(Peerless), async {
        let _ = stopped.await;
    }));
    let mut stream = UnixStream::connect(&path).await.unwrap();
    stream.write_all(b"GET /ok HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
    assert_eq!(status(&everything(&mut stream).await), 200);
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();
    assert!(!path.exists());

    std::fs::write(&path, "precious").unwrap();
    let error = Server::bind(settings(Address::Unix { path: path.clone(), mode: 0o660 })).unwrap_err();
    assert!(error.to_string().contains("taken by something else"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}
