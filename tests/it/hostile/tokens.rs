//! Tokens that an attacker makes; [`crate::tokens`] asks the verifier alone about many more.

use std::sync::Arc;

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use jsonwebtoken::{Algorithm, EncodingKey};
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{
    hostile::{
        client::request,
        target::{Target, claims, entry, everything},
    },
    tokens::Signer,
};

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims(&everything());
    claims[name] = value;
    claims
}

async fn check(target: &Target, row: &str, token: &str, status: u16) {
    let bearer = format!("Bearer {token}");
    let raw = request("GET", "/v2/canary/tags/list", &[("Authorization", &bearer)], b"");
    target.secrets.borrow_mut().extend((token.len() > 64).then(|| token.to_owned()));
    target.check(row, &raw, status, if status == 401 { "UNAUTHORIZED" } else { "" }).await;
}

/// CVE-2025-24976 and its kind: no key, chain or address that comes with a token is believed or fetched.
#[tokio::test]
async fn keys_that_come_along() {
    let target = Target::start("").await;
    let listener = Arc::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
    let url = format!("http://{}/keys", listener.local_addr().unwrap());
    let fetched = tokio::spawn({
        let listener = Arc::clone(&listener);
        async move { listener.accept().await.unwrap() }
    });
    let attacker = Signer::new(Algorithm::ES256);
    let raw = attacker.pair.public_key_raw().to_vec();
    let (x, y) = (URL_SAFE_NO_PAD.encode(&raw[1..33]), URL_SAFE_NO_PAD.encode(&raw[33..]));
    let id = target.signer.libtrust_id();
    let jwk = json!({"kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": id});
    let own = CertificateParams::new(Vec::new()).unwrap().self_signed(&attacker.pair).unwrap();
    let own = STANDARD.encode(own.der());
    let body = claims(&everything());
    let headers = [
        ("a borrowed name", json!({"alg": "ES256", "kid": id})),
        ("a key of its own", json!({"alg": "ES256", "kid": id, "jwk": jwk})),
        ("an address of keys", json!({"alg": "ES256", "kid": id, "jku": url})),
        ("an address of certificates", json!({"alg": "ES256", "kid": id, "x5u": url})),
        ("a critical extension", json!({"alg": "ES256", "kid": id, "crit": ["exp"]})),
        ("a certificate of its own", json!({"alg": "ES256", "x5c": [own]})),
        ("50 certificates", json!({"alg": "ES256", "x5c": vec![own.clone(); 50]})),
        ("a name that is a path", json!({"alg": "ES256", "kid": "../../../../etc/passwd"})),
        ("a name of control characters", json!({"alg": "ES256", "kid": "\u{1b}[2J\r\nlevel=fatal"})),
    ];
    for (row, header) in headers {
        check(&target, row, &attacker.sign(&header, &body), 401).await;
    }
    let critical = json!({"alg": "ES256", "kid": id, "crit": ["b64"]});
    check(&target, "critical, signed by us", &target.signer.sign(&critical, &body), 401).await;
    assert!(!fetched.is_finished(), "somebody fetched keys");
    fetched.abort();
    target.finish().await;
}

#[tokio::test]
async fn algorithms_that_need_no_key() {
    let target = Target::start("").await;
    let public = target.signer.pair.public_key_pem();
    let pair = KeyPair::from_pem(&target.signer.pair.serialize_pem()).unwrap();
    let mut secret = Signer::with_pair(pair, Algorithm::ES256);
    (secret.key, secret.algorithm) = (EncodingKey::from_secret(public.as_bytes()), Algorithm::HS256);
    let body = claims(&everything());
    for name in ["none", "None", "", "HS256", "HS512", "RS256", "ES384", "ES512", "es256"] {
        let header = json!({"alg": name, "kid": target.signer.libtrust_id()});
        check(&target, name, &secret.sign(&header, &body), 401).await;
        let unsigned = target.signer.sign(&header, &body);
        let (unsigned, _) = unsigned.rsplit_once('.').unwrap();
        check(&target, name, &format!("{unsigned}."), 401).await;
    }
    target.finish().await;
}

/// CVE-2026-25537, CVE-2026-123710: what a claim is, and whom it is for, to the byte.
#[tokio::test]
async fn claims_that_are_wrong() {
    let target = Target::start("").await;
    let now = time::OffsetDateTime::now_utc().unix_timestamp();
    let wrong = [json!("x"), Value::Null, json!(1.5e9), json!(-1), json!(1e300), json!([now + 300])];
    let mut rows: Vec<(String, Value, u16)> =
        wrong.iter().map(|value| (format!("exp {value}"), with("exp", value.clone()), 401)).collect();
    rows.extend([
        ("exp as text".to_owned(), with("exp", json!((now + 300).to_string())), 401),
        ("nbf as text".to_owned(), with("nbf", json!("0")), 401),
        ("iat as text".to_owned(), with("iat", json!("0")), 401),
        ("ended".to_owned(), with("exp", json!(now - 65)), 401),
        ("ended within the leeway".to_owned(), with("exp", json!(now - 30)), 200),
        ("not yet".to_owned(), with("nbf", json!(now + 90)), 401),
        ("nearly".to_owned(), with("nbf", json!(now + 30)), 200),
        ("for another service".to_owned(), with("aud", json!("other")), 401),
        ("for nobody".to_owned(), with("aud", json!([])), 401),
        ("a prefix of the service".to_owned(), with("aud", json!("container_registr")), 401),
        ("a list with the service".to_owned(), with("aud", json!(["x", "container_registry"])), 200),
        ("an issuer with a slash".to_owned(), with("iss", json!("gitlab-issuer/")), 401),
        ("no issuer".to_owned(), with("iss", Value::Null), 401),
        ("access that is no list".to_owned(), with("access", json!({})), 401),
        ("a subject with escapes".to_owned(), with("sub", json!("\u{1b}[2J\r\nlevel=fatal")), 200),
        ("a name in capitals".to_owned(), with("access", json!([entry("CANARY", &["pull"])])), 401),
        ("a prefix".to_owned(), with("access", json!([entry("can", &["pull"])])), 401),
        ("a pattern".to_owned(), with("access", json!([entry("*", &["pull"]), entry("canary/*", &["pull"])])), 401),
        // `*` grants every action, on exactly the resource that is named.
        ("every action".to_owned(), with("access", json!([entry("canary", &["*"])])), 200),
        (
            "another type".to_owned(),
            with("access", json!([{"type": "Repository", "name": "canary", "actions": ["pull"]}])),
            401,
        ),
        ("no access".to_owned(), with("access", Value::Null), 401),
    ]);
    for (row, claims, status) in &rows {
        check(&target, row, &target.signer.token(claims), *status).await;
    }
    target.finish().await;
}

#[tokio::test]
async fn tokens_that_are_no_tokens() {
    let target = Target::start("").await;
    let parts: Vec<&str> = target.token.split('.').collect();
    let rows = [
        ("one part", "x".to_owned()),
        ("four parts", format!("{}.x", target.token)),
        ("another payload", format!("{}.{}.{}", parts[0], URL_SAFE_NO_PAD.encode("{}"), parts[2])),
        ("padding", format!("{}=", target.token)),
        ("nested", URL_SAFE_NO_PAD.encode("[".repeat(10_000)) + ".x.x"),
    ];
    for (row, token) in &rows {
        check(&target, row, token, 401).await;
    }
    // 2000 actions on 500 repositories are a lot, and fine.
    let mut scopes: Vec<Value> =
        (0..500).map(|at| entry(&format!("g/app{at}"), &["pull", "push", "delete", "*"])).collect();
    scopes.push(entry("canary", &["pull"]));
    check(&target, "2000 actions", &target.signer.token(&claims(&json!(scopes))), 200).await;
    // Beyond what a head may be.
    let bearer = format!("Bearer {}", "x".repeat(65 << 10));
    let raw = request("GET", "/v2/", &[("Authorization", &bearer)], b"");
    target.check("65 KiB", &raw, 431, "UNSUPPORTED").await;
    target.finish().await;
}
