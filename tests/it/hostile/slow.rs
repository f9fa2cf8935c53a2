//! Clients that take their time, with deadlines of a second instead of a minute.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::{sleep, timeout},
};

use crate::{
    hostile::{
        client::{Stream, answer},
        frames::{
            Connection, DATA, END_HEADERS, END_STREAM, HEADERS, RST_STREAM, WINDOW_UPDATE, block, frame, next_frame,
        },
        target::Target,
    },
    support::digest,
};

const EDGE: &str = "edge:\n  limits:\n    header_timeout: 1s\n    handshake_timeout: 1s\n    body_timeout: 1s\n    write_timeout: 1s\n";

/// Writes a byte now and then until the server has had enough; its answer's status.
async fn drip(stream: Stream, first: &[u8]) -> u16 {
    let (mut reader, mut writer) = tokio::io::split(stream);
    writer.write_all(first).await.unwrap();
    let write = async {
        while writer.write_all(b"x").await.is_ok() && writer.flush().await.is_ok() {
            sleep(Duration::from_millis(100)).await;
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        answer = answer(&mut reader) => answer.status,
        () = write => unreachable!("never ends"),
    }
}

#[tokio::test]
async fn heads_and_bodies_that_drip() {
    let target = Target::start(EDGE).await;
    let started = Instant::now();
    let heads = (0..200).map(|_| async { drip(target.connect("http/1.1").await, b"GET / HTTP/1.1\r\nX: ").await });
    let statuses = futures_util::future::join_all(heads).await;
    assert!(statuses.iter().all(|status| *status == 408), "{statuses:?}");
    target.unharmed("heads that drip").await;

    let post = target.ask("POST", "/v2/hostile/blobs/uploads/", &[], b"").await;
    let patched = target.ask("PATCH", post.header("location"), &[], b"abcd").await;
    let location = patched.header("location");
    let head = target.request("PATCH", location, &[("Content-Length", "100000")], b"");
    assert_eq!(drip(target.connect("http/1.1").await, &head).await, 408);
    let status = target.get(location).await;
    assert_eq!(status.status, 204, "{status:?}");
    let there: usize = status.header("range")[2..].parse().unwrap();
    assert!((3..40).contains(&there), "the upload stands: {}", status.header("range"));
    let whole = [b"abcd".to_vec(), vec![b'x'; there - 3]].concat();
    let done = target.ask("PUT", &format!("{location}&digest={}", digest::of(&whole)), &[], b"").await;
    assert_eq!(done.status, 201, "{done:?}");
    assert!(started.elapsed() < Duration::from_secs(20));
    target.finish().await;
}

#[tokio::test]
async fn handshakes_that_drip() {
    let target = Target::start(EDGE).await;
    let mut stream = tokio::net::TcpStream::connect(target.address).await.unwrap();
    stream.write_all(b"\x16\x03\x01\x02\x00\x01").await.unwrap();
    let mut rest = Vec::new();
    let closed = timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await;
    assert!(closed.is_ok(), "held for ever");
    target.unharmed("a handshake that drips").await;
    target.finish().await;
}

#[tokio::test]
async fn readers_that_do_not_read() {
    let target = Target::start(EDGE).await;
    let large = target.blob("hostile", &vec![b'x'; 32 << 20]).await;
    let get = target.request("GET", &format!("/v2/hostile/blobs/{large}"), &[], b"");
    target.unharmed("the blob").await;
    let mut streams = Vec::new();
    for _ in 0..20 {
        let mut stream = target.connect("http/1.1").await;
        stream.write_all(&get).await.unwrap();
        stream.flush().await.unwrap();
        streams.push(stream);
    }
    target.unharmed("readers that do not read").await;
    sleep(Duration::from_secs(2)).await;
    for mut stream in streams {
        let mut got = Vec::new();
        let _ = timeout(Duration::from_secs(5), stream.read_to_end(&mut got)).await.expect("held for ever");
        assert!(got.len() < 32 << 20, "the whole blob came");
    }
    target.finish().await;
}

/// Takes an answer at about 10 KB/s, window by window; how many bytes came until the stream was reset, `None` when it
/// never was.
async fn sip(target: &Target, blob: &str) -> Option<usize> {
    // SETTINGS_INITIAL_WINDOW_SIZE 0.
    let Connection { mut reader, mut writer } = Connection::open(target, &[0, 4, 0, 0, 0, 0]).await;
    let get = block("GET", &format!("/v2/hostile/blobs/{blob}"), Some(&target.token));
    writer.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &get)).await.unwrap();
    let mut came = 0;
    let read = async {
        while let Some((kind, payload)) = next_frame(&mut reader).await {
            match kind {
                DATA => came += payload.len(),
                RST_STREAM => return,
                _ => {}
            }
        }
    };
    let open = async {
        loop {
            writer.write_all(&frame(WINDOW_UPDATE, 0, 1, &1000_u32.to_be_bytes())).await.unwrap();
            writer.flush().await.unwrap();
            sleep(Duration::from_millis(100)).await;
        }
    };
    let ended = tokio::select! {
        ended = timeout(Duration::from_secs(8), read) => ended,
        () = open => unreachable!("never ends"),
    };
    ended.ok().map(|()| came)
}

/// Bytes are taken all the time, but too few.
#[tokio::test]
async fn readers_that_sip() {
    let limits = |time, rate| format!("edge:\n  limits: {{write_timeout: {time}, write_rate_min: {rate}}}\n");
    let target = Target::start(&limits("1s", "1MiB")).await;
    let blob = target.blob("hostile", &vec![b'x'; 4 << 20]).await;
    let came = sip(&target, &blob).await.expect("held for ever");
    assert!((1000..100_000).contains(&came), "{came}");
    target.unharmed("a reader that sips").await;
    target.finish().await;
    let target = Target::start(&limits("10s", "0")).await;
    let blob = target.blob("hostile", &vec![b'x'; 4 << 20]).await;
    assert_eq!(sip(&target, &blob).await, None, "without a rate it is borne");
    target.finish().await;
}
