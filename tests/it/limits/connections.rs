//! How many connections there may be, and whose is closed when there are too many.

use std::time::Duration;

use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpStream, UnixStream},
};

use crate::{
    hostile::client::{answer, request},
    limits::site::{PROXY, Site, again, exchange, is_closed},
    support::digest,
};

#[tokio::test]
async fn an_address_has_its_share() {
    let site = Site::start(&format!("  trusted_proxies: [{PROXY}]\n  limits: {{connections_per_address: 3}}\n"));
    let mut open = Vec::new();
    for _ in 0..3 {
        let mut stream = site.connect("127.0.0.2").await;
        assert_eq!(again(&mut stream, &[]).await, 200);
        open.push(stream);
    }
    assert!(is_closed(&mut site.connect("127.0.0.2").await).await);
    assert_eq!(site.get("127.0.0.2", &[("X-Forwarded-For", "192.0.2.1")]).await, 0);
    assert_eq!(site.get("127.0.0.3", &[]).await, 200);
    drop(open.pop());
    let mut tries = 0;
    while site.get("127.0.0.2", &[]).await != 200 {
        tries += 1;
        assert!(tries < 100, "the place of a connection that is gone stays taken");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // All clients of a balancer come from its address.
    let mut balanced = Vec::new();
    for client in 0..20 {
        let mut stream = site.connect(PROXY).await;
        assert_eq!(again(&mut stream, &[("X-Forwarded-For", &format!("192.0.2.{client}"))]).await, 200);
        balanced.push(stream);
    }
    site.until_limited("connections_per_address", 2).await;
}

#[tokio::test]
async fn whom_a_proxy_header_names_has_a_share_of_its_own() {
    let site = Site::start(
        "  trusted_proxies: [127.0.0.1]\n  listen: [{address: 'ADDRESS', tls: off, proxy_protocol: required}]\n  \
         limits: {connections_per_address: 2}\n",
    );
    let connect = async |client: &str| {
        let mut stream = site.connect("127.0.0.1").await;
        let header = format!("PROXY TCP4 {client} 192.0.2.254 1000 443\r\n");
        stream.write_all(header.as_bytes()).await.unwrap();
        let status = again(&mut stream, &[]).await;
        (stream, status)
    };
    let (first, second) = (connect("192.0.2.1").await, connect("192.0.2.1").await);
    assert_eq!((first.1, second.1), (200, 200));
    assert_eq!(connect("192.0.2.1").await.1, 0);
    assert_eq!(connect("192.0.2.2").await.1, 200);
}

/// Clients that their balancer cannot name share what one may take; the balancer that asks for our health takes nothing.
#[tokio::test]
async fn whom_a_proxy_header_does_not_name_is_one_client() {
    const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
    let (local, unspecified) = ([SIGNATURE, b"\x20\0\0\0"].concat(), [SIGNATURE, b"\x21\0\0\0"].concat());
    let socket = [SIGNATURE, b"\x21\x31\0\xd8", &[0; 216]].concat();
    let unknown: [&[u8]; 4] = [b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", &unspecified, &socket];
    let listen = "trusted_proxies: [127.0.0.1, unix]\n  listen: [{address: 'ADDRESS', tls: off, proxy_protocol: \
                  required}, {address: 'unix:HERE/socket', tls: off, proxy_protocol: required}]";
    let over_tcp = async |site: &Site, header: &[u8]| {
        let mut stream = site.connect("127.0.0.1").await;
        stream.write_all(header).await.unwrap();
        let status = again(&mut stream, &[("X-Forwarded-For", "192.0.2.7")]).await;
        (stream, status)
    };

    let site = Site::start(&format!("  {listen}\n  limits: {{connections_per_address: 2}}\n"));
    let held = (over_tcp(&site, unknown[0]).await, over_tcp(&site, unknown[2]).await);
    assert_eq!((held.0.1, held.1.1), (200, 200));
    for header in unknown {
        assert_eq!(over_tcp(&site, header).await.1, 0, "{:?}", String::from_utf8_lossy(header));
    }
    let mut health = Vec::new();
    for _ in 0..5 {
        health.push(over_tcp(&site, &local).await);
    }
    assert!(health.iter().all(|(_, status)| *status == 200));
    assert_eq!(over_tcp(&site, b"PROXY TCP4 192.0.2.1 192.0.2.254 1000 443\r\n").await.1, 200);

    // A connection is a request, too.
    let site = Site::start(&format!("  {listen}\n  rates: {{requests: {{per_address: 1/h burst 5}}}}\n"));
    let (mut stream, status) = over_tcp(&site, unknown[0]).await;
    assert_eq!((status, again(&mut stream, &[]).await), (200, 200));
    assert_eq!([over_tcp(&site, unknown[1]).await.1, over_tcp(&site, unknown[3]).await.1], [200, 0]);
    assert_eq!(again(&mut stream, &[]).await, 429);
    // Those of a balancer without an address are another one.
    let mut taken = Vec::new();
    for _ in 0..4 {
        let mut socket = UnixStream::connect(site.path("socket")).await.unwrap();
        socket.write_all(unknown[0]).await.unwrap();
        taken.push(exchange(&mut socket, &request("GET", "/v2/", &[], b"")).await.map_or(0, |answer| answer.status));
    }
    assert_eq!(taken, [200, 200, 429, 0]);
    for _ in 0..10 {
        assert_eq!(over_tcp(&site, &local).await.1, 200);
    }

    // Nobody knows that they may come in.
    let site = Site::start(&format!("  {listen}\n  access: {{allow: [192.0.2.0/24]}}\n"));
    assert_eq!(over_tcp(&site, unknown[0]).await.1, 0);
    assert_eq!(over_tcp(&site, &local).await.1, 200);
}

/// A connection on which an upload is under way.
async fn pushing(site: &Site, content: &[u8]) -> TcpStream {
    let digest = digest::of(content);
    let mut stream = site.connect("127.0.0.5").await;
    let (target, length) = (format!("/v2/a/blobs/uploads/?digest={digest}"), content.len().to_string());
    let headers = [("Content-Type", "application/octet-stream"), ("Content-Length", &length)];
    stream.write_all(&request("POST", &target, &headers, b"")).await.unwrap();
    stream.write_all(&content[..content.len() / 2]).await.unwrap();
    settled().await;
    stream
}

/// What the server does after an answer, and when a head has come, cannot be seen from outside; it is done by then.
async fn settled() {
    tokio::time::sleep(Duration::from_millis(500)).await;
}

#[tokio::test]
async fn the_oldest_idle_connection_makes_room() {
    let site = Site::start("  limits: {connections: 4}\n");
    let content = vec![b'x'; 1 << 20];
    site.until_open(0).await;
    let mut busy = pushing(&site, &content).await;
    let (mut first, mut second) = (site.connect("127.0.0.1").await, site.connect("127.0.0.2").await);
    assert_eq!((again(&mut first, &[]).await, again(&mut second, &[]).await), (200, 200));
    settled().await;
    let mut silent = site.connect("127.0.0.3").await;
    site.until_open(4).await;
    assert_eq!(again(&mut first, &[]).await, 200, "nobody had to go yet");
    settled().await;
    // `second` has waited for longer than `silent`, and `first` has asked for something since.
    let mut new = site.connect("127.0.0.4").await;
    assert_eq!(again(&mut new, &[]).await, 200);
    assert!(is_closed(&mut second).await);
    settled().await;
    let mut newer = site.connect("127.0.0.4").await;
    assert_eq!(again(&mut newer, &[]).await, 200);
    assert!(is_closed(&mut silent).await);
    assert_eq!(again(&mut first, &[]).await, 200);
    for _ in 0..50 {
        assert_eq!(site.get("127.0.0.6", &[]).await, 200);
    }
    busy.write_all(&content[content.len() / 2..]).await.unwrap();
    assert_eq!(answer(&mut busy).await.status, 201, "who is busy stays");
    site.until_limited("connections_shed", 2).await;
}

/// Whoever opens connections and says nothing cannot keep others out.
#[tokio::test]
async fn a_flood_of_silent_connections_keeps_nobody_out() {
    let site = Site::start("  limits: {connections: 50}\n");
    let flood = async {
        let mut silent = std::collections::VecDeque::new();
        loop {
            let mut stream = site.connect("127.0.0.2").await;
            stream.write_all(b"GET / HTTP/1.1\r\nX: ").await.ok();
            silent.push_back(stream);
            if silent.len() > 500 {
                silent.pop_front();
            }
        }
    };
    let others = async {
        for _ in 0..50 {
            assert_eq!(site.get("127.0.0.1", &[]).await, 200);
        }
    };
    tokio::select! {
        () = flood => {}
        () = others => {}
    }
}

#[tokio::test]
async fn descriptors_are_kept_for_the_storage() {
    let site = Site::with_files(160, "  limits: {connections: 10000}\n");
    assert!(site.process.log().contains("edge.limits.connections is 10000"), "{}", site.process.log());
    let mut idle = Vec::new();
    for _ in 0..300 {
        idle.push(site.connect("127.0.0.2").await);
    }
    let before = site.process.usage().cpu_seconds;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let spent = site.process.usage().cpu_seconds - before;
    assert!(spent < 1.0, "it took {spent} s of processor time to do nothing");
    assert!(site.descriptors() < 130, "{}", site.descriptors());
    let content = vec![b'x'; 100 << 10];
    let blob = site.push("127.0.0.1", &[], &content).await;
    let pulled = site.ask("127.0.0.1", "GET", &blob, &[]).await.expect("an answer");
    assert_eq!((pulled.status, pulled.body.len()), (200, content.len()));
    let mut open = 0;
    for stream in &mut idle[..200] {
        open += usize::from(!is_closed_now(stream));
    }
    assert_eq!(open, 0, "the oldest went first");
}

#[tokio::test]
async fn what_goes_on_to_other_servers_takes_more() {
    let log = |edge: &str| {
        let site = Site::with_files(160, &format!("  limits: {{connections: 10000}}\n{edge}"));
        site.process.log()
    };
    let passed_on = log("  passthrough: [{names: [other.test], http: '127.0.0.1:9'}]\n");
    let leaves = |key: &str, count: usize| format!("{key}, but the system's limit of descriptors leaves {count}:");
    assert!(passed_on.contains(&leaves("edge.limits.connections is 10000", 36)), "{passed_on}");
    let before = log("  upstream: {servers: 'http://127.0.0.1:9', health: {interval: 0s}}\n");
    assert!(before.contains(&leaves("edge.limits.connections is 10000", 36)), "{before}");
    assert!(before.contains(&leaves("edge.upstream.connections_max is 4096", 48)), "{before}");
}

/// Without waiting for it.
fn is_closed_now(stream: &mut TcpStream) -> bool {
    !matches!(stream.try_read(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}
