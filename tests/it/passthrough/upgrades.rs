//! Web sockets and the like.

use tokio::{io::AsyncWriteExt, net::TcpListener};

use crate::passthrough::rig::{Edge, OTHER, accept, connect, ended, everything, exactly, server, until};

const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";

fn request(protocol: &str) -> String {
    format!("GET /cable HTTP/1.1\r\nHost: {OTHER}\r\nConnection: keep-alive, Upgrade\r\nUpgrade: {protocol}\r\n\r\n")
}

#[tokio::test]
async fn bytes_go_both_ways_after_an_upgrade() {
    const SIZE: usize = 4 << 20;
    let (listener, address) = server().await;
    let edge = Edge::before(address, "");
    let mut client = connect(edge.plain).await;
    // Some clients and servers do not wait.
    client.write_all((request("websocket") + "first up").as_bytes()).await.unwrap();
    let mut other = accept(&listener).await;
    let head = until(&mut other, "\r\n\r\n").await.to_ascii_lowercase();
    assert!(head.contains("\r\nconnection: upgrade\r\n") && head.contains("\r\nupgrade: websocket\r\n"), "{head}");
    other.write_all(format!("{SWITCHED}first down").as_bytes()).await.unwrap();
    let said = until(&mut client, "first down").await;
    assert!(said.starts_with("HTTP/1.1 101 ") && said.to_ascii_lowercase().contains("\r\nupgrade: websocket\r\n"));
    let first = head.split_once("\r\n\r\n").unwrap().1.len();
    assert_eq!(exactly(&mut other, "first up".len() - first).await.len(), "first up".len() - first);
    for round in 0..10 {
        let (up, down) = (format!("up {round}"), format!("down {round}"));
        client.write_all(up.as_bytes()).await.unwrap();
        assert_eq!(exactly(&mut other, up.len()).await, up.as_bytes());
        other.write_all(down.as_bytes()).await.unwrap();
        assert_eq!(exactly(&mut client, down.len()).await, down.as_bytes());
    }
    // Both at once, more than all buffers hold.
    let (mut client_read, mut client_write) = client.into_split();
    let (mut other_read, mut other_write) = other.into_split();
    let much = vec![b'x'; SIZE];
    let (sent, returned, up, down) = tokio::join!(
        client_write.write_all(&much),
        other_write.write_all(&much),
        exactly(&mut other_read, SIZE),
        exactly(&mut client_read, SIZE),
    );
    assert!(sent.is_ok() && returned.is_ok() && up == much && down == much);
    drop((client_write, client_read));
    ended(&mut other_read, false).await;
    drop((other_write, other_read));
    edge.until_logged("\"GET /cable HTTP/1.1\" 101").await;
    edge.until_counted("pierhead_passthrough_open{kind=\"http\",rule=\"gitlab.test\"} 0").await;
}

#[tokio::test]
async fn a_refused_upgrade_is_an_answer() {
    let (listener, address) = server().await;
    let edge = Edge::before(address, "");
    let mut client = connect(edge.plain).await;
    client.write_all(request("websocket").as_bytes()).await.unwrap();
    let mut other = accept(&listener).await;
    until(&mut other, "\r\n\r\n").await;
    other.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno").await.unwrap();
    assert!(until(&mut client, "\r\n\r\nno").await.starts_with("HTTP/1.1 403"));
    // The connection is one for requests still, for anybody's.
    client.write_all(b"GET /v2/ HTTP/1.1\r\nHost: registry.test\r\nConnection: close\r\n\r\n").await.unwrap();
    assert!(everything(&mut client).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn http_is_no_protocol_to_change_to() {
    let (listener, address) = server().await;
    let edge = Edge::before(address, "");
    for protocol in ["h2c", "websocket, H2C"] {
        let head = passed(&edge, &listener, &request(protocol)).await;
        assert!(!head.contains("upgrade") && head.contains("\r\nconnection: close\r\n"), "{head}");
    }
}

/// A server that changes the protocol unasked is answered for with 502.
#[tokio::test]
async fn nobody_changes_the_protocol_unasked() {
    let (listener, address) = server().await;
    let edge = Edge::before(address, "");
    let ask = edge.say(format!("GET / HTTP/1.1\r\nHost: {OTHER}\r\nConnection: close\r\n\r\n"));
    let serve = async {
        let mut other = accept(&listener).await;
        until(&mut other, "\r\n\r\n").await;
        other.write_all(SWITCHED.as_bytes()).await.unwrap();
    };
    let (said, ()) = tokio::join!(ask, serve);
    assert!(said.starts_with("HTTP/1.1 502"), "{said}");
}

/// The head that the other server gets.
async fn passed(edge: &Edge, listener: &TcpListener, request: &str) -> String {
    let mut client = connect(edge.plain).await;
    client.write_all(request.as_bytes()).await.unwrap();
    let mut other = accept(listener).await;
    let head = until(&mut other, "\r\n\r\n").await.to_ascii_lowercase();
    other.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    until(&mut client, "\r\n\r\n").await;
    head
}
