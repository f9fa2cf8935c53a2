//! Plain requests, by their host.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
};

use crate::passthrough::rig::{Edge, OTHER, OWN, accept, connect, everything, exactly, server, status, until};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Other: 1\r\n\r\nother";

/// Answers every request that comes, and returns the heads.
async fn answer(listener: &TcpListener, count: usize) -> Vec<String> {
    let mut heads = Vec::new();
    for _ in 0..count {
        let mut other = accept(listener).await;
        let head = until(&mut other, "\r\n\r\n").await;
        // Closing with a body unread would be a reset, in which the answer may be lost.
        if head.contains("Content-Length: 3\r\n") && !head.ends_with("\r\n\r\nabc") {
            until(&mut other, "c").await;
        }
        heads.push(head);
        other.write_all(ANSWER).await.unwrap();
    }
    heads
}

fn get(host: &str) -> String {
    format!("GET /x?y=1 HTTP/1.1\r\n{host}Connection: close\r\n\r\n")
}

#[tokio::test]
async fn the_host_decides() {
    let (listener, address) = server().await;
    let edge = Edge::before(address, "");
    for host in [
        "Host: gitlab.test\r\n",
        "host: GitLab.TEST\r\n",
        "Host: gitlab.test:8080\r\n",
        "Host: gitlab.test.\r\n",
        "Host:a.pages.test\r\n",
    ] {
        let (said, heads) = tokio::join!(edge.say(get(host)), answer(&listener, 1));
        assert!(said.starts_with("HTTP/1.1 200") && said.ends_with("\r\n\r\nother"), "{host}: {said}");
        assert!(heads[0].starts_with("GET /x?y=1 HTTP/1.1\r\n"), "{heads:?}");
        assert!(heads[0].to_ascii_lowercase().contains(&host.trim().to_ascii_lowercase().replace("host:a", "host: a")));
    }
    let absolute = "GET http://gitlab.test/x?y=1 HTTP/1.1\r\nHost: gitlab.test\r\nConnection: close\r\n\r\n";
    let (said, heads) = tokio::join!(edge.say(absolute), answer(&listener, 1));
    assert_eq!(status(&said), 200);
    assert!(heads[0].starts_with("GET /x?y=1 HTTP/1.1\r\n"), "{heads:?}");
}

#[tokio::test]
async fn what_is_not_theirs_stays_here() {
    let (listener, address) = server().await;
    let edge = Edge::before(address, "");
    let check = async |host: &str, expected: u16| {
        let said = edge.say(get(host)).await;
        assert_eq!(status(&said), expected, "{host:?}: {said}");
        assert!(!said.contains("X-Other"), "{host:?}");
    };
    for host in [OWN, "localhost", "127.0.0.1", "b.a.pages.test", "gitlab.test.evil", "xgitlab.test", ""] {
        check(&format!("Host: {host}\r\n"), 404).await;
    }
    check("", 400).await;
    check("Host: gitlab.test\r\nHost: registry.test\r\n", 400).await;
    check("Host: registry.test\r\nHost: gitlab.test\r\n", 400).await;
    check("Host: gitlab.test@registry.test\r\n", 400).await;
    check("Host: gitlab.test \r\n folded\r\n", 400).await;
    check("Host: gitlab.test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n", 400).await;
    check("Host: gitlab.test\r\nContent-Length: 5, 5\r\n", 400).await;
    let said = edge.say("GET http://gitlab.test/ HTTP/1.1\r\nHost: registry.test\r\n\r\n").await;
    assert_eq!(status(&said), 400);
    let said = edge.say("GET / HTTP/1.0\r\n\r\n").await;
    assert_eq!(status(&said), 200);
    let came = tokio::time::timeout(Duration::from_millis(200), listener.accept()).await;
    assert!(came.is_err(), "a request was passed on");
}

#[tokio::test]
async fn each_request_on_a_connection_is_judged() {
    let (listener, address) = server().await;
    let edge = Edge::before(address, "");
    let mut client = connect(edge.plain).await;
    for _ in 0..3 {
        client.write_all(b"GET /v2/ HTTP/1.1\r\nHost: registry.test\r\n\r\n").await.unwrap();
        assert!(until(&mut client, "{}").await.starts_with("HTTP/1.1 200"));
        client.write_all(b"GET / HTTP/1.1\r\nHost: gitlab.test\r\n\r\n").await.unwrap();
        let (said, _) = tokio::join!(until(&mut client, "\r\n\r\nother"), answer(&listener, 1));
        assert!(said.to_ascii_lowercase().contains("\r\nconnection: keep-alive\r\n"), "{said}");
    }
    // All at once, they are answered in their order.
    client
        .write_all(
            b"GET /v2/ HTTP/1.1\r\nHost: registry.test\r\n\r\n\
              POST / HTTP/1.1\r\nHost: gitlab.test\r\nContent-Length: 3\r\n\r\nabc\
              GET /v2/ HTTP/1.1\r\nHost: registry.test\r\n\r\n\
              GET / HTTP/1.1\r\nHost: gitlab.test\r\nConnection: close\r\n\r\n",
        )
        .await
        .unwrap();
    let (said, heads) = tokio::join!(everything(&mut client), answer(&listener, 2));
    assert_eq!(said.matches("HTTP/1.1 200").count(), 4, "{said}");
    let theirs: Vec<_> = said.split("HTTP/1.1 200").skip(1).map(|answer| answer.contains("other")).collect();
    assert_eq!(theirs, [false, true, false, true], "{said}");
    assert!(heads[0].contains("Content-Length: 3") && heads[1].starts_with("GET"), "{heads:?}");
    assert_eq!(said.matches("\r\n\r\nother").count(), 2);
    edge.until_counted("pierhead_passthrough_total{kind=\"http\",outcome=\"complete\",rule=\"gitlab.test\"} 5").await;
    edge.until_logged("\"POST / HTTP/1.1\" 200 5").await;
}

#[tokio::test]
async fn the_other_server_hears_who_the_client_is() {
    let (listener, address) = server().await;
    let edge = Edge::before(address, "");
    let request = "GET / HTTP/1.1\r\nHost: gitlab.test\r\nX-Forwarded-For: 6.6.6.6\r\nX_Forwarded_For: 6.6.6.6\r\n\
                   X-Real-IP: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nX-Forwarded-Proto: https\r\n\
                   Connection: close, X-Private\r\nX-Private: 1\r\nAuthorization: Basic eHg6eHg=\r\n\r\n";
    let (_, heads) = tokio::join!(edge.say(request), answer(&listener, 1));
    let head = heads[0].to_ascii_lowercase();
    assert!(!head.contains("6.6.6.6") && !head.contains("x-private"), "{head}");
    for line in [
        "x-forwarded-for: 127.0.0.1",
        "x-real-ip: 127.0.0.1",
        "x-forwarded-proto: http",
        "connection: close",
        "authorization: basic ehg6ehg=",
    ] {
        assert!(head.contains(&format!("\r\n{line}\r\n")), "{line} in {head}");
    }

    // Where the operator has given clients' addresses a header of their own, that is one of those.
    let rules = format!("[{{names: [{OTHER}], http: '{address}'}}]");
    let own = Edge::start(&rules, "trusted_proxies: [192.0.2.0/24]\n  real_ip: {header: CF-Connecting-IP}");
    let request = "GET / HTTP/1.1\r\nHost: gitlab.test\r\nCF-Connecting-IP: 6.6.6.6\r\nCF_Connecting_IP: 6.6.6.6\r\n\
                   CF-Connecting: kept\r\nConnection: close\r\n\r\n";
    let (_, heads) = tokio::join!(own.say(request), answer(&listener, 1));
    let head = heads[0].to_ascii_lowercase();
    assert!(!head.contains("6.6.6.6") && head.contains("\r\ncf-connecting: kept\r\n"), "{head}");

    let rules = format!("[{{names: [{OTHER}], http: '{address}', proxy_protocol: v1}}]");
    let trusting = Edge::start(&rules, "trusted_proxies: [127.0.0.1]");
    let request = "GET / HTTP/1.1\r\nHost: gitlab.test\r\nX-Forwarded-For: 6.6.6.6, 192.0.2.1\r\n\
                   X-Forwarded-Proto: https\r\nConnection: close\r\n\r\n";
    let (_, heads) = tokio::join!(trusting.say(request), answer(&listener, 1));
    let head = heads[0].to_ascii_lowercase();
    for line in ["x-forwarded-for: 6.6.6.6, 192.0.2.1, 127.0.0.1", "x-real-ip: 192.0.2.1", "x-forwarded-proto: https"] {
        assert!(head.contains(&format!("\r\n{line}\r\n")), "{line} in {head}");
    }
    assert!(head.starts_with("proxy tcp4 192.0.2.1 0.0.0.0 0 0\r\n"), "{head}");
}

#[tokio::test]
async fn theirs_come_before_the_redirect_and_the_challenges() {
    let (listener, address) = server().await;
    let edge = Edge::before(address, "");
    let ask = async |path: &str, host: &str| {
        let mut stream = connect(edge.redirect).await;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        everything(&mut stream).await
    };
    for path in ["/", "/.well-known/acme-challenge/token"] {
        let (said, heads) = tokio::join!(ask(path, OTHER), answer(&listener, 1));
        assert_eq!(status(&said), 200);
        assert!(heads[0].starts_with(&format!("GET {path} ")), "{heads:?}");
    }
    for host in [OWN, "unknown.test"] {
        let said = ask("/x", host).await;
        assert!(said.to_ascii_lowercase().contains("location: https://registry.test/x"), "{said}");
    }
}

#[tokio::test]
async fn what_nobody_has_can_go_elsewhere() {
    let (listener, address) = server().await;
    let edge = Edge::start(&format!("[{{names: ['*'], tls: '{address}', http: '{address}'}}]"), "");
    let (said, _) = tokio::join!(edge.say(get("Host: any.test\r\n")), answer(&listener, 1));
    assert_eq!(status(&said), 200);
    for host in [OWN, "localhost", "127.0.0.1", "single"] {
        assert_eq!(status(&edge.say(get(&format!("Host: {host}\r\n"))).await), 404, "{host}");
    }
}

#[tokio::test]
async fn over_tls_of_ours_a_request_of_theirs_is_misdirected() {
    let (_listener, address) = server().await;
    let edge = Edge::before(address, "");
    let request = b"GET /v2/ HTTP/1.1\r\nHost: gitlab.test\r\nConnection: close\r\n\r\n";
    let mut stream = edge.secure(OWN, &edge.certificate.authority, None).await;
    stream.write_all(request).await.unwrap();
    assert_eq!(status(&everything(&mut stream).await), 421);

    let stream = edge.secure(OWN, &edge.certificate.authority, Some("h2")).await;
    let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    for (host, expected) in [(OTHER, 421), (OWN, 200)] {
        let request = http::Request::get(format!("https://{host}/v2/")).body(()).unwrap();
        let answer = sender.send_request(request, true).unwrap().0.await.unwrap();
        assert_eq!(answer.status(), expected, "{host}");
    }
}

#[tokio::test]
async fn who_asks_in_the_wrong_place_is_counted_as_well() {
    let (_listener, address) = server().await;
    let rules = format!("[{{names: [{OTHER}], tls: '{address}', http: '{address}'}}]");
    let edge = Edge::start(&rules, "trusted_proxies: [127.0.0.1]\n  rates: {requests: {per_address: 1/h burst 3}}");
    let stream = edge.secure(OWN, &edge.certificate.authority, Some("h2")).await;
    let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    for expected in [421, 421, 421, 429, 429] {
        let request = http::Request::get(format!("https://{OTHER}/v2/")).header("x-forwarded-for", "192.0.2.1");
        let answer = sender.send_request(request.body(()).unwrap(), true).unwrap().0.await.unwrap();
        assert_eq!(answer.status(), expected);
    }
}

#[tokio::test]
async fn bodies_go_both_ways() {
    const SIZE: usize = 8 << 20;
    let (listener, address) = server().await;
    let edge = Edge::before(address, "");
    let serve = async {
        let mut other: TcpStream = accept(&listener).await;
        let head = until(&mut other, "\r\n\r\n").await;
        assert!(head.contains("Expect: 100-continue"), "{head}");
        other.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.unwrap();
        assert!(exactly(&mut other, SIZE).await.iter().all(|byte| *byte == b'u'));
        other.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await.unwrap();
        let chunk = vec![b'd'; 1 << 16];
        for _ in 0..SIZE >> 16 {
            other.write_all(b"10000\r\n").await.unwrap();
            other.write_all(&chunk).await.unwrap();
            other.write_all(b"\r\n").await.unwrap();
        }
        other.write_all(b"0\r\n\r\n").await.unwrap();
    };
    let ask = async {
        let mut client = connect(edge.plain).await;
        let head = format!(
            "PUT /x HTTP/1.1\r\nHost: {OTHER}\r\nContent-Length: {SIZE}\r\nExpect: 100-continue\r\n\
             Connection: close\r\n\r\n"
        );
        client.write_all(head.as_bytes()).await.unwrap();
        assert!(until(&mut client, "\r\n\r\n").await.starts_with("HTTP/1.1 100"));
        client.write_all(&vec![b'u'; SIZE]).await.unwrap();
        everything(&mut client).await
    };
    let ((), said) = tokio::join!(serve, ask);
    assert_eq!(status(&said), 200);
    assert_eq!(said.matches('d').count() >> 16, SIZE >> 16);
    assert!(said.ends_with("\r\n0\r\n\r\n"));
}

#[tokio::test]
async fn answers_end_as_they_did() {
    let (listener, address) = server().await;
    let edge = Edge::before(address, "");
    // The method, what the other server says, and what the client reads behind the head; the connection ends.
    let check = async |method: &str, answer: &str, expected: &str| {
        let request = format!("{method} / HTTP/1.1\r\nHost: {OTHER}\r\nConnection: close\r\n\r\n");
        let serve = async {
            let mut other = accept(&listener).await;
            until(&mut other, "\r\n\r\n").await;
            other.write_all(answer.as_bytes()).await.unwrap();
        };
        let (said, ()) = tokio::join!(edge.say(request), serve);
        let body = said.rsplit_once("\r\n\r\n").unwrap_or_else(|| panic!("no head in {said:?}")).1;
        assert_eq!(body, expected, "{answer:?}");
    };
    check("GET", "HTTP/1.1 200 OK\r\n\r\nuntil the end", "until the end").await;
    check("GET", "HTTP/1.0 200 OK\r\n\r\nuntil the end", "until the end").await;
    check("GET", "HTTP/1.1 204 No Content\r\n\r\n", "").await;
    check("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", "").await;
    check("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", "").await;
    check("GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "").await;
    let interim = "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx";
    check("GET", interim, "x").await;
}

#[tokio::test]
async fn who_may_not_come_in_is_not_passed_on() {
    let (listener, address) = server().await;
    let rules = format!("[{{names: [{OTHER}], tls: '{address}', http: '{address}'}}]");
    let edge = Edge::start(
        &rules,
        "trusted_proxies: [127.0.0.1]\n  access: {deny: [192.0.2.66]}\n  \
         rates: {requests: {per_address: 1/h burst 2}}",
    );
    let ask = async |to: SocketAddr, client: &str| {
        let request = get(&format!("Host: {OTHER}\r\nX-Forwarded-For: {client}\r\n"));
        let mut stream = connect(to).await;
        stream.write_all(request.as_bytes()).await.unwrap();
        everything(&mut stream).await
    };
    for to in [edge.plain, edge.redirect] {
        let said = ask(to, "192.0.2.66").await;
        assert!(status(&said) == 403 && said.contains("DENIED"), "{to}: {said}");
    }
    for to in [edge.plain, edge.redirect] {
        let (said, _) = tokio::join!(ask(to, "192.0.2.1"), answer(&listener, 1));
        assert_eq!(status(&said), 200, "{said}");
    }
    let said = ask(edge.plain, "192.0.2.1").await;
    assert!(status(&said) == 429 && said.to_ascii_lowercase().contains("\r\nretry-after: "), "{said}");
    // Nobody waits in the queue of the other server.
    let came = tokio::time::timeout(Duration::from_millis(200), listener.accept()).await;
    assert!(came.is_err(), "a request was passed on");
}
