//! Upstreams that are gone, slow, stale or broken, and what clients hear of it.

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::{net::TcpListener, time::sleep};

use crate::{
    support::process::free_address,
    upstream::{
        front::Front,
        scripted::{PATIENCE, Upstream, fields, say},
    },
};

const GET: &str = "GET /v2/x HTTP/1.1\r\nHost: r\r\nConnection: close\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// The status, and the code of the error in the form of the specification.
fn failure(answer: &str) -> (u16, String) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    let body: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("no document: {answer:?}"));
    assert!(fields(head).contains(&"content-type: application/json".to_owned()), "{head}");
    (head[9..12].parse().unwrap(), body["errors"][0]["code"].as_str().unwrap().to_owned())
}

fn unavailable(status: u16) -> (u16, String) {
    (status, "UNAVAILABLE".to_owned())
}

#[tokio::test]
async fn one_that_is_not_there_is_503_until_it_is() {
    let address = free_address();
    let front = Front::with(&format!("  upstream: http://{address}\n"));
    let answer = say(front.address(), GET).await;
    assert_eq!(failure(&answer), unavailable(503));
    assert!(answer.contains("etry-") && !answer.contains(&address.to_string()), "{answer}");
    assert!(front.metric("pierhead_upstream_requests_total", &["unreachable"]).await >= 1.0);
    let (status, report) = front.page("/debug/health").await;
    assert!(status == 503 && report.contains(&format!("upstream http://{address}")), "{status} {report}");

    Upstream::at(TcpListener::bind(address).await.unwrap()).always(OK);
    let deadline = Instant::now() + PATIENCE;
    while !say(front.address(), GET).await.starts_with("HTTP/1.1 200 ") {
        assert!(Instant::now() < deadline, "never found again");
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(front.page("/debug/health").await, (200, "{}".to_owned()));
}

#[tokio::test]
async fn one_that_does_not_answer_is_504_after_a_while() {
    let mut upstream = Upstream::start().await;
    let edge = "read_timeout: 1s\n    health: {interval: 0s}\n";
    let front = Front::with(&format!("  upstream:\n    servers: http://{}\n    {edge}", upstream.address));
    let client = tokio::spawn(say_owned(front.address(), GET));
    let (mut caller, _) = upstream.asked().await;
    assert_eq!(failure(&client.await.unwrap()), unavailable(504));
    assert_eq!(caller.rest().await, b"", "the request is given up");
    // In the middle of an answer there is no status left to say it with.
    let client = tokio::spawn(say_owned(front.address(), GET));
    let (mut caller, _) = upstream.asked().await;
    caller.say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc").await;
    assert!(!client.await.unwrap().ends_with("\r\n\r\n"));
    assert_eq!(caller.rest().await, b"");
    assert!(front.metric("pierhead_upstream_requests_total", &["stalled"]).await >= 2.0);
}

async fn say_owned(address: std::net::SocketAddr, request: &'static str) -> String {
    say(address, request).await
}

#[tokio::test]
async fn what_is_no_answer_is_502() {
    let long = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(1 << 20));
    for answer in [
        "SSH-2.0-OpenSSH_9.2\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
        "",
        &long,
    ] {
        let mut upstream = Upstream::start().await;
        let mut front = Front::before(&upstream);
        let client =
            tokio::spawn(say_owned(front.address(), "PATCH /v2/x HTTP/1.1\r\nHost: r\r\nConnection: close\r\n\r\n"));
        let (mut caller, _) = upstream.asked().await;
        // It may have hung up before all was said.
        let _ = tokio::io::AsyncWriteExt::write_all(&mut caller.stream, answer.as_bytes()).await;
        drop(caller);
        assert_eq!(failure(&client.await.unwrap()), unavailable(502), "{answer:.60}");
        front.registry.wait_for_log("broke off");
    }
}

/// A server that closes a kept connection just as it is used: what can be sent again is, once; what cannot is not.
#[tokio::test]
async fn a_stale_connection_costs_a_read_nothing() {
    for (request, again) in [
        ("GET /v2/x HTTP/1.1\r\nHost: r\r\nConnection: close\r\n\r\n", true),
        ("DELETE /v2/x HTTP/1.1\r\nHost: r\r\nConnection: close\r\n\r\n", true),
        ("POST /v2/x HTTP/1.1\r\nHost: r\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", false),
        ("PUT /v2/x HTTP/1.1\r\nHost: r\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc", false),
    ] {
        let mut upstream = Upstream::start().await;
        let front = Front::before(&upstream);
        let first = tokio::spawn(say_owned(front.address(), GET));
        let (mut caller, _) = upstream.asked().await;
        caller.say(OK).await;
        assert!(first.await.unwrap().ends_with("ok"));

        let second = tokio::spawn(say_owned(front.address(), request));
        let head = caller.head().await.expect("the connection was kept");
        assert_eq!(head.split(' ').next(), request.split(' ').next());
        drop(caller);
        if again {
            let (mut caller, _) = upstream.asked().await;
            caller.say(OK).await;
            assert!(second.await.unwrap().ends_with("ok"), "{request}");
        } else {
            assert_eq!(failure(&second.await.unwrap()), unavailable(502), "{request}");
            assert_eq!(upstream.accepted(), 1, "{request} was sent twice");
        }
    }
}

#[tokio::test]
async fn a_second_break_is_the_end() {
    let mut upstream = Upstream::start().await;
    let front = Front::before(&upstream);
    let first = tokio::spawn(say_owned(front.address(), GET));
    let (mut caller, _) = upstream.asked().await;
    caller.say(OK).await;
    first.await.unwrap();
    let second = tokio::spawn(say_owned(front.address(), GET));
    caller.head().await.expect("the connection was kept");
    drop(caller);
    let (caller, _) = upstream.asked().await;
    drop(caller);
    assert_eq!(failure(&second.await.unwrap()), unavailable(502));
    assert_eq!(upstream.accepted(), 2);
}

#[tokio::test]
async fn of_two_the_one_that_is_there_answers() {
    let (gone, upstream) = (free_address(), Upstream::start().await);
    let here = upstream.address;
    upstream.always(OK);
    for balance in ["round_robin", "least_connections"] {
        let front = Front::with(&format!(
            "  upstream:\n    servers: [http://{gone}, http://{here}]\n    balance: {balance}\n    health: {{interval: 0s}}\n"
        ));
        for _ in 0..20 {
            assert!(say(front.address(), GET).await.ends_with("ok"));
        }
        // It is passed over for a while after the first connection failed, and seen by the operator.
        let failed = front.metric("pierhead_upstream_requests_total", &["unreachable"]).await;
        assert!((1.0..=4.0).contains(&failed), "{failed}");
        let (status, report) = front.page("/debug/health").await;
        assert!(status == 200 && report.contains(&gone.to_string()), "{status} {report}");
    }
}

#[tokio::test]
async fn one_that_fails_its_check_is_not_asked() {
    let (sick, well) = (Upstream::start().await, Upstream::start().await);
    let servers = format!("[http://{}, http://{}]", sick.address, well.address);
    let (sick_name, well_name) = (sick.address.to_string(), well.address.to_string());
    sick.always("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 4\r\n\r\nsick");
    well.always("HTTP/1.1 401 Unauthorized\r\nContent-Length: 4\r\n\r\nwell");
    let health = "{interval: 200ms, threshold: 2, path: /v2/}";
    let front = Front::with(&format!("  upstream:\n    servers: {servers}\n    health: {health}\n"));
    front.await_metric("pierhead_upstream_up", &[&sick_name], |up| up == 0.0).await;
    let deadline = Instant::now() + PATIENCE;
    while !front.page("/debug/health").await.1.contains("status 500") {
        assert!(Instant::now() < deadline);
        sleep(Duration::from_millis(50)).await;
    }
    for _ in 0..10 {
        assert!(say(front.address(), GET).await.ends_with("well"));
    }
    assert!(front.metric("pierhead_upstream_up", &[&well_name]).await > 0.0);
    assert_eq!(front.page("/debug/health").await.0, 200);
}

#[tokio::test]
async fn when_all_fail_their_checks_nobody_waits() {
    let sick = Upstream::start().await;
    let server = sick.address;
    sick.always("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nsick");
    let health = "{interval: 200ms, threshold: 1}";
    let front = Front::with(&format!("  upstream:\n    servers: http://{server}\n    health: {health}\n"));
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = say(front.address(), GET).await;
        if !answer.ends_with("sick") {
            assert_eq!(failure(&answer), unavailable(503));
            break;
        }
        assert!(Instant::now() < deadline);
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(front.page("/debug/health").await.0, 503);
}
