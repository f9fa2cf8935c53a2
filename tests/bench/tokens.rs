//! A token on its way to a grant: one that was seen before, and one whose signature is checked.

use std::{fs, sync::Arc};

use divan::{Bencher, black_box};
use futures_util::FutureExt as _;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use pierhead::{
    auth::{
        access::{Access, Verb},
        authority::{Authority, Credentials},
        token::{Settings, Verifier},
    },
    clock::{Clock, SystemClock},
};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256};
use serde_json::json;

const REPOSITORY: &str = "team/app";
const SERVICE: &str = "container_registry";
const ISSUER: &str = "gitlab-issuer";

/// RSA with 2048 bits, as GitLab has it, and P-256.
const ALGORITHMS: [Algorithm; 2] = [Algorithm::RS256, Algorithm::ES256];

/// A token, and how to make who has never seen it.
struct Bench {
    authorization: String,
    access: Access,
    settings: Settings,
    /// Holds the certificate.
    _directory: tempfile::TempDir,
}

impl Bench {
    fn new(algorithm: Algorithm) -> Self {
        let (kind, encode): (_, fn(&[u8]) -> _) = match algorithm {
            Algorithm::RS256 => (&PKCS_RSA_SHA256, EncodingKey::from_rsa_pem),
            _ => (&PKCS_ECDSA_P256_SHA256, EncodingKey::from_ec_pem),
        };
        let key = KeyPair::generate_for(kind).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let bundle = directory.path().join("token.crt");
        fs::write(&bundle, CertificateParams::new(Vec::new()).unwrap().self_signed(&key).unwrap().pem()).unwrap();
        let now = SystemClock.now().unix_timestamp();
        let claims = json!({
            "jti": "01a20df8-ebe0-7258-b811-96ff4a934702",
            "iss": ISSUER,
            "aud": SERVICE,
            "sub": "developer",
            "iat": now,
            "nbf": now - 5,
            "exp": now + 3600,
            "access": [{"type": "repository", "name": REPOSITORY, "actions": ["pull", "push"]}],
        });
        let key = encode(key.serialize_pem().as_bytes()).unwrap();
        let token = jsonwebtoken::encode(&Header::new(algorithm), &claims, &key).unwrap();
        let settings = Settings {
            realm: "https://gitlab.example.com/jwt/auth".to_owned(),
            service: SERVICE.to_owned(),
            issuer: ISSUER.to_owned(),
            rootcertbundle: Some(bundle),
            jwks: None,
            signingalgorithms: None,
            autoredirect: false,
            autoredirectpath: String::new(),
        };
        let access = Access::Repository { name: REPOSITORY.parse().unwrap(), verb: Verb::Push };
        Self { authorization: format!("Bearer {token}"), access, settings, _directory: directory }
    }

    fn authority(&self) -> Authority {
        Authority::Token(Verifier::load(self.settings.clone(), Arc::new(SystemClock)).unwrap())
    }

    fn authorise(&self, authority: &Authority) {
        let credentials = Credentials {
            authorization: Some(black_box(self.authorization.as_bytes())),
            host: None,
            scheme: "https",
            grace: None,
        };
        let grant = authority.authorise(&credentials, &self.access).now_or_never().expect("tokens wait for nothing");
        black_box(grant.unwrap());
    }
}

#[divan::bench(args = ALGORITHMS)]
fn seen_before(bencher: Bencher<'_, '_>, algorithm: Algorithm) {
    let bench = Bench::new(algorithm);
    let authority = bench.authority();
    bench.authorise(&authority);
    bencher.bench(|| bench.authorise(&authority));
}

/// Each time by an authority that has read its keys and seen no token yet.
#[divan::bench(args = ALGORITHMS)]
fn verified(bencher: Bencher<'_, '_>, algorithm: Algorithm) {
    let bench = Bench::new(algorithm);
    bencher.with_inputs(|| bench.authority()).bench_refs(|authority| bench.authorise(authority));
}
