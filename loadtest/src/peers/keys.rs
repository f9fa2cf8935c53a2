//! The certificate that both servers show, the key that tokens are signed with, and a service that hands tokens out.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::PathBuf,
    sync::Arc,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use percent_encoding::percent_decode_str;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PKCS_RSA_SHA256, PublicKeyData as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;

use crate::peers::servers::{Place, write_secret};

pub(super) const SERVICE: &str = "loadtest";
pub(super) const ISSUER: &str = "loadtest-issuer";

/// Somebody whom the service believes, as it believes everybody.
pub(super) const USER: &str = "loadtest:loadtest";

/// How long tokens of the service live.
const SHORT: Duration = Duration::from_secs(5);

/// The longest head of a request that the service reads, in bytes.
const HEAD_MAX: u64 = 64 << 10;

/// Signs for one server's certificate, which names this machine only.
#[derive(Debug)]
pub(super) struct Authority {
    /// PEM, of the authority itself.
    pub(super) certificate: PathBuf,
    pub(super) chain: PathBuf,
    pub(super) key: PathBuf,
}

impl Authority {
    pub(super) fn create(place: &Place) -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "loadtest authority");
        let key = KeyPair::generate()?;
        let authority = params.self_signed(&key)?;
        let issuer = Issuer::new(params, key);
        let server = KeyPair::generate()?;
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let certificate = CertificateParams::new(names)?.signed_by(&server, &issuer)?;
        let made =
            Self { certificate: place.path("ca.crt"), chain: place.path("server.crt"), key: place.path("server.key") };
        fs::write(&made.certificate, authority.pem())?;
        fs::write(&made.chain, certificate.pem())?;
        write_secret(&made.key, &server.serialize_pem())?;
        Ok(made)
    }
}

/// Signs tokens, and hands short ones out to whoever asks.
#[derive(Debug)]
pub(super) struct Signer {
    /// What verifies its tokens, in PEM.
    pub(super) bundle: PathBuf,
    pub(super) realm: String,
    minting: Arc<Minting>,
}

#[derive(Debug)]
struct Minting {
    key: Vec<u8>,
    key_id: String,
}

impl Signer {
    pub(super) fn new(place: &Place) -> Result<Self> {
        let key = KeyPair::generate_for(&PKCS_RSA_SHA256).context("no RSA key")?;
        let bundle = place.path("token.crt");
        fs::write(&bundle, CertificateParams::new(Vec::new())?.self_signed(&key)?.pem())?;
        let key_id = key_id(&key.subject_public_key_info());
        let minting = Arc::new(Minting { key: key.serialize_pem().into_bytes(), key_id });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("the token service cannot listen")?;
        let realm = format!("http://{}/token", listener.local_addr()?);
        let serving = Arc::clone(&minting);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let minting = Arc::clone(&serving);
                // A client that breaks off is its own witness.
                thread::spawn(move || minting.serve(&stream));
            }
        });
        Ok(Self { bundle, realm, minting })
    }

    /// For everything below the usual repository, all different, one in a line.
    pub(super) fn tokens(&self, count: usize, lifetime: Duration) -> Result<String> {
        let names = ["loadtest", "loadtest/source", "loadtest/tags-10000", "loadtest/tags-300"].map(str::to_owned);
        let pages = (0..4).map(|number| format!("loadtest/{number}"));
        let mut access: Vec<Value> =
            names.into_iter().chain(pages).map(|name| everything("repository", &name)).collect();
        access.push(json!({ "type": "registry", "name": "catalog", "actions": ["*"] }));
        let access = Value::Array(access);
        let mut lines = String::new();
        for number in 0..count {
            lines += &self.minting.mint(&access, lifetime, &format!("client-{number}"))?;
            lines.push('\n');
        }
        Ok(lines)
    }
}

fn everything(kind: &str, name: &str) -> Value {
    json!({ "type": kind, "name": name, "actions": ["pull", "push", "delete"] })
}

impl Minting {
    fn mint(&self, access: &Value, lifetime: Duration, subject: &str) -> Result<String> {
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let claims = json!({
            "iss": ISSUER, "aud": SERVICE, "sub": subject, "jti": format!("{subject}-{now}"),
            "iat": now, "nbf": now - 5, "exp": now + i64::try_from(lifetime.as_secs())?, "access": access,
        });
        let mut header = Header::new(Algorithm::RS256);
        header.kid = Some(self.key_id.clone());
        let key = EncodingKey::from_rsa_pem(&self.key).context("the token key cannot be read")?;
        jsonwebtoken::encode(&header, &claims, &key).context("a token cannot be signed")
    }

    fn serve(&self, stream: &TcpStream) -> Result<()> {
        let mut line = String::new();
        let mut reader = BufReader::new(stream.take(HEAD_MAX));
        reader.read_line(&mut line)?;
        let mut rest = String::new();
        while reader.read_line(&mut rest)? > 2 {
            rest.clear();
        }
        let target = line.split(' ').nth(1).unwrap_or_default();
        let access: Vec<Value> = scopes(target).iter().filter_map(|scope| granted(scope)).collect();
        let token = self.mint(&Value::Array(access), SHORT, "loadtest")?;
        let body = json!({ "token": token, "expires_in": SHORT.as_secs() }).to_string();
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length:";
        write!(&mut &*stream, "{head} {}\r\n\r\n{body}", body.len())?;
        Ok(())
    }
}

/// The values of `scope` in a target.
fn scopes(target: &str) -> Vec<String> {
    let query = target.split_once('?').map(|(_, query)| query).unwrap_or_default();
    let scopes = query.split('&').filter_map(|pair| pair.strip_prefix("scope="));
    let decoded = scopes.map(|scope| percent_decode_str(scope).decode_utf8_lossy().replace('+', " "));
    decoded.flat_map(|scope| scope.split(' ').map(str::to_owned).collect::<Vec<_>>()).collect()
}

fn granted(scope: &str) -> Option<Value> {
    let (kind, rest) = scope.split_once(':')?;
    let (name, actions) = rest.rsplit_once(':')?;
    let actions: Vec<&str> = actions.split(',').collect();
    Some(json!({ "type": kind, "name": name, "actions": actions }))
}

/// As libtrust names keys: SHA-256 of the public key's DER, 30 bytes in Base32, in groups of four.
fn key_id(spki: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let hash = Sha256::digest(spki);
    let mut letters = String::new();
    for five in hash[..30].chunks(5) {
        let bits = five.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
        letters.extend((0..8).rev().map(|place| char::from(ALPHABET[(bits >> (5 * place) & 31) as usize])));
    }
    let groups: Vec<String> =
        letters.as_bytes().chunks(4).map(|group| String::from_utf8_lossy(group).into_owned()).collect();
    groups.join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_granted_as_asked() {
        let asked = scopes("/token?service=x&scope=repository%3Aa%2Fb%3Apull%2Cpush&scope=registry:catalog:*");
        assert_eq!(asked, ["repository:a/b:pull,push", "registry:catalog:*"]);
        assert_eq!(
            granted(&asked[0]),
            Some(json!({ "type": "repository", "name": "a/b", "actions": ["pull", "push"] }))
        );
        assert_eq!(granted("nonsense"), None);
    }

    #[test]
    fn key_ids_have_twelve_groups() {
        let id = key_id(b"a key");
        assert_eq!(id.split(':').map(str::len).collect::<Vec<_>>(), [4; 12]);
    }
}
