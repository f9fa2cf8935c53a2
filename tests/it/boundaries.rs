//! Who may do what, through the whole gateway: challenges, foreign repositories, late tokens, protected tags.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::future::join_all;
use pierhead::{
    auth::{
        authority::Authority,
        htpasswd::{self, PasswordFile},
    },
    clock::SystemClock,
};
use serde_json::{Value, json};

use crate::gateway::{IMAGE, REALM, Rig, ask, sha256};

fn challenge(scope: &str, error: &str) -> String {
    let scope = if scope.is_empty() { String::new() } else { format!(",scope=\"{scope}\"") };
    let error = if error.is_empty() { String::new() } else { format!(",error=\"{error}\"") };
    format!("Bearer realm=\"{REALM}\",service=\"container_registry\"{scope}{error}")
}

fn need(name: &str, action: &str) -> Value {
    json!({ "Type": "repository", "Class": "", "Name": name, "Action": action })
}

/// Hashing is slow on purpose: who waits for it is told to come back when too many do, and nobody's password is shown.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_passwords() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("htpasswd");
    std::fs::write(&path, format!("ann:{}\n", bcrypt::hash("canary", 10).unwrap())).unwrap();
    let settings = htpasswd::Settings { realm: "R".to_owned(), path };
    let (file, _) = PasswordFile::load(settings, Arc::new(SystemClock)).unwrap();
    let rig = Rig::with(|plan| plan.authority = Some(Authority::Htpasswd(file))).await;
    let login = |password: &str| ask("GET", "/v2/").header("authorization", &basic(password));
    let flood = join_all((0..300).map(|n| rig.send(login(&format!("canary{n}"))))).await;
    let (mut refused, mut turned_away) = (0, 0);
    for answer in flood {
        assert!(!format!("{answer:?}").contains("canary"));
        match answer.status {
            401 => refused += 1,
            429 => {
                turned_away += 1;
                assert_eq!((answer.code().as_str(), answer.header("retry-after").as_str()), ("TOOMANYREQUESTS", "5"));
                assert!(!answer.headers.contains_key("www-authenticate"), "the password may be right");
            }
            status => panic!("{status}"),
        }
    }
    assert!(refused >= 4 && turned_away > 0, "{refused} refused, {turned_away} turned away");
    assert_eq!(rig.send(login("canary")).await.status, 200);
}

fn basic(password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("ann:{password}")))
}

#[tokio::test]
async fn challenges() {
    let rig = Rig::guarded().await;
    let upload = "/v2/a/blobs/uploads/";
    let mount = format!("{upload}?mount={}&from=b", sha256(b""));
    let table = [
        ("GET", "/v2/", "", Value::Null),
        ("OPTIONS", "/v2/a/manifests/x", "", Value::Null),
        ("GET", "/v2/a/tags/list", "repository:a:pull", json!([need("a", "pull")])),
        ("HEAD", "/v2/a/manifests/x", "repository:a:pull", Value::Null),
        ("PUT", "/v2/a/manifests/x", "repository:a:pull,push", json!([need("a", "pull"), need("a", "push")])),
        ("DELETE", "/v2/a/manifests/x", "repository:a:delete", json!([need("a", "delete")])),
        ("POST", upload, "repository:a:pull,push", json!([need("a", "pull"), need("a", "push")])),
        (
            "POST",
            &mount,
            "repository:a:pull,push repository:b:pull",
            json!([need("a", "pull"), need("a", "push"), need("b", "pull")]),
        ),
        ("DELETE", "/v2/a/blobs/uploads/x", "repository:a:pull,push", json!([need("a", "pull"), need("a", "push")])),
        // Wrong methods are refused to those who were let in.
        ("POST", "/v2/a/manifests/x", "repository:a:pull,push", json!([need("a", "pull"), need("a", "push")])),
    ];
    for (method, target, scope, detail) in table {
        let ask = ask(method, target).body("bytes");
        let read = ask.counter();
        let answer = rig.send(ask).await;
        assert_eq!(
            (answer.status, answer.header("www-authenticate")),
            (401, challenge(scope, "")),
            "{method} {target}"
        );
        assert_eq!(answer.header("docker-distribution-api-version"), "registry/2.0");
        if method != "HEAD" {
            assert_eq!(answer.code(), "UNAUTHORIZED");
            assert_eq!(answer.json()["errors"][0]["detail"], detail);
            assert!(answer.json()["errors"][0].as_object().unwrap().contains_key("detail"));
        }
        assert_eq!(read.load(Ordering::Relaxed), 0, "the body is not asked for");
    }
}

#[tokio::test]
async fn insufficient_tokens_are_401() {
    let rig = Rig::guarded().await;
    let token = rig.token(&["a:pull"]);
    let answer = rig.send(ask("PUT", "/v2/a/manifests/x").token(&token)).await;
    let expected = challenge("repository:a:pull,push", "insufficient_scope");
    assert_eq!((answer.status, answer.header("www-authenticate")), (401, expected));
    let answer = rig.send(ask("GET", "/v2/").token("nonsense")).await;
    assert_eq!((answer.status, answer.header("www-authenticate")), (401, challenge("", "invalid_token")));
    let answer = rig.send(ask("GET", "/v2/").token(&token)).await;
    assert_eq!((answer.status, answer.log.subject.as_deref()), (200, Some("alice")));
}

/// Every route of one repository with a token for another.
#[tokio::test]
async fn foreign_repositories() {
    let rig = Rig::guarded().await;
    let token = rig.token(&["a:pull,push,delete", "registry@catalog:pull"]);
    let digest = sha256(b"");
    for (method, target) in [
        ("GET", "/v2/b/tags/list".to_owned()),
        ("GET", "/v2/b/manifests/x".to_owned()),
        ("PUT", "/v2/b/manifests/x".to_owned()),
        ("DELETE", "/v2/b/manifests/x".to_owned()),
        ("DELETE", "/v2/b/tags/reference/x".to_owned()),
        ("GET", format!("/v2/b/blobs/{digest}")),
        ("HEAD", format!("/v2/b/blobs/{digest}")),
        ("DELETE", format!("/v2/b/blobs/{digest}")),
        ("GET", format!("/v2/b/referrers/{digest}")),
        ("POST", "/v2/b/blobs/uploads/".to_owned()),
        ("GET", "/v2/b/blobs/uploads/x".to_owned()),
        ("PATCH", "/v2/b/blobs/uploads/x".to_owned()),
        ("PUT", "/v2/b/blobs/uploads/x".to_owned()),
        ("DELETE", "/v2/b/blobs/uploads/x".to_owned()),
        ("GET", "/v2/a/b/tags/list".to_owned()),
        ("GET", "/v2/_catalog".to_owned()),
    ] {
        let answer = rig.send(ask(method, &target).token(&token)).await;
        assert_eq!(answer.status, 401, "{method} {target}");
    }
    let admin = rig.token(&["registry@catalog:*"]);
    assert_eq!(rig.send(ask("GET", "/v2/_catalog").token(&admin)).await.status, 200);
}

/// CVE-2026-61833: who may push may not delete, but may give up an upload.
#[tokio::test]
async fn push_is_not_delete() {
    let rig = Rig::guarded().await;
    let token = rig.token(&["a:pull,push"]);
    for target in ["/v2/a/manifests/x".to_owned(), format!("/v2/a/blobs/{}", sha256(b""))] {
        assert_eq!(rig.send(ask("DELETE", &target).token(&token)).await.status, 401);
    }
    let started = rig.send(ask("POST", "/v2/a/blobs/uploads/").token(&token)).await;
    assert_eq!(rig.send(ask("DELETE", &started.header("location")).token(&token)).await.status, 204);
    let options = rig.send(ask("OPTIONS", "/v2/made-up/manifests/tag").token(&rig.token(&[]))).await;
    assert_eq!((options.status, options.header("allow").contains("DELETE")), (200, true));
}

/// A push that outlives its token ends well; nothing else profits.
#[tokio::test]
async fn late_tokens() {
    let rig = Rig::guarded().await;
    let (token, other) = (rig.token(&["a:pull,push"]), rig.token(&["a:pull,push", "b:pull,push"]));
    let location = rig.send(ask("POST", "/v2/a/blobs/uploads/").token(&token)).await.header("location");
    rig.clock.advance(Duration::from_mins(30));
    let fresh = rig.token(&["a:pull"]);
    for (method, target, token) in [
        ("PATCH", location.as_str(), &other),
        ("GET", location.as_str(), &token),
        ("DELETE", location.as_str(), &token),
        ("POST", "/v2/a/blobs/uploads/", &token),
        ("PATCH", location.as_str(), &fresh),
    ] {
        assert_eq!(rig.send(ask(method, target).token(token).body("bytes")).await.status, 401, "{method} {target}");
    }
    let patched = rig.send(ask("PATCH", &location).token(&token).body("bytes")).await;
    assert_eq!(patched.status, 202, "{patched:?}");
    let target = format!("{}&digest={}", patched.header("location"), sha256(b"bytes"));
    rig.clock.advance(Duration::from_mins(45));
    let late = rig.send(ask("PUT", &target).token(&token).header("content-length", "0")).await;
    assert_eq!(late.status, 401);
    let renewed = rig.token(&["a:pull,push"]);
    assert_eq!(rig.send(ask("PUT", &target).token(&renewed).header("content-length", "0")).await.status, 201);
}

/// Both find no tag while their heads are read; one of them makes it.
#[tokio::test]
async fn an_immutable_tag_is_made_once() {
    let rig = Rig::guarded().await;
    let meta = json!({ "tag_immutable_patterns": ["^v"] });
    let token = rig.sign(&json!([{ "type": "repository", "name": "a", "actions": ["pull", "push"], "meta": meta }]));
    let config = sha256(b"{}");
    let blob = ask("POST", &format!("/v2/a/blobs/uploads/?digest={config}")).token(&token).body("{}");
    assert_eq!(rig.send(blob).await.status, 201);
    let manifest = |number: usize| {
        let config = json!({ "mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2 });
        json!({ "schemaVersion": 2, "mediaType": IMAGE, "config": config, "layers": [], "n": number }).to_string()
    };
    let put = |number| {
        let put = ask("PUT", "/v2/a/manifests/v1").token(&token).header("content-type", IMAGE);
        rig.send(put.body(manifest(number)))
    };
    let answers = join_all((0..3).map(put)).await;
    let made: Vec<_> = (0..3).filter(|number| answers[*number].status == 201).collect();
    assert_eq!(made.len(), 1, "{answers:?}");
    for refused in answers.iter().filter(|answer| answer.status != 201) {
        assert_eq!((refused.status, refused.code().as_str()), (401, "IMMUTABLE_TAG"));
        assert_eq!(refused.json()["errors"][0]["detail"], json!({ "tag": "v1" }));
    }
    let stands = rig.send(ask("GET", "/v2/a/manifests/v1").token(&token)).await;
    assert_eq!(stands.text(), manifest(made[0]));
    // Pushed once more with the same content, each tag but this one is still free.
    let free = ask("PUT", "/v2/a/manifests/w").token(&token).header("content-type", IMAGE).body(manifest(made[0]));
    assert_eq!(rig.send(free).await.status, 201);
}

/// The patterns that GitLab writes into tokens.
#[tokio::test]
async fn protected_and_immutable_tags() {
    let rig = Rig::guarded().await;
    let meta = json!({
        "tag_deny_access_patterns": { "push": ["^prod"], "delete": ["^keep"] },
        "tag_immutable_patterns": ["^v"],
    });
    let actions = json!(["pull", "push", "delete"]);
    let free = rig.sign(&json!([{ "type": "repository", "name": "a", "actions": actions.clone() }]));
    let bound = rig.sign(&json!([{ "type": "repository", "name": "a", "actions": actions, "meta": meta }]));
    let config = sha256(b"{}");
    let blob = ask("POST", &format!("/v2/a/blobs/uploads/?digest={config}")).token(&free).body("{}");
    assert_eq!(rig.send(blob).await.status, 201);
    let config_type = "application/vnd.oci.image.config.v1+json";
    let manifest = json!({
        "schemaVersion": 2, "mediaType": IMAGE, "layers": [],
        "config": { "mediaType": config_type, "digest": config, "size": 2 },
    })
    .to_string();
    let digest = sha256(manifest.as_bytes());
    let put = |reference: &str| {
        ask("PUT", &format!("/v2/a/manifests/{reference}"))
            .token(&bound)
            .header("content-type", IMAGE)
            .body(manifest.clone())
    };
    for (reference, status, code) in [
        ("prod", 401, "PROTECTED_TAG"),
        ("v1", 201, ""),
        ("v1", 401, "IMMUTABLE_TAG"),
        ("keep", 201, ""),
        ("dev", 201, ""),
        ("dev", 201, ""),
        (&format!("{digest}?tag=dev&tag=prod"), 401, "PROTECTED_TAG"),
        (&format!("{digest}?tag=dev&tag=v1"), 401, "IMMUTABLE_TAG"),
        (&format!("{digest}?tag=v2"), 201, ""),
    ] {
        let answer = rig.send(put(reference)).await;
        assert_eq!(answer.status, status, "{reference}: {answer:?}");
        assert!(code.is_empty() || answer.code() == code, "{reference}");
    }
    for (target, status, code) in [
        ("manifests/keep", 401, "PROTECTED_TAG"),
        ("tags/reference/keep", 401, "PROTECTED_TAG"),
        ("manifests/v1", 401, "IMMUTABLE_TAG"),
        (&format!("manifests/{digest}"), 401, "PROTECTED_MANIFEST"),
        ("manifests/dev", 202, ""),
    ] {
        let answer = rig.send(ask("DELETE", &format!("/v2/a/{target}")).token(&bound)).await;
        assert_eq!(answer.status, status, "{target}: {answer:?}");
        assert!(code.is_empty() || answer.code() == code, "{target}");
    }
}
