//! Floods of HTTP/2 frames: the connection that floods ends or is held at its own pace; all others are served.

use std::time::{Duration, Instant};

use tokio::{io::AsyncWriteExt as _, time::sleep};

use crate::hostile::{
    frames::{
        CONTINUATION, Connection, DATA, END_HEADERS, END_STREAM, HEADERS, Outcome, PING, RST_STREAM, SETTINGS,
        WINDOW_UPDATE, block, frame, integer, next_frame,
    },
    target::Target,
};

/// The longest that anybody else may wait for an answer meanwhile: a bound for two busy processors, not a figure.
const OTHERS_MAX: Duration = Duration::from_secs(3);

/// Asks from another connection, again and again, and gives the longest time that an answer took.
pub(super) async fn others(target: &Target) -> Duration {
    let mut longest = Duration::ZERO;
    loop {
        let started = Instant::now();
        let answered = async { assert_eq!(target.get("/v2/").await.status, 200) };
        tokio::select! {
            () = answered => longest = longest.max(started.elapsed()),
            () = sleep(OTHERS_MAX * 2) => return OTHERS_MAX * 2,
        }
        if longest > OTHERS_MAX {
            return longest;
        }
        sleep(Duration::from_millis(20)).await;
    }
}

async fn check(target: &Target, row: &str, frames: impl Iterator<Item = Vec<u8>>, expected: Outcome) {
    let connection = Connection::open(target, &[]).await;
    let outcome = tokio::select! {
        outcome = connection.flood(frames) => outcome,
        longest = others(target) => panic!("{row}: others waited {longest:?}"),
    };
    assert_eq!(outcome, expected, "{row}");
    target.unharmed(row).await;
}

/// The numbers of a client's streams.
fn streams(count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(|at| at * 2 + 1)
}

#[tokio::test]
async fn streams_that_are_reset() {
    let target = Target::start("").await;
    let pull = block("GET", "/v2/canary/tags/list", Some(&target.token));
    let open = |stream, flags| frame(HEADERS, flags, stream, &pull);
    let orderly = streams(50).map(|stream| open(stream, END_HEADERS | END_STREAM));
    check(&target, "requests as they should be", orderly, Outcome::Borne).await;
    let few = streams(5).flat_map(|stream| {
        [open(stream, END_HEADERS | END_STREAM), frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())]
    });
    check(&target, "a few resets", few, Outcome::Borne).await;
    // CVE-2023-44487.
    let rapid = streams(50_000).flat_map(|stream| {
        [open(stream, END_HEADERS | END_STREAM), frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())]
    });
    check(&target, "rapid reset", rapid, Outcome::Ended).await;
    // CVE-2025-8671: mistakes for which the server itself has to reset the stream.
    let provoked =
        streams(50_000).flat_map(|stream| [open(stream, END_HEADERS), frame(WINDOW_UPDATE, 0, stream, &[0; 4])]);
    check(&target, "resets that we are made to send", provoked, Outcome::Ended).await;
    let closed =
        streams(50_000).flat_map(|stream| [open(stream, END_HEADERS | END_STREAM), frame(DATA, 0, stream, b"x")]);
    check(&target, "data for streams that have ended", closed, Outcome::Ended).await;
    let backwards = streams(2).chain(streams(2)).map(|stream| open(stream, END_HEADERS | END_STREAM));
    check(&target, "numbers of streams that go back", backwards, Outcome::Ended).await;
    target.finish().await;
}

/// Requests that are taken back one by one, each after it has begun: nothing that the library counts.
#[tokio::test]
async fn requests_that_are_taken_back() {
    let target = Target::start("edge:\n  limits: {http2_resets: 1/m burst 20}\n").await;
    // Uploads whose bodies never come.
    let post = block(
        "POST",
        "/v2/hostile/blobs/uploads/?digest=sha256:0000000000000000000000000000000000000000000000000000000000000000",
        Some(&target.token),
    );
    let take_back = async |count: u32| {
        let Connection { mut reader, mut writer } = Connection::open(&target, &[]).await;
        let write = async {
            for stream in streams(count) {
                writer.write_all(&frame(HEADERS, END_HEADERS, stream, &post)).await?;
                writer.flush().await?;
                sleep(Duration::from_millis(30)).await;
                writer.write_all(&frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())).await?;
                writer.flush().await?;
            }
            sleep(Duration::from_secs(1)).await;
            std::io::Result::Ok(())
        };
        let read = async { while next_frame(&mut reader).await.is_some() {} };
        tokio::select! {
            () = read => Outcome::Ended,
            written = write => if written.is_ok() { Outcome::Borne } else { Outcome::Ended },
        }
    };
    assert_eq!(take_back(15).await, Outcome::Borne);
    assert_eq!(take_back(60).await, Outcome::Ended);
    target.unharmed("requests that are taken back").await;
    target.finish().await;
}

#[tokio::test]
async fn heads_without_end() {
    let target = Target::start("").await;
    let start = || std::iter::once(frame(HEADERS, 0, 1, &block("GET", "/v2/", None)));
    // RUSTSEC-2024-0332.
    let empty = start().chain((0..100_000).map(|_| frame(CONTINUATION, 0, 1, &[])));
    check(&target, "empty CONTINUATION", empty, Outcome::Ended).await;
    let mut field = Vec::new();
    integer(&mut field, 0, 4, 0);
    for text in [b"x-pad".as_slice(), &[b'x'; 8 << 10]] {
        integer(&mut field, 0, 7, text.len());
        field.extend(text);
    }
    let full = start().chain((0..10_000).map(|_| frame(CONTINUATION, 0, 1, &field)));
    check(&target, "CONTINUATION", full, Outcome::Ended).await;
    // CVE-2026-105297: one field of 4 KiB in the table, named ten thousand times by a byte each.
    let mut bomb = block("GET", "/v2/", None);
    bomb.push(0x40);
    for text in [b"x-pad".as_slice(), &[b'x'; 4000]] {
        integer(&mut bomb, 0, 7, text.len());
        bomb.extend(text);
    }
    // An indexed field: the table's newest, which is number 62.
    bomb.extend([0xbe; 10_000]);
    let bombs = streams(200).map(|stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, &bomb));
    let connection = Connection::open(&target, &[]).await;
    // Each is refused by itself, and enough of them end the connection or not.
    connection.flood(bombs).await;
    target.unharmed("HPACK bombs").await;
    check(
        &target,
        "a table index that is none",
        std::iter::once(frame(HEADERS, END_HEADERS, 1, &[0xff, 0xff, 0xff])),
        Outcome::Ended,
    )
    .await;
    target.finish().await;
}

/// What has to be answered is answered as fast as the client reads, and no faster.
#[tokio::test]
async fn control_frames() {
    let target = Target::start("").await;
    let pings = (0..100_000_u64).map(|at| frame(PING, 0, 0, &at.to_be_bytes()));
    check(&target, "PING", pings, Outcome::Borne).await;
    let settings = (0..100_000).map(|_| frame(SETTINGS, 0, 0, &[]));
    check(&target, "SETTINGS", settings, Outcome::Borne).await;
    let windows = (0..100_000).map(|_| frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes()));
    check(&target, "WINDOW_UPDATE", windows, Outcome::Borne).await;
    check(
        &target,
        "a window beyond 2^31",
        (0..3).map(|_| frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff])),
        Outcome::Ended,
    )
    .await;
    let unknown = (0..100_000).map(|_| frame(0xee, 0xff, 0, b"x"));
    check(&target, "frames of no known kind", unknown, Outcome::Borne).await;
    check(&target, "a frame of 16 MiB", std::iter::once(vec![0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]), Outcome::Ended)
        .await;
    target.finish().await;
}

/// RUSTSEC-2026-0258.
#[tokio::test]
async fn empty_data() {
    let target = Target::start("").await;
    let put = block("PUT", "/v2/hostile/manifests/x", Some(&target.token));
    let data =
        std::iter::once(frame(HEADERS, END_HEADERS, 1, &put)).chain((0..100_000).map(|_| frame(DATA, 0, 1, &[])));
    let connection = Connection::open(&target, &[]).await;
    // The handler reads this body, so the library may see each frame gone before it counts too many.
    tokio::select! {
        _ = connection.flood(data) => {}
        longest = others(&target) => panic!("others waited {longest:?}"),
    }
    target.unharmed("empty DATA").await;
    target.finish().await;
}

/// A hundred answers for which the client opens no window.
#[tokio::test]
async fn windows_that_stay_shut() {
    let target = Target::start("edge:\n  limits:\n    write_timeout: 1s\n").await;
    let large = target.blob("hostile", &vec![b'x'; 4 << 20]).await;
    let get = block("GET", &format!("/v2/hostile/blobs/{large}"), Some(&target.token));
    // SETTINGS_INITIAL_WINDOW_SIZE 0.
    let connection = Connection::open(&target, &[0, 4, 0, 0, 0, 0]).await;
    let requests = streams(100).map(|stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, &get));
    let Connection { mut reader, mut writer } = connection;
    tokio::io::AsyncWriteExt::write_all(&mut writer, &requests.flatten().collect::<Vec<u8>>()).await.unwrap();
    target.unharmed("windows that stay shut").await;
    let mut resets = 0;
    let count = async {
        while let Some((kind, _)) = next_frame(&mut reader).await {
            resets += usize::from(kind == RST_STREAM);
            if resets == 100 {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), count).await.expect("the streams were held for ever");
    target.finish().await;
}
