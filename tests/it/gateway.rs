//! The real gateway over the memory store with a clock that stands still: a request in, an answer out.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use pierhead::{
    api::{
        Body, BodyError, Connection, Log, Request, RequestBody, Scheme,
        gateway::Gateway,
        location::Base,
        settings::{Downloads, Mode, Settings},
    },
    auth::{authority::Authority, token},
    clock::{Clock, ManualClock},
    oci::{digest::Algorithm as DigestAlgorithm, hasher::Hasher},
    registry::{self, Registry},
    store::{Distance, Limits, Parts, Store, locate::Locate, memory::Memory},
};
use rcgen::KeyPair;
use serde_json::{Value, json};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::registry_tree;

pub(crate) const REALM: &str = "https://gitlab.example/jwt/auth";
pub(crate) const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// A gateway and everything around it.
pub(crate) struct Rig {
    pub(crate) gateway: Gateway,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) unhealthy: Arc<AtomicBool>,
    pub(crate) store: Arc<Memory>,
    key: EncodingKey,
}

/// How a rig differs from the usual one.
pub(crate) struct Plan {
    pub(crate) api: Settings,
    pub(crate) registry: registry::Settings,
    pub(crate) guarded: bool,
    /// In the place of everybody, or of tokens.
    pub(crate) authority: Option<Authority>,
    pub(crate) locator: Option<Arc<dyn Locate>>,
}

impl Rig {
    /// Everybody may do everything.
    pub(crate) async fn open() -> Self {
        Self::with(|_| {}).await
    }

    /// Tokens decide.
    pub(crate) async fn guarded() -> Self {
        Self::with(|plan| plan.guarded = true).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Plan)) -> Self {
        let mut plan =
            Plan { api: api(), registry: registry_tree::settings(), guarded: false, authority: None, locator: None };
        change(&mut plan);
        let clock = Arc::new(ManualClock::new(OffsetDateTime::from_unix_timestamp(1_750_000_000).expect("in range")));
        let limits = Limits { parts: Parts::Equal { size: 64 << 10 }, parts_max: 10_000, distance: Distance::Here };
        let store = Arc::new(Memory::new(limits, Arc::clone(&clock) as Arc<dyn Clock>));
        let (kept, time) = (Arc::clone(&store) as Arc<dyn Store>, Arc::clone(&clock) as Arc<dyn Clock>);
        let mut registry = Registry::open(kept, time, plan.registry).await.expect("an empty store becomes a registry");
        if let Some(locator) = plan.locator {
            registry = registry.with_locator(locator);
        }
        let pair = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
        let usual = || if plan.guarded { verifier(&pair, &clock) } else { Authority::Open };
        let authority = plan.authority.unwrap_or_else(usual);
        let unhealthy = Arc::new(AtomicBool::new(false));
        let gateway =
            Gateway::new(Arc::new(registry), Arc::new(authority), plan.api, Arc::clone(&unhealthy), Arc::default());
        let key = EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).expect("a P-256 key");
        Self { gateway, clock, unhealthy, store, key }
    }

    /// A token that ends in five minutes and grants `name:action,action` for each text.
    pub(crate) fn token(&self, grants: &[&str]) -> String {
        let access = grants.iter().map(|grant| {
            let (name, actions) = grant.rsplit_once(':').expect("name:actions");
            let (kind, name) = name.split_once('@').unwrap_or(("repository", name));
            json!({ "type": kind, "name": name, "actions": actions.split(',').collect::<Vec<_>>() })
        });
        self.sign(&access.collect())
    }

    /// A token with these access entries.
    pub(crate) fn sign(&self, access: &Value) -> String {
        let now = self.clock.now().unix_timestamp();
        let claims = json!({
            "iss": "gitlab-issuer", "aud": "container_registry", "sub": "alice", "jti": "1",
            "iat": now, "nbf": now - 5, "exp": now + 300, "access": access,
        });
        let header = Header { kid: Some("test".to_owned()), ..Header::new(Algorithm::ES256) };
        jsonwebtoken::encode(&header, &claims, &self.key).expect("claims are signed")
    }

    pub(crate) async fn get(&self, target: &str) -> Answer {
        self.send(ask("GET", target)).await
    }

    pub(crate) async fn send(&self, ask: Ask) -> Answer {
        let method = ask.method.clone();
        let request = Request {
            id: Uuid::nil(),
            method: ask.method,
            uri: ask.target.parse().expect("a request target"),
            headers: ask.headers,
            connection: Connection { peer: ask.peer, scheme: Scheme::Https, origin: None },
            body: Box::new(ask.body),
        };
        let handled = self.gateway.handle(request);
        let reply = movable(handled).await;
        let (body, cut) = collect(reply.body).await;
        let answer = Answer { status: reply.status.as_u16(), headers: reply.headers, body, cut, log: reply.log };
        answer.check(&method);
        answer
    }

    /// Makes content a blob of a repository; its digest.
    pub(crate) async fn blob(&self, repository: &str, content: impl Into<Bytes>) -> String {
        let content = content.into();
        let digest = sha256(&content);
        let post = ask("POST", &format!("/v2/{repository}/blobs/uploads/?digest={digest}")).body(content);
        assert_eq!(self.send(post).await.status, 201);
        digest
    }

    /// Pushes an image of one layer under a reference; the manifest's digest.
    pub(crate) async fn image(&self, repository: &str, reference: &str, layer: &str) -> String {
        let manifest = self.manifest(repository, layer).await;
        let put = ask("PUT", &format!("/v2/{repository}/manifests/{reference}"));
        let answer = self.send(put.header("content-type", IMAGE).body(manifest.clone())).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        sha256(manifest.as_bytes())
    }

    /// An image manifest whose blobs have been pushed.
    pub(crate) async fn manifest(&self, repository: &str, layer: &str) -> String {
        let config = self.blob(repository, "{}").await;
        let digest = self.blob(repository, layer.to_owned()).await;
        json!({
            "schemaVersion": 2,
            "mediaType": IMAGE,
            "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2 },
            "layers": [{
                "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest, "size": layer.len(),
            }],
        })
        .to_string()
    }
}

/// A request.
pub(crate) struct Ask {
    method: Method,
    target: String,
    headers: HeaderMap,
    peer: Option<SocketAddr>,
    body: Chunks,
}

pub(crate) fn ask(method: &str, target: &str) -> Ask {
    Ask {
        method: method.parse().expect("a method"),
        target: target.to_owned(),
        headers: HeaderMap::new(),
        peer: None,
        body: Chunks::default(),
    }
}

impl Ask {
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.append(name.parse::<HeaderName>().expect("a name"), value.parse().expect("a value"));
        self
    }

    /// The client's address; without one it is at a unix socket.
    pub(crate) fn from(self, address: &str) -> Self {
        Self { peer: Some(SocketAddr::new(address.parse().expect("an address"), 40_000)), ..self }
    }

    pub(crate) fn token(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    /// A body whose length is said.
    pub(crate) fn body(mut self, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        self.headers.insert("content-length", HeaderValue::from(body.len()));
        self.chunk(body)
    }

    /// One more chunk of a body whose length is not said.
    pub(crate) fn chunk(mut self, chunk: impl Into<Bytes>) -> Self {
        self.body.chunks.push_back(Ok(chunk.into()));
        self
    }

    pub(crate) fn breaks_off(mut self, error: BodyError) -> Self {
        self.body.chunks.push_back(Err(error));
        self
    }

    /// Counts the bytes of the body that are asked for.
    pub(crate) fn counter(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.body.read)
    }
}

#[derive(Default)]
struct Chunks {
    chunks: VecDeque<Result<Bytes, BodyError>>,
    read: Arc<AtomicUsize>,
}

#[async_trait]
impl RequestBody for Chunks {
    async fn chunk(&mut self) -> Result<Option<Bytes>, BodyError> {
        // A body comes in its own time: others have their turn meanwhile.
        tokio::task::yield_now().await;
        let chunk = self.chunks.pop_front().transpose()?;
        self.read.fetch_add(chunk.as_ref().map_or(0, Bytes::len), Ordering::Relaxed);
        Ok(chunk)
    }
}

/// A reply, with its body read to the end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Whether the body failed before its end.
    pub(crate) cut: bool,
    pub(crate) log: Log,
}

impl Answer {
    /// A header's values, joined; empty without one.
    pub(crate) fn header(&self, name: &str) -> String {
        let values: Vec<_> = self.headers.get_all(name).iter().map(|v| v.to_str().expect("visible ASCII")).collect();
        values.join(", ")
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }

    /// The code of the first error.
    pub(crate) fn code(&self) -> String {
        self.json()["errors"][0]["code"].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// What must be true of every answer.
    fn check(&self, method: &Method) {
        assert_eq!(self.header("x-content-type-options"), "nosniff");
        let length = self.header("content-length");
        match (self.status, method) {
            (204 | 304, _) => assert_eq!((length.as_str(), self.body.len()), ("", 0)),
            (_, &Method::HEAD) => assert!(!length.is_empty() && self.body.is_empty()),
            _ if self.cut => {}
            _ => assert_eq!(length, self.body.len().to_string(), "{self:?}"),
        }
        if self.status >= 400 && *method != Method::HEAD && self.header("content-range").is_empty() {
            let errors = self.json()["errors"].as_array().cloned().unwrap_or_default();
            assert!(!errors.is_empty() && self.log.failure.is_some(), "{self:?}");
            assert_eq!(self.header("content-type"), "application/json");
        }
    }
}

pub(crate) fn sha256(content: &[u8]) -> String {
    Hasher::digest(DigestAlgorithm::Sha256, content).to_string()
}

pub(crate) fn sha512(content: &[u8]) -> String {
    Hasher::digest(DigestAlgorithm::Sha512, content).to_string()
}

pub(crate) fn api() -> Settings {
    Settings {
        base: Base::new("/", None).expect("the root"),
        headers: HeaderMap::new(),
        hsts: None,
        mode: Mode::Full,
        catalog_max: 1000,
        tags_max: 10_000,
        chunk_size_min: None,
        token_grace: Duration::from_hours(1),
        downloads: Downloads::default(),
    }
}

fn verifier(pair: &KeyPair, clock: &Arc<ManualClock>) -> Authority {
    let point = pair.public_key_raw();
    let coordinate = |range: std::ops::Range<usize>| URL_SAFE_NO_PAD.encode(&point[range]);
    let keys = json!({ "keys": [{
        "kty": "EC", "crv": "P-256", "kid": "test", "x": coordinate(1..33), "y": coordinate(33..65),
    }] });
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("jwks.json");
    std::fs::write(&path, keys.to_string()).expect("a file");
    let settings = token::Settings {
        realm: REALM.to_owned(),
        service: "container_registry".to_owned(),
        issuer: "gitlab-issuer".to_owned(),
        rootcertbundle: None,
        jwks: Some(path),
        signingalgorithms: None,
        autoredirect: false,
        autoredirectpath: "/auth/token".to_owned(),
    };
    Authority::Token(token::Verifier::load(settings, Arc::clone(clock) as Arc<dyn Clock>).expect("one key"))
}

async fn collect(body: Body) -> (Bytes, bool) {
    let mut content = match body {
        Body::Empty => return (Bytes::new(), false),
        Body::Full(bytes) => return (bytes, false),
        Body::Stream { content, .. } | Body::Open(content) => content,
    };
    let mut bytes = BytesMut::new();
    while let Some(chunk) = content.next().await {
        match chunk {
            Ok(chunk) => bytes.extend_from_slice(&chunk),
            Err(_) => return (bytes.freeze(), true),
        }
    }
    (bytes.freeze(), false)
}

/// A server moves requests between threads.
fn movable<T>(future: impl Future<Output = T> + Send) -> impl Future<Output = T> + Send {
    future
}
