//! Heads on their way to an upstream and back.

use std::{path::Path, sync::Arc};

use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use crate::{
    support::{
        certificate::{Certificate, trusting},
        registry::Transport,
    },
    upstream::{
        front::{Front, Setting},
        scripted::{Caller, PATIENCE, Upstream, connect, fields, say},
    },
};

/// Sends a head through a front, and gives what the upstream saw of it.
async fn sent(front: &Front, upstream: &mut Upstream, request: &str) -> String {
    let client = tokio::spawn({
        let (address, request) = (front.address(), request.to_owned());
        async move { say(address, &request).await }
    });
    let (mut caller, head) = upstream.asked().await;
    caller.say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
    drop(caller);
    let answer = client.await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    head
}

#[tokio::test]
async fn the_template_of_nginx_is_kept() {
    let mut upstream = Upstream::start().await;
    let front = Front::before(&upstream);
    let request = "GET /v2/a%2Fb/../x//y?n=1&from=%20#no HTTP/1.1\r\nHost: registry.example:5050\r\nConnection: close\r\n\
                   Accept: a\r\nAccept: b\r\nX-Forwarded-For: 192.0.2.1\r\nAuthorization: Bearer t\r\n\r\n";
    let head = sent(&front, &mut upstream, &request.replace("#no", "")).await;
    assert!(head.starts_with("GET /v2/a%2Fb/../x//y?n=1&from=%20 HTTP/1.1\r\n"), "{head}");
    let expected = [
        "accept: a",
        "accept: b",
        "authorization: Bearer t",
        "host: registry.example:5050",
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-proto: http",
        "x-real-ip: 127.0.0.1",
    ];
    assert_eq!(fields(&head), expected);
}

/// The same head over HTTP/2, by whatever name a certificate is for.
async fn sent_by_http2(front: &Front, authority: &Path, upstream: &mut Upstream, headers: &[(&str, &str)]) -> String {
    let mut config = trusting(&[authority]);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let connecting = TlsConnector::from(Arc::new(config))
        .connect(ServerName::try_from("localhost").unwrap(), connect(front.address()).await);
    let stream = timeout(PATIENCE, connecting).await.unwrap().unwrap();
    let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut request = http::Request::get("https://localhost/v2/");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (answer, _) = sender.send_request(request.body(()).unwrap(), true).unwrap();
    let (mut caller, head) = upstream.asked().await;
    caller.say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
    assert_eq!(timeout(PATIENCE, answer).await.unwrap().unwrap().status(), 200);
    connection.abort();
    head
}

/// The header in which trusted proxies name clients, written by somebody else.
#[tokio::test]
async fn the_header_of_trusted_proxies_is_nobody_elses() {
    let claims = [
        ("CF-Connecting-IP", "192.0.2.9"),
        ("CF_Connecting_IP", "192.0.2.9"),
        ("X-Forwarded-For", "192.0.2.9"),
        ("X-Forwarded-Anything", "192.0.2.9"),
    ];
    let directory = tempfile::tempdir().unwrap();
    let certificate = Certificate::create(directory.path());
    let mut upstream = Upstream::start().await;
    let mut check = async |transport: Transport, trusted: &str, expected: &[&str]| {
        let edge = format!(
            "  trusted_proxies: [{trusted}]\n  real_ip: {{header: CF-Connecting-IP}}\n  \
             upstream: {{servers: ['http://{}'], health: {{interval: 0s}}}}\n",
            upstream.address
        );
        let setting = Setting { transport, edge: &edge, sections: "auth: none\n", storage: None };
        let here = tempfile::tempdir().unwrap();
        let front = Front::start(&here.path().join("front"), &certificate, &setting);
        let head = if transport == Transport::Tls {
            sent_by_http2(&front, &certificate.authority, &mut upstream, &claims).await
        } else {
            let lines = claims.map(|(name, value)| format!("{name}: {value}\r\n")).concat();
            let request = format!("GET /v2/ HTTP/1.1\r\nHost: localhost\r\n{lines}Connection: close\r\n\r\n");
            sent(&front, &mut upstream, &request).await
        };
        let mut found = fields(&head);
        found.retain(|field| {
            !["host", "x-forwarded-proto", "x-forwarded-ssl"].contains(&field.split(':').next().unwrap())
        });
        assert_eq!(found, expected, "{transport:?}");
    };
    for transport in [Transport::Plain, Transport::Tls] {
        check(transport, "192.0.2.0/24", &["x-forwarded-for: 127.0.0.1", "x-real-ip: 127.0.0.1"]).await;
        // What a trusted proxy says stays, beside what we say.
        let believed = [
            "cf-connecting-ip: 192.0.2.9",
            "cf_connecting_ip: 192.0.2.9",
            "x-forwarded-anything: 192.0.2.9",
            "x-forwarded-for: 192.0.2.9, 192.0.2.9",
            "x-real-ip: 192.0.2.9",
        ];
        check(transport, "127.0.0.1", &believed).await;
    }
}

#[tokio::test]
async fn the_external_url_says_the_scheme_and_a_host_may_be_set() {
    let mut upstream = Upstream::start().await;
    let front = Front::with(&format!(
        "  external_url: https://registry.example\n  upstream:\n    servers: [http://{}]\n    host_header: inner:5000\n    \
         health: {{interval: 0s}}\n",
        upstream.address
    ));
    let head = sent(&front, &mut upstream, "GET /v2/ HTTP/1.1\r\nHost: other\r\nConnection: close\r\n\r\n").await;
    let expected = [
        "host: inner:5000",
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-proto: https",
        "x-forwarded-ssl: on",
        "x-real-ip: 127.0.0.1",
    ];
    assert_eq!(fields(&head), expected);
}

/// What a client claims, and what it wants taken off: none of it reaches those behind us.
#[tokio::test]
async fn nobody_is_spoofed_and_nothing_is_smuggled() {
    let mut upstream = Upstream::start().await;
    let front = Front::before(&upstream);
    let request = "GET /v2/ HTTP/1.1\r\nHost: r\r\nConnection: close, upgrade, x-real-ip, X-Forwarded-Proto, host, x-own\r\n\
                   Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\nX-Own: 1\r\nTE: trailers\r\nKeep-Alive: 5\r\n\
                   Proxy-Authorization: Basic x\r\nProxy-Connection: keep-alive\r\nForwarded: host=evil;proto=https\r\n\
                   X-Forwarded-Host: evil\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Ssl: on\r\nX-Real-IP: 192.0.2.9\r\n\
                   X_Real_IP: 192.0.2.9\r\nX_Forwarded_For: 192.0.2.9\r\nX-Forwarded-Port: 1\r\n\r\n\
                   GET /smuggled HTTP/1.1\r\nHost: r\r\n\r\n";
    let head = sent(&front, &mut upstream, request).await;
    let expected = ["host: r", "x-forwarded-for: 127.0.0.1", "x-forwarded-proto: http", "x-real-ip: 127.0.0.1"];
    assert_eq!(fields(&head), expected);
    assert_eq!(upstream.accepted(), 1, "one request was sent, and one went on");
}

/// Answers one request with these bytes, and gives what the client got.
async fn answered(answer: &str, request: &str) -> String {
    let mut upstream = Upstream::start().await;
    let front = Front::before(&upstream);
    let client = tokio::spawn({
        let (address, request) = (front.address(), request.to_owned());
        async move { say(address, &request).await }
    });
    let (mut caller, _) = upstream.asked().await;
    caller.say(answer).await;
    drop(caller);
    client.await.unwrap()
}

const GET: &str = "GET /v2/x HTTP/1.1\r\nHost: r\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn an_answer_comes_back_as_it_was() {
    let answer = "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://store.example/a?X-Amz-Signature=b%2F\r\nLink: <a>\r\n\
                  Link: <b>\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nServer: theirs\r\nContent-Length: 3\r\n\
                  Keep-Alive: timeout=5\r\nConnection: X-Own\r\nX-Own: 1\r\nContent-Type: text/x; charset=utf-8\r\n\
                  Docker-Content-Digest: sha256:00\r\nETag: W/\"x\"\r\n\r\nabc";
    let got = answered(answer, GET).await;
    let (head, body) = got.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 307 "), "{head}");
    let mut lines = fields(head);
    lines.retain(|line| !line.starts_with("date: "));
    let expected = [
        "connection: close",
        "content-length: 3",
        "content-type: text/x; charset=utf-8",
        "docker-content-digest: sha256:00",
        "etag: W/\"x\"",
        "link: <a>",
        "link: <b>",
        "location: http://store.example/a?X-Amz-Signature=b%2F",
        "server: theirs",
        "set-cookie: a=1",
        "set-cookie: b=2",
    ];
    assert_eq!((lines.as_slice(), body), (expected.map(str::to_owned).as_slice(), "abc"));
}

#[tokio::test]
async fn answers_without_a_body_have_none() {
    for (answer, request, length) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n", GET.replace("GET", "HEAD"), Some("77")),
        ("HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n", GET.to_owned(), None),
        ("HTTP/1.1 204 No Content\r\nDocker-Upload-UUID: u\r\n\r\n", GET.to_owned(), None),
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", GET.to_owned(), Some("0")),
    ] {
        let got = answered(answer, &request).await;
        let (head, body) = got.split_once("\r\n\r\n").unwrap();
        assert_eq!((&head[9..12], body), (&answer[9..12], ""), "{got}");
        let lines = fields(head);
        let said = lines.iter().find_map(|line| line.strip_prefix("content-length: "));
        assert_eq!(said, length, "{got}");
    }
}

#[tokio::test]
async fn a_body_of_unknown_length_is_chunked_again() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nX-T: 1\r\n\r\n";
    let open = "HTTP/1.0 200 OK\r\n\r\nabcde";
    for answer in [chunked, open] {
        let got = answered(answer, GET).await;
        let (head, body) = got.split_once("\r\n\r\n").unwrap();
        assert!(fields(head).contains(&"transfer-encoding: chunked".to_owned()), "{head}");
        assert!(!got.to_lowercase().contains("x-t"), "trailers stay behind: {got}");
        let pieces: String = body.split("\r\n").skip(1).step_by(2).collect();
        assert_eq!((pieces.as_str(), body.ends_with("0\r\n\r\n")), ("abcde", true), "{body:?}");
        // Who speaks HTTP/1.0 knows no chunks.
        let old = answered(answer, "GET /v2/x HTTP/1.0\r\nHost: r\r\n\r\n").await;
        let (head, body) = old.split_once("\r\n\r\n").unwrap();
        assert_eq!((body, head.to_lowercase().contains("chunked")), ("abcde", false), "{old}");
    }
}

/// A request on a connection that stays, and the answer's head and body of so many bytes.
async fn exchange(stream: &mut TcpStream, caller: &mut Option<Caller>, upstream: &mut Upstream, path: &str) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: r\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let head = if let Some(caller) = caller {
        caller.head().await.expect("the connection is used again")
    } else {
        let (fresh, head) = upstream.asked().await;
        *caller = Some(fresh);
        head
    };
    assert!(head.starts_with(&format!("GET {path} ")), "{head}");
    let caller = caller.as_mut().unwrap();
    caller.say(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{path}", path.len())).await;
    let mut answer = Vec::new();
    while !answer.ends_with(path.as_bytes()) {
        let read = timeout(PATIENCE, stream.read_buf(&mut answer)).await.expect("nothing came");
        assert!(read.unwrap() > 0, "closed");
    }
}

#[tokio::test]
async fn connections_are_kept_on_both_sides() {
    let mut upstream = Upstream::start().await;
    let front = Front::before(&upstream);
    let mut client = connect(front.address()).await;
    let mut caller = None;
    for turn in 0..20 {
        exchange(&mut client, &mut caller, &mut upstream, &format!("/v2/{turn}")).await;
    }
    let mut other = connect(front.address()).await;
    exchange(&mut other, &mut caller, &mut upstream, "/v2/other").await;
    assert_eq!(upstream.accepted(), 1);
    assert!(front.metric("pierhead_upstream_connections_total", &[]).await < 2.0);
}

#[tokio::test]
async fn pipelined_requests_keep_their_order() {
    let upstream = Upstream::start().await;
    let front = Front::before(&upstream);
    upstream.always("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let request =
        "GET /v2/ HTTP/1.1\r\nHost: r\r\n\r\n".repeat(9) + "GET /v2/ HTTP/1.1\r\nHost: r\r\nConnection: close\r\n\r\n";
    let got = say(front.address(), &request).await;
    assert_eq!(got.matches("HTTP/1.1 200 OK").count(), 10, "{got}");
}
