//! Blobs on their way in, by each of the ways in which clients send them.

use pierhead::api::BodyError;

use crate::gateway::{Answer, Rig, ask, sha256, sha512};

const CONTENT: &str = "some bytes of a layer";

fn check_created(answer: &Answer, repository: &str, digest: &str) {
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(answer.header("location"), format!("/v2/{repository}/blobs/{digest}"));
    assert_eq!(answer.header("docker-content-digest"), digest);
}

async fn check_stored(rig: &Rig, repository: &str, digest: &str, content: &str) {
    let answer = rig.get(&format!("/v2/{repository}/blobs/{digest}")).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, content));
}

/// The Location of a fresh upload.
async fn start(rig: &Rig) -> String {
    let answer = rig.send(ask("POST", "/v2/g/app/blobs/uploads/")).await;
    assert_eq!((answer.status, answer.header("range").as_str()), (202, "0-0"));
    let location = answer.header("location");
    assert!(location.contains(&answer.header("docker-upload-uuid")));
    location
}

#[tokio::test]
async fn in_one_post() {
    let rig = Rig::open().await;
    for digest in [sha256(CONTENT.as_bytes()), sha512(CONTENT.as_bytes())] {
        for target in [format!("/v2/a/blobs/uploads/?digest={digest}"), format!("/v2/b/blobs/uploads?digest={digest}")]
        {
            let repository = &target[4..5];
            check_created(&rig.send(ask("POST", &target).body(CONTENT)).await, repository, &digest);
            check_stored(&rig, repository, &digest, CONTENT).await;
        }
    }
}

#[tokio::test]
async fn post_then_put() {
    let rig = Rig::open().await;
    let digest = sha256(CONTENT.as_bytes());
    let put = ask("PUT", &format!("{}&digest={digest}", start(&rig).await)).body(CONTENT);
    check_created(&rig.send(put).await, "g/app", &digest);
    check_stored(&rig, "g/app", &digest, CONTENT).await;
}

#[tokio::test]
async fn post_then_patch_then_put() {
    let rig = Rig::open().await;
    let digest = sha256(CONTENT.as_bytes());
    let patch = ask("PATCH", &start(&rig).await).chunk(&CONTENT.as_bytes()[..9]).chunk(&CONTENT.as_bytes()[9..]);
    let patched = rig.send(patch).await;
    assert_eq!((patched.status, patched.header("range").as_str()), (202, "0-20"));
    assert!(!patched.header("docker-upload-uuid").is_empty());
    let put = ask("PUT", &format!("{}&digest={digest}", patched.header("location"))).header("content-length", "0");
    check_created(&rig.send(put).await, "g/app", &digest);
    check_stored(&rig, "g/app", &digest, CONTENT).await;
    // A client that lost the answer asks again.
    let again = ask("PUT", &format!("{}&digest={digest}", patched.header("location"))).header("content-length", "0");
    check_created(&rig.send(again).await, "g/app", &digest);
    // What is finished cannot be reopened.
    let reopened = rig.send(ask("PATCH", &patched.header("location")).body("more")).await;
    assert_eq!(reopened.status, 404);
}

#[tokio::test]
async fn the_wrong_digest_publishes_nothing() {
    let rig = Rig::open().await;
    let digest = sha256(b"other bytes");
    let post = ask("POST", &format!("/v2/g/app/blobs/uploads/?digest={digest}")).body(CONTENT);
    let put = ask("PUT", &format!("{}&digest={digest}", start(&rig).await)).body(CONTENT);
    let patched = rig.send(ask("PATCH", &start(&rig).await).body(CONTENT)).await;
    let after_patch =
        ask("PUT", &format!("{}&digest={digest}", patched.header("location"))).header("content-length", "0");
    for ask in [post, put, after_patch] {
        let answer = rig.send(ask).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "DIGEST_INVALID"));
    }
    for digest in [&digest, &sha256(CONTENT.as_bytes())] {
        assert_eq!(rig.get(&format!("/v2/g/app/blobs/{digest}")).await.status, 404);
    }
}

#[tokio::test]
async fn digests_that_are_none() {
    let rig = Rig::open().await;
    let location = start(&rig).await;
    for query in ["", "&digest=", "&digest=md5:00", "&digest=sha256:00", "&digest=x"] {
        let answer = rig.send(ask("PUT", &format!("{location}{query}")).body(CONTENT)).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "DIGEST_INVALID"), "{query}");
    }
    for query in ["digest=md5:00", "digest-algorithm=md5", "digest="] {
        let answer = rig.send(ask("POST", &format!("/v2/a/blobs/uploads/?{query}")).body(CONTENT)).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "DIGEST_INVALID"), "{query}");
    }
}

#[tokio::test]
async fn algorithm_announced() {
    let rig = Rig::open().await;
    let digest = sha512(CONTENT.as_bytes());
    let post = rig.send(ask("POST", "/v2/g/app/blobs/uploads/?digest-algorithm=sha512")).await;
    assert_eq!(post.status, 202);
    let patched = rig.send(ask("PATCH", &post.header("location")).body(CONTENT)).await;
    let put = ask("PUT", &format!("{}&digest={digest}", patched.header("location"))).header("content-length", "0");
    check_created(&rig.send(put).await, "g/app", &digest);
    check_stored(&rig, "g/app", &digest, CONTENT).await;
}

#[tokio::test]
async fn encoded_or_otherwise_typed_bodies() {
    let rig = Rig::open().await;
    let location = start(&rig).await;
    let digest = sha256(CONTENT.as_bytes());
    let encoded = [
        ask("PATCH", &location).header("content-encoding", "gzip"),
        ask("PUT", &format!("{location}&digest={digest}")).header("content-encoding", "gzip"),
        ask("POST", &format!("/v2/a/blobs/uploads/?digest={digest}")).header("content-encoding", "br"),
        ask("PUT", "/v2/a/manifests/x").header("content-encoding", "gzip"),
        ask("PATCH", &location).header("content-type", "text/plain"),
    ];
    for ask in encoded {
        let ask = ask.body(CONTENT);
        let read = ask.counter();
        let answer = rig.send(ask).await;
        assert_eq!((answer.status, answer.code().as_str()), (415, "UNSUPPORTED"));
        assert_eq!(read.load(std::sync::atomic::Ordering::Relaxed), 0);
    }
    let plain = ask("PATCH", &location).header("content-encoding", "identity");
    let plain = plain.header("content-type", "Application/Octet-Stream; x=y");
    assert_eq!(rig.send(plain.body(CONTENT)).await.status, 202);
}

#[tokio::test]
async fn bodies_that_break_off_keep_what_came() {
    let rig = Rig::open().await;
    for (error, status) in [(BodyError::Disconnected, 499), (BodyError::TimedOut, 408), (BodyError::Malformed, 400)] {
        let location = start(&rig).await;
        let answer = rig.send(ask("PATCH", &location).chunk("first").breaks_off(error)).await;
        assert_eq!(answer.status, status, "{error}");
        let asked = rig.get(&location).await;
        assert_eq!((asked.status, asked.header("range").as_str()), (204, "0-4"), "{error}");
    }
}

#[tokio::test]
async fn larger_than_allowed() {
    let rig = Rig::with(|plan| plan.registry.upload_size_max = Some(8)).await;
    let digest = sha256(CONTENT.as_bytes());
    let announced = ask("POST", &format!("/v2/a/blobs/uploads/?digest={digest}")).body(CONTENT);
    let silent = ask("POST", &format!("/v2/a/blobs/uploads/?digest={digest}")).chunk(CONTENT);
    for ask in [announced, silent] {
        let answer = rig.send(ask).await;
        assert_eq!((answer.status, answer.code().as_str()), (413, "SIZE_INVALID"));
    }
}

#[tokio::test]
async fn chunk_length_asked_for() {
    let rig = Rig::with(|plan| plan.api.chunk_size_min = Some(16 << 20)).await;
    let answer = rig.send(ask("POST", "/v2/a/blobs/uploads/")).await;
    assert_eq!(answer.header("oci-chunk-min-length"), "16777216");
    assert_eq!(Rig::open().await.send(ask("POST", "/v2/a/blobs/uploads/")).await.header("oci-chunk-min-length"), "");
}
