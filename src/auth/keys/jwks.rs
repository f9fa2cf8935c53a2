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

#[cfg(test)]
mod tests {
    use super::*;

    /// The key of RFC 7638 section 3.1.
    const RSA: &str = r#""kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB""#;
    /// The key of RFC 8037 appendix A.2.
    const ED25519: &str = r#""kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo""#;

    fn parse(members: &str) -> Result<PublicKey, InvalidKey> {
        serde_json::from_str::<Jwk>(&format!("{{{members}}}")).unwrap().public_key()
    }

    fn check_id(members: &str, id: &str) {
        let key = parse(members).unwrap();
        assert!(key.has_id(id), "{key:?}");
    }

    #[test]
    fn thumbprints_are_those_of_the_rfcs() {
        check_id(RSA, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
        check_id(ED25519, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        check_id(&format!(r#"{ED25519},"kid":"mine""#), "mine");
    }

    fn check_refused(members: &str, expected: &InvalidKey) {
        assert_eq!(&parse(members).unwrap_err(), expected);
    }

    #[test]
    fn keys_that_cannot_be_trusted() {
        check_refused(r#""kty":"oct","k":"c2VjcmV0""#, &InvalidKey::Symmetric);
        check_refused(r#""kty":"DSA""#, &InvalidKey::Type("DSA".into()));
        check_refused(r#""kty":"EC","crv":"P-521","x":"AA","y":"AA""#, &InvalidKey::Curve("P-521".into()));
        check_refused(r#""kty":"OKP","crv":"Ed448","x":"AA""#, &InvalidKey::Curve("Ed448".into()));
        check_refused(r#""kty":"EC","crv":"P-256","x":"AA","y":"AA""#, &InvalidKey::Member("x, y"));
        check_refused(r#""kty":"RSA","e":"AQAB""#, &InvalidKey::Member("n"));
        check_refused(r#""kty":"RSA","n":"A+/=","e":"AQAB""#, &InvalidKey::Member("n"));
        let short = InvalidKey::Unsuitable(UnsuitableKey::RsaSize { bits: 16 });
        check_refused(r#""kty":"RSA","n":"__8","e":"AQAB""#, &short);
    }

    #[test]
    fn files() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("jwks.json");
        let check = |content: &str, expected: Result<usize, &str>| {
            std::fs::write(&path, content).unwrap();
            let loaded = load(&path).map(|trusted| trusted.keys.len()).map_err(|error| error.to_string());
            let expected = expected.map_err(|text| text.replace("FILE", &path.display().to_string()));
            assert_eq!(loaded, expected, "{content}");
        };
        check(&format!(r#"{{"keys":[{{{RSA}}},{{{ED25519},"use":"sig"}}]}}"#), Ok(2));
        check(&format!(r#"{{"keys":[{{{RSA}}},{{{ED25519},"use":"enc"}}]}}"#), Ok(1));
        check(r#"{"keys":[]}"#, Err("the key set FILE holds no signing key"));
        let oct = "symmetric key (kty \"oct\"): whoever can check such a token could also make one";
        check(
            r#"{"keys":[{"kty":"oct","k":"AA"}]}"#,
            Err(&format!("key 1 of the key set FILE cannot be trusted: a {oct}")),
        );
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(load(&path), Err(InvalidKeySet::Read { .. })));
    }
}
