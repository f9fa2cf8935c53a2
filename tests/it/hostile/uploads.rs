//! Uploads by clients that lie about where bytes belong, whose they are and how many there will be.

use tokio::io::AsyncWriteExt as _;

use crate::{
    hostile::{
        client::{Answer, Headers, answer},
        target::Target,
    },
    support::digest,
};

const START: &str = "/v2/hostile/blobs/uploads/";

/// An upload of which `abcd` is there; where it goes on.
async fn upload(target: &Target) -> String {
    let post = target.ask("POST", START, &[], b"").await;
    assert_eq!(post.status, 202, "{post:?}");
    let patch = target.ask("PATCH", post.header("location"), &[], b"abcd").await;
    assert_eq!(patch.status, 202, "{patch:?}");
    location(target, &patch)
}

/// Where an upload goes on; its state may not get into the log.
fn location(target: &Target, answer: &Answer) -> String {
    let location = answer.header("location").to_owned();
    let state = location.split("_state=").nth(1).expect("a state").to_owned();
    target.secrets.borrow_mut().push(state);
    location
}

async fn put(target: &Target, location: &str, digest: &str, body: &[u8]) -> Answer {
    target.ask("PUT", &format!("{location}&digest={digest}"), &[], body).await
}

/// What does not fit changes nothing: the upload stands where it stood, and can be completed.
#[tokio::test]
async fn chunks_that_do_not_fit() {
    let target = Target::start("edge:\n  uploads:\n    blob_size_max: 1MiB\n").await;
    let rows: &[(&str, Headers<'_>, &[u8], u16, &str)] = &[
        ("a gap", &[("Content-Range", "5-8")], b"efgh", 416, "RANGE_INVALID"),
        ("an overlap", &[("Content-Range", "3-6")], b"efgh", 416, "RANGE_INVALID"),
        ("another length", &[("Content-Range", "4-9")], b"efgh", 400, "SIZE_INVALID"),
        ("a unit", &[("Content-Range", "bytes 4-7/*")], b"efgh", 416, "RANGE_INVALID"),
        ("backwards", &[("Content-Range", "7-4")], b"efgh", 416, "RANGE_INVALID"),
        ("2^63", &[("Content-Range", "9223372036854775808-9223372036854775811")], b"efgh", 416, "RANGE_INVALID"),
        ("2^64", &[("Content-Range", "18446744073709551616-18446744073709551619")], b"efgh", 416, "RANGE_INVALID"),
        ("no number", &[("Content-Range", "x-y")], b"efgh", 416, "RANGE_INVALID"),
        ("encoded", &[("Content-Encoding", "gzip")], b"efgh", 415, "UNSUPPORTED"),
        ("a form", &[("Content-Type", "multipart/form-data")], b"efgh", 415, "UNSUPPORTED"),
    ];
    for (row, headers, body, status, code) in rows {
        let location = upload(&target).await;
        let answer = target.check(row, &target.request("PATCH", &location, headers, body), *status, code).await;
        if matches!(*row, "a gap" | "an overlap") {
            assert_eq!(answer.header("range"), "0-3", "{row}");
        }
        let status = target.get(&location).await;
        assert_eq!((status.status, status.header("range")), (204, "0-3"), "{row}");
        assert_eq!(put(&target, &location, &digest::of(b"abcdefgh"), b"efgh").await.status, 201, "{row}");
    }
    let location = upload(&target).await;
    let large = vec![0; 2 << 20];
    target.check("too large", &target.request("PATCH", &location, &[], &large), 413, "SIZE_INVALID").await;
    let single = format!("{START}?digest={}", digest::of(&large));
    target.check("too large at once", &target.request("POST", &single, &[], &large), 413, "SIZE_INVALID").await;
    assert_eq!(target.get(&format!("/v2/hostile/blobs/{}", digest::of(&large))).await.status, 404);
    target.finish().await;
}

/// Nothing is published under a digest that the bytes do not have.
#[tokio::test]
async fn digests_that_lie() {
    let target = Target::start("").await;
    let wrong = digest::of(b"something else");
    let rows = [
        ("the wrong digest", format!("&digest={wrong}")),
        ("no digest", String::new()),
        ("an empty digest", "&digest=".to_owned()),
        ("a path", "&digest=sha256:../../../etc/passwd".to_owned()),
        ("md5", format!("&digest=md5:{}", "0".repeat(32))),
    ];
    for (row, query) in rows {
        let location = upload(&target).await;
        target.check(row, &target.request("PUT", &format!("{location}{query}"), &[], b""), 400, "DIGEST_INVALID").await;
    }
    let single = format!("{START}?digest={wrong}");
    target.check("at once", &target.request("POST", &single, &[], b"abcd"), 400, "DIGEST_INVALID").await;
    assert_eq!(target.get(&format!("/v2/hostile/blobs/{wrong}")).await.status, 404);
    assert_eq!(target.get(&format!("/v2/hostile/blobs/{}", digest::of(b"abcd"))).await.status, 404);
    target.finish().await;
}

/// CVE-2026-32589, CVE-2026-32590: a state is ours to the last byte, of one upload in one repository.
#[tokio::test]
async fn states_that_we_did_not_give() {
    let target = Target::start("").await;
    let mine = upload(&target).await;
    let (path, state) = mine.split_once("?_state=").unwrap();
    let other = upload(&target).await;
    let (other_path, _) = other.split_once('?').unwrap();
    let mut rows = vec![
        ("none".to_owned(), path.to_owned()),
        ("empty".to_owned(), format!("{path}?_state=")),
        ("truncated".to_owned(), format!("{path}?_state={}", &state[..state.len() / 2])),
        ("longer".to_owned(), format!("{mine}AAAA")),
        ("of another upload".to_owned(), format!("{other_path}?_state={state}")),
        ("of another repository".to_owned(), mine.replacen("/v2/hostile/", "/v2/hostile/other/", 1)),
        ("binary".to_owned(), format!("{path}?_state=%ff%00%fe")),
        ("JSON".to_owned(), format!("{path}?_state=%7B%22offset%22:0%7D")),
    ];
    for at in (0..state.len()).step_by(state.len() / 24 + 1) {
        let swapped = if state.as_bytes()[at] == b'A' { "B" } else { "A" };
        let forged = format!("{}{swapped}{}", &state[..at], &state[at + 1..]);
        rows.push((format!("byte {at}"), format!("{path}?_state={forged}")));
    }
    for (row, location) in rows {
        for method in ["PATCH", "PUT", "DELETE"] {
            let target_of =
                format!("{location}{}digest={}", if location.contains('?') { "&" } else { "?" }, digest::of(b"abcd"));
            let answer = target.ask(method, &target_of, &[], b"").await;
            assert_eq!((answer.status, answer.code().as_str()), (404, "BLOB_UPLOAD_INVALID"), "{row} {method}");
        }
        target.unharmed(&row).await;
    }
    assert_eq!(put(&target, &mine, &digest::of(b"abcd"), b"").await.status, 201);
    for method in ["PATCH", "GET", "DELETE"] {
        let answer = target.ask(method, &mine, &[], b"").await;
        assert_eq!(answer.status, 404, "{method} after the end: {answer:?}");
    }
    assert_eq!(target.ask("DELETE", &other, &[], b"").await.status, 204);
    assert_eq!(target.ask("PATCH", &other, &[], b"x").await.status, 404, "after it was given up");
    target.finish().await;
}

#[tokio::test]
async fn many_clients_at_one_offset() {
    let target = Target::start("").await;
    let location = upload(&target).await;
    let bodies: Vec<Vec<u8>> = (0..8).map(|writer| vec![b'0' + writer; 100_000]).collect();
    let range = [("Content-Range", "4-100003")];
    let answers = bodies.iter().map(|body| target.ask("PATCH", &location, &range, body));
    let answers = futures_util::future::join_all(answers).await;
    let won: Vec<usize> = (0..8).filter(|at| answers[*at].status == 202).collect();
    assert_eq!(won.len(), 1, "{answers:?}");
    assert!(answers.iter().all(|answer| matches!(answer.status, 202 | 409 | 416)), "{answers:?}");
    let whole = [b"abcd".as_slice(), &bodies[won[0]]].concat();
    let end = put(&target, &location, &digest::of(&whole), b"").await;
    assert_eq!(end.status, 201, "{end:?}");
    target.finish().await;
}

/// The bytes that came before the client left may count or not; the upload never holds others.
#[tokio::test]
async fn a_client_that_leaves_amid_a_chunk() {
    let target = Target::start("").await;
    let location = upload(&target).await;
    let mut stream = target.connect("http/1.1").await;
    let head = target.request("PATCH", &location, &[("Content-Length", "1000")], b"efgh");
    stream.write_all(&head).await.unwrap();
    stream.flush().await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    drop(stream);
    target.unharmed("left amid a chunk").await;
    let status = target.get(&location).await;
    assert!(status.status == 204 && matches!(status.header("range"), "0-3" | "0-7"), "{status:?}");
    let rest: &[u8] = if status.header("range") == "0-3" { b"efgh" } else { b"" };
    let end = put(&target, &location, &digest::of(b"abcdefgh"), rest).await;
    assert_eq!(end.status, 201, "{end:?}");
    target.finish().await;
}

/// An upload that was begun is only what its client was told: any number of them holds nothing. What is limited is
/// how many bodies are received at once.
#[tokio::test]
async fn uploads_by_the_thousand() {
    let target = Target::start("edge:\n  uploads:\n    open_max: 4\n").await;
    let mut stream = target.connect("http/1.1").await;
    let post = target.request("POST", START, &[], b"");
    let raw = post.repeat(2000);
    let (mut reader, mut writer) = tokio::io::split(&mut stream);
    let read = async {
        for _ in 0..2000 {
            assert_eq!(answer(&mut reader).await.status, 202);
        }
    };
    tokio::join!(async { writer.write_all(&raw).await.unwrap() }, read);
    target.unharmed("2000 begun").await;

    let mut held = Vec::new();
    for _ in 0..4 {
        let location = upload(&target).await;
        let mut stream = target.connect("http/1.1").await;
        let begun = target.request("PATCH", &location, &[("Content-Length", "1000")], b"efgh");
        stream.write_all(&begun).await.unwrap();
        stream.flush().await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        held.push(stream);
    }
    let post = target.ask("POST", START, &[], b"").await;
    let refused = target.ask("PATCH", post.header("location"), &[], b"abcd").await;
    assert_eq!((refused.status, refused.code().as_str()), (429, "TOOMANYREQUESTS"), "{refused:?}");
    assert_eq!(refused.header("retry-after"), "5");
    drop(held);
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    target.finish().await;
}
