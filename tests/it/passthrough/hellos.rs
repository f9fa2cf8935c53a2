//! Hellos as they come: cut anywhere, huge, slow, without a name, and what only looks like one.

use std::{sync::Arc, time::Duration};

use rustls::{ClientConnection, pki_types::ServerName};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::{
    passthrough::rig::{Edge, OTHER, OWN, PATIENCE, accept, connect, ended, everything, exactly, server},
    support::certificate::trusting,
};

/// Bytes of a record's and of a handshake message's beginning.
const RECORD: usize = 5;
const MESSAGE: usize = 4;

/// What a client sends first, as records.
fn hello(edge: &Edge, name: &str) -> Vec<u8> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(trusting(&[&edge.certificate.authority])), name).unwrap();
    let mut records = Vec::new();
    client.write_tls(&mut records).unwrap();
    records
}

/// The same message in records of so many bytes.
fn in_records_of(hello: &[u8], size: usize) -> Vec<u8> {
    let record = |part: &[u8]| [&[22, 3, 1], &u16::try_from(part.len()).unwrap().to_be_bytes()[..], part].concat();
    hello[RECORD..].chunks(size).flat_map(record).collect()
}

/// The same message with an extension of padding (RFC 7685) of so many bytes.
fn padded(hello: &[u8], size: u16) -> Vec<u8> {
    let mut message = hello[RECORD..].to_vec();
    let extension = [&[0, 21], &size.to_be_bytes()[..], &vec![0; usize::from(size)]].concat();
    // Behind the version, the random, the session, the suites and the compressions stands the length of the extensions.
    let mut at = MESSAGE + 2 + 32;
    at += 1 + usize::from(message[at]);
    at += 2 + usize::from(u16::from_be_bytes([message[at], message[at + 1]]));
    at += 1 + usize::from(message[at]);
    let extensions = usize::from(u16::from_be_bytes([message[at], message[at + 1]])) + extension.len();
    message[at..at + 2].copy_from_slice(&u16::try_from(extensions).unwrap().to_be_bytes());
    // It must not be the last: that is where a session to take up again would stand.
    message.splice(at + 2..at + 2, extension);
    let length = u32::try_from(message.len() - MESSAGE).unwrap().to_be_bytes();
    message[1..MESSAGE].copy_from_slice(&length[1..]);
    in_records_of(&[&[0; RECORD], message.as_slice()].concat(), 16 << 10)
}

/// Sends the parts one by one, and expects the other server to see the same bytes.
async fn arrives(edge: &Edge, listener: &TcpListener, parts: &[&[u8]]) {
    let mut client = connect(edge.tls).await;
    for part in parts {
        client.write_all(part).await.unwrap();
        tokio::task::yield_now().await;
    }
    let whole = parts.concat();
    let mut other = accept(listener).await;
    assert!(exactly(&mut other, whole.len()).await == whole, "other bytes arrived: {:?}", parts.first());
    other.write_all(b"answer").await.unwrap();
    assert_eq!(exactly(&mut client, 6).await, b"answer");
}

#[tokio::test]
async fn a_hello_may_be_cut_anywhere() {
    let (listener, address) = server().await;
    let edge = Edge::before(address, "");
    let hello = hello(&edge, OTHER);
    for cut in 0..hello.len() {
        let (before, behind) = hello.split_at(cut);
        arrives(&edge, &listener, &[before, behind]).await;
    }
    for size in [1, 2, 100, 1000] {
        arrives(&edge, &listener, &[&in_records_of(&hello, size)]).await;
    }
    let bytes: Vec<_> = hello.chunks(1).collect();
    arrives(&edge, &listener, &bytes).await;
    // What comes right behind it belongs to it.
    arrives(&edge, &listener, &[&[hello.as_slice(), b"early data"].concat()]).await;
}

#[tokio::test]
async fn a_hello_may_be_large() {
    let (listener, address) = server().await;
    let edge = Edge::before(address, "");
    for size in [10_000, 16_384, 40_000, 60_000] {
        arrives(&edge, &listener, &[&padded(&hello(&edge, OTHER), size)]).await;
    }
}

#[tokio::test]
async fn a_name_is_the_same_in_any_case() {
    let (listener, address) = server().await;
    let edge = Edge::before(address, "");
    for name in ["GITLAB.test", "a.pages.test", "A.Pages.Test"] {
        arrives(&edge, &listener, &[&hello(&edge, name)]).await;
    }
}

#[tokio::test]
async fn what_is_ours_stays_ours() {
    let (listener, address) = server().await;
    let edge = Edge::before(address, "");
    for name in [OWN, "127.0.0.1", "localhost"] {
        let mut stream = edge.secure(name, &edge.certificate.authority, None).await;
        stream.write_all(b"GET /v2/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
        assert!(everything(&mut stream).await.starts_with("HTTP/1.1 200"), "{name}");
    }
    // Names that a rule does not cover get our certificate, which is not theirs.
    for name in ["pages.test", "b.a.pages.test", "other.test"] {
        let mut client = connect(edge.tls).await;
        client.write_all(&hello(&edge, name)).await.unwrap();
        assert_eq!(exactly(&mut client, 1).await, [22], "{name}");
    }
    nobody_came(&listener).await;
}

/// Our own handshake reads what was looked at before it.
#[tokio::test]
async fn a_hello_of_ours_may_be_cut_and_large() {
    let (_listener, address) = server().await;
    let edge = Edge::before(address, "");
    let own = hello(&edge, OWN);
    for records in [own.clone(), in_records_of(&own, 1), padded(&own, 20_000)] {
        let mut client = connect(edge.tls).await;
        for part in records.chunks(1000) {
            client.write_all(part).await.unwrap();
        }
        assert_eq!(exactly(&mut client, 1).await, [22], "a handshake goes on");
    }
}

#[tokio::test]
async fn what_is_no_hello_is_not_passed_on() {
    let (listener, address) = server().await;
    let edge =
        Edge::start(&format!("[{{names: [{OTHER}, '*'], tls: '{address}'}}]"), "limits: {handshake_timeout: 2s}");
    let whole = hello(&edge, OTHER);
    let mut not_a_hello = whole.clone();
    not_a_hello[RECORD] = 2;
    let mut longer_than_allowed = whole.clone();
    longer_than_allowed[RECORD + 1] = 1;
    let junk = vec![0x5a; 200_000];
    let cases: [(&str, &[u8]); 8] = [
        ("nothing", b""),
        ("a request", b"GET / HTTP/1.1\r\nHost: gitlab.test\r\n\r\n"),
        ("an old hello", b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10"),
        ("junk", &junk),
        ("half a hello", &whole[..whole.len() / 2]),
        ("another message", &not_a_hello),
        ("a message of 64 KiB and more", &longer_than_allowed),
        ("empty records", &b"\x16\x03\x01\x00\x00".repeat(1000)),
    ];
    for (what, bytes) in cases {
        let mut client = connect(edge.tls).await;
        // It may be closed before all is written.
        let _ = client.write_all(bytes).await;
        let started = std::time::Instant::now();
        everything(&mut client).await;
        assert!(started.elapsed() < PATIENCE, "{what}");
    }
    // One byte each moment is one hello that never comes.
    let mut client = connect(edge.tls).await;
    let dribbled = async {
        for byte in &whole {
            if client.write_all(&[*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(PATIENCE, dribbled).await.expect("a slow hello was waited for");
    nobody_came(&listener).await;
    arrives(&edge, &listener, &[&whole]).await;
}

#[tokio::test]
async fn a_server_that_is_not_there_is_complained_about_once() {
    let (listener, address) = server().await;
    drop(listener);
    let edge = Edge::before(address, "");
    for _ in 0..5 {
        let mut client: TcpStream = connect(edge.tls).await;
        client.write_all(&hello(&edge, OTHER)).await.unwrap();
        ended(&mut client, false).await;
    }
    edge.until_counted("pierhead_passthrough_total{kind=\"tls\",outcome=\"unreachable\",rule=\"gitlab.test\"} 5").await;
    let complaint = format!("{address} does not accept");
    edge.until_logged(&complaint).await;
    assert_eq!(edge.process.log().matches(&complaint).count(), 1, "{}", edge.process.log());
}

async fn nobody_came(listener: &TcpListener) {
    let came = timeout(Duration::from_millis(200), listener.accept()).await;
    assert!(came.is_err(), "somebody was passed on");
}
