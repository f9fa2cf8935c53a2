//! Clients that change the keys of TLS 1.3 without end (RFC 8446 section 4.6.3): each change is work for us, and each asks
//! for one of ours.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::{Duration, timeout},
};

use crate::{
    hostile::{
        client::{Answer, Stream, answer},
        floods::others,
        target::Target,
    },
    support::digest,
};

const PATIENCE: Duration = Duration::from_secs(30);

/// Changes the keys so often, and sends that.
async fn update(stream: &mut Stream, times: usize) -> std::io::Result<()> {
    for _ in 0..times {
        stream.get_mut().1.refresh_traffic_keys().unwrap();
    }
    stream.flush().await
}

/// Does something while others ask.
async fn beside_others<T>(target: &Target, row: &str, attack: impl Future<Output = T>) -> T {
    tokio::select! {
        done = timeout(PATIENCE, attack) => done.unwrap_or_else(|_| panic!("{row}: no end")),
        longest = others(target) => panic!("{row}: others waited {longest:?}"),
    }
}

/// Whether so many changes without a word between them end the connection, and what an answer says after them.
async fn alone(target: &Target, times: usize) -> Option<Answer> {
    let mut stream = target.connect("http/1.1").await;
    for _ in 0..times.div_ceil(16) {
        if update(&mut stream, 16).await.is_err() {
            return None;
        }
    }
    // What was refused may show only now.
    stream.write_all(&target.request("GET", "/v2/", &[], b"")).await.ok()?;
    stream.flush().await.ok()?;
    Some(answer(&mut stream).await).filter(|answer| answer.status != 0)
}

#[tokio::test]
async fn keys_that_change_for_nothing() {
    let target = Target::start("").await;
    let few = beside_others(&target, "a few", alone(&target, 16)).await;
    assert_eq!(few.map(|answer| answer.status), Some(200));
    for row in ["many", "many again"] {
        let many = beside_others(&target, row, alone(&target, 100_000)).await;
        assert!(many.is_none(), "{row}: {many:?}");
        target.unharmed(row).await;
    }
    target.finish().await;
}

/// A little of a body between them is a reason, and makes them no heavier: what is asked of us is not remembered twice.
#[tokio::test]
async fn keys_that_change_within_a_body() {
    const PIECES: usize = 2000;
    const PIECE: usize = 16;
    let target = Target::start("").await;
    let content = vec![b'k'; PIECES * PIECE];
    let path = format!("/v2/hostile/blobs/uploads/?digest={}", digest::of(&content));
    let post = target.request("POST", &path, &[("Content-Type", "application/octet-stream")], &content);
    let (head, body) = post.split_at(post.len() - content.len());
    let attack = async {
        let mut stream = target.connect("http/1.1").await;
        stream.write_all(head).await.unwrap();
        for piece in body.chunks(PIECE) {
            // As many as are borne, and nothing is read meanwhile.
            update(&mut stream, 30).await.unwrap();
            stream.write_all(piece).await.unwrap();
        }
        stream.flush().await.unwrap();
        let answer = answer(&mut stream).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        // The connection is as good as any.
        stream.write_all(&target.request("GET", "/v2/", &[], b"")).await.unwrap();
        let mut first = [0; 12];
        stream.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"HTTP/1.1 200");
    };
    beside_others(&target, "within a body", attack).await;
    target.unharmed("within a body").await;
    target.finish().await;
}
