//! How often a client may ask, and how fast its bytes may come and go.

use std::time::{Duration, Instant};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{
    hostile::client::{Answer, request},
    limits::site::{PROXY, Site, again, exchange},
};

fn is_turned_away(answer: &Answer) {
    assert_eq!((answer.status, answer.code().as_str()), (429, "TOOMANYREQUESTS"), "{answer:?}");
    let wait: u64 = answer.header("retry-after").parse().expect("whole seconds");
    assert!((1..=60).contains(&wait), "{wait}");
}

#[tokio::test]
async fn an_address_may_ask_so_often() {
    let site = Site::start("  rates: {requests: {per_address: 1/m burst 6}}\n");
    let mut stream = site.connect("127.0.0.2").await;
    // The connection was the first.
    for _ in 0..5 {
        assert_eq!(again(&mut stream, &[]).await, 200);
    }
    for spoofed in ["192.0.2.1", "192.0.2.2", "127.0.0.1"] {
        for header in ["X-Forwarded-For", "X-Real-IP", "CF-Connecting-IP"] {
            let raw = request("GET", "/v2/", &[(header, spoofed)], b"");
            is_turned_away(&exchange(&mut stream, &raw).await.expect("the connection goes on"));
        }
    }
    assert_eq!(site.get("127.0.0.2", &[]).await, 0, "a handshake is not to be had, either");
    assert_eq!(site.get("127.0.0.3", &[]).await, 200);
    site.until_limited("requests_per_address", 10).await;
}

#[tokio::test]
async fn behind_a_proxy_the_client_is_counted() {
    let site =
        Site::start(&format!("  trusted_proxies: [{PROXY}]\n  rates: {{requests: {{per_address: 1/m burst 3}}}}\n"));
    let ask = async |said: &str| site.get(PROXY, &[("X-Forwarded-For", said)]).await;
    for turn in 0..3 {
        // What the client itself wrote stands before what the proxy adds.
        assert_eq!(ask(&format!("203.0.113.{turn}, 192.0.2.1")).await, 200);
    }
    assert_eq!(ask("203.0.113.7, 192.0.2.1").await, 429);
    assert_eq!(ask("192.0.2.2").await, 200);
    for turn in 0..3 {
        assert_eq!(ask(&format!("2001:db8::{turn}")).await, 200);
    }
    assert_eq!(ask("2001:db8::ffff:1").await, 429, "one customer has a whole network");
    assert_eq!(ask("2001:db8:0:1::1").await, 200);
    for _ in 0..10 {
        assert_eq!(site.get(PROXY, &[]).await, 200, "the proxy asks for our health");
    }
}

/// What is refused for its head alone is a request as well.
#[tokio::test]
async fn refusals_are_counted() {
    let site = Site::start(&format!(
        "  trusted_proxies: [{PROXY}]\n  access: {{deny: [192.0.2.66]}}\n  rates: {{requests: {{per_address: 1/h burst 3}}}}\n"
    ));
    let ask = async |method: &str, target: &str, header: (&str, &str), client: &str| {
        let answer = site.ask(PROXY, method, target, &[("X-Forwarded-For", client), header]).await;
        let answer = answer.expect("an answer");
        assert!(answer.says_close(), "nobody knows where such a request ends: {answer:?}");
        answer
    };
    let long = format!("/v2/{}", "x".repeat(9 << 10));
    let refused = [
        ("TRACE", "/v2/", ("X-A", "b"), 405),
        ("GET", "/v2/", ("Expect", "a miracle"), 417),
        ("GET", &long, ("X-A", "b"), 414),
    ];
    for (number, (method, target, header, status)) in refused.into_iter().enumerate() {
        assert_eq!(ask(method, target, header, "192.0.2.1").await.status, status);
        let other = format!("198.51.100.{number}");
        for _ in 0..3 {
            assert_eq!(ask(method, target, header, &other).await.status, status);
        }
        let answer = ask(method, target, header, &other).await;
        assert_eq!((answer.status, answer.code().as_str()), (429, "TOOMANYREQUESTS"), "{status}");
        assert!(!answer.header("retry-after").is_empty());
        assert_eq!(site.get(PROXY, &[("X-Forwarded-For", &other)]).await, 429);
        let answer = ask(method, target, header, "192.0.2.66").await;
        assert_eq!((answer.status, answer.code().as_str()), (403, "DENIED"), "{status}");
    }
    assert_eq!(ask("TRACE", "/v2/", ("X-A", "b"), "192.0.2.1").await.status, 429, "one of each were three");
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

#[tokio::test]
async fn a_login_may_ask_so_often() {
    let site = Site::with_users("  rates: {requests: {per_subject: 1/m burst 3}}\n", &["ann", "bob"]);
    let ask = async |from: &str, user: &str, password: &str| {
        let authorization = basic(user, password);
        let answer = site.ask(from, "GET", "/v2/", &[("Authorization", authorization.as_str())]).await;
        answer.expect("an answer")
    };
    for _ in 0..5 {
        assert_eq!(ask("127.0.0.1", "ann", "guessed").await.status, 401, "guesses are not charged to her");
    }
    for from in ["127.0.0.1", "127.0.0.2", "127.0.0.3"] {
        assert_eq!(ask(from, "ann", "ann").await.status, 200);
    }
    is_turned_away(&ask("127.0.0.1", "ann", "ann").await);
    is_turned_away(&ask("127.0.0.4", "ann", "ann").await);
    assert_eq!(ask("127.0.0.1", "bob", "bob").await.status, 200);
    site.until_limited("requests_per_subject", 2).await;
}

/// Bytes, and the shortest time in which they may pass at 1 MiB/s with 1 MiB at once, less a tenth for clocks.
const BYTES: usize = 3 << 20;
const LEAST: Duration = Duration::from_millis(1800);

#[tokio::test]
async fn bytes_to_an_address_take_their_time() {
    let site = Site::start("  rates: {bytes_out: {per_address: 1MiB/s burst 1MiB}}\n");
    let blob = site.push("127.0.0.1", &[], &vec![b'x'; BYTES]).await;
    let pull = async |from| {
        let answer = site.ask(from, "GET", &blob, &[]).await.expect("an answer");
        assert_eq!((answer.status, answer.body.len()), (200, BYTES));
    };
    let started = Instant::now();
    pull("127.0.0.2").await;
    assert!(started.elapsed() >= LEAST, "{:?}", started.elapsed());
    // Two at once have the rate together; another address has one of its own.
    let started = Instant::now();
    tokio::join!(pull("127.0.0.3"), pull("127.0.0.3"), pull("127.0.0.4"));
    assert!(started.elapsed() >= LEAST + Duration::from_secs(2), "{:?}", started.elapsed());
    site.until_limited("bytes_per_address", 1).await;
}

#[tokio::test]
async fn bytes_from_an_address_take_their_time() {
    let site = Site::start("  rates: {bytes_in: {per_address: 1MiB/s burst 1MiB}}\n");
    let started = Instant::now();
    site.push("127.0.0.2", &[("X-Forwarded-For", "192.0.2.1")], &vec![b'y'; BYTES]).await;
    assert!(started.elapsed() >= LEAST, "{:?}", started.elapsed());
}

#[tokio::test]
async fn bytes_of_a_login_take_their_time() {
    let rate = "{per_subject: 1MiB/s burst 1MiB}";
    let site = Site::with_users(&format!("  rates: {{bytes_in: {rate}, bytes_out: {rate}}}\n"), &["ann"]);
    let authorization = basic("ann", "ann");
    let headers = [("Authorization", authorization.as_str())];
    let started = Instant::now();
    let blob = site.push("127.0.0.2", &headers, &vec![b'z'; BYTES]).await;
    assert!(started.elapsed() >= LEAST, "{:?}", started.elapsed());
    let started = Instant::now();
    let pulled = site.ask("127.0.0.3", "GET", &blob, &headers).await.expect("an answer");
    assert_eq!(pulled.body.len(), BYTES);
    assert!(started.elapsed() >= LEAST, "{:?}", started.elapsed());
    site.until_limited("bytes_per_subject", 2).await;
}
