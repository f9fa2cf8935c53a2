//! Manifests in and out.

use std::sync::atomic::Ordering;

use serde_json::json;

use crate::gateway::{IMAGE, INDEX, Rig, ask, sha256, sha512};

#[tokio::test]
async fn by_tag_and_by_digest() {
    let rig = Rig::open().await;
    let manifest = rig.manifest("g/app", "layer").await;
    let digest = sha256(manifest.as_bytes());
    for reference in ["v1", digest.as_str()] {
        let put = ask("PUT", &format!("/v2/g/app/manifests/{reference}")).header("content-type", IMAGE);
        let answer = rig.send(put.body(manifest.clone())).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        assert_eq!(answer.header("location"), format!("/v2/g/app/manifests/{digest}"));
        assert_eq!(answer.header("docker-content-digest"), digest);
        assert_eq!((answer.header("oci-tag"), answer.header("oci-subject")), (String::new(), String::new()));
        for method in ["GET", "HEAD"] {
            let answer = rig.send(ask(method, &format!("/v2/g/app/manifests/{reference}"))).await;
            assert_eq!((answer.status, answer.header("content-type").as_str()), (200, IMAGE));
            assert_eq!(answer.header("docker-content-digest"), digest);
            assert_eq!(answer.header("etag"), format!("\"{digest}\""));
            assert_eq!(answer.header("content-length"), manifest.len().to_string());
            assert_eq!(answer.text(), if method == "GET" { manifest.as_str() } else { "" });
        }
    }
}

/// The stored bytes and no others, whatever the client says that it takes.
#[tokio::test]
async fn accept_does_not_change_what_is_served() {
    let rig = Rig::open().await;
    let digest = rig.image("g/app", "v1", "layer").await;
    let many = (0..1000).map(|n| format!("application/x{n}")).collect::<Vec<_>>().join(",");
    for accept in ["*/*", "*", INDEX, "application/json;q=NaN", "", many.as_str()] {
        let answer = rig.send(ask("GET", "/v2/g/app/manifests/v1").header("accept", accept)).await;
        assert_eq!((answer.status, answer.header("docker-content-digest")), (200, digest.clone()), "{accept}");
    }
}

#[tokio::test]
async fn conditions() {
    let rig = Rig::open().await;
    let digest = rig.image("g/app", "v1", "layer").await;
    for tag in [format!("\"{digest}\""), digest.clone(), "*".to_owned()] {
        let answer = rig.send(ask("GET", "/v2/g/app/manifests/v1").header("if-none-match", &tag)).await;
        assert_eq!((answer.status, answer.header("etag")), (304, format!("\"{digest}\"")));
    }
    let answer = rig.send(ask("GET", "/v2/g/app/manifests/v2").header("if-none-match", "*")).await;
    assert_eq!(answer.status, 404);
}

#[tokio::test]
async fn unknown() {
    let rig = Rig::open().await;
    rig.image("g/app", "v1", "layer").await;
    let digest = sha256(b"nothing");
    for target in
        ["/v2/g/app/manifests/v2".to_owned(), format!("/v2/g/app/manifests/{digest}"), "/v2/x/manifests/y".to_owned()]
    {
        let answer = rig.get(&target).await;
        assert_eq!((answer.status, answer.code().as_str()), (404, "MANIFEST_UNKNOWN"), "{target}");
    }
}

#[tokio::test]
async fn several_tags_at_once() {
    let rig = Rig::open().await;
    let manifest = rig.manifest("g/app", "layer").await;
    for (digest, first) in [(sha256(manifest.as_bytes()), "a"), (sha512(manifest.as_bytes()), "b")] {
        let tags: Vec<String> = (0..12).map(|n| format!("{first}{n}")).collect();
        let query = tags.iter().map(|tag| format!("tag={tag}")).collect::<Vec<_>>().join("&");
        let put = ask("PUT", &format!("/v2/g/app/manifests/{digest}?{query}&tag={}", tags[0]));
        let answer = rig.send(put.header("content-type", IMAGE).body(manifest.clone())).await;
        assert_eq!((answer.status, answer.header("oci-tag")), (201, tags.join(", ")));
        assert_eq!(answer.headers.get_all("oci-tag").iter().count(), 12);
        for tag in &tags {
            let answer = rig.get(&format!("/v2/g/app/manifests/{tag}")).await;
            assert_eq!(answer.header("docker-content-digest"), digest);
        }
    }
    let digest = sha256(manifest.as_bytes());
    let many: String = (0..101).map(|n| format!("tag=t{n}")).collect::<Vec<_>>().join("&");
    for (query, status) in [(many.as_str(), 414), ("tag=.x", 400), ("tag=", 400)] {
        let put = ask("PUT", &format!("/v2/g/app/manifests/{digest}?{query}")).header("content-type", IMAGE);
        let answer = rig.send(put.body(manifest.clone())).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, "TAG_INVALID"), "{query}");
    }
    assert_eq!(rig.get("/v2/g/app/manifests/t0").await.status, 404);
}

#[tokio::test]
async fn refused() {
    let rig = Rig::open().await;
    let manifest = rig.manifest("g/app", "layer").await;
    let put = |target: &str, media_type: &str, body: &str| {
        ask("PUT", target).header("content-type", media_type).body(body.to_owned())
    };
    let answer = rig.send(put(&format!("/v2/g/app/manifests/{}", sha256(b"x")), IMAGE, &manifest)).await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "DIGEST_INVALID"));
    let answer = rig.send(put("/v2/g/app/manifests/sha256:baddigeststring", IMAGE, &manifest)).await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "DIGEST_INVALID"));
    let foreign = rig.send(put("/v2/g/other/manifests/v1", IMAGE, &manifest)).await;
    assert_eq!((foreign.status, foreign.code().as_str()), (400, "MANIFEST_BLOB_UNKNOWN"));
    let errors = foreign.json()["errors"].as_array().unwrap().clone();
    let details: Vec<_> = errors.iter().map(|error| error["detail"].as_str().unwrap().to_owned()).collect();
    assert_eq!(details, [sha256(b"{}"), sha256(b"layer")]);
    for body in ["", "{", "[]", "{}", "\u{feff}{}", r#"{"schemaVersion":3}"#] {
        let answer = rig.send(put("/v2/g/app/manifests/v1", IMAGE, body)).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "MANIFEST_INVALID"), "{body}");
    }
    let schema1 = json!({ "schemaVersion": 1, "name": "g/app", "tag": "v1", "fsLayers": [], "history": [] });
    let media_type = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    let answer = rig.send(put("/v2/g/app/manifests/v1", media_type, &schema1.to_string())).await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "MANIFEST_INVALID"));
    assert_eq!(answer.json()["errors"][0]["message"], "Schema 1 manifest not supported");
    assert_eq!(rig.get("/v2/g/app/manifests/v1").await.status, 404);
}

#[tokio::test]
async fn subject() {
    let rig = Rig::open().await;
    let subject = rig.image("g/app", "v1", "layer").await;
    let mut artifact: serde_json::Value = serde_json::from_str(&rig.manifest("g/app", "signature").await).unwrap();
    artifact["subject"] = json!({ "mediaType": IMAGE, "digest": subject, "size": 2 });
    let put = ask("PUT", &format!("/v2/g/app/manifests/{}", sha256(artifact.to_string().as_bytes())));
    let answer = rig.send(put.header("content-type", IMAGE).body(artifact.to_string())).await;
    assert_eq!((answer.status, answer.header("oci-subject")), (201, subject));
}

/// CVE-2017-11468: of a manifest of any size at most a little more than the limit is read.
#[tokio::test]
async fn larger_than_manifests_may_be() {
    let rig = Rig::open().await;
    let announced = ask("PUT", "/v2/g/app/manifests/v1").header("content-length", "10737418240");
    let mut endless = ask("PUT", "/v2/g/app/manifests/v1");
    for _ in 0..200 {
        endless = endless.chunk(vec![b' '; 64 << 10]);
    }
    for (ask, most) in [(announced, 0), (endless, (4 << 20) + (64 << 10))] {
        let read = ask.counter();
        let answer = rig.send(ask).await;
        assert_eq!((answer.status, answer.code().as_str()), (413, "MANIFEST_INVALID"));
        assert!(read.load(Ordering::Relaxed) <= most);
    }
}
