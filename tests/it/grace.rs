//! A token that ends in the middle of a push still finishes the upload that it was used for, and nothing else.

use std::time::Duration;

use crate::gateway::{Answer, Rig, ask, sha256};

const CONTENT: &str = "some bytes of a layer";

/// Past the end of a token of the rig, with the leeway that clocks are granted.
const PAST_ITS_END: Duration = Duration::from_mins(7);

async fn start(rig: &Rig, repository: &str, token: &str) -> String {
    let answer = rig.send(ask("POST", &format!("/v2/{repository}/blobs/uploads/")).token(token)).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    answer.header("location")
}

async fn patch(rig: &Rig, location: &str, token: &str, bytes: &'static str) -> Answer {
    rig.send(ask("PATCH", location).token(token).body(bytes)).await
}

async fn put(rig: &Rig, location: &str, token: &str) -> Answer {
    let digest = sha256(CONTENT.as_bytes());
    rig.send(ask("PUT", &format!("{location}&digest={digest}")).token(token).header("content-length", "0")).await
}

#[tokio::test]
async fn its_own_upload_is_finished_within_the_grace() {
    let rig = Rig::guarded().await;
    let token = rig.token(&["g/app:pull,push"]);
    let first = patch(&rig, &start(&rig, "g/app", &token).await, &token, &CONTENT[..9]).await;
    assert_eq!(first.status, 202, "{first:?}");

    rig.clock.advance(PAST_ITS_END);
    let second = patch(&rig, &first.header("location"), &token, &CONTENT[9..]).await;
    assert_eq!(second.status, 202, "{second:?}");
    // The token that went on is the one that may go on.
    rig.clock.advance(Duration::from_mins(30));
    let done = put(&rig, &second.header("location"), &token).await;
    assert_eq!(done.status, 201, "{done:?}");
}

#[tokio::test]
async fn not_after_the_grace() {
    let rig = Rig::guarded().await;
    let token = rig.token(&["g/app:pull,push"]);
    let first = patch(&rig, &start(&rig, "g/app", &token).await, &token, CONTENT).await;
    rig.clock.advance(PAST_ITS_END + Duration::from_hours(1));
    let location = first.header("location");
    assert_eq!(patch(&rig, &location, &token, "more").await.status, 401);
    assert_eq!(put(&rig, &location, &token).await.status, 401);
    // With a fresh one the upload goes on.
    let fresh = rig.token(&["g/app:pull,push"]);
    assert_eq!(put(&rig, &location, &fresh).await.status, 201);
}

#[tokio::test]
async fn not_where_it_is_turned_off() {
    let rig = Rig::with(|plan| {
        plan.guarded = true;
        plan.api.token_grace = Duration::ZERO;
    })
    .await;
    let token = rig.token(&["g/app:pull,push"]);
    let first = patch(&rig, &start(&rig, "g/app", &token).await, &token, CONTENT).await;
    rig.clock.advance(PAST_ITS_END);
    assert_eq!(put(&rig, &first.header("location"), &token).await.status, 401);
}

#[tokio::test]
async fn nothing_else_profits() {
    let rig = Rig::guarded().await;
    let grants = ["g/app:pull,push,delete", "g/other:pull,push"];
    let (token, second) = (rig.token(&grants), rig.token(&["g/app:pull,push"]));
    let location = patch(&rig, &start(&rig, "g/app", &token).await, &token, CONTENT).await.header("location");
    let of_another = start(&rig, "g/app", &second).await;
    rig.clock.advance(PAST_ITS_END);

    // Another token, though it grants the same.
    assert_eq!(patch(&rig, &location, &second, "more").await.status, 401);
    assert_eq!(put(&rig, &location, &second).await.status, 401);
    // An upload that another token began.
    assert_eq!(patch(&rig, &of_another, &token, "more").await.status, 401);
    // The same upload in another repository, or under another id.
    let elsewhere = location.replace("/g/app/", "/g/other/");
    assert_eq!(put(&rig, &elsewhere, &token).await.status, 401);
    let id = location.split('/').next_back().unwrap().split('?').next().unwrap();
    let renamed = location.replace(id, "01980000-0000-7000-8000-000000000000");
    assert_eq!(put(&rig, &renamed, &token).await.status, 401);
    // A state that nobody signed.
    let (path, state) = location.split_once("_state=").unwrap();
    let forged = format!("{path}_state={}{state}", if state.starts_with('A') { "B" } else { "A" });
    assert_eq!(put(&rig, &forged, &token).await.status, 401);
    // Other methods of the upload, and other routes.
    for (method, target) in [
        ("GET", location.as_str()),
        ("DELETE", location.as_str()),
        ("POST", "/v2/g/app/blobs/uploads/"),
        ("GET", "/v2/g/app/tags/list"),
        ("PUT", "/v2/g/app/manifests/latest"),
        ("GET", "/v2/"),
    ] {
        assert_eq!(rig.send(ask(method, target).token(&token)).await.status, 401, "{method} {target}");
    }
    assert_eq!(put(&rig, &location, &token).await.status, 201);
}
