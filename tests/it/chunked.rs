//! Uploads in chunks: where they stand, how clients find back, and how they give up.

use pierhead::api::settings::Mode;
use std::time::Duration;

use crate::gateway::{Answer, Rig, ask, sha256};

async fn start(rig: &Rig) -> String {
    rig.send(ask("POST", "/v2/g/app/blobs/uploads/")).await.header("location")
}

async fn patch(rig: &Rig, location: &str, range: &str, bytes: &str) -> Answer {
    rig.send(ask("PATCH", location).header("content-range", range).body(bytes.to_owned())).await
}

#[tokio::test]
async fn three_chunks_and_a_put() {
    let rig = Rig::open().await;
    let mut location = start(&rig).await;
    for (range, bytes, reached) in [("0-3", "abcd", "0-3"), ("4-4", "e", "0-4"), ("5-7", "fgh", "0-7")] {
        let answer = patch(&rig, &location, range, bytes).await;
        assert_eq!((answer.status, answer.header("range").as_str()), (202, reached), "{answer:?}");
        location = answer.header("location");
    }
    let digest = sha256(b"abcdefghij");
    let put = ask("PUT", &format!("{location}&digest={digest}")).header("content-range", "8-9").body("ij");
    assert_eq!(rig.send(put).await.status, 201);
    assert_eq!(rig.get(&format!("/v2/g/app/blobs/{digest}")).await.text(), "abcdefghij");
}

#[tokio::test]
async fn out_of_order_chunks_say_where_to_go_on() {
    let rig = Rig::open().await;
    let first = patch(&rig, &start(&rig).await, "0-3", "abcd").await.header("location");
    let digest = sha256(b"abcdef");
    for range in ["0-3", "6-7", "3-4", "1000-1003"] {
        let bytes = if range == "6-7" || range == "3-4" { "xx" } else { "xxxx" };
        for ask in [ask("PATCH", &first), ask("PUT", &format!("{first}&digest={digest}"))] {
            let answer = rig.send(ask.header("content-range", range).body(bytes)).await;
            assert_eq!((answer.status, answer.code().as_str()), (416, "RANGE_INVALID"), "{range}");
            assert_eq!(answer.header("range"), "0-3");
            assert!(answer.header("location").starts_with("/v2/g/app/blobs/uploads/"));
            assert!(!answer.header("docker-upload-uuid").is_empty());
        }
    }
    let asked = rig.get(&first).await;
    assert_eq!((asked.status, asked.header("range").as_str()), (204, "0-3"));
    let next = patch(&rig, &asked.header("location"), "4-5", "ef").await;
    let put = ask("PUT", &format!("{}&digest={digest}", next.header("location"))).header("content-length", "0");
    assert_eq!(rig.send(put).await.status, 201);
}

#[tokio::test]
async fn ranges_that_are_none() {
    let rig = Rig::open().await;
    let location = start(&rig).await;
    for (range, status) in [
        ("", 416),
        ("x", 416),
        ("3-0", 416),
        ("bytes 0-3/4", 416),
        ("bytes 0-0/*", 416),
        ("0-9223372036854775808", 416),
        ("0-4", 400),
        ("0-2", 400),
    ] {
        let answer = patch(&rig, &location, range, "abcd").await;
        assert_eq!(answer.status, status, "{range}: {answer:?}");
    }
    assert_eq!(patch(&rig, &location, "0-3", "abcd").await.status, 202);
}

#[tokio::test]
async fn status() {
    let rig = Rig::open().await;
    let location = start(&rig).await;
    for method in ["GET", "HEAD"] {
        let answer = rig.send(ask(method, &location)).await;
        assert_eq!((answer.status, answer.header("range").as_str()), (204, "0-0"));
        assert!(answer.header("location").contains("_state="));
    }
    let patched = patch(&rig, &location, "0-3", "abcd").await;
    let id = patched.header("docker-upload-uuid");
    // Without the state: known once something was stored.
    let answer = rig.get(&format!("/v2/g/app/blobs/uploads/{id}")).await;
    assert_eq!((answer.status, answer.header("range").as_str()), (204, "0-3"));
    assert_eq!(patch(&rig, &answer.header("location"), "4-4", "e").await.status, 202);
    for id in ["nonsense", "018f0000-0000-7000-8000-000000000000"] {
        let answer = rig.get(&format!("/v2/g/app/blobs/uploads/{id}")).await;
        assert_eq!((answer.status, answer.code().as_str()), (404, "BLOB_UPLOAD_UNKNOWN"));
    }
}

#[tokio::test]
async fn cancel() {
    // Giving up is part of pushing: no right to delete is needed.
    let rig = Rig::with(|plan| plan.api.mode = Mode::WithoutDelete).await;
    let fresh = start(&rig).await;
    let begun = patch(&rig, &start(&rig).await, "0-3", "abcd").await.header("location");
    for location in [fresh, begun] {
        let answer = rig.send(ask("DELETE", &location)).await;
        assert_eq!((answer.status, answer.body.len()), (204, 0));
        assert!(location.contains(&answer.header("docker-upload-uuid")));
        let after = patch(&rig, &location, "0-3", "abcd").await;
        assert_eq!(after.status, 404, "{after:?}");
    }
}

#[tokio::test]
async fn states_that_we_did_not_sign_for_this() {
    let rig = Rig::open().await;
    let location = start(&rig).await;
    let (path, state) = location.split_once("?_state=").unwrap();
    let foreign = start(&rig).await;
    let foreign = foreign.split_once("?_state=").unwrap().1;
    let flipped = format!("{}A{}", &state[..5], &state[6..]);
    let flipped = if flipped == state { format!("{}B{}", &state[..5], &state[6..]) } else { flipped };
    let digest = sha256(b"abcd");
    for target in [
        path.to_owned(),
        format!("{path}?_state="),
        format!("{path}?_state={foreign}"),
        format!("{path}?_state={flipped}"),
        format!("{path}?_state={}", &state[..state.len() / 2]),
        location.replace("/g/app/", "/g/other/"),
    ] {
        let with_digest = format!("{target}{}digest={digest}", if target.contains('?') { '&' } else { '?' });
        for ask in [ask("PATCH", &target), ask("PUT", &with_digest), ask("DELETE", &target)] {
            let answer = rig.send(ask.body("abcd")).await;
            assert_eq!((answer.status, answer.code().as_str()), (404, "BLOB_UPLOAD_INVALID"), "{target}");
        }
    }
    assert_eq!(rig.send(ask("PATCH", &location).body("abcd")).await.status, 202);
}

#[tokio::test]
async fn uploads_grow_too_old() {
    let rig = Rig::open().await;
    let location = start(&rig).await;
    rig.clock.advance(Duration::from_hours(169));
    let answer = patch(&rig, &location, "0-3", "abcd").await;
    assert_eq!((answer.status, answer.code().as_str()), (404, "BLOB_UPLOAD_UNKNOWN"));
}
