//! What it costs to hold connections on which nothing happens.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
};

use pierhead::server::descriptors::{self, Costs};

use crate::{
    hostile::{
        client::answer,
        frames::{Connection, END_HEADERS, END_STREAM, HEADERS, block, frame},
        target::Target,
    },
    support::{process::free_address, tools},
};

/// Memory that one idle connection may take, in KiB.
const EACH_MAX_KIB: u64 = 32;

/// The same over HTTP/2: the library holds 28 KiB of buffers for each connection from its beginning.
const HTTP2_EACH_MAX_KIB: u64 = 48;

const MANY: u64 = 10_000;

/// Handshakes at once.
const AT_ONCE: usize = 100;

/// Holds this many connections open, says what each costs, and that it is no more than `most` KiB; `open` makes one that has
/// done its work.
async fn measure<S>(target: &Target, what: &str, count: u64, most: u64, open: impl AsyncFn() -> S) {
    let before = target.resident_kib();
    let mut held = Vec::new();
    while (held.len() as u64) < count {
        held.extend(futures_util::future::join_all((0..AT_ONCE).map(|_| open())).await);
    }
    let grown = target.resident_kib().saturating_sub(before);
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let each = grown as f64 / held.len() as f64;
    println!("{} idle connections, {what}: {grown} KiB, {each:.1} KiB each", held.len());
    assert!(grown / held.len() as u64 <= most, "{what}: {each:.1} KiB for each connection");
    assert_eq!(target.get("/v2/").await.status, 200, "others are served");
}

/// Asks once and reads the answer; the connection stays.
async fn asked<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, raw: &[u8]) -> S {
    stream.write_all(raw).await.unwrap();
    stream.flush().await.unwrap();
    assert_eq!(answer(&mut stream).await.status, 200);
    stream
}

async fn connections(count: u64) {
    // This process needs as many descriptors as the other.
    assert!(
        descriptors::share(Costs { each: 1, upstream: 0 }).clients as u64 >= count,
        "the system allows too few descriptors"
    );
    let plain: SocketAddr = free_address();
    let edge = format!("edge:\n  listen: [ADDRESS, {{address: '{plain}', tls: off}}]\n");
    let start = || Target::start(&edge);
    let target = start().await;
    measure(&target, "plain, silent", count, EACH_MAX_KIB, async || TcpStream::connect(plain).await.unwrap()).await;
    drop(target);

    let target = start().await;
    let get = target.request("GET", "/v2/", &[], b"");
    let open = async || asked(TcpStream::connect(plain).await.unwrap(), &get).await;
    measure(&target, "plain, after a request", count, EACH_MAX_KIB, open).await;
    drop(target);

    let target = start().await;
    let client = target.client("http/1.1");
    let open = async || target.connect_as(&client, TcpStream::connect(target.address).await.unwrap()).await;
    measure(&target, "TLS, silent", count, EACH_MAX_KIB, open).await;
    drop(target);

    let target = start().await;
    let blob = target.blob("hostile", &vec![b'x'; 256 << 10]).await;
    let get = target.request("GET", &format!("/v2/hostile/blobs/{blob}"), &[], b"");
    let client = target.client("http/1.1");
    let open = async || {
        let stream = target.connect_as(&client, TcpStream::connect(target.address).await.unwrap()).await;
        asked(stream, &get).await
    };
    measure(&target, "TLS, after a download", count, EACH_MAX_KIB, open).await;
    drop(target);

    let target = start().await;
    let head = frame(HEADERS, END_HEADERS | END_STREAM, 1, &block("GET", "/v2/", Some(&target.token)));
    let open = async || {
        let mut connection = Connection::open(&target, &[]).await;
        connection.writer.write_all(&head).await.unwrap();
        connection.writer.flush().await.unwrap();
        let mut first = [0; 9];
        connection.reader.read_exact(&mut first).await.unwrap();
        connection
    };
    measure(&target, "HTTP/2, after a request", count, HTTP2_EACH_MAX_KIB, open).await;
    drop(target);
}

#[tokio::test]
async fn a_few_connections_that_idle() {
    connections(300).await;
}

#[tokio::test]
async fn large_ten_thousand_connections_that_idle() {
    if tools::large() {
        connections(MANY).await;
    }
}
