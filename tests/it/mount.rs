//! Blobs that come from another repository.

use crate::gateway::{Rig, ask, sha256};

const CONTENT: &str = "shared bytes";

async fn mount(rig: &Rig, token: Option<&str>, query: &str) -> (u16, String) {
    let mut post = ask("POST", &format!("/v2/to/app/blobs/uploads/?{query}"));
    if let Some(token) = token {
        post = post.token(token);
    }
    let answer = rig.send(post).await;
    (answer.status, answer.header("location"))
}

#[tokio::test]
async fn from_a_named_repository() {
    let rig = Rig::open().await;
    let digest = rig.blob("from/app", CONTENT).await;
    let (status, location) = mount(&rig, None, &format!("mount={digest}&from=from/app")).await;
    assert_eq!((status, location), (201, format!("/v2/to/app/blobs/{digest}")));
    assert_eq!(rig.get(&format!("/v2/to/app/blobs/{digest}")).await.text(), CONTENT);
    // From itself.
    assert_eq!(mount(&rig, None, &format!("mount={digest}&from=to/app")).await.0, 201);
}

#[tokio::test]
async fn from_anywhere() {
    let rig = Rig::open().await;
    let digest = rig.blob("from/app", CONTENT).await;
    assert_eq!(mount(&rig, None, &format!("mount={digest}")).await.0, 201);
    assert_eq!(rig.get(&format!("/v2/to/app/blobs/{digest}")).await.text(), CONTENT);
    assert_eq!(mount(&rig, None, &format!("mount={}", sha256(b"nowhere"))).await.0, 202);
}

/// Whatever does not work is a plain upload.
#[tokio::test]
async fn falls_back_to_an_upload() {
    let rig = Rig::open().await;
    let digest = rig.blob("from/app", CONTENT).await;
    for query in [
        format!("mount={digest}&from=no/such"),
        format!("mount={digest}&from=NOT/A%20NAME"),
        format!("mount={digest}&from="),
        format!("mount={}&from=from/app", sha256(b"nowhere")),
        "mount=nonsense&from=from/app".to_owned(),
    ] {
        let (status, location) = mount(&rig, None, &query).await;
        assert_eq!(status, 202, "{query}");
        assert!(location.starts_with("/v2/to/app/blobs/uploads/"), "{query}");
    }
}

/// A source that may not be read looks like one that lacks the blob.
#[tokio::test]
async fn only_from_where_the_token_may_pull() {
    let rig = Rig::guarded().await;
    let owner = rig.token(&["from/app:pull,push"]);
    let digest = sha256(CONTENT.as_bytes());
    let post = ask("POST", &format!("/v2/from/app/blobs/uploads/?digest={digest}")).token(&owner).body(CONTENT);
    assert_eq!(rig.send(post).await.status, 201);
    let (own, both) = (rig.token(&["to/app:pull,push"]), rig.token(&["to/app:pull,push", "from/app:pull"]));
    let named = format!("mount={digest}&from=from/app");
    let anywhere = format!("mount={digest}");
    assert_eq!(mount(&rig, Some(&own), &named).await.0, 202);
    assert_eq!(mount(&rig, Some(&own), &anywhere).await.0, 202);
    let read = ask("GET", &format!("/v2/to/app/blobs/{digest}")).token(&own);
    assert_eq!(rig.send(read).await.status, 404);
    assert_eq!(mount(&rig, Some(&both), &anywhere).await.0, 201);
    assert_eq!(mount(&rig, Some(&both), &named).await.0, 201);
    // Now that it is here, the digest alone finds it.
    assert_eq!(mount(&rig, Some(&own), &anywhere).await.0, 201);
    let pull_only = rig.token(&["to/app:pull", "from/app:pull"]);
    assert_eq!(mount(&rig, Some(&pull_only), &named).await.0, 401);
}
