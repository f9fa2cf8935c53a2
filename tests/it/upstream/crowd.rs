//! More requests than there may be connections: who waits, who hears 503, and that no server is blamed for it.

use std::{process::Command, time::Duration};

use tokio::{
    io::AsyncWriteExt as _,
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::{
    support::command::run,
    upstream::{
        front::Front,
        scripted::{PATIENCE, Upstream, connect, everything, fields, say},
    },
};

const GET: &str = "GET /v2/x HTTP/1.1\r\nHost: r\r\nConnection: close\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Before these servers, with lines more below `upstream`.
fn front(servers: &str, more: &str) -> Front {
    Front::with(&format!("  upstream:\n    servers: {servers}\n    health: {{interval: 0s}}\n    {more}\n"))
}

fn ask(front: &Front) -> tokio::task::JoinHandle<String> {
    let address = front.address();
    tokio::spawn(async move { say(address, GET).await })
}

#[tokio::test]
async fn who_finds_no_room_hears_503() {
    let mut upstream = Upstream::start().await;
    let front = front(&format!("http://{}", upstream.address), "connections_max: 2\n    connect_timeout: 500ms");
    let running = [ask(&front), ask(&front)];
    let mut callers = [upstream.asked().await.0, upstream.asked().await.0];
    let refused = say(front.address(), GET).await;
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("\"UNAVAILABLE\""), "{refused}");
    assert!(fields(refused.split("\r\n\r\n").next().unwrap()).iter().any(|it| it.starts_with("retry-after: ")));
    assert!(front.metric("pierhead_upstream_requests_total", &["crowded"]).await >= 1.0);
    assert_eq!(front.page("/debug/health").await, (200, "{}".to_owned()));
    for caller in &mut callers {
        caller.say(OK).await;
    }
    for running in running {
        assert!(running.await.unwrap().ends_with("ok"));
    }
    assert_eq!(upstream.accepted(), 2);
    // On one that was kept.
    let next = ask(&front);
    let [mut one, mut two] = callers;
    let _ = tokio::select! {
        head = one.head() => (head.expect("kept"), one.say(OK).await),
        head = two.head() => (head.expect("kept"), two.say(OK).await),
    };
    assert!(next.await.unwrap().ends_with("ok"));
    assert_eq!(upstream.accepted(), 2);
}

#[tokio::test]
async fn who_waits_comes_next() {
    let upstream = Upstream::start().await;
    let front = front(&format!("http://{}", upstream.address), "connections_max: 1");
    upstream.always(OK);
    // On the one connection, or one that took its place.
    let all: Vec<_> = (0..100).map(|_| ask(&front)).collect();
    for one in all {
        let answer = timeout(PATIENCE, one).await.expect("forgotten").unwrap();
        assert!(answer.ends_with("ok"), "{answer}");
    }
    assert!(front.metric("pierhead_upstream_connections_total", &[]).await < 100.0);
}

/// A connection that is idle at one server is closed where another one needs it.
#[tokio::test]
async fn idle_connections_give_way() {
    let (one, two) = (Upstream::start().await, Upstream::start().await);
    let servers = format!("[http://{}, http://{}]", one.address, two.address);
    let front = front(&servers, "connections_max: 1");
    one.always(OK);
    two.always(OK);
    for _ in 0..10 {
        let answer = say(front.address(), GET).await;
        assert!(answer.ends_with("ok"), "{answer}");
    }
    assert!(front.metric("pierhead_upstream_connections_total", &[]).await >= 10.0);
}

/// Sets how many descriptors a process may have from now on.
fn set_descriptors(process: u32, soft: usize) {
    run(Command::new("prlimit").arg(format!("--pid={process}")).arg(format!("--nofile={soft}:")));
}

#[tokio::test]
async fn want_of_descriptors_is_not_the_servers_fault() {
    let upstream = Upstream::start().await;
    let mut front = Front::with(&format!(
        "  upstream:\n    servers: http://{}\n    health: {{interval: 100ms, threshold: 1}}\n",
        upstream.address
    ));
    // So that none is kept.
    upstream.always("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
    assert!(say(front.address(), GET).await.ends_with("ok"));
    let process = front.registry.id();
    let mut early: Vec<TcpStream> = Vec::new();
    for _ in 0..3 {
        early.push(connect(front.address()).await);
    }
    let accepted = async {
        while front.metric("pierhead_connections", &[]).await < 3.0 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, accepted).await.expect("never accepted");
    // The numbers below are taken already, so none is left.
    set_descriptors(process, 3);
    for mut client in early {
        client.write_all(GET.as_bytes()).await.unwrap();
        let (answer, _) = everything(&mut client).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.to_lowercase().contains("\r\nretry-after: "), "{answer}");
    }
    front.registry.wait_for_log("could not be checked");
    set_descriptors(process, 1000);
    assert!(say(front.address(), GET).await.ends_with("ok"));
    assert_eq!(front.page("/debug/health").await, (200, "{}".to_owned()));
    let log = front.registry.log();
    assert!(log.contains("this process can make no connection"), "{log}");
    assert!(!log.contains("an upstream cannot be reached"), "{log}");
}
