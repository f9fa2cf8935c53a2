//! Tokens from outside: what a token server may sign, what an attacker would, and what each is worth.

#![expect(clippy::unwrap_used, reason = "a fixture that cannot be built is a failed test")]

use std::{path::PathBuf, sync::Arc, time::Duration};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use jsonwebtoken::{Algorithm, EncodingKey};
use pierhead::{
    auth::{
        access::{Access, Verb},
        authority::{Authority, Credentials},
        challenge::{Reason, Refusal},
        grant::{Grant, Readable},
        rules::Verdict,
        token::{Grace, Settings, Verifier},
    },
    clock::ManualClock,
};
use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, PublicKeyData as _, RsaKeySize,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use time::OffsetDateTime;

const NOW: i64 = 1_750_000_000;
const REALM: &str = "https://gitlab.example/jwt/auth";
pub(crate) const SERVICE: &str = "container_registry";
pub(crate) const ISSUER: &str = "gitlab-issuer";

/// A key pair that signs tokens.
pub(crate) struct Signer {
    pub(crate) pair: KeyPair,
    pub(crate) key: EncodingKey,
    pub(crate) algorithm: Algorithm,
}

impl Signer {
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        let pair = match algorithm {
            Algorithm::ES256 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
            Algorithm::ES384 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
            Algorithm::EdDSA => KeyPair::generate_for(&rcgen::PKCS_ED25519),
            _ => KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048),
        };
        Self::with_pair(pair.unwrap(), algorithm)
    }

    pub(crate) fn with_pair(pair: KeyPair, algorithm: Algorithm) -> Self {
        let pem = pair.serialize_pem();
        let key = match algorithm {
            Algorithm::ES256 | Algorithm::ES384 => EncodingKey::from_ec_pem(pem.as_bytes()),
            Algorithm::EdDSA => EncodingKey::from_ed_pem(pem.as_bytes()),
            _ => EncodingKey::from_rsa_pem(pem.as_bytes()),
        };
        Self { pair, key: key.unwrap(), algorithm }
    }

    /// Computed here a second time, from the definition.
    pub(crate) fn libtrust_id(&self) -> String {
        let hash = Sha256::digest(self.pair.subject_public_key_info());
        let bit = |at: usize| hash[at / 8] >> (7 - at % 8) & 1;
        let digit = |at: usize| {
            let value = (at * 5..at * 5 + 5).fold(0, |value, at| value << 1 | bit(at));
            char::from(if value < 26 { b'A' + value } else { b'2' + value - 26 })
        };
        let groups: Vec<String> = (0..12).map(|group| (0..4).map(|at| digit(group * 4 + at)).collect()).collect();
        groups.join(":")
    }

    pub(crate) fn sign(&self, header: &Value, claims: &Value) -> String {
        self.sign_raw(&header.to_string(), &claims.to_string())
    }

    pub(crate) fn sign_raw(&self, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &self.key, self.algorithm).unwrap();
        format!("{message}.{signature}")
    }

    pub(crate) fn header(&self) -> Value {
        json!({"typ": "JWT", "alg": format!("{:?}", self.algorithm), "kid": self.libtrust_id()})
    }

    pub(crate) fn token(&self, claims: &Value) -> String {
        self.sign(&self.header(), claims)
    }
}

fn claims(access: &Value) -> Value {
    json!({
        "iss": ISSUER, "aud": SERVICE, "sub": "root", "jti": "1", "iat": NOW, "nbf": NOW - 5, "exp": NOW + 300,
        "access": access, "auth_type": "gitlab", "user": "nested"
    })
}

fn entry(name: &str, actions: &[&str]) -> Value {
    json!({"type": "repository", "name": name, "actions": actions})
}

/// An authority that trusts what lies in one file.
struct Fixture {
    authority: Authority,
    clock: Arc<ManualClock>,
    _directory: TempDir,
}

impl Fixture {
    fn new(bundle: &str) -> Self {
        Self::with(|path| {
            std::fs::write(&path, bundle).unwrap();
            Settings { rootcertbundle: Some(path), ..settings() }
        })
    }

    fn with(configure: impl FnOnce(PathBuf) -> Settings) -> Self {
        let directory = TempDir::new().unwrap();
        let clock = Arc::new(ManualClock::new(OffsetDateTime::from_unix_timestamp(NOW).unwrap()));
        let settings = configure(directory.path().join("keys"));
        let authority = Authority::Token(Verifier::load(settings, Arc::clone(&clock) as _).unwrap());
        Self { authority, clock, _directory: directory }
    }

    fn authorise(&self, token: &str, access: &Access) -> Result<Grant, Refusal> {
        self.authorise_with(token, access, None)
    }

    fn authorise_with(&self, token: &str, access: &Access, grace: Option<Grace>) -> Result<Grant, Refusal> {
        let header = format!("Bearer {token}");
        let credentials = Credentials { authorization: Some(header.as_bytes()), grace, ..Credentials::default() };
        now(self.authority.authorise(&credentials, access))
    }

    /// The reason, where a token is good for nothing at all.
    fn reason(&self, token: &str) -> Option<Reason> {
        let refusal = self.authorise(token, &Access::Base).err()?;
        assert_eq!(refusal.challenge(), format!(r#"Bearer realm="{REALM}",service="{SERVICE}",error="invalid_token""#));
        Some(refusal.reason().clone())
    }
}

/// A token is checked without waiting for anything.
fn now<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn settings() -> Settings {
    Settings {
        realm: REALM.to_owned(),
        service: SERVICE.to_owned(),
        issuer: ISSUER.to_owned(),
        rootcertbundle: None,
        jwks: None,
        signingalgorithms: None,
        autoredirect: false,
        autoredirectpath: "/auth/token".to_owned(),
    }
}

fn repository(name: &str, verb: Verb) -> Access {
    Access::Repository { name: name.parse().unwrap(), verb }
}

fn expect_phrase(fixture: &Fixture, token: &str, phrase: &str) {
    let reason = fixture.reason(token).map(|reason| reason.to_string()).unwrap_or_default();
    assert!(reason.contains(phrase), "{phrase:?} is not in {reason:?}");
}

#[test]
fn every_supported_algorithm_verifies() {
    use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
    for algorithm in [RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA] {
        let signer = Signer::new(algorithm);
        let certificate = CertificateParams::default().self_signed(&signer.pair).unwrap().pem();
        for bundle in [certificate, signer.pair.public_key_pem()] {
            let fixture = Fixture::new(&bundle);
            let token = signer.token(&claims(&json!([])));
            assert_eq!(fixture.reason(&token), None, "{algorithm:?}");
            // Every part counts: any other byte in the middle of one is another token.
            let parts: Vec<&str> = token.split('.').collect();
            for at in [parts[0].len() / 2, parts[0].len() + parts[1].len() / 2, token.len() - parts[2].len() / 2] {
                let mut bytes = token.clone().into_bytes();
                bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
                assert!(fixture.reason(&String::from_utf8(bytes).unwrap()).is_some(), "{algorithm:?} {at}");
            }
        }
    }
}

#[test]
fn the_header_names_the_key() {
    let (ours, other) = (Signer::new(Algorithm::ES256), Signer::new(Algorithm::ES256));
    let both = Fixture::new(&(ours.pair.public_key_pem() + &other.pair.public_key_pem()));
    let one = Fixture::new(&ours.pair.public_key_pem());
    let body = claims(&json!([]));
    let header = |kid: Value| json!({"alg": "ES256", "kid": kid});
    assert_eq!(both.reason(&ours.token(&body)), None);
    let unnamed = ours.sign(&json!({"alg": "ES256"}), &body);
    assert_eq!(one.reason(&unnamed), None);
    expect_phrase(&both, &unnamed, r#"token signed by untrusted key with ID: """#);
    expect_phrase(&one, &other.sign(&header(json!("x")), &body), r#"token signed by untrusted key with ID: "x""#);
    let borrowed = other.sign(&header(json!(ours.libtrust_id())), &body);
    expect_phrase(&one, &borrowed, "unable to verify token signature");
    let point = URL_SAFE_NO_PAD.encode(&ours.pair.public_key_raw()[1..33]);
    let y = URL_SAFE_NO_PAD.encode(&ours.pair.public_key_raw()[33..]);
    let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":"{point}","y":"{y}"}}"#);
    let thumbprint = URL_SAFE_NO_PAD.encode(Sha256::digest(canonical));
    assert_eq!(both.reason(&ours.sign(&header(json!(thumbprint)), &body)), None);
    let jwks = Fixture::with(|path| {
        let set = json!({"keys": [{"kty": "EC", "crv": "P-256", "x": point, "y": y, "kid": "mine"}]});
        std::fs::write(&path, set.to_string()).unwrap();
        Settings { jwks: Some(path), ..settings() }
    });
    for kid in ["mine", &thumbprint, &ours.libtrust_id()] {
        assert_eq!(jwks.reason(&ours.sign(&header(json!(kid)), &body)), None, "{kid}");
    }
}

#[test]
fn no_key_comes_with_a_token() {
    let (ours, attacker) = (Signer::new(Algorithm::ES256), Signer::new(Algorithm::ES256));
    let fixture = Fixture::new(&ours.pair.public_key_pem());
    let raw = attacker.pair.public_key_raw();
    let (x, y) = (URL_SAFE_NO_PAD.encode(&raw[1..33]), URL_SAFE_NO_PAD.encode(&raw[33..]));
    let jwk = |kid: &str| json!({"kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": kid});
    let body = claims(&json!([]));
    let check = |header: Value, phrase: &str| expect_phrase(&fixture, &attacker.sign(&header, &body), phrase);
    let id = ours.libtrust_id();
    check(json!({"alg": "ES256", "jwk": jwk(&id)}), "unable to verify token signature");
    check(json!({"alg": "ES256", "kid": id, "jwk": jwk(&id)}), "unable to verify token signature");
    check(json!({"alg": "ES256", "jwk": jwk("theirs")}), r#"untrusted key with ID: "theirs""#);
    check(json!({"alg": "ES256", "kid": "k", "jku": "http://127.0.0.1:1/"}), r#"untrusted key with ID: "k""#);
    check(json!({"alg": "ES256", "kid": "k", "x5u": "http://127.0.0.1:1/"}), r#"untrusted key with ID: "k""#);
    check(json!({"alg": "ES256", "kid": id, "crit": ["exp"]}), "crit");
    // The trusted key under its own name is fine, whatever else the header says of it.
    assert_eq!(fixture.reason(&ours.sign(&json!({"alg": "ES256", "jwk": jwk(&id)}), &body)), None);
    expect_phrase(&fixture, &ours.sign(&json!({"alg": "ES256", "kid": id, "crit": ["b64"]}), &body), "crit");
}

#[test]
fn the_algorithm_is_pinned_to_the_key() {
    let rsa = Signer::new(Algorithm::RS256);
    let fixture = Fixture::new(&rsa.pair.public_key_pem());
    let body = claims(&json!([]));
    let signed_as = |name: &str| json!({"alg": name, "kid": rsa.libtrust_id()});
    // The classic: the public key as an HMAC secret.
    let secret = EncodingKey::from_secret(rsa.pair.public_key_pem().as_bytes());
    let pair = KeyPair::from_pem(&rsa.pair.serialize_pem()).unwrap();
    let mut hmac = Signer::with_pair(pair, Algorithm::RS256);
    (hmac.key, hmac.algorithm) = (secret, Algorithm::HS256);
    for (name, phrase) in [
        ("HS256", "HS256 is never accepted"),
        ("none", "none is never accepted"),
        ("ES512", "ES512 is not supported"),
        ("None", "not a supported signing algorithm"),
        ("rs256", "not a supported signing algorithm"),
        ("", "not a supported signing algorithm"),
        ("ES256", "unable to verify token signature"),
        ("RS384", "unable to verify token signature"),
        ("EdDSA", "unable to verify token signature"),
    ] {
        expect_phrase(&fixture, &hmac.sign(&signed_as(name), &body), phrase);
        expect_phrase(&fixture, &rsa.sign(&signed_as(name), &body), phrase);
    }
    let good = rsa.token(&body);
    let (signed, _) = good.rsplit_once('.').unwrap();
    expect_phrase(&fixture, &format!("{signed}."), "malformed token");
    let restricted = Fixture::with(|path| {
        std::fs::write(&path, rsa.pair.public_key_pem()).unwrap();
        let signingalgorithms = Some(vec!["PS256".to_owned()]);
        Settings { rootcertbundle: Some(path), signingalgorithms, ..settings() }
    });
    expect_phrase(&restricted, &good, "RS256 is not among auth.token.signingalgorithms");
}

#[test]
fn malformed_tokens() {
    let signer = Signer::new(Algorithm::ES256);
    let fixture = Fixture::new(&signer.pair.public_key_pem());
    let (header, body) = (signer.header().to_string(), claims(&json!([])).to_string());
    let padded = format!("{}=", signer.sign_raw(&header, &body));
    let long = signer.sign_raw(&header, &format!("{}{body}", " ".repeat(48 << 10)));
    let wide = json!({"alg": "ES256", "kid": signer.libtrust_id(), "pad": "x".repeat(4 << 10)}).to_string();
    let deep = format!(r#"{{"alg":"ES256","jwk":{}{}}}"#, "[".repeat(1000), "]".repeat(1000));
    for token in [
        "a",
        "a.b",
        "a.b.c",
        "..",
        "a.b.c.d",
        "\u{fe}.b.c",
        &padded,
        &long,
        &signer.sign_raw(&wide, &body),
        &signer.sign_raw(&deep, &body),
        &signer.sign_raw("{}", &body),
        &signer.sign_raw("[]", &body),
        &signer.sign_raw(r#"{"alg":1}"#, &body),
        &signer.sign_raw(r#"{"alg":"ES256","alg":"none"}"#, &body),
        &signer.sign_raw(&header, ""),
        &signer.sign_raw(&header, "null"),
        &signer.sign_raw(&header, &body.replacen('{', r#"{"exp":9999999999,"#, 1)),
        &signer.sign_raw(&header, &body.replace(&format!("{}", NOW + 300), "\"x\"")),
    ] {
        expect_phrase(&fixture, token, "malformed token");
    }
    // 2000 scopes are a lot, and fine.
    let many: Vec<Value> = (0..500).map(|at| entry(&format!("group/app{at}"), &["pull"])).collect();
    assert!(fixture.authorise(&signer.token(&claims(&json!(many))), &repository("group/app499", Verb::Pull)).is_ok());
}

#[test]
fn no_token_is_not_an_error() {
    let fixture = Fixture::new(&Signer::new(Algorithm::ES256).pair.public_key_pem());
    for authorization in [None, Some("Basic cm9vdDpwdw=="), Some("Bearer"), Some("Bearer  "), Some("Bearertoken")] {
        let credentials = Credentials { authorization: authorization.map(str::as_bytes), ..Credentials::default() };
        let refusal = now(fixture.authority.authorise(&credentials, &repository("a/b", Verb::Pull))).unwrap_err();
        let expected = format!(r#"Bearer realm="{REALM}",service="{SERVICE}",scope="repository:a/b:pull""#);
        assert_eq!((refusal.challenge(), refusal.reason()), (expected.as_str(), &Reason::TokenRequired));
    }
}

#[test]
fn time_and_parties() {
    let signer = Signer::new(Algorithm::ES256);
    let fixture = Fixture::new(&signer.pair.public_key_pem());
    let check = |name: &str, value: Value, phrase: Option<&str>| {
        let mut body = claims(&json!([]));
        body[name] = value;
        match phrase {
            None => assert_eq!(fixture.reason(&signer.token(&body)), None, "{body}"),
            Some(phrase) => expect_phrase(&fixture, &signer.token(&body), phrase),
        }
    };
    check("exp", json!(NOW - 59), None);
    let ended = "token not to be used after 2025-06-15T15:05:39Z - currently 2025-06-15T15:06:40Z";
    check("exp", json!(NOW - 61), Some(ended));
    check("nbf", json!(NOW + 59), None);
    check("nbf", json!(NOW + 61), Some("token not to be used before 2025-06-15T15:07:41Z - currently"));
    check("exp", Value::Null, Some("malformed token"));
    check("exp", json!(1.8e9), Some("malformed token"));
    check("aud", json!([SERVICE, "x"]), None);
    check("aud", json!("other"), Some(r#"token intended for another audience: ["other"]"#));
    check("aud", json!([]), Some("token intended for another audience: []"));
    check("iss", json!("gitlab-issuer/"), Some(r#"token from untrusted issuer: "gitlab-issuer/""#));
    check("sub", Value::Null, None);
}

#[test]
fn a_verified_token_still_ends() {
    let signer = Signer::new(Algorithm::ES256);
    let fixture = Fixture::new(&signer.pair.public_key_pem());
    let token = signer.token(&claims(&json!([entry("a", &["pull", "push"])])));
    let hash: [u8; 32] = Sha256::digest(&token).into();
    let (push, pull) = (repository("a", Verb::Push), repository("a", Verb::Pull));
    let grace = |token, secs| Some(Grace { token, duration: Duration::from_secs(secs) });
    let ends = |access: &Access, grace| fixture.authorise_with(&token, access, grace).is_err();
    assert!(!ends(&push, None) && !ends(&push, grace(hash, 3600)));
    fixture.clock.advance(Duration::from_mins(6));
    assert!(!ends(&push, None));
    fixture.clock.advance(Duration::from_secs(1));
    assert!(ends(&push, None) && ends(&push, grace([0; 32], 3600)) && ends(&push, grace(hash, 0)));
    assert!(ends(&pull, grace(hash, 3600)) && ends(&Access::Base, grace(hash, 3600)));
    assert!(!ends(&push, grace(hash, 3600)) && ends(&repository("b", Verb::Push), grace(hash, 3600)));
    fixture.clock.advance(Duration::from_secs(3600 - 61));
    assert!(!ends(&push, grace(hash, 3600)));
    fixture.clock.advance(Duration::from_secs(1));
    assert!(ends(&push, grace(hash, 3600)));
}

/// A certificate authority and chains below it.
struct Chains {
    root: (CertificateParams, KeyPair, String),
    leaf: Signer,
}

impl Chains {
    fn new() -> Self {
        let pair = KeyPair::generate().unwrap();
        let mut params = named("root");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&pair).unwrap().pem();
        Self { root: (params, pair, pem), leaf: Signer::new(Algorithm::ES256) }
    }

    fn issue(&self, change: impl FnOnce(&mut CertificateParams)) -> String {
        let mut params = named("leaf");
        change(&mut params);
        let certificate = params.signed_by(&self.leaf.pair, &Issuer::from_params(&self.root.0, &self.root.1)).unwrap();
        STANDARD.encode(certificate.der())
    }

    fn token(&self, chain: &[String]) -> String {
        self.leaf.sign(&json!({"alg": "ES256", "x5c": chain}), &claims(&json!([])))
    }
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params
}

fn at(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(seconds).unwrap()
}

#[test]
fn certificate_chains() {
    let chains = Chains::new();
    let fixture = Fixture::new(&chains.root.2);
    let good = chains.issue(|_| ());
    assert_eq!(fixture.reason(&chains.token(std::slice::from_ref(&good))), None);
    let server = chains.issue(|leaf| leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
    assert_eq!(fixture.reason(&chains.token(&[server])), None);

    let refused = |chain: &[String]| expect_phrase(&fixture, &chains.token(chain), "untrusted certificate chain");
    refused(&[]);
    refused(&["%".to_owned()]);
    refused(&[STANDARD.encode("no certificate")]);
    refused(&[chains.issue(|leaf| leaf.not_after = at(NOW - 1))]);
    refused(&[chains.issue(|leaf| leaf.not_before = at(NOW + 1))]);
    refused(&[STANDARD.encode(named("leaf").self_signed(&chains.leaf.pair).unwrap().der())]);
    refused(&vec![good.clone(); 9]);
    refused(&[Chains::new().issue(|_| ())]);

    // Its own name does not make a root: same subject, other key.
    let forged = Chains { leaf: Signer::new(Algorithm::ES256), ..Chains::new() };
    expect_phrase(&fixture, &forged.token(&[forged.issue(|_| ())]), "untrusted certificate chain");
    // A chain that is good, a signature that is not the leaf's.
    let thief = Signer::new(Algorithm::ES256).sign(&json!({"alg": "ES256", "x5c": [good]}), &claims(&json!([])));
    expect_phrase(&fixture, &thief, "unable to verify token signature");
    // The leaf of the chain wins over a trusted kid.
    let header = json!({"alg": "ES256", "kid": "x", "x5c": [good]});
    assert_eq!(fixture.reason(&chains.leaf.sign(&header, &claims(&json!([])))), None);
}

#[test]
fn chains_through_others() {
    let chains = Chains::new();
    let fixture = Fixture::new(&chains.root.2);
    let root = Issuer::from_params(&chains.root.0, &chains.root.1);
    let check = |is_ca: IsCa, trusted: bool| {
        let (mut middle, pair) = (named("middle"), KeyPair::generate().unwrap());
        middle.is_ca = is_ca;
        let middle_certificate = STANDARD.encode(middle.signed_by(&pair, &root).unwrap().der());
        let leaf = named("leaf").signed_by(&chains.leaf.pair, &Issuer::from_params(&middle, &pair)).unwrap();
        let leaf = STANDARD.encode(leaf.der());
        let whole = chains.token(&[leaf.clone(), middle_certificate]);
        assert_eq!(fixture.reason(&whole).is_none(), trusted);
        expect_phrase(&fixture, &chains.token(&[leaf]), "untrusted certificate chain");
    };
    check(IsCa::Ca(BasicConstraints::Unconstrained), true);
    check(IsCa::NoCa, false);
    check(IsCa::ExplicitNoCa, false);
}

#[test]
fn a_certificate_of_the_bundle_may_sign_but_not_certify() {
    let signer = Signer::new(Algorithm::ES256);
    let params = named("gitlab");
    let certificate = params.self_signed(&signer.pair).unwrap();
    let fixture = Fixture::new(&certificate.pem());
    let own = signer.sign(&json!({"alg": "ES256", "x5c": [STANDARD.encode(certificate.der())]}), &claims(&json!([])));
    assert_eq!(fixture.reason(&own), None);
    let below = Signer::new(Algorithm::ES256);
    let leaf = named("leaf").signed_by(&below.pair, &Issuer::from_params(&params, &signer.pair)).unwrap();
    let token = below.sign(&json!({"alg": "ES256", "x5c": [STANDARD.encode(leaf.der())]}), &claims(&json!([])));
    expect_phrase(&fixture, &token, "untrusted certificate chain");
}

#[test]
fn a_chain_ends_with_its_first_certificate() {
    let chains = Chains::new();
    let fixture = Fixture::new(&chains.root.2);
    let token = chains.token(&[chains.issue(|leaf| leaf.not_after = at(NOW + 100))]);
    assert_eq!(fixture.reason(&token), None);
    fixture.clock.advance(Duration::from_secs(101));
    expect_phrase(&fixture, &token, "untrusted certificate chain");
}

#[test]
fn names_and_actions_are_exact() {
    let signer = Signer::new(Algorithm::ES256);
    let fixture = Fixture::new(&signer.pair.public_key_pem());
    let check = |granted: Value, access: &Access, legal: bool| {
        let result = fixture.authorise(&signer.token(&claims(&json!([granted]))), access);
        assert_eq!(result.is_ok(), legal, "{granted} {access:?}");
    };
    let pull = repository("group/app", Verb::Pull);
    check(entry("group/app", &["pull"]), &pull, true);
    check(entry("group/app", &["*"]), &pull, true);
    check(json!({"type": "repository", "class": "plugin", "name": "group/app", "actions": ["pull"]}), &pull, true);
    for name in ["group", "group/", "group/*", "*", "group/App", "group/ap", "group/app2", "group/app/x", ""] {
        check(entry(name, &["pull", "push", "delete", "*"]), &pull, false);
    }
    for kind in ["registry", "Repository", "", "repository(plugin)"] {
        check(json!({"type": kind, "name": "group/app", "actions": ["*"]}), &pull, false);
    }
    check(entry("group/app", &["pull", "push"]), &repository("group/app", Verb::Delete), false);
    check(entry("group/app", &["push"]), &repository("group/app", Verb::Push), false);
    check(entry("group/app", &["PULL", "pull,push", ""]), &pull, false);
    check(entry("other", &[]), &repository("group/app", Verb::Any), true);
    check(json!({"type": "registry", "name": "catalog", "actions": ["*"]}), &Access::Catalog, true);
    check(json!({"type": "registry", "name": "catalog", "actions": ["pull"]}), &Access::Catalog, false);
    check(entry("catalog", &["*"]), &Access::Catalog, false);
    let refusal = fixture.authorise(&signer.token(&claims(&json!([]))), &pull).unwrap_err();
    assert!(refusal.challenge().ends_with(r#",scope="repository:group/app:pull",error="insufficient_scope""#));
}

#[test]
fn a_grant_says_who_and_what() {
    let signer = Signer::new(Algorithm::ES256);
    let fixture = Fixture::new(&signer.pair.public_key_pem());
    let protected = json!({
        "type": "repository", "name": "a", "actions": ["pull", "push"],
        "meta": {"tag_deny_access_patterns": {"push": ["^v"]}, "tag_immutable_patterns": [], "project_id": 7}
    });
    let names = [entry("b", &["push"]), entry("c/*", &["pull"]), entry("d", &["*"]), entry("d", &["pull"])];
    let access: Vec<Value> = std::iter::once(protected).chain(names).collect();
    let token = signer.token(&claims(&json!(access)));
    let Ok(Grant::Repository(grant)) = fixture.authorise(&token, &repository("a", Verb::Push)) else { panic!() };
    assert_eq!(grant.repository().as_str(), "a");
    assert_eq!(grant.identity().subject(), Some("root"));
    assert_eq!(grant.identity().token_hash(), Some(&Sha256::digest(&token).into()));
    let readable = Readable::Only(vec!["a".parse().unwrap(), "d".parse().unwrap()]);
    assert_eq!(grant.identity().readable(), readable);
    assert_eq!(grant.tag_rules().unwrap().push(&"v1".parse().unwrap()), Verdict::Protected);
    let Ok(Grant::Repository(open)) =
        now(Authority::Open.authorise(&Credentials::default(), &repository("a", Verb::Push)))
    else {
        panic!()
    };
    assert_eq!((open.identity().subject(), open.identity().readable()), (None, Readable::Everything));
}

#[test]
fn the_realm_follows_the_host_only_if_asked() {
    let signer = Signer::new(Algorithm::ES256);
    let check = |autoredirect: bool, host: Option<&str>, scheme: &str, realm: &str| {
        let fixture = Fixture::with(|path| {
            std::fs::write(&path, signer.pair.public_key_pem()).unwrap();
            Settings { rootcertbundle: Some(path), autoredirect, ..settings() }
        });
        let credentials = Credentials { host, scheme, ..Credentials::default() };
        let refusal = now(fixture.authority.authorise(&credentials, &Access::Base)).unwrap_err();
        assert_eq!(refusal.challenge(), format!(r#"Bearer realm="{realm}",service="{SERVICE}""#));
    };
    check(false, Some("r.example"), "https", REALM);
    check(true, None, "https", REALM);
    check(true, Some("r.example:5000"), "", "https://r.example:5000/auth/token");
    check(true, Some("[::1]:5000"), "http", "http://[::1]:5000/auth/token");
    for host in ["", "a\"b", "a b", "a/b", "a\r\nb", "user@a"] {
        check(true, Some(host), "https", REALM);
    }
}

#[test]
fn settings_that_cannot_work() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("bundle.pem");
    let load = |settings| {
        let clock = Arc::new(ManualClock::new(at(NOW)));
        Verifier::load(settings, clock).map(drop).unwrap_err().to_string()
    };
    let check = |settings: Settings, phrase: &str| {
        let error = load(settings);
        assert!(error.contains(phrase), "{phrase:?} is not in {error:?}");
    };
    check(settings(), "requires at least one token signing key");
    check(Settings { issuer: String::new(), ..settings() }, "auth.token.issuer is required");
    let algorithms = |name: &str| Settings { signingalgorithms: Some(vec![name.to_owned()]), ..settings() };
    check(algorithms("ES512"), "ES512 is not supported");
    check(algorithms("HS256"), "HS256 is never accepted");
    check(algorithms("RSA"), r#""RSA" is not a supported signing algorithm"#);
    let bundle = || Settings { rootcertbundle: Some(path.clone()), ..settings() };
    let file = path.display().to_string();
    check(bundle(), &format!("cannot read the certificate bundle {file}"));
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (content, phrase) in [
        ("", "holds neither a certificate nor a public key"),
        ("just text", "holds neither a certificate nor a public key"),
        ("-----BEGIN CERTIFICATE-----\nAAAA", "is not PEM"),
        (broken, "certificate 1 of the bundle"),
    ] {
        std::fs::write(&path, content).unwrap();
        check(bundle(), phrase);
        check(bundle(), &file);
    }
}

const NAMES: [&str; 5] = ["a", "a/b", "a/b/c", "ab", "b"];
const ACTIONS: [&str; 6] = ["pull", "push", "delete", "*", "Pull", "pull,push"];

/// What a token grants, as the specification of the scopes says it and nothing more.
fn oracle(granted: &[(String, String, Vec<String>)], kind: &str, name: &str, action: &str) -> bool {
    granted.iter().any(|(k, n, actions)| k == kind && n == name && actions.iter().any(|a| a == action || a == "*"))
}

fn grants() -> impl Strategy<Value = Vec<(String, String, Vec<String>)>> {
    let kind = prop::sample::select(vec!["repository", "repository", "repository", "registry", "other"]);
    let name = prop::sample::select([&NAMES[..], &["a/*", "*", "catalog", "A"]].concat());
    let actions = prop::collection::vec(prop::sample::select(ACTIONS.to_vec()).prop_map(str::to_owned), 0..4);
    let entry = (kind.prop_map(str::to_owned), name.prop_map(str::to_owned), actions);
    prop::collection::vec(entry, 0..6)
}

fn check_matrix(fixture: &Fixture, signer: &Signer, granted: &[(String, String, Vec<String>)]) {
    let access: Vec<Value> =
        granted.iter().map(|(kind, name, actions)| json!({"type": kind, "name": name, "actions": actions})).collect();
    let token = signer.token(&claims(&json!(access)));
    let may = |name: &str, action: &str| oracle(granted, "repository", name, action);
    for name in NAMES {
        let push = may(name, "pull") && may(name, "push");
        let expected = [
            (Verb::Pull, may(name, "pull")),
            (Verb::Push, push),
            (Verb::Delete, may(name, "delete")),
            (Verb::Any, true),
        ];
        for (verb, expected) in expected {
            let result = fixture.authorise(&token, &repository(name, verb));
            assert_eq!(result.is_ok(), expected, "{granted:?} {name} {verb:?}");
            assert!(result.is_err() || matches!(result, Ok(Grant::Repository(g)) if g.repository().as_str() == name));
        }
        for from in NAMES {
            let mount = Access::Mount { to: name.parse().unwrap(), from: Some(from.parse().unwrap()) };
            match fixture.authorise(&token, &mount) {
                Ok(Grant::Mount { to, from: source }) => {
                    assert!(push && to.repository().as_str() == name, "{granted:?} {mount:?}");
                    let source = source.map(|grant| grant.repository().to_string());
                    assert_eq!(source.as_deref(), may(from, "pull").then_some(from), "{granted:?} {mount:?}");
                }
                other => assert!(!push && other.is_err(), "{granted:?} {mount:?}"),
            }
        }
    }
    let catalog = fixture.authorise(&token, &Access::Catalog);
    assert_eq!(catalog.is_ok(), oracle(granted, "registry", "catalog", "*"), "{granted:?}");
}

#[test]
fn tokens_times_routes_times_repositories() {
    let signer = Signer::new(Algorithm::EdDSA);
    let fixture = Fixture::new(&signer.pair.public_key_pem());
    // 46 accesses each.
    proptest!(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() }, |(granted in grants())| {
        check_matrix(&fixture, &signer, &granted);
    });
}
