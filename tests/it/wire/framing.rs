//! Requests that are refused before the handler, and those that look odd and are fine.

use std::{sync::atomic::Ordering, time::Duration};

use http::{HeaderMap, Request};
use tokio::io::AsyncWriteExt;

use crate::wire::rig::{PATIENCE, Plan, Rig, everything, hasty, status, until};

#[tokio::test]
async fn odd_framing_is_refused_and_the_connection_closed() {
    let rig = Rig::start(Plan::default());
    let many: Vec<_> = (0..300).map(|index| format!("X-{index}: 1\r\n")).collect();
    let many = many.concat();
    let cases: &[(&str, String, u16)] = &[
        ("both lengths", "POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(), 400),
        ("no host", "GET / HTTP/1.1\r\n\r\n".into(), 400),
        ("two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n".into(), 400),
        ("lengths that differ", "POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab".into(), 400),
        ("a length list", "POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: 5,5\r\n\r\n".into(), 400),
        ("a signed length", "POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n".into(), 400),
        ("an endless length", "POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551616\r\n\r\n".into(), 400),
        ("two codings", "POST /count HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(), 400),
        ("another coding first", "POST /count HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n".into(), 501),
        ("chunked in 1.0", "POST /count HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(), 400),
        ("bare line feeds", "GET / HTTP/1.1\nHost: a\n\n".into(), 400),
        ("space before colon", "GET / HTTP/1.1\r\nHost : a\r\n\r\n".into(), 400),
        ("a folded header", "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n".into(), 400),
        ("NUL", "GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n".into(), 400),
        ("300 headers", format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n"), 400),
        ("a head of 70 KiB", format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(70 << 10)), 431),
        ("a head of 1 MiB", format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(1 << 20)), 431),
        ("a target of 9 KiB", format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(9 << 10)), 414),
        ("CONNECT", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n".into(), 405),
        ("TRACE", "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n".into(), 405),
        ("an unknown expectation", "POST /count HTTP/1.1\r\nHost: a\r\nExpect: bogus\r\nContent-Length: 1\r\n\r\na".into(), 417),
        ("hosts that disagree", "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n".into(), 400),
        ("an HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), 400),
        ("not HTTP", "\u{16}\u{3}\u{1} hello\r\n\r\n".into(), 400),
    ];
    for (name, request, expected) in cases {
        let answer = rig.say(request).await;
        assert_eq!(status(&answer), *expected, "{name}: {answer}");
        assert!(answer.to_lowercase().contains("\r\nconnection: close\r\n"), "{name}: {answer}");
        assert!(answer.contains("{\"errors\":[{"), "{name}: {answer}");
    }
    assert_eq!(rig.probe.requests.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn odd_but_allowed_requests_are_served() {
    let rig = Rig::start(Plan::default());
    let check = async |request: &str, part: &str| {
        let answer = rig.say(request).await;
        assert!(status(&answer) == 200 && answer.contains(part), "{request:?}: {answer}");
    };
    check("GET /host HTTP/1.0\r\n\r\n", "None /host").await;
    check("GET http://a/host?x=1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "/host?x=1").await;
    check("GET /ok HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: Upgrade, close\r\n\r\n", "\r\n\r\nok").await;
    check("POST /count HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nabc\r\n0\r\nX: 1\r\n\r\n", "\r\n\r\n3").await;
}

#[tokio::test]
async fn an_upgrade_is_never_honoured_and_hides_nothing() {
    let rig = Rig::start(Plan::default());
    let answer = rig
        .say("GET /ok HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nGET /deny HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("HTTP/1.1 401"), "{answer}");
    assert!(!answer.contains("101"), "{answer}");
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let rig = Rig::start(Plan::default());
    let requests: Vec<_> = (0..200).map(|index| format!("GET /host/{index} HTTP/1.1\r\nHost: a\r\n\r\n")).collect();
    let mut requests = requests.concat();
    requests.push_str("POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET /deny HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let answer = rig.say(&requests).await;
    let found: Vec<_> = answer.lines().filter_map(|line| line.split("/host/").nth(1)?.split("HTTP").next()).collect();
    let expected: Vec<_> = (0..200).map(|index| index.to_string()).collect();
    assert_eq!(found, expected);
    assert!(answer.contains("\r\n\r\n3HTTP/1.1 401"), "{}", &answer[answer.len() - 400..]);
}

#[tokio::test]
async fn a_head_that_drips_is_given_up() {
    let rig = Rig::start(Plan { deadlines: hasty(), ..Plan::default() });
    let mut stream = rig.plain().await;
    let begun = tokio::time::Instant::now();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n").await.unwrap();
    let (mut reader, mut writer) = stream.split();
    let drip = async {
        while writer.write_all(b"X: 1\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let answer = tokio::select! {
        answer = everything(&mut reader) => answer,
        () = async { drip.await; std::future::pending().await } => unreachable!(),
    };
    assert_eq!(status(&answer), 408, "{answer}");
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let rig = Rig::start(Plan { deadlines: hasty(), ..Plan::default() });
    let mut stream = rig.plain().await;
    stream.write_all(b"GET /ok HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    until(&mut stream, "\r\n\r\nok").await;
    assert_eq!(tokio::time::timeout(PATIENCE, everything(&mut stream)).await.unwrap(), "");
    assert_eq!(rig.say("").await, "");
}

#[tokio::test]
async fn http2_requests_are_judged_alike() {
    let rig = Rig::start(Plan::secure());
    let mut client = rig.http2().await;
    let long = format!("/{}", "x".repeat(9 << 10));
    for (method, path, expect, expected) in [
        ("GET", "/host", None, 200),
        ("TRACE", "/host", None, 405),
        ("GET", long.as_str(), None, 414),
        ("GET", "/host", Some("bogus"), 417),
    ] {
        let mut headers = HeaderMap::new();
        headers.extend(expect.map(|value| (http::header::EXPECT, value.parse().unwrap())));
        let mut request = Request::builder().method(method).uri(format!("https://localhost{path}")).body(()).unwrap();
        *request.headers_mut() = headers;
        let answer = client.send_request(request, true).unwrap().0.await.unwrap();
        assert_eq!(answer.status(), expected, "{method}");
        let body = answer.into_body().data().await.unwrap().unwrap();
        let part: &[u8] = if expected == 200 { b"Some(\"localhost\") /host" } else { b"{\"errors\":[" };
        assert!(body.starts_with(part), "{body:?}");
    }
}

#[tokio::test]
async fn http2_resets_in_a_flood_end_the_connection_only() {
    let rig = Rig::start(Plan::secure());
    let mut client = rig.http2().await;
    let flood = async {
        for _ in 0..10_000 {
            let Ok(mut ready) = client.clone().ready().await else { return true };
            let request = Request::get("https://localhost/doze/10000").body(()).unwrap();
            let Ok((_, mut stream)) = ready.send_request(request, true) else { return true };
            // The request has to leave before it is taken back.
            tokio::time::sleep(Duration::from_millis(1)).await;
            stream.send_reset(h2::Reason::CANCEL);
        }
        false
    };
    assert!(tokio::time::timeout(PATIENCE, flood).await.unwrap(), "the flood was borne");
    client = rig.http2().await;
    let request = Request::get("https://localhost/ok").body(()).unwrap();
    assert_eq!(client.send_request(request, true).unwrap().0.await.unwrap().status(), 200);
}

#[tokio::test]
async fn an_idle_http2_connection_is_told_to_go() {
    let rig = Rig::start(Plan { deadlines: hasty(), ..Plan::secure() });
    let mut client = rig.http2().await;
    let gone = async {
        while client.clone().ready().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.unwrap();
    let request = Request::get("https://localhost/ok").body(()).unwrap();
    assert!(client.send_request(request, true).is_err());
}
