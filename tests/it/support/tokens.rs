//! A token server that signs as GitLab does: `GET /jwt/auth?service&scope…` with Basic credentials.
//!
//! It answers over TLS (some clients refuse to send a password in the clear), one thread per connection, for as long
//! as the test binary runs. Nobody without an account gets any right; wrong credentials are 403 `DENIED`, as there.
//! `POST` (OAuth 2) is 404, as there, and clients then fall back to `GET`.

use std::{
    collections::HashMap,
    fs,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use percent_encoding::percent_decode_str;
use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256, PublicKeyData as _};
use rustls::{ServerConnection, StreamOwned};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use uuid::Uuid;

use crate::support::certificate::Certificate;

pub(crate) const SERVICE: &str = "container_registry";
pub(crate) const ISSUER: &str = "gitlab-issuer";

/// The longest head of a request that is read, in bytes.
const HEAD_MAX: u64 = 64 << 10;

/// Somebody with an account.
#[derive(Clone, Debug)]
pub(crate) struct User {
    pub name: &'static str,
    pub password: &'static str,
    /// Below which path (`team/`, or empty for all) which actions are theirs.
    pub rights: &'static [(&'static str, &'static [&'static str])],
}

/// Who the clients of these tests log in as.
pub(crate) const DEVELOPER: User =
    User { name: "developer", password: "correct-horse-battery", rights: &[("", &["pull", "push", "delete"])] };

/// May look, not touch.
pub(crate) const GUEST: User = User { name: "guest", password: "look-do-not-touch", rights: &[("", &["pull"])] };

/// A running token server.
#[derive(Debug)]
pub(crate) struct TokenServer {
    address: SocketAddr,
    /// The certificate that verifies its tokens (`auth.token.rootcertbundle`), PEM.
    pub bundle: PathBuf,
}

/// What its threads share.
struct Signer {
    users: Vec<User>,
    lifetime: Duration,
    key: EncodingKey,
    key_id: String,
}

impl TokenServer {
    /// Starts it with a fresh RSA key, whose certificate is written into `directory`.
    pub(crate) fn start(directory: &Path, tls: &Certificate, users: &[User], lifetime: Duration) -> Self {
        let key = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
        let bundle = directory.join("token.crt");
        fs::write(&bundle, CertificateParams::new(Vec::new()).unwrap().self_signed(&key).unwrap().pem()).unwrap();
        let signer = Arc::new(Signer {
            users: users.to_vec(),
            lifetime,
            key: EncodingKey::from_rsa_pem(key.serialize_pem().as_bytes()).unwrap(),
            key_id: libtrust_id(&key.subject_public_key_info()),
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let tls = Arc::new(tls.server_config());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (signer, tls) = (Arc::clone(&signer), Arc::clone(&tls));
                // A client that breaks off fails its own test; nothing here depends on it.
                thread::spawn(move || signer.serve(StreamOwned::new(ServerConnection::new(tls).unwrap(), stream)));
            }
        });
        Self { address, bundle }
    }

    /// What stands in `auth.token.realm`. A name, because crane sends no password to the literal address of a private
    /// network.
    pub(crate) fn realm(&self) -> String {
        format!("https://localhost:{}/jwt/auth", self.address.port())
    }
}

impl Signer {
    fn serve(&self, mut stream: StreamOwned<ServerConnection, TcpStream>) -> io::Result<()> {
        let mut lines = BufReader::new((&mut stream).take(HEAD_MAX)).lines();
        let request = lines.next().transpose()?.unwrap_or_default();
        let mut authorization = None;
        for line in &mut lines {
            let line = line?;
            if line.is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("authorization")
            {
                authorization = Some(value.trim().to_owned());
            }
        }
        let (status, body) = self.answer(&request, authorization.as_deref());
        let body = body.to_string();
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )?;
        stream.conn.send_close_notify();
        stream.flush()
    }

    fn answer(&self, request: &str, authorization: Option<&str>) -> (&'static str, Value) {
        let mut words = request.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        if method != "GET" || path != "/jwt/auth" {
            return ("404 Not Found", json!({}));
        }
        let user = match authorization.map(|header| self.user(header)) {
            Some(None) => {
                let error = json!({"code": "DENIED", "message": "access forbidden"});
                return ("403 Forbidden", json!({"errors": [error]}));
            }
            Some(user) => user,
            None => None,
        };
        let pairs: Vec<(String, String)> =
            query.split('&').filter_map(|pair| pair.split_once('=')).map(decode).collect();
        let service = pairs.iter().find(|(name, _)| name == "service").map_or("", |(_, value)| value);
        let scopes = pairs.iter().filter(|(name, _)| name == "scope").flat_map(|(_, value)| value.split(' '));
        let access = scopes.filter_map(|scope| grant(user, scope)).collect();
        ("200 OK", self.token(user, service, access))
    }

    /// Whose Basic credentials these are.
    fn user(&self, authorization: &str) -> Option<&User> {
        let decoded = STANDARD.decode(authorization.strip_prefix("Basic ")?).ok()?;
        let (name, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
        self.users.iter().find(|user| user.name == name && user.password == password)
    }

    fn token(&self, user: Option<&User>, service: &str, access: Vec<Value>) -> Value {
        let now = OffsetDateTime::now_utc();
        let issued = now.unix_timestamp();
        let mut claims = HashMap::from([
            ("jti", json!(Uuid::new_v4().to_string())),
            ("iss", json!(ISSUER)),
            ("aud", json!(service)),
            ("iat", json!(issued)),
            ("nbf", json!(issued - 5)),
            ("exp", json!(issued + self.lifetime.as_secs().cast_signed())),
            ("access", Value::Array(access)),
        ]);
        if let Some(user) = user {
            claims.insert("sub", json!(user.name));
        }
        let header = Header { kid: Some(self.key_id.clone()), ..Header::new(Algorithm::RS256) };
        let token = jsonwebtoken::encode(&header, &claims, &self.key).unwrap();
        json!({
            "token": token,
            "access_token": token,
            "expires_in": self.lifetime.as_secs(),
            "issued_at": now.format(&Rfc3339).unwrap(),
        })
    }
}

/// What of a scope (`repository:team/app:pull,push`) this user may have.
fn grant(user: Option<&User>, scope: &str) -> Option<Value> {
    let (kind, rest) = scope.split_once(':')?;
    let (name, wanted) = rest.rsplit_once(':')?;
    let (_, held) = user?.rights.iter().find(|(below, _)| name.starts_with(below))?;
    let actions: Vec<&str> = wanted.split(',').filter(|action| held.contains(action)).collect();
    (kind == "repository" && !actions.is_empty()).then(|| json!({"type": kind, "name": name, "actions": actions}))
}

fn decode((name, value): (&str, &str)) -> (String, String) {
    let value = value.replace('+', " ");
    (name.to_owned(), percent_decode_str(&value).decode_utf8_lossy().into_owned())
}

/// The key id of Docker's libtrust: the first 30 bytes of the key's SHA-256 in base32, in groups of four.
fn libtrust_id(subject_public_key_info: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let hash = Sha256::digest(subject_public_key_info);
    let mut groups = Vec::new();
    for half in hash[..30].chunks(5) {
        let bits = half.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
        let letters: String =
            (0..8).rev().map(|at| char::from(ALPHABET[usize::try_from(bits >> (at * 5) & 31).unwrap()])).collect();
        groups.extend([letters[..4].to_owned(), letters[4..].to_owned()]);
    }
    groups.join(":")
}

#[test]
fn a_key_id_is_twelve_groups_of_base32() {
    // SHA-256 of nothing: e3b0c442 98fc1c14 9afbf4c8 996fb924 27ae41e4 649b934c a495991b 7852(b855).
    assert_eq!(libtrust_id(b""), "4OYM:IQUY:7QOB:JGX3:6TEJ:S35Z:EQT2:4QPE:MSNZ:GTFE:SWMR:W6CS");
}
