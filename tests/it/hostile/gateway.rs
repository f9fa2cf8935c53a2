//! Names, tags, digests and paths that nobody has in good faith: the status and code of each, and the gateway as well
//! as before.

use crate::gateway::{Rig, ask};

#[tokio::test]
async fn table() {
    let rig = Rig::open().await;
    let canary = rig.image("canary", "v1", "layer").await;
    let hex = "0".repeat(64);
    let (long, longest) = ("a".repeat(256), "a".repeat(255));
    let backtracking = format!("{}!", "a-".repeat(4096));
    let tag = "t".repeat(129);
    let rows: &[(&str, String, u16, &str)] = &[
        ("GET", "/v2/UPPER/tags/list".into(), 400, "NAME_INVALID"),
        ("GET", "/v2/a/../b/tags/list".into(), 400, "NAME_INVALID"),
        ("GET", "/v2/%2e%2e/%2e%2e/etc/tags/list".into(), 400, "NAME_INVALID"),
        ("GET", "/v2/-a/tags/list".into(), 400, "NAME_INVALID"),
        ("GET", "/v2/a-/tags/list".into(), 400, "NAME_INVALID"),
        ("GET", "/v2/g/_p/tags/list".into(), 400, "NAME_INVALID"),
        ("GET", "/v2/a___b/tags/list".into(), 400, "NAME_INVALID"),
        ("GET", "/v2/a__b/tags/list".into(), 404, "NAME_UNKNOWN"),
        ("GET", "/v2/a//b/tags/list".into(), 400, "NAME_INVALID"),
        ("GET", "/v2/a;b/tags/list".into(), 400, "NAME_INVALID"),
        ("GET", "/v2/%D0%B0/tags/list".into(), 400, "NAME_INVALID"),
        ("GET", "/v2/%E2%80%AEa/tags/list".into(), 400, "NAME_INVALID"),
        ("GET", format!("/v2/{long}/tags/list"), 400, "NAME_INVALID"),
        ("GET", format!("/v2/{longest}/tags/list"), 404, "NAME_UNKNOWN"),
        ("GET", format!("/v2/{backtracking}/tags/list"), 400, "NAME_INVALID"),
        ("GET", "/v2/a%2fb/tags/list".into(), 404, "UNSUPPORTED"),
        ("GET", "/v2/a%00b/tags/list".into(), 404, "UNSUPPORTED"),
        ("GET", "/v2/%c0%ae%c0%ae/tags/list".into(), 404, "UNSUPPORTED"),
        ("GET", "//v2/".into(), 404, "UNSUPPORTED"),
        ("PUT", format!("/v2/a/manifests/{tag}"), 400, "TAG_INVALID"),
        ("PUT", "/v2/a/manifests/.x".into(), 400, "TAG_INVALID"),
        ("PUT", "/v2/a/manifests/-x".into(), 400, "TAG_INVALID"),
        ("GET", "/v2/a/manifests/%E2%80%AE".into(), 400, "TAG_INVALID"),
        ("GET", "/v2/a/blobs/sha256:00".into(), 400, "DIGEST_INVALID"),
        ("GET", format!("/v2/a/blobs/sha256:{}", "A".repeat(64)), 400, "DIGEST_INVALID"),
        ("GET", format!("/v2/a/blobs/md5:{hex}"), 400, "DIGEST_INVALID"),
        ("GET", format!("/v2/a/blobs/{hex}"), 400, "DIGEST_INVALID"),
        ("GET", format!("/v2/a/blobs/sha512:{hex}"), 400, "DIGEST_INVALID"),
        ("GET", format!("/v2/a/manifests/sha256:{hex}x"), 400, "DIGEST_INVALID"),
        ("GET", "/v2/a/blobs/sha256:../../x".into(), 404, "UNSUPPORTED"),
        ("GET", "/v2/a/blobs/uploads/..?_state=x".into(), 404, "BLOB_UPLOAD_INVALID"),
        ("GET", "/v2/a/blobs/uploads/%0d%0aX:y".into(), 404, "BLOB_UPLOAD_UNKNOWN"),
        ("PATCH", "/v2/a/blobs/uploads/x?_state=%ff%fe".into(), 404, "BLOB_UPLOAD_INVALID"),
        ("DELETE", "/v2/a/blobs/uploads/x".into(), 404, "BLOB_UPLOAD_INVALID"),
        ("GET", "/v2/_catalog?n=9223372036854775808".into(), 400, "PAGINATION_NUMBER_INVALID"),
        ("GET", "/v2/_catalog?n=18446744073709551616".into(), 400, "PAGINATION_NUMBER_INVALID"),
        ("GET", "/v2/_catalog?n=-1".into(), 400, "PAGINATION_NUMBER_INVALID"),
        ("CONNECT", "/v2/".into(), 405, "UNSUPPORTED"),
        ("TRACE", "/v2/".into(), 405, "UNSUPPORTED"),
        ("FOO", "/v2/a/manifests/x".into(), 405, "UNSUPPORTED"),
    ];
    for (method, target, status, code) in rows {
        let answer = rig.send(ask(method, target)).await;
        assert_eq!((answer.status, answer.code().as_str()), (*status, *code), "{method} {target}");
        assert!(answer.log.failure.as_ref().is_some_and(|failure| failure.reason.len() <= 1024));
        let pulled = rig.get("/v2/canary/manifests/v1").await;
        assert_eq!((pulled.status, pulled.header("docker-content-digest")), (200, canary.clone()));
    }
}
