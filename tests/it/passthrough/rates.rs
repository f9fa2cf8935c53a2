//! Clients of other servers take no more than our own may, and are waited for no longer.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::{
    passthrough::rig::{Edge, OTHER, PATIENCE, accept, connect, everything, exactly, server, status, until},
    support::certificate::trusting,
};

/// Bytes, and the shortest time in which they may pass at 1 MiB/s with 1 MiB at once, less a tenth for clocks.
const BYTES: usize = 3 << 20;
const LEAST: Duration = Duration::from_millis(1800);

const RATES: &str = "rates: {bytes_in: {per_address: 1MiB/s burst 1MiB}, bytes_out: {per_address: 1MiB/s burst 1MiB}}";

fn rules(address: std::net::SocketAddr, keys: &str) -> String {
    format!("[{{names: [{OTHER}], tls: '{address}', http: '{address}'{keys}}}]")
}

/// Sends all of it from one to the other; how long that takes.
async fn passes(from: &mut TcpStream, to: &mut TcpStream) -> Duration {
    let (started, much) = (Instant::now(), vec![b'x'; BYTES]);
    let (sent, came) = tokio::join!(from.write_all(&much), exactly(to, BYTES));
    sent.unwrap();
    assert_eq!(came, much);
    started.elapsed()
}

#[tokio::test]
async fn bodies_take_their_time() {
    let (listener, address) = server().await;
    let edge = Edge::start(&rules(address, ""), RATES);
    let mut client = connect(edge.plain).await;
    let head = format!("PUT / HTTP/1.1\r\nHost: {OTHER}\r\nContent-Length: {BYTES}\r\nConnection: close\r\n\r\n");
    client.write_all(head.as_bytes()).await.unwrap();
    let mut other = accept(&listener).await;
    until(&mut other, "\r\n\r\n").await;
    assert!(passes(&mut client, &mut other).await >= LEAST);
    other.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {BYTES}\r\n\r\n").as_bytes()).await.unwrap();
    until(&mut client, "\r\n\r\n").await;
    assert!(passes(&mut other, &mut client).await >= LEAST);
    edge.until_counted("pierhead_passthrough_total{kind=\"http\",outcome=\"complete\",rule=\"gitlab.test\"} 1").await;
}

/// What is spliced as well, and who waits for a rate is not silent.
#[tokio::test]
async fn connections_take_their_time() {
    let (listener, address) = server().await;
    let edge = Edge::start(&rules(address, ", idle_timeout: 1s"), RATES);
    let check = async |mut client: TcpStream, begin: Vec<u8>, answer: &str| {
        client.write_all(&begin).await.unwrap();
        let mut other = accept(&listener).await;
        if answer.is_empty() {
            exactly(&mut other, begin.len()).await;
        } else {
            until(&mut other, "\r\n\r\n").await;
            other.write_all(answer.as_bytes()).await.unwrap();
            until(&mut client, "\r\n\r\n").await;
        }
        assert!(passes(&mut client, &mut other).await >= LEAST);
        assert!(passes(&mut other, &mut client).await >= LEAST);
    };
    let upgrade = format!("GET / HTTP/1.1\r\nHost: {OTHER}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    let switched = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    check(connect(edge.plain).await, upgrade.into_bytes(), switched).await;
    // What the first took is there again.
    sleep(Duration::from_secs(2)).await;
    check(connect(edge.tls).await, hello(), "").await;
}

/// A pause longer than silence may last is not silence.
#[tokio::test]
async fn who_waits_for_a_rate_is_not_silent() {
    const SIZE: usize = 160 << 10;
    let (listener, address) = server().await;
    let edge =
        Edge::start(&rules(address, ", idle_timeout: 1s"), "rates: {bytes_in: {per_address: 32KiB/s burst 32KiB}}");
    let mut client = connect(edge.tls).await;
    client.write_all(&hello()).await.unwrap();
    let mut other = accept(&listener).await;
    client.write_all(&vec![b'x'; SIZE]).await.unwrap();
    exactly(&mut other, SIZE).await;
}

/// The hello of a client that asks for the other server.
fn hello() -> Vec<u8> {
    let name = rustls::pki_types::ServerName::try_from(OTHER).unwrap();
    let config = trusting(&[]);
    let mut hello = Vec::new();
    rustls::ClientConnection::new(config.into(), name).unwrap().write_tls(&mut hello).unwrap();
    hello
}

/// What the other server says is heard when it says it.
#[tokio::test]
async fn an_answer_comes_in_the_pieces_that_it_has() {
    let (listener, address) = server().await;
    let edge = Edge::start(&rules(address, ""), "");
    let mut client = connect(edge.plain).await;
    for _ in 0..2 {
        client.write_all(format!("GET / HTTP/1.1\r\nHost: {OTHER}\r\n\r\n").as_bytes()).await.unwrap();
        let mut other = accept(&listener).await;
        until(&mut other, "\r\n\r\n").await;
        other.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n").await.unwrap();
        until(&mut client, "\r\n\r\n").await;
        for piece in [b"ab", b"cd", b"ef"] {
            other.write_all(piece).await.unwrap();
            assert_eq!(exactly(&mut client, 2).await, piece);
        }
    }
}

/// A body that dribbles is given up, before and after the other server has begun to answer, however often that one speaks.
#[tokio::test]
async fn a_body_that_drips_is_cut() {
    const HEAD: &str = "Content-Length: 1000000\r\n\r\n";
    let (listener, address) = server().await;
    let edge = Edge::start(&rules(address, ""), "limits: {body_timeout: 1s, body_rate_min: 1KiB}");
    let check = async |first: &str, again: &str| {
        let client = connect(edge.plain).await;
        let (mut reader, mut writer) = client.into_split();
        writer.write_all(format!("PUT / HTTP/1.1\r\nHost: {OTHER}\r\n{HEAD}").as_bytes()).await.unwrap();
        let mut other = accept(&listener).await;
        until(&mut other, "\r\n\r\n").await;
        other.write_all(first.as_bytes()).await.unwrap();
        let drip = async {
            // Until it is cut off.
            while writer.write_all(b"x").await.is_ok() && other.write_all(again.as_bytes()).await.is_ok() {
                sleep(Duration::from_millis(50)).await;
            }
            std::future::pending::<()>().await;
        };
        let mut said = Vec::new();
        tokio::select! {
            read = timeout(PATIENCE, reader.read_to_end(&mut said)) => (read.expect("it went on").is_err(), said),
            () = drip => unreachable!("never ends"),
        }
    };
    let (cut, said) = check("", "").await;
    assert!(!cut && status(&String::from_utf8_lossy(&said)) == 408, "{said:?}");
    let (cut, said) = check("", "HTTP/1.1 103 Early Hints\r\n\r\n").await;
    assert!(!cut && String::from_utf8_lossy(&said).contains("HTTP/1.1 408 "), "{said:?}");
    let (cut, said) = check(&format!("HTTP/1.1 200 OK\r\n{HEAD}"), "y").await;
    assert!(cut && status(&String::from_utf8_lossy(&said)) == 200, "{said:?}");
    edge.until_counted("pierhead_passthrough_total{kind=\"http\",outcome=\"idle\",rule=\"gitlab.test\"} 3").await;

    // One that comes as it should, with an answer that takes longer, is not.
    let mut client = connect(edge.plain).await;
    client
        .write_all(
            format!("PUT / HTTP/1.1\r\nHost: {OTHER}\r\nConnection: close\r\nContent-Length: 8192\r\n\r\n").as_bytes(),
        )
        .await
        .unwrap();
    let mut other = accept(&listener).await;
    until(&mut other, "\r\n\r\n").await;
    for _ in 0..16 {
        client.write_all(&[b'x'; 512]).await.unwrap();
        sleep(Duration::from_millis(150)).await;
    }
    exactly(&mut other, 8192).await;
    sleep(Duration::from_secs(2)).await;
    other.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
    assert_eq!(status(&everything(&mut client).await), 200);
}

/// A client that takes its answer in sips is given up, though it never stops.
#[tokio::test]
async fn an_answer_that_is_sipped_is_cut() {
    const SIZE: usize = 256 << 20;
    let (listener, address) = server().await;
    let edge = Edge::start(&rules(address, ""), "limits: {write_timeout: 1s, write_rate_min: 64MiB}");
    let mut client = connect(edge.plain).await;
    client.write_all(format!("GET / HTTP/1.1\r\nHost: {OTHER}\r\n\r\n").as_bytes()).await.unwrap();
    let mut other = accept(&listener).await;
    until(&mut other, "\r\n\r\n").await;
    let serve = async {
        other.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n").as_bytes()).await?;
        let chunk = vec![b'y'; 1 << 20];
        for _ in 0..SIZE >> 20 {
            other.write_all(&chunk).await?;
        }
        std::io::Result::Ok(())
    };
    let sip = async {
        let (mut buffer, mut total) = (vec![0; 256 << 10], 0);
        while let Ok(count @ 1..) = client.read(&mut buffer).await {
            total += count;
            sleep(Duration::from_millis(50)).await;
        }
        total
    };
    let (served, total) = timeout(PATIENCE, async { tokio::join!(serve, sip) }).await.expect("it went on");
    assert!(served.is_err() && total < SIZE, "{total}");
    edge.until_counted("pierhead_passthrough_total{kind=\"http\",outcome=\"cut\",rule=\"gitlab.test\"} 1").await;
}
