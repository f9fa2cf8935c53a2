//! The public keys that tokens are trusted by, and the ids by which a token's header names one.

use std::{collections::BTreeSet, path::Path};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey};
use rustls::pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};
use x509_parser::{
    oid_registry::{
        OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_PKCS1_RSAENCRYPTION, OID_SIG_ED25519,
    },
    prelude::FromDer,
    public_key::PublicKey as ParsedKey,
    x509::SubjectPublicKeyInfo,
};

pub(super) mod bundle;
pub(super) mod chain;
pub(super) mod jwks;
mod spki;

/// Sizes of RSA keys, in bits: shorter ones are broken within reach, longer ones cost too much per request.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// Largest key file, in bytes.
const FILE_SIZE_MAX: u64 = 4 << 20;

/// A public key, and the only algorithms that it may be used with.
#[derive(Clone)]
pub(super) struct PublicKey {
    kind: Kind,
    decoding: DecodingKey,
    ids: BTreeSet<String>,
}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PublicKey").field("kind", &self.kind).field("ids", &self.ids).finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Rsa { bits: usize },
    P256,
    P384,
    Ed25519,
}

/// Why a public key is not accepted.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum UnsuitableKey {
    #[error("not a public key (SubjectPublicKeyInfo): {0}")]
    Encoding(String),
    #[error("an RSA key of {bits} bits: {} to {} are accepted", RSA_BITS.start(), RSA_BITS.end())]
    RsaSize { bits: usize },
    #[error("an RSA key with an even or trivial exponent")]
    RsaExponent,
    #[error("an elliptic-curve key that is not on P-256 or P-384 (ES512 is not supported)")]
    Curve,
    #[error("a key of type {oid}: RSA, P-256, P-384 and Ed25519 are accepted")]
    Type { oid: String },
}

impl PublicKey {
    /// A key from the DER of its `SubjectPublicKeyInfo` (RFC 5280 section 4.1.2.7), known by its libtrust id and its
    /// RFC 7638 thumbprint.
    pub(super) fn from_spki(der: &[u8]) -> Result<Self, UnsuitableKey> {
        let encoding = |error: &dyn std::fmt::Display| UnsuitableKey::Encoding(error.to_string());
        let (rest, spki) = SubjectPublicKeyInfo::from_der(der).map_err(|error| encoding(&error))?;
        if !rest.is_empty() {
            return Err(encoding(&"bytes after its end"));
        }
        let (kind, decoding, canonical) = match &spki.algorithm.algorithm {
            oid if *oid == OID_PKCS1_RSAENCRYPTION => rsa(&spki)?,
            oid if *oid == OID_KEY_TYPE_EC_PUBLIC_KEY => elliptic(&spki)?,
            oid if *oid == OID_SIG_ED25519 => edwards(&spki)?,
            oid => return Err(UnsuitableKey::Type { oid: oid.to_id_string() }),
        };
        let thumbprint = URL_SAFE_NO_PAD.encode(Sha256::digest(canonical));
        Ok(Self { kind, decoding, ids: BTreeSet::from([libtrust_id(der), thumbprint]) })
    }

    /// Lets the key be named by an id of its own as well.
    fn with_id(mut self, id: Option<String>) -> Self {
        self.ids.extend(id);
        self
    }

    pub(super) fn has_id(&self, id: &str) -> bool {
        self.ids.contains(id)
    }

    /// The libtrust id and the thumbprint: the one has colons, the other none.
    pub(super) fn computed_ids(&self) -> (String, String) {
        let find = |colons| self.ids.iter().find(|id| id.contains(':') == colons).cloned().unwrap_or_default();
        (find(true), find(false))
    }

    /// What the key is, for people.
    pub(super) fn described(&self) -> String {
        match self.kind {
            Kind::Rsa { bits } => format!("RSA of {bits} bits"),
            Kind::P256 => "P-256".to_owned(),
            Kind::P384 => "P-384".to_owned(),
            Kind::Ed25519 => "Ed25519".to_owned(),
        }
    }

    /// Whatever else they are called: the two ids that are computed from a key agree.
    fn is_same(&self, other: &Self) -> bool {
        self.kind == other.kind && self.ids.intersection(&other.ids).count() >= 2
    }

    /// Whether this key's type and curve are what the algorithm is defined for.
    pub(super) fn fits(&self, algorithm: Algorithm) -> bool {
        match algorithm {
            Algorithm::RS256
            | Algorithm::RS384
            | Algorithm::RS512
            | Algorithm::PS256
            | Algorithm::PS384
            | Algorithm::PS512 => matches!(self.kind, Kind::Rsa { .. }),
            Algorithm::ES256 => self.kind == Kind::P256,
            Algorithm::ES384 => self.kind == Kind::P384,
            Algorithm::EdDSA => self.kind == Kind::Ed25519,
            _ => false,
        }
    }

    /// Whether `signature` (base64url) is this key's over `message`.
    pub(super) fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &str) -> bool {
        self.fits(algorithm)
            && jsonwebtoken::crypto::verify(signature, message, &self.decoding, algorithm).unwrap_or(false)
    }
}

/// A key, its decoder and the canonical JSON of its thumbprint (RFC 7638 section 3.2, RFC 8037 section 2).
type Described = (Kind, DecodingKey, String);

fn rsa(spki: &SubjectPublicKeyInfo<'_>) -> Result<Described, UnsuitableKey> {
    let Ok(ParsedKey::RSA(key)) = spki.parsed() else {
        return Err(UnsuitableKey::Encoding("the RSA key is damaged".to_owned()));
    };
    let (modulus, exponent) = (without_zeros(key.modulus), without_zeros(key.exponent));
    let bits = modulus.len() * 8 - modulus.first().map_or(0, |first| first.leading_zeros() as usize);
    if !RSA_BITS.contains(&bits) {
        return Err(UnsuitableKey::RsaSize { bits });
    }
    if exponent.last().is_none_or(|last| last % 2 == 0) || exponent == [1] {
        return Err(UnsuitableKey::RsaExponent);
    }
    let (n, e) = (URL_SAFE_NO_PAD.encode(modulus), URL_SAFE_NO_PAD.encode(exponent));
    let canonical = format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#);
    Ok((Kind::Rsa { bits }, DecodingKey::from_rsa_raw_components(modulus, exponent), canonical))
}

fn elliptic(spki: &SubjectPublicKeyInfo<'_>) -> Result<Described, UnsuitableKey> {
    let curve = spki.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
    let (kind, name, size) = match curve {
        Some(oid) if oid == OID_EC_P256 => (Kind::P256, "P-256", 32),
        Some(oid) if oid == OID_NIST_EC_P384 => (Kind::P384, "P-384", 48),
        _ => return Err(UnsuitableKey::Curve),
    };
    let point: &[u8] = &spki.subject_public_key.data;
    let Some((4, coordinates)) = point.split_first().map(|(form, rest)| (*form, rest)) else {
        return Err(UnsuitableKey::Encoding("the point is not in uncompressed form".to_owned()));
    };
    if coordinates.len() != 2 * size {
        return Err(UnsuitableKey::Encoding(format!("a point on {name} has {} bytes", 2 * size + 1)));
    }
    let (x, y) = coordinates.split_at(size);
    let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
    let canonical = format!(r#"{{"crv":"{name}","kty":"EC","x":"{x}","y":"{y}"}}"#);
    Ok((kind, DecodingKey::from_ec_der(point), canonical))
}

fn edwards(spki: &SubjectPublicKeyInfo<'_>) -> Result<Described, UnsuitableKey> {
    let key: &[u8] = &spki.subject_public_key.data;
    if key.len() != 32 {
        return Err(UnsuitableKey::Encoding("an Ed25519 key has 32 bytes".to_owned()));
    }
    let canonical = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, URL_SAFE_NO_PAD.encode(key));
    Ok((Kind::Ed25519, DecodingKey::from_ed_der(key), canonical))
}

fn without_zeros(number: &[u8]) -> &[u8] {
    &number[number.iter().take_while(|byte| **byte == 0).count()..]
}

/// The id that libtrust gives a key: base32 of the first 30 bytes of the SHA-256 of its `SubjectPublicKeyInfo`, in
/// twelve groups of four. 30 bytes are 48 whole base32 digits, so there is no padding.
fn libtrust_id(spki: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let hash = Sha256::digest(spki);
    let mut id = String::with_capacity(59);
    for (at, five) in hash[..30].chunks_exact(5).enumerate() {
        let bits = five.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
        for digit in 0..8 {
            if digit % 4 == 0 && (at, digit) != (0, 0) {
                id.push(':');
            }
            id.push(char::from(ALPHABET[(bits >> (35 - 5 * digit) & 31) as usize]));
        }
    }
    id
}

/// All that signatures are checked against.
#[derive(Clone, Debug, Default)]
pub(super) struct TrustedKeys {
    pub(super) keys: Vec<PublicKey>,
    /// The certificates that an `x5c` chain may end at.
    pub(super) roots: Vec<CertificateDer<'static>>,
}

impl TrustedKeys {
    /// The keys that a token's header may mean: those with the id it names or, where it names none, the only one
    /// there is.
    pub(super) fn candidates<'a>(&'a self, id: Option<&'a str>) -> impl Iterator<Item = &'a PublicKey> {
        let alone = self.keys.len() == 1;
        self.keys.iter().filter(move |key| id.map_or(alone, |id| key.has_id(id)))
    }

    /// Takes a key in, once: a certificate that was renewed keeps its key and its id.
    fn add(&mut self, key: PublicKey) {
        match self.keys.iter_mut().find(|known| known.is_same(&key)) {
            Some(known) => known.ids.extend(key.ids),
            None => self.keys.push(key),
        }
    }

    /// Takes in the keys of both files.
    pub(super) fn merge(&mut self, other: Self) {
        for key in other.keys {
            self.add(key);
        }
        self.roots.extend(other.roots);
    }
}

/// Reads a key file, never more than is reasonable.
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut content = Vec::new();
    std::fs::File::open(path)?.take(FILE_SIZE_MAX + 1).read_to_end(&mut content)?;
    if content.len() as u64 > FILE_SIZE_MAX {
        return Err(std::io::Error::other(format!("more than {FILE_SIZE_MAX} bytes")));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::{SubjectPublicKeyInfoDer, pem::PemObject as _};

    use super::*;

    const P256: &str = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEA5yVCOmC7t1oRrU7Kcw2+2ZL+jgc\n\
        Oy5ZrcS9rFPZt7cTnT785NAXYX1/SaBZultKpF3JnVIxzhK/o2/eKcvDxQ==";
    const RSA_1024: &str = "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDHOoyqA7xG3Id7mGlcW97YaDdW\n\
        8TNNO0Of80GzLskC6PhjVJgOQrWMnrirhGMREGnC2h5RFRxUGBY0+woKh3GNm0Fn\n\
        nVkJHC3F3FWLwx34Q9+Rz4jgwBX3sRnE/62YJspcb7q48GxBVfZH/uUwB8++cJat\n\
        8aOOMF04WXgbhHyNNwIDAQAB";
    const P521: &str = "MIGbMBAGByqGSM49AgEGBSuBBAAjA4GGAAQAk4j5qaP+v6aGsF7vKBmKROYPdmHP\n\
        IkFpjPkeXBLmDPZYgq3J6db9UnWDoDNCxvkjGkCpwV2dyaUNTv5lNykzHnUBgQoc\n\
        tv+VuRvzey9hQabr5bKf5RKczAZFSl8LzJqSOlGLdZgwAKCHz+II14LGUM7bJvuw\n\
        a0VYe5N/W4MVI5Yr6k0=";
    const P224: &str = "ME4wEAYHKoZIzj0CAQYFK4EEACEDOgAEtyyZEbScUkWIemzMA8TRnv1xw72rHH0g\n\
        WbK8AuZ8cghJJqEbFpVERL44R+XEUxzPsq4bU9ZByXo=";

    fn key(base64: &str) -> Result<PublicKey, UnsuitableKey> {
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{base64}\n-----END PUBLIC KEY-----\n");
        PublicKey::from_spki(&SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes()).unwrap())
    }

    /// The id is what this prints for the key above:
    /// `openssl pkey -pubin -outform DER | openssl dgst -sha256 -binary | head -c30 | base32 | fold -w4 | paste -sd:`
    #[test]
    fn the_libtrust_id_is_what_openssl_computes() {
        let id = "G2ZS:T3MD:6UUD:Z6GV:6I5F:HSTT:MGGG:KE3G:DLHA:UXXC:JKQH:2ZVP";
        let key = key(P256).unwrap();
        assert!(key.has_id(id), "{key:?}");
        assert!(!key.has_id(&id.to_lowercase()) && !key.has_id(""));
    }

    fn check_refused(base64: &str, expected: &UnsuitableKey) {
        assert_eq!(&key(base64).unwrap_err(), expected);
    }

    #[test]
    fn weak_keys_are_refused() {
        check_refused(RSA_1024, &UnsuitableKey::RsaSize { bits: 1024 });
        check_refused(P521, &UnsuitableKey::Curve);
        check_refused(P224, &UnsuitableKey::Curve);
        let mut exponent = vec![0xff; 256];
        exponent[0] = 0x80;
        let even = PublicKey::from_spki(&spki::rsa(&exponent, &[1, 0, 0]));
        assert_eq!(even.unwrap_err(), UnsuitableKey::RsaExponent);
    }

    #[test]
    fn a_key_serves_its_own_algorithms_only() {
        let key = key(P256).unwrap();
        assert!(key.fits(Algorithm::ES256));
        for other in [Algorithm::ES384, Algorithm::RS256, Algorithm::PS256, Algorithm::EdDSA, Algorithm::HS256] {
            assert!(!key.fits(other), "{other:?}");
        }
    }

    #[test]
    fn a_key_is_kept_once() {
        let mut trusted = TrustedKeys::default();
        trusted.add(key(P256).unwrap());
        trusted.add(key(P256).unwrap().with_id(Some("a".to_owned())));
        assert_eq!(trusted.keys.len(), 1);
        assert_eq!(trusted.candidates(Some("a")).count(), 1);
        assert_eq!(trusted.candidates(Some("b")).count(), 0);
        assert_eq!(trusted.candidates(None).count(), 1);
    }
}
