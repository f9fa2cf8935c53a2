//! Other servers that do not do what they should, and clients that do not either.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use http::{HeaderMap, StatusCode};
use pierhead::{
    api,
    server::{
        Endpoint, Handler, Server, Settings,
        address::Address,
        bounds::{Deadlines, Limits},
        exchange::{Exchange, Observer},
        passthrough::{
            OwnNames, Ownership, Passthrough, Rule,
            target::{Announcement, Target},
        },
        proxies::Proxies,
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::oneshot,
    time::timeout,
};

use crate::{
    passthrough::rig::{Edge, OTHER, PATIENCE, accept, connect, ended, everything, server, status, until},
    support::process::free_address,
};

fn get() -> String {
    format!("GET / HTTP/1.1\r\nHost: {OTHER}\r\n\r\n")
}

#[tokio::test]
async fn a_server_without_an_answer_is_a_bad_gateway() {
    let (listener, address) = server().await;
    let edge = Edge::before(address, "idle_timeout: 3s");
    // Whatever it says, and then it goes.
    for answer in
        ["", "HTTP/1.1 200", "nonsense\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"]
    {
        let serve = async {
            let mut other = accept(&listener).await;
            until(&mut other, "\r\n\r\n").await;
            other.write_all(answer.as_bytes()).await.unwrap();
        };
        let (said, ()) = tokio::join!(edge.say(get()), serve);
        assert_eq!(status(&said), 502, "{answer:?}");
    }
    let (said, _silent) = tokio::join!(edge.say(get()), accept(&listener));
    assert_eq!(status(&said), 504);
    drop(listener);
    assert_eq!(status(&edge.say(get()).await), 502);
    edge.until_counted("pierhead_passthrough_total{kind=\"http\",outcome=\"unreachable\",rule=\"gitlab.test\"} 1")
        .await;
}

#[tokio::test]
async fn half_an_answer_is_a_cut_one() {
    let (listener, address) = server().await;
    let edge = Edge::before(address, "");
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ] {
        let mut client = connect(edge.plain).await;
        client.write_all(get().as_bytes()).await.unwrap();
        let mut other = accept(&listener).await;
        until(&mut other, "\r\n\r\n").await;
        other.write_all(answer.as_bytes()).await.unwrap();
        drop(other);
        ended(&mut client, true).await;
    }
    edge.until_counted("pierhead_passthrough_total{kind=\"http\",outcome=\"cut\",rule=\"gitlab.test\"} 3").await;
}

#[tokio::test]
async fn an_early_answer_is_heard_and_ends_the_connection() {
    let (listener, address) = server().await;
    let edge = Edge::before(address, "");
    let mut client = connect(edge.plain).await;
    let head = format!("PUT / HTTP/1.1\r\nHost: {OTHER}\r\nContent-Length: 1000000000\r\n\r\n");
    client.write_all(head.as_bytes()).await.unwrap();
    let mut other = accept(&listener).await;
    until(&mut other, "\r\n\r\n").await;
    other.write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig").await.unwrap();
    let said = until(&mut client, "big").await;
    assert_eq!(status(&said), 413);
    assert!(said.to_ascii_lowercase().contains("\r\nconnection: close\r\n"), "{said}");
    let chunk = vec![0; 1 << 16];
    let sent = async { while client.write_all(&chunk).await.is_ok() {} };
    timeout(PATIENCE, sent).await.expect("the rest of the body is taken");
}

#[tokio::test]
async fn a_client_that_goes_is_not_answered_for() {
    let (listener, address) = server().await;
    let edge = Edge::before(address, "");
    for body in ["", "Content-Length: 10\r\n"] {
        let mut client = connect(edge.plain).await;
        client.write_all(format!("POST / HTTP/1.1\r\nHost: {OTHER}\r\n{body}\r\n").as_bytes()).await.unwrap();
        let mut other = accept(&listener).await;
        until(&mut other, "\r\n\r\n").await;
        drop(client);
        let read = timeout(PATIENCE, other.read(&mut [0; 1])).await.expect("the other server was not told");
        assert!(!matches!(read, Ok(1..)), "{read:?}");
    }
    edge.until_counted("pierhead_passthrough_open{kind=\"http\",rule=\"gitlab.test\"} 0").await;
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let (listener, address) = server().await;
    let rules = format!("[{{names: [{OTHER}], http: '{address}'}}]");
    let edge = Edge::start(&rules, "limits: {body_timeout: 1s}");
    let ask = edge.say(format!("POST / HTTP/1.1\r\nHost: {OTHER}\r\nContent-Length: 10\r\n\r\nabc"));
    let serve = async {
        let mut other = accept(&listener).await;
        everything(&mut other).await
    };
    let (said, got) = tokio::join!(ask, serve);
    assert_eq!(status(&said), 408);
    assert!(got.ends_with("\r\n\r\nabc"), "{got}");
}

#[derive(Debug)]
struct Nothing;

#[async_trait]
impl Handler for Nothing {
    async fn handle(&self, _request: api::Request) -> api::Reply {
        let headers = HeaderMap::new();
        api::Reply { status: StatusCode::OK, headers, body: api::Body::Empty, log: api::Log::default() }
    }
}

impl Observer for Nothing {
    fn observe(&self, _exchange: &Exchange) {}
}

impl OwnNames for Nothing {
    fn ownership(&self, _name: &str) -> Ownership {
        Ownership::None
    }
}

/// Under a name that only the resolver knows to be this machine.
#[tokio::test]
async fn what_comes_back_is_refused_when_it_is_connected_to() {
    let address: SocketAddr = free_address();
    let rule = Rule {
        names: vec![OTHER.to_owned()],
        tls: None,
        http: Some(Target::Tcp { host: "localhost".to_owned(), port: address.port() }),
        announcement: Announcement::None,
        connect_timeout: PATIENCE,
        idle_timeout: Duration::from_secs(5),
    };
    let passthrough = Some(Arc::new(Passthrough::new(vec![rule], Arc::new(Nothing))));
    let endpoint = Endpoint { passthrough, ..Endpoint::new(Address::tcp(&address.to_string()).unwrap(), None) };
    let server = Server::bind(Settings {
        listeners: vec![endpoint],
        limits: Limits { connections: 16, ..Limits::default() },
        deadlines: Deadlines::default(),
        admission: Arc::default(),
        proxies: Proxies::default(),
        drain: None,
        challenges: None,
    });
    let (stop, stopped) = oneshot::channel::<()>();
    let run = server.unwrap().run(Arc::new(Nothing), Arc::new(Nothing), async {
        let _ = stopped.await;
    });
    let running = tokio::spawn(run);
    let mut client = connect(address).await;
    client.write_all(get().as_bytes()).await.unwrap();
    assert_eq!(status(&everything(&mut client).await), 502);
    stop.send(()).unwrap();
    timeout(PATIENCE, running).await.unwrap().unwrap().unwrap();
}
