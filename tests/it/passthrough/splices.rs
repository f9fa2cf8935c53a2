//! What happens to connections that were passed on.

use std::{sync::Arc, time::Duration};

use rustix::process::{Pid, Signal, kill_process};
use rustls::{ClientConnection, pki_types::ServerName};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::{
    passthrough::rig::{Edge, OTHER, PATIENCE, accept, connect, ended, everything, exactly, server},
    support::certificate::trusting,
};

/// Both ends of a connection that was passed on, behind its hello.
async fn spliced(edge: &Edge, listener: &TcpListener) -> (TcpStream, TcpStream) {
    let name = ServerName::try_from(OTHER).unwrap();
    let mut hello = Vec::new();
    let config = Arc::new(trusting(&[&edge.certificate.authority]));
    ClientConnection::new(config, name).unwrap().write_tls(&mut hello).unwrap();
    let mut client = connect(edge.tls).await;
    client.write_all(&hello).await.unwrap();
    let mut other = accept(listener).await;
    exactly(&mut other, hello.len()).await;
    (client, other)
}

#[tokio::test]
async fn one_direction_may_end_before_the_other() {
    let (listener, address) = server().await;
    let edge = Edge::before(address, "");
    let (mut client, mut other) = spliced(&edge, &listener).await;
    client.write_all(b"all").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(everything(&mut other).await, "all");
    other.write_all(b"later").await.unwrap();
    assert_eq!(exactly(&mut client, 5).await, b"later");
    drop(other);
    ended(&mut client, false).await;

    let (mut client, mut other) = spliced(&edge, &listener).await;
    other.write_all(b"all").await.unwrap();
    other.shutdown().await.unwrap();
    assert_eq!(everything(&mut client).await, "all");
    client.write_all(b"later").await.unwrap();
    drop(client);
    assert_eq!(everything(&mut other).await, "later");
    edge.until_counted("pierhead_passthrough_total{kind=\"tls\",outcome=\"complete\",rule=\"gitlab.test\"} 2").await;
    edge.until_counted("pierhead_passthrough_open{kind=\"tls\",rule=\"gitlab.test\"} 0").await;
    edge.until_counted("pierhead_passthrough_bytes_total{direction=\"sent\",kind=\"tls\",rule=\"gitlab.test\"} 8")
        .await;
    edge.until_logged("a connection was passed on").await;
}

/// Closing with a linger of zero seconds is how a program resets.
fn reset(stream: TcpStream) {
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
    drop(stream);
}

#[tokio::test]
async fn a_reset_is_handed_on() {
    let (listener, address) = server().await;
    let edge = Edge::before(address, "");
    let (mut client, other) = spliced(&edge, &listener).await;
    reset(other);
    ended(&mut client, true).await;
    let (client, mut other) = spliced(&edge, &listener).await;
    reset(client);
    ended(&mut other, true).await;
    edge.until_counted("pierhead_passthrough_total{kind=\"tls\",outcome=\"cut\",rule=\"gitlab.test\"} 2").await;
}

#[tokio::test]
async fn silence_ends_a_connection() {
    let (listener, address) = server().await;
    let edge = Edge::before(address, "idle_timeout: 4s");
    let (mut client, mut other) = spliced(&edge, &listener).await;
    // Longer than the time, with something said in between.
    for _ in 0..6 {
        tokio::time::sleep(Duration::from_millis(800)).await;
        client.write_all(b"x").await.unwrap();
        exactly(&mut other, 1).await;
    }
    ended(&mut client, true).await;
    ended(&mut other, true).await;
    edge.until_counted("pierhead_passthrough_total{kind=\"tls\",outcome=\"idle\",rule=\"gitlab.test\"} 1").await;
}

#[tokio::test]
async fn who_does_not_read_is_not_read_for() {
    /// Much more than the buffers of four sockets and ours hold together.
    const MUCH: usize = 256 << 20;
    let (listener, address) = server().await;
    let edge = Edge::before(address, "");
    let (mut client, mut other) = spliced(&edge, &listener).await;
    let before = edge.process.usage().resident_peak_kib;
    let chunk = vec![7; 1 << 20];
    let mut written = 0;
    while written < MUCH {
        match timeout(Duration::from_secs(1), client.write(&chunk)).await {
            Ok(count) => written += count.unwrap(),
            Err(_) => break,
        }
    }
    assert!(written < MUCH, "all was taken");
    let grown = edge.process.usage().resident_peak_kib - before;
    assert!(grown < 8 << 10, "{grown} KiB more for bytes that nobody reads");
    // Nothing is lost by that.
    client.shutdown().await.unwrap();
    let read = async {
        let (mut total, mut buffer) = (0, vec![0; 1 << 20]);
        loop {
            match other.read(&mut buffer).await.unwrap() {
                0 => return total,
                count => total += count,
            }
        }
    };
    assert_eq!(timeout(PATIENCE, read).await.unwrap(), written);
}

#[tokio::test]
async fn a_transfer_outlives_the_order_to_stop() {
    let (listener, address) = server().await;
    let mut edge = Edge::before(address, "");
    let (mut client, mut other) = spliced(&edge, &listener).await;
    let pid = Pid::from_raw(edge.process.id().cast_signed()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    edge.until_logged("stopping: SIGTERM").await;
    let refused = async {
        while TcpStream::connect(edge.tls).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, refused).await.expect("it still accepts");
    for _ in 0..10 {
        client.write_all(b"more").await.unwrap();
        assert_eq!(exactly(&mut other, 4).await, b"more");
    }
    drop((client, other));
    edge.process.wait_for_end();
}
