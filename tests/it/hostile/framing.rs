//! Heads that two readers could understand differently, or that are too much (RFC 9112, RFC 9110).

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::hostile::{
    client::{answer, exchange, is_closed, request},
    target::Target,
};

/// Refused before the gateway is asked, and the connection closed: where the request ends is in doubt.
#[tokio::test]
async fn a_head_in_doubt_is_refused_and_the_connection_closed() {
    let target = Target::start("").await;
    let with = |lines: &str| format!("POST /v2/hostile/blobs/uploads/ HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
    let many = "X-Many: 1\r\n".repeat(300);
    let long = "x".repeat(70 << 10);
    let rows: &[(&str, String, u16)] = &[
        ("both lengths", with("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n") + "0\r\n\r\n", 400),
        ("both lengths the other way", with("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n") + "0\r\n\r\n", 400),
        ("lengths that differ", with("Content-Length: 1\r\nContent-Length: 2\r\n") + "ab", 400),
        // Allowed by RFC 9112 section 6.3; refused here as any other repetition.
        ("equal lengths", with("Content-Length: 1\r\nContent-Length: 1\r\n") + "a", 400),
        ("a signed length", with("Content-Length: +5\r\n") + "abcde", 400),
        ("a negative length", with("Content-Length: -5\r\n"), 400),
        ("a hexadecimal length", with("Content-Length: 0x5\r\n") + "abcde", 400),
        ("a list of lengths", with("Content-Length: 5,5\r\n") + "abcde", 400),
        ("a length of 2^63", with("Content-Length: 9223372036854775808\r\n"), 400),
        ("a length of 2^64", with("Content-Length: 18446744073709551616\r\n"), 400),
        ("an unknown coding", with("Transfer-Encoding: xchunked\r\n") + "0\r\n\r\n", 400),
        ("a coding behind chunked", with("Transfer-Encoding: chunked, identity\r\n") + "0\r\n\r\n", 400),
        ("a coding before chunked", with("Transfer-Encoding: gzip, chunked\r\n") + "0\r\n\r\n", 501),
        ("two codings", with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n") + "0\r\n\r\n", 400),
        ("a coding hidden by a tab", with("Transfer-Encoding:\tchunked\r\nContent-Length: 3\r\n") + "0\r\n\r\n", 400),
        ("chunked in 1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(), 400),
        ("a folded header", with("X: 1\r\n 2\r\n"), 400),
        ("space before the colon", with("X : 1\r\n"), 400),
        ("NUL", with("X: \0\r\n"), 400),
        ("a header without a colon", with("X\r\n"), 400),
        ("bare line feeds", "GET /v2/ HTTP/1.1\nHost: a\n\n".into(), 400),
        ("no host", "GET /v2/ HTTP/1.1\r\n\r\n".into(), 400),
        ("two hosts", with("Host: a\r\n"), 400),
        ("hosts that disagree", "GET http://b/v2/ HTTP/1.1\r\nHost: a\r\n\r\n".into(), 400),
        ("a user in the host", "GET /v2/ HTTP/1.1\r\nHost: a@b\r\n\r\n".into(), 400),
        ("70 KiB of headers", with(&format!("X: {long}\r\n")), 431),
        ("1 MiB of headers", with(&format!("X: {}\r\n", long.repeat(15))), 431),
        // Beyond the parser's bound, which does not say that it was the number.
        ("300 headers", with(&many), 400),
        ("a target of 9 KiB", format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", &long[..9 << 10]), 414),
        ("CONNECT", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n".into(), 405),
        ("TRACE", "TRACE /v2/ HTTP/1.1\r\nHost: a\r\n\r\n".into(), 405),
        ("an unknown expectation", with("Expect: bogus\r\nContent-Length: 1\r\n") + "a", 417),
        ("raw bytes in the target", "GET /v2/\u{e4}/tags/list HTTP/1.1\r\nHost: a\r\n\r\n".into(), 400),
        ("HTTP/2 on an HTTP/1.1 connection", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), 400),
        (
            "a PROXY header from anybody",
            "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n".into(),
            400,
        ),
        ("no HTTP at all", "\u{16}\u{3}\u{1}\u{2}hello\r\n\r\n".into(), 400),
    ];
    for (row, raw, status) in rows {
        let mut stream = target.connect("http/1.1").await;
        let answer = exchange(&mut stream, raw.as_bytes()).await;
        assert_eq!((answer.status, answer.code().as_str()), (*status, "UNSUPPORTED"), "{row}: {answer:?}");
        assert!(answer.says_close() && is_closed(&mut stream).await, "{row}: {answer:?}");
        target.unharmed(row).await;
    }
    target.finish().await;
}

/// Framed well, and still no way around anything.
#[tokio::test]
async fn well_framed_tricks() {
    let target = Target::start("").await;
    // (name, bytes, status, code)
    let put = |lines: &str, body: &str| {
        format!(
            "PUT /v2/hostile/manifests/x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n{lines}\r\n{body}",
            target.token
        )
    };
    let rows: &[(&str, String, u16, &str)] = &[
        ("a smuggled length in the trailers", put("Transfer-Encoding: chunked\r\n", "2\r\n{}\r\n0\r\nContent-Length: 9\r\nAuthorization: x\r\n\r\n"), 400, "MANIFEST_INVALID"),
        ("a chunk size beyond 64 bits", put("Transfer-Encoding: chunked\r\n", "fffffffffffffffff\r\n{}\r\n"), 400, "UNKNOWN"),
        ("a chunk size that is none", put("Transfer-Encoding: chunked\r\n", "xyz\r\n{}\r\n"), 400, "UNKNOWN"),
        ("1.0 without a length", "POST /v2/hostile/blobs/uploads/ HTTP/1.0\r\n\r\n".into(), 401, "UNAUTHORIZED"),
        ("h2c", "GET /v2/ HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n".into(), 401, "UNAUTHORIZED"),
        ("a hop-by-hop Authorization", "GET /v2/ HTTP/1.1\r\nHost: a\r\nConnection: Authorization\r\n\r\n".into(), 401, "UNAUTHORIZED"),
        ("escapes in a header", "GET /v2/ HTTP/1.1\r\nHost: a\r\nUser-Agent: \u{9b}[2J${jndi:ldap://x}\"\\\r\n\r\n".into(), 401, "UNAUTHORIZED"),
    ];
    for (row, raw, status, code) in rows {
        target.check(row, raw.as_bytes(), *status, code).await;
    }
    target.finish().await;
}

/// CVE-2026-2833 and RUSTSEC-2025-0037: what follows a request is the next request, or nothing.
#[tokio::test]
async fn what_follows_a_request() {
    let target = Target::start("").await;
    let upgrade = "GET /v2/ HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n";
    let mut stream = target.connect("http/1.1").await;
    let next = request("GET", "/", &[], b"");
    assert_eq!(exchange(&mut stream, &[upgrade.as_bytes(), &next].concat()).await.status, 401);
    assert_eq!(answer(&mut stream).await.status, 200, "the request behind the upgrade is a request");

    // A body that nobody reads is read away while it is small, and is never taken for a request.
    let hidden = request("DELETE", "/v2/hostile/manifests/x", &[], b"");
    for (length, kept) in [(hidden.len(), true), (1 << 20, false)] {
        let mut stream = target.connect("http/1.1").await;
        let mut raw =
            request("POST", "/v2/hostile/blobs/uploads/", &[("Content-Length", &length.to_string())], &hidden);
        if kept {
            raw.extend(&next);
        }
        assert_eq!(exchange(&mut stream, &raw).await.status, 401);
        if kept {
            assert_eq!(answer(&mut stream).await.status, 200);
        } else {
            assert!(is_closed(&mut stream).await);
        }
    }
    target.unharmed("unread bodies").await;

    // Without a token the client is told so and not to go on.
    let lines = [("Expect", "100-continue"), ("Content-Length", "10")];
    let refused = target.say(&request("POST", "/v2/hostile/blobs/uploads/", &lines, b"")).await;
    assert_eq!((refused.status, refused.says_close()), (401, true));
    target.finish().await;
}

#[tokio::test]
async fn a_thousand_pipelined_requests() {
    let target = Target::start("").await;
    let mut stream = target.connect("http/1.1").await;
    let names = |at: usize| format!("/v2/hostile/manifests/t{at}");
    let raw: Vec<u8> = (0..1000).flat_map(|at| target.request("GET", &names(at), &[], b"")).collect();
    let (mut reader, mut writer) = tokio::io::split(&mut stream);
    let write = async { writer.write_all(&raw).await.unwrap() };
    let read = async {
        for at in 0..1000 {
            let answer = answer(&mut reader).await;
            let (status, tag) = (answer.status, answer.json()["errors"][0]["detail"]["reference"].clone());
            assert_eq!((status, tag.as_str()), (404, Some(format!("t{at}").as_str())));
        }
    };
    tokio::join!(write, read);
    target.unharmed("pipelined").await;

    // Nobody reads the answers: the server stops reading, too.
    let deaf = target.connect("http/1.1").await;
    let (_reader, mut writer) = tokio::io::split(deaf);
    let flood = async {
        loop {
            if writer.write_all(&raw).await.is_err() {
                return;
            }
        }
    };
    let stalled = tokio::time::timeout(std::time::Duration::from_secs(3), flood).await;
    assert!(stalled.is_err(), "the server went on reading or closed");
    target.unharmed("pipelined without reading").await;
    target.finish().await;
}

/// Half of a handshake, of a head and of a body, and then nothing more.
#[tokio::test]
async fn clients_that_leave() {
    let target = Target::start("").await;
    let whole = target.request("PUT", "/v2/hostile/manifests/left", &[], &[b' '; 1000]);
    for length in [0, 1, 20, whole.len() / 2, whole.len() - 1] {
        let mut stream = target.connect("http/1.1").await;
        stream.write_all(&whole[..length]).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        target.unharmed(&format!("left after {length} bytes")).await;
    }
    // TLS that is none, and plain HTTP.
    for raw in [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".as_slice(), b"\x16\x03\x01\xff\xff\x01", b"\x80\x2e\x01\x00\x02"] {
        let mut stream = tokio::net::TcpStream::connect(target.address).await.unwrap();
        stream.write_all(raw).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        assert!(!rest.starts_with(b"HTTP"), "{raw:?}");
        target.unharmed("no TLS").await;
    }
    assert_eq!(target.get("/v2/hostile/manifests/left").await.status, 404);
    target.finish().await;
}
