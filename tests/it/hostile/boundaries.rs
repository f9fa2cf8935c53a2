//! What one repository's token is worth in another: nothing, on every route.

use serde_json::json;

use crate::{
    hostile::{
        client::{Answer, request},
        target::{IMAGE, Target, claims, entry},
    },
    support::digest,
};

async fn ask(target: &Target, token: &str, method: &str, path: &str, body: &[u8]) -> Answer {
    let bearer = format!("Bearer {token}");
    let lines = [("Authorization", bearer.as_str()), ("Content-Type", IMAGE)];
    target.say(&request(method, path, &lines, body)).await
}

#[tokio::test]
async fn every_route_of_another_repository() {
    let target = Target::start("").await;
    let manifest = target.image("hostile/other", b"theirs").await;
    let put = target.ask("PUT", "/v2/hostile/other/manifests/latest", &[("Content-Type", IMAGE)], manifest.as_bytes());
    assert_eq!(put.await.status, 201);
    let upload = target.ask("POST", "/v2/hostile/other/blobs/uploads/", &[], b"").await;
    let upload = upload.header("location");
    let (blob, image) = (digest::of(b"theirs"), digest::of(manifest.as_bytes()));
    let mine = target.signer.token(&claims(&json!([entry("hostile", &["pull", "push", "delete"])])));
    let routes = |repository: &str| {
        [
            ("GET", format!("/v2/{repository}/tags/list")),
            ("GET", format!("/v2/{repository}/manifests/latest")),
            ("PUT", format!("/v2/{repository}/manifests/latest")),
            ("DELETE", format!("/v2/{repository}/manifests/latest")),
            ("DELETE", format!("/v2/{repository}/manifests/{image}")),
            ("DELETE", format!("/v2/{repository}/tags/reference/latest")),
            ("GET", format!("/v2/{repository}/blobs/{blob}")),
            ("DELETE", format!("/v2/{repository}/blobs/{blob}")),
            ("GET", format!("/v2/{repository}/referrers/{image}")),
            ("POST", format!("/v2/{repository}/blobs/uploads/")),
        ]
    };
    let uploads = ["GET", "PATCH", "PUT", "DELETE"].map(|method| (method, upload.to_owned()));
    for (method, path) in routes("hostile/other").into_iter().chain(uploads).chain([("GET", "/v2/_catalog".to_owned())])
    {
        let answer = ask(&target, &mine, method, &path, b"").await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "UNAUTHORIZED"), "{method} {path}: {answer:?}");
        // What is not there looks the same.
        let absent = ask(&target, &mine, method, &path.replacen("hostile/other", "hostile/none", 1), b"").await;
        let told = |answer: &Answer| String::from_utf8_lossy(&answer.body).replace("hostile/none", "hostile/other");
        assert_eq!((absent.status, told(&absent)), (401, told(&answer)), "{method} {path}");
        target.unharmed(&path).await;
    }
    // Through a repository of one's own, their blob is not there.
    let through = ask(&target, &mine, "GET", &format!("/v2/hostile/blobs/{blob}"), b"").await;
    assert_eq!((through.status, through.code().as_str()), (404, "BLOB_UNKNOWN"));
    assert_eq!(target.get("/v2/hostile/other/manifests/latest").await.body, manifest.as_bytes());
    target.finish().await;
}

/// CVE-2026-61833: who may push may not delete.
#[tokio::test]
async fn pushing_is_not_deleting() {
    let target = Target::start("").await;
    let manifest = target.image("hostile", b"mine").await;
    let push = target.signer.token(&claims(&json!([entry("hostile", &["pull", "push"])])));
    assert_eq!(ask(&target, &push, "PUT", "/v2/hostile/manifests/x", manifest.as_bytes()).await.status, 201);
    let image = digest::of(manifest.as_bytes());
    for path in [
        "manifests/x".to_owned(),
        format!("manifests/{image}"),
        "tags/reference/x".to_owned(),
        format!("blobs/{}", digest::of(b"mine")),
    ] {
        let answer = ask(&target, &push, "DELETE", &format!("/v2/hostile/{path}"), b"").await;
        assert_eq!(answer.status, 401, "{path}");
    }
    assert_eq!(ask(&target, &push, "GET", "/v2/hostile/manifests/x", b"").await.status, 200);
    target.finish().await;
}

/// A mount from where one may not read, from where the blob is not, and from nowhere: three times the same answer.
#[tokio::test]
async fn mounts_tell_nothing() {
    let target = Target::start("").await;
    let theirs = target.blob("hostile/other", b"theirs").await;
    let own = target.blob("hostile", b"own").await;
    let mine = target.signer.token(&claims(&json!([entry("hostile", &["pull", "push"])])));
    let path = |digest: &str, from: &str| format!("/v2/hostile/blobs/uploads/?mount={digest}&from={from}");
    // Which headers there are; the values of an upload differ from one to the next.
    let shape = |answer: &Answer| {
        answer.head.lines().map(|line| line.split(':').next().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    let mut seen = Vec::new();
    for (digest, from) in [
        (&theirs, "hostile/other"),
        (&theirs, "hostile/none"),
        (&digest::of(b"none"), "hostile/other"),
        (&theirs, "NO%20NAME"),
        (&theirs, "../../etc"),
    ] {
        let answer = ask(&target, &mine, "POST", &path(digest, from), b"").await;
        assert_eq!(answer.status, 202, "{digest} from {from}: {answer:?}");
        seen.push(shape(&answer));
        target.unharmed(from).await;
    }
    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "{seen:#?}");
    assert_eq!(ask(&target, &mine, "GET", &format!("/v2/hostile/blobs/{theirs}"), b"").await.status, 404);
    assert_eq!(ask(&target, &mine, "POST", &path(&own, "hostile"), b"").await.status, 201, "from itself");
    target.finish().await;
}
