//! The process that is attacked, and what must hold of it afterwards.

use std::{
    cell::{Cell, RefCell},
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use jsonwebtoken::Algorithm;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::{
    hostile::client::{Answer, Headers, Stream, exchange, request},
    support::{
        certificate::{Certificate, trusting, write_private},
        digest,
        process::{Process, free_address},
        registry::{Program, spawn},
    },
    tokens::{ISSUER, SERVICE, Signer},
};

pub(super) const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";

/// What nobody but the process may know.
const HTTP_SECRET: &str = "canary-secret-of-the-upload-states";
const REALM: &str = "https://tokens.test/jwt/auth";

/// How much more memory than in the beginning the process may hold after a row, in KiB.
const GROWTH_MAX_KIB: u64 = 64 << 10;

/// The repositories of the rows' token: whatever else is asked for is refused.
const REPOSITORIES: &[&str] = &["canary", "hostile", "hostile/other", "a__b", "a/b", "a"];

pub(super) struct Target {
    pub(super) address: SocketAddr,
    pub(super) signer: Signer,
    /// For everything in [`REPOSITORIES`], and for the catalog.
    pub(super) token: String,
    /// Texts that may never stand in the log.
    pub(super) secrets: RefCell<Vec<String>>,
    authority: PathBuf,
    process: Process,
    directory: TempDir,
    resident_at_start_kib: Cell<u64>,
    canaries: Cell<u32>,
}

impl Target {
    /// Starts a process; `sections` (YAML) stand below those that every target has. `ADDRESS` is where it listens.
    pub(super) async fn start(sections: &str) -> Self {
        Self::start_program(&Program::pierhead(), sections).await
    }

    /// The same of another build.
    pub(super) async fn start_program(program: &Program, sections: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let certificate = Certificate::create(directory.path());
        let signer = Signer::new(Algorithm::ES256);
        let address = free_address();
        fs::write(directory.path().join("token.pem"), signer.pair.public_key_pem()).unwrap();
        let path = |name: &str| directory.path().join(name).display().to_string();
        let config = format!(
            "version: 0.1\nlog:\n  level: info\n  formatter: json\n\
             storage:\n  filesystem:\n    rootdirectory: {}\n  delete:\n    enabled: true\n\
             auth:\n  token:\n    realm: {REALM}\n    service: {SERVICE}\n    issuer: {ISSUER}\n    rootcertbundle: {}\n\
             http:\n  addr: {address}\n  secret: {HTTP_SECRET}\n  tls:\n    certificate: {}\n    key: {}\n\
             {}",
            path("data"),
            path("token.pem"),
            certificate.chain.display(),
            certificate.key.display(),
            sections.replace("ADDRESS", &address.to_string()),
        );
        write_private(&directory.path().join("config.yml"), &config);
        let process = spawn(program, directory.path(), address);
        let token = signer.token(&claims(&everything()));
        let secrets = RefCell::new(vec![HTTP_SECRET.to_owned(), token.clone()]);
        let authority = certificate.authority.clone();
        let (resident_at_start_kib, canaries) = (Cell::default(), Cell::default());
        let target =
            Self { address, signer, token, secrets, authority, process, directory, resident_at_start_kib, canaries };
        target.canary("the start").await;
        target.resident_at_start_kib.set(target.resident_kib());
        target
    }

    /// A new connection; `protocol` is what ALPN offers.
    pub(super) async fn connect(&self, protocol: &str) -> Stream {
        self.connect_as(&self.client(protocol), TcpStream::connect(self.address).await.unwrap()).await
    }

    /// The terms of a client that offers one protocol.
    pub(super) fn client(&self, protocol: &str) -> TlsConnector {
        let mut config = trusting(&[&self.authority]);
        config.alpn_protocols = vec![protocol.into()];
        TlsConnector::from(Arc::new(config))
    }

    /// A handshake on a connection that stands.
    pub(super) async fn connect_as(&self, client: &TlsConnector, stream: TcpStream) -> Stream {
        stream.set_nodelay(true).unwrap();
        client.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap()
    }

    /// Sends bytes on a connection of their own.
    pub(super) async fn say(&self, raw: &[u8]) -> Answer {
        exchange(&mut self.connect("http/1.1").await, raw).await
    }

    /// A well-formed request with the token for everything.
    pub(super) async fn ask(&self, method: &str, target: &str, headers: Headers<'_>, body: &[u8]) -> Answer {
        self.say(&self.request(method, target, headers, body)).await
    }

    /// The bytes of such a request.
    pub(super) fn request(&self, method: &str, target: &str, headers: Headers<'_>, body: &[u8]) -> Vec<u8> {
        let bearer = format!("Bearer {}", self.token);
        request(method, target, &[headers, &[("Authorization", &bearer)]].concat(), body)
    }

    pub(super) async fn get(&self, target: &str) -> Answer {
        self.ask("GET", target, &[], b"").await
    }

    /// Sends one row and holds its answer against what it must be.
    pub(super) async fn check(&self, row: &str, raw: &[u8], status: u16, code: &str) -> Answer {
        let answer = self.say(raw).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{row}: {answer:?}");
        self.unharmed(row).await;
        answer
    }

    /// What must hold after every row.
    pub(super) async fn unharmed(&self, row: &str) {
        self.canary(row).await;
        let (before, now) = (self.resident_at_start_kib.get(), self.resident_kib());
        assert!(now <= before + GROWTH_MAX_KIB, "{row}: {before} KiB became {now} KiB");
    }

    /// Pushes an image that did not exist and pulls it.
    async fn canary(&self, row: &str) {
        let turn = self.canaries.replace(self.canaries.get() + 1);
        let layer = format!("canary {turn}");
        let manifest = self.image("canary", layer.as_bytes()).await;
        let tag = format!("/v2/canary/manifests/t{}", turn % 4);
        let put = self.ask("PUT", &tag, &[("Content-Type", IMAGE)], manifest.as_bytes()).await;
        assert_eq!(put.status, 201, "{row}: the canary's manifest: {put:?}");
        assert_eq!(self.get(&tag).await.body, manifest.as_bytes(), "{row}: the canary's manifest");
        let blob = self.get(&format!("/v2/canary/blobs/{}", digest::of(layer.as_bytes()))).await;
        assert_eq!(blob.body, layer.as_bytes(), "{row}: the canary's layer");
    }

    /// Pushes a blob in one request; its digest.
    pub(super) async fn blob(&self, repository: &str, bytes: &[u8]) -> String {
        let digest = digest::of(bytes);
        let octets = [("Content-Type", "application/octet-stream")];
        let post = self.ask("POST", &format!("/v2/{repository}/blobs/uploads/?digest={digest}"), &octets, bytes).await;
        assert_eq!(post.status, 201, "{post:?}");
        digest
    }

    /// A manifest whose config and layer are in the repository.
    pub(super) async fn image(&self, repository: &str, layer: &[u8]) -> String {
        let (config, digest) = (self.blob(repository, b"{}").await, self.blob(repository, layer).await);
        image(&config, &digest, layer.len()).to_string()
    }

    pub(super) fn resident_kib(&self) -> u64 {
        let path = format!("/proc/{}/status", self.process.id());
        let status = fs::read_to_string(path).expect("the process is alive");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the process is alive");
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Processor time of the process since its start.
    pub(super) fn processor_seconds(&self) -> f64 {
        self.process.usage().cpu_seconds
    }

    /// Ends the process in order and looks at what it leaves: its log, and its storage.
    pub(super) async fn finish(self) -> Vec<Value> {
        self.unharmed("the end").await;
        let Self { process, directory, secrets, .. } = self;
        drop(process);
        let log = fs::read_to_string(directory.path().join("log")).unwrap();
        for secret in secrets.borrow().iter() {
            assert!(!log.contains(secret.as_str()), "{secret} is in the log");
        }
        let lines = log.lines().filter(|line| !is_access_line_or_banner(line));
        let lines: Vec<Value> =
            lines.map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect();
        let panicked = |line: &&Value| line["msg"].as_str().is_some_and(|message| message.contains("panicked"));
        assert_eq!(lines.iter().find(panicked), None);
        let blobs = data_files(&directory.path().join("data/docker/registry/v2/blobs"));
        assert!(!blobs.is_empty());
        for blob in blobs {
            let named = blob.parent().and_then(Path::file_name).unwrap().to_string_lossy().into_owned();
            let holds = digest::of_file(&blob);
            assert!(named.len() != 64 || digest::hex(&holds) == named, "{} holds {holds}", blob.display());
        }
        lines
    }
}

/// Standard output lies in the same file; its lines are no JSON.
fn is_access_line_or_banner(line: &str) -> bool {
    line.starts_with("127.0.0.1 - ") || line.starts_with("pierhead listens on ")
}

fn data_files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            found.extend(data_files(&entry));
        } else if entry.file_name().is_some_and(|name| name == "data") {
            found.push(entry);
        }
    }
    found
}

pub(super) fn image(config: &str, layer: &str, layer_size: usize) -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": IMAGE,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer, "size": layer_size}],
    })
}

/// Claims that are good for five minutes.
pub(super) fn claims(access: &Value) -> Value {
    let now = OffsetDateTime::now_utc().unix_timestamp();
    json!({"iss": ISSUER, "aud": SERVICE, "sub": "mallory", "iat": now, "nbf": now - 5, "exp": now + 300, "access": access})
}

/// `type`, `name` and `actions` of one entry.
pub(super) fn entry(name: &str, actions: &[&str]) -> Value {
    json!({"type": "repository", "name": name, "actions": actions})
}

pub(super) fn everything() -> Value {
    let mut access: Vec<Value> = REPOSITORIES.iter().map(|name| entry(name, &["pull", "push", "delete"])).collect();
    access.push(entry(&"n".repeat(255), &["pull", "push"]));
    access.push(json!({"type": "registry", "name": "catalog", "actions": ["*"]}));
    Value::Array(access)
}
