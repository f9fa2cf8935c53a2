//! Names, tags, digests and paths over the wire; [`crate::hostile::gateway`] has the longer table.

use std::time::{Duration, Instant};

use crate::{
    hostile::target::{IMAGE, Target},
    support::digest,
};

#[tokio::test]
async fn table() {
    let target = Target::start("").await;
    let hex = "0".repeat(64);
    let name = |length: usize| "n".repeat(length);
    let rows: &[(&str, String, u16, &str)] = &[
        ("GET", "/v2/UPPER/tags/list".into(), 400, "NAME_INVALID"),
        ("GET", "/v2/../tags/list".into(), 400, "NAME_INVALID"),
        ("GET", "/v2/a/%2e%2e/%2e%2e/tags/list".into(), 400, "NAME_INVALID"),
        ("GET", "/v2/a/%252e%252e/tags/list".into(), 400, "NAME_INVALID"),
        ("GET", "/v2/-a/tags/list".into(), 400, "NAME_INVALID"),
        ("GET", "/v2/a./tags/list".into(), 400, "NAME_INVALID"),
        ("GET", "/v2/a__b/tags/list".into(), 404, "NAME_UNKNOWN"),
        ("GET", "/v2/a___b/tags/list".into(), 400, "NAME_INVALID"),
        ("GET", "/v2/a//b/tags/list".into(), 400, "NAME_INVALID"),
        ("GET", "/v2/a;b/tags/list".into(), 400, "NAME_INVALID"),
        ("GET", "/v2/%D0%B0/tags/list".into(), 400, "NAME_INVALID"),
        ("GET", "/v2/%E2%80%AEa/tags/list".into(), 400, "NAME_INVALID"),
        ("GET", "/v2/a%0d%0aX:%20y/tags/list".into(), 400, "NAME_INVALID"),
        ("GET", format!("/v2/{}/tags/list", name(255)), 404, "NAME_UNKNOWN"),
        ("GET", format!("/v2/{}/tags/list", name(256)), 400, "NAME_INVALID"),
        ("GET", "/v2/a%2fb/tags/list".into(), 404, "UNSUPPORTED"),
        ("GET", "/v2/a%00/tags/list".into(), 404, "UNSUPPORTED"),
        ("GET", "/v2/%c0%ae%c0%ae/tags/list".into(), 404, "UNSUPPORTED"),
        ("GET", "//v2/".into(), 404, "UNSUPPORTED"),
        ("GET", "/v2/../../etc/passwd".into(), 404, "UNSUPPORTED"),
        ("PUT", format!("/v2/a/manifests/{}", name(129)), 400, "TAG_INVALID"),
        ("PUT", "/v2/a/manifests/.x".into(), 400, "TAG_INVALID"),
        ("PUT", "/v2/a/manifests/-x".into(), 400, "TAG_INVALID"),
        ("PUT", "/v2/a/manifests/%2e%2e".into(), 400, "TAG_INVALID"),
        ("GET", "/v2/a/blobs/sha256:00".into(), 400, "DIGEST_INVALID"),
        ("GET", format!("/v2/a/blobs/sha256:{}", "A".repeat(64)), 400, "DIGEST_INVALID"),
        ("GET", format!("/v2/a/blobs/md5:{}", &hex[..32]), 400, "DIGEST_INVALID"),
        ("GET", format!("/v2/a/blobs/{hex}"), 400, "DIGEST_INVALID"),
        ("GET", "/v2/a/blobs/sha256:%2e%2e".into(), 400, "DIGEST_INVALID"),
        ("GET", "/v2/a/blobs/sha256:../../x".into(), 404, "UNSUPPORTED"),
        // sha512 is supported, and never takes a sha256 for its own.
        ("GET", format!("/v2/a/blobs/sha512:{hex}"), 400, "DIGEST_INVALID"),
        ("GET", format!("/v2/a/blobs/sha512:{hex}{hex}"), 404, "BLOB_UNKNOWN"),
    ];
    for (method, path, status, code) in rows {
        target.check(path, &target.request(method, path, &[], b""), *status, code).await;
    }
    target.finish().await;
}

/// CVE-2020-13354: the time that a name takes grows with its length and no faster.
#[tokio::test]
async fn names_that_make_patterns_backtrack() {
    let target = Target::start("").await;
    let started = Instant::now();
    for pattern in ["a-", "a.a_", "a__", "a/"] {
        let name = pattern.repeat(3900 / pattern.len());
        let raw = target.request("GET", &format!("/v2/{name}!/tags/list"), &[], b"");
        target.check(pattern, &raw, 400, "NAME_INVALID").await;
    }
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    target.finish().await;
}

/// Legal at the edge of the grammar, and usable.
#[tokio::test]
async fn names_that_look_odd_and_work() {
    let target = Target::start("").await;
    for (repository, tag) in [("a__b", "t".repeat(128)), (&"n".repeat(255), "A.B_c-".to_owned())] {
        let manifest = target.image(repository, b"").await;
        let path = format!("/v2/{repository}/manifests/{tag}");
        assert_eq!(target.ask("PUT", &path, &[("Content-Type", IMAGE)], manifest.as_bytes()).await.status, 201);
        assert_eq!(target.get(&path).await.body, manifest.as_bytes());
        let empty = target.get(&format!("/v2/{repository}/blobs/{}", digest::of(b""))).await;
        assert_eq!((empty.status, empty.body.len()), (200, 0), "a blob of no bytes");
    }
    target.finish().await;
}
