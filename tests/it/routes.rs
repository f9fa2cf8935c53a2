//! What is where, who answers which method, and what every answer carries.

use std::sync::atomic::Ordering;

use pierhead::api::{location::Base, settings::Mode};

use crate::gateway::{Rig, ask, sha256};

#[tokio::test]
async fn the_root_asks_nobody() {
    let rig = Rig::guarded().await;
    let answer = rig.get("/").await;
    assert_eq!((answer.status, answer.body.len()), (200, 0));
    assert_eq!(answer.header("cache-control"), "no-cache");
    assert_eq!(answer.header("docker-distribution-api-version"), "");
}

#[tokio::test]
async fn base() {
    let rig = Rig::open().await;
    for target in ["/v2/", "/v2"] {
        let answer = rig.get(target).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "{}"));
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(answer.header("docker-distribution-api-version"), "registry/2.0");
        assert_eq!(answer.header("gitlab-container-registry-version"), env!("CARGO_PKG_VERSION"));
        assert_eq!(answer.header("gitlab-container-registry-features"), "tag_delete");
        assert_eq!(answer.header("gitlab-container-registry-database-enabled"), "false");
        assert_eq!(answer.log.route, Some("base"));
    }
    let without = Rig::with(|plan| plan.api.mode = Mode::WithoutDelete).await;
    assert_eq!(without.get("/v2/").await.header("gitlab-container-registry-features"), "");
}

#[tokio::test]
async fn nothing_there() {
    let rig = Rig::guarded().await;
    for target in ["/v1/users/", "/v1/", "/v2/a", "/v2/a/b/c", "/favicon.ico", "/gitlab/v1/", "/v2/a%2fb/tags/list"] {
        let answer = rig.get(target).await;
        assert_eq!((answer.status, answer.code().as_str()), (404, "UNSUPPORTED"), "{target}");
        assert_eq!(answer.log.route, None);
    }
}

#[tokio::test]
async fn allowed_methods() {
    let digest = sha256(b"");
    let table = [
        ("/v2/", Mode::Full, "GET, HEAD, OPTIONS"),
        ("/v2/_catalog", Mode::Full, "GET, HEAD, OPTIONS"),
        ("/v2/a/tags/list", Mode::Full, "GET, HEAD, OPTIONS"),
        ("/v2/made-up/manifests/tag", Mode::Full, "DELETE, GET, HEAD, PUT, OPTIONS"),
        ("/v2/made-up/manifests/tag", Mode::WithoutDelete, "GET, HEAD, PUT, OPTIONS"),
        ("/v2/made-up/manifests/tag", Mode::ReadOnly, "GET, HEAD, OPTIONS"),
        ("/v2/a/tags/reference/tag", Mode::Full, "DELETE, OPTIONS"),
        ("/v2/a/blobs/DIGEST", Mode::Full, "DELETE, GET, HEAD, OPTIONS"),
        ("/v2/a/blobs/DIGEST", Mode::WithoutDelete, "GET, HEAD, OPTIONS"),
        ("/v2/a/blobs/uploads/", Mode::WithoutDelete, "POST, OPTIONS"),
        ("/v2/a/blobs/uploads/", Mode::ReadOnly, "OPTIONS"),
        ("/v2/a/blobs/uploads/x", Mode::WithoutDelete, "DELETE, GET, HEAD, PATCH, PUT, OPTIONS"),
        ("/v2/a/referrers/DIGEST", Mode::Full, "GET, HEAD, OPTIONS"),
    ];
    for (target, mode, allow) in table {
        let rig = Rig::with(|plan| plan.api.mode = mode).await;
        let target = target.replace("DIGEST", &digest);
        let answer = rig.send(ask("OPTIONS", &target)).await;
        assert_eq!((answer.status, answer.header("allow").as_str()), (200, allow), "{target}");
        assert!(answer.body.is_empty());
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE"] {
            if !allow.contains(method) {
                let answer = rig.send(ask(method, &target)).await;
                assert_eq!((answer.status, answer.header("allow").as_str()), (405, allow), "{method} {target}");
            }
        }
    }
}

#[tokio::test]
async fn configured_headers_and_prefix() {
    let rig = Rig::with(|plan| {
        plan.api.base = Base::new("/registry/", None).unwrap();
        plan.api.headers.insert("x-content-type-options", "nosniff".parse().unwrap());
        plan.api.headers.insert("strict-transport-security", "max-age=1".parse().unwrap());
    })
    .await;
    let answer = rig.get("/registry/v2/").await;
    assert_eq!((answer.status, answer.header("strict-transport-security").as_str()), (200, "max-age=1"));
    assert_eq!(rig.get("/").await.header("strict-transport-security"), "");
    assert_eq!(rig.get("/v2/").await.status, 404);
    let answer = rig.send(ask("POST", "/registry/v2/a/blobs/uploads")).await;
    assert!(answer.header("location").starts_with("/registry/v2/a/blobs/uploads/"), "{answer:?}");
}

/// What the way here looked like decides nothing.
#[tokio::test]
async fn locations_are_relative_unless_configured() {
    let post = || {
        let ask = ask("POST", "/v2/a/blobs/uploads/").header("host", "evil.example");
        ask.header("x-forwarded-proto", "http").header("x-forwarded-host", "evil.example").header("forwarded", "host=e")
    };
    let rig = Rig::open().await;
    assert!(rig.send(post()).await.header("location").starts_with("/v2/a/"));
    let rig = Rig::with(|plan| plan.api.base = Base::new("/", Some("https://r.example:5050")).unwrap()).await;
    assert!(rig.send(post()).await.header("location").starts_with("https://r.example:5050/v2/a/"));
}

#[tokio::test]
async fn a_failing_health_check_stops_everything() {
    let rig = Rig::open().await;
    rig.unhealthy.store(true, Ordering::Relaxed);
    for target in ["/", "/v2/", "/v2/a/tags/list", "/nowhere"] {
        let answer = rig.get(target).await;
        assert_eq!((answer.status, answer.code().as_str()), (503, "UNAVAILABLE"));
        assert_eq!(answer.json()["errors"][0]["detail"], "health check failed: please see /debug/health");
    }
    rig.unhealthy.store(false, Ordering::Relaxed);
    assert_eq!(rig.get("/v2/").await.status, 200);
}
