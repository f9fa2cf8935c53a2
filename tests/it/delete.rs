//! Deletes, where they are allowed and where not.

use pierhead::api::settings::Mode;

use crate::gateway::{IMAGE, Rig, ask};

#[tokio::test]
async fn tags() {
    let rig = Rig::open().await;
    let digest = rig.image("g/app", "v1", "layer").await;
    rig.image("g/app", "v2", "layer").await;
    for (target, tag) in [("/v2/g/app/manifests/v1", "v1"), ("/v2/g/app/tags/reference/v2", "v2")] {
        assert_eq!(rig.send(ask("DELETE", target)).await.status, 202);
        assert_eq!(rig.get(&format!("/v2/g/app/manifests/{tag}")).await.status, 404);
        let again = rig.send(ask("DELETE", target)).await;
        assert_eq!((again.status, again.code().as_str()), (404, "MANIFEST_UNKNOWN"));
    }
    assert_eq!(rig.get(&format!("/v2/g/app/manifests/{digest}")).await.status, 200);
}

#[tokio::test]
async fn manifests_and_their_tags() {
    let rig = Rig::open().await;
    let digest = rig.image("g/app", "v1", "layer").await;
    rig.image("g/app", "v2", "other layer").await;
    let target = format!("/v2/g/app/manifests/{digest}");
    assert_eq!(rig.send(ask("DELETE", &target)).await.status, 202);
    for target in [target.as_str(), "/v2/g/app/manifests/v1"] {
        assert_eq!(rig.get(target).await.status, 404);
    }
    assert_eq!(rig.get("/v2/g/app/manifests/v2").await.status, 200);
    assert_eq!(rig.send(ask("DELETE", &target)).await.status, 404);
}

#[tokio::test]
async fn blobs() {
    let rig = Rig::open().await;
    let digest = rig.blob("g/app", "bytes").await;
    rig.blob("g/other", "bytes").await;
    let target = format!("/v2/g/app/blobs/{digest}");
    assert_eq!(rig.send(ask("DELETE", &target)).await.status, 202);
    assert_eq!(rig.get(&target).await.status, 404);
    assert_eq!(rig.get(&format!("/v2/g/other/blobs/{digest}")).await.status, 200);
    assert_eq!(rig.send(ask("DELETE", &target)).await.status, 404);
}

/// CVE-2026-41888: every form, or none.
#[tokio::test]
async fn switched_off() {
    for mode in [Mode::WithoutDelete, Mode::ReadOnly] {
        let rig = Rig::with(|plan| plan.api.mode = mode).await;
        for target in ["manifests/v1", "tags/reference/v1", "manifests/DIGEST", "blobs/DIGEST"] {
            let target = format!("/v2/g/app/{}", target.replace("DIGEST", &crate::gateway::sha256(b"")));
            let answer = rig.send(ask("DELETE", &target)).await;
            assert_eq!((answer.status, answer.code().as_str()), (405, "UNSUPPORTED"), "{target}");
        }
    }
}

#[tokio::test]
async fn read_only() {
    let rig = Rig::with(|plan| plan.api.mode = Mode::ReadOnly).await;
    let writes = [
        ask("POST", "/v2/g/app/blobs/uploads/"),
        ask("PATCH", "/v2/g/app/blobs/uploads/x?_state=y"),
        ask("PUT", "/v2/g/app/blobs/uploads/x?_state=y"),
        ask("DELETE", "/v2/g/app/blobs/uploads/x?_state=y"),
        ask("PUT", "/v2/g/app/manifests/v1").header("content-type", IMAGE),
    ];
    for ask in writes {
        let ask = ask.body("bytes");
        let read = ask.counter();
        let answer = rig.send(ask).await;
        assert_eq!((answer.status, answer.code().as_str()), (405, "UNSUPPORTED"));
        assert_eq!(read.load(std::sync::atomic::Ordering::Relaxed), 0);
    }
    assert_eq!(rig.get("/v2/").await.status, 200);
}
