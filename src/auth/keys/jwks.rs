//! `jwks`: a JSON Web Key Set (RFC 7517 section 5) in a file.

use std::path::{Path, PathBuf};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;

use crate::auth::keys::{
    PublicKey, TrustedKeys, UnsuitableKey, read,
    spki::{self, Curve},
};

/// Why a key set cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidKeySet {
    #[error("cannot read the key set {}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("the key set {} is not a JSON object with a list of keys: {reason}", path.display())]
    Json { path: PathBuf, reason: String },
    #[error("the key set {} holds no signing key", path.display())]
    Empty { path: PathBuf },
    /// `number` counts the file's keys from 1.
    #[error("key {number} of the key set {} cannot be trusted: {source}", path.display())]
    Key { path: PathBuf, number: usize, source: InvalidKey },
}

/// Why one key of a set is not accepted.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidKey {
    #[error("a symmetric key (kty \"oct\"): whoever can check such a token could also make one")]
    Symmetric,
    #[error("kty {0:?} is not RSA, EC or OKP")]
    Type(String),
    #[error("crv {0:?} is not P-256, P-384 or Ed25519 (ES512 is not supported)")]
    Curve(String),
    #[error("{0:?} is missing or is not base64url of the right length")]
    Member(&'static str),
    #[error("{0}")]
    Unsuitable(UnsuitableKey),
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Jwk>,
}

/// A public key; members that only a private key has are not even read.
#[derive(Default, Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    r#use: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// Reads a key set. Keys for encryption only (`use` other than `sig`) are passed over.
pub(in crate::auth) fn load(path: &Path) -> Result<TrustedKeys, InvalidKeySet> {
    let content = read(path).map_err(|source| InvalidKeySet::Read { path: path.into(), source })?;
    let set: KeySet = serde_json::from_slice(&content)
        .map_err(|error| InvalidKeySet::Json { path: path.into(), reason: error.to_string() })?;
    let mut trusted = TrustedKeys::default();
    for (at, jwk) in set.keys.into_iter().enumerate() {
        if jwk.r#use.as_deref().is_some_and(|purpose| purpose != "sig") {
            continue;
        }
        let key =
            jwk.public_key().map_err(|source| InvalidKeySet::Key { path: path.into(), number: at + 1, source })?;
        trusted.add(key);
    }
    if trusted.keys.is_empty() {
        return Err(InvalidKeySet::Empty { path: path.into() });
    }
    Ok(trusted)
}

impl Jwk {
    fn public_key(self) -> Result<PublicKey, InvalidKey> {
        let spki = match self.kty.as_str() {
            "RSA" => spki::rsa(&member("n", self.n.as_deref())?, &member("e", self.e.as_deref())?),
            "EC" => self.elliptic()?,
            "OKP" if self.crv.as_deref() == Some("Ed25519") => spki::ed25519(&member("x", self.x.as_deref())?),
            "OKP" => return Err(InvalidKey::Curve(self.crv.unwrap_or_default())),
            "oct" => return Err(InvalidKey::Symmetric),
            _ => return Err(InvalidKey::Type(self.kty)),
        };
        Ok(PublicKey::from_spki(&spki).map_err(InvalidKey::Unsuitable)?.with_id(self.kid))
    }

    fn elliptic(&self) -> Result<Vec<u8>, InvalidKey> {
        let curve = match self.crv.as_deref() {
            Some("P-256") => Curve::P256,
            Some("P-384") => Curve::P384,
            other => return Err(InvalidKey::Curve(other.unwrap_or_default().to_owned())),
        };
        let (x, y) = (member("x", self.x.as_deref())?, member("y", self.y.as_deref())?);
        spki::elliptic(curve, &x, &y).ok_or(InvalidKey::Member("x, y"))
    }
}

fn member(name: &'static str, value: Option<&str>) -> Result<Vec<u8>, InvalidKey> {
    let bytes = value.and_then(|value| URL_SAFE_NO_PAD.decode(value).ok());
    bytes.filter(|bytes| !bytes.is_empty()).ok_or(InvalidKey::Member(name))
}
