//! Signed tokens (RFC 7515 compact form, RFC 7519), as GitLab and other token servers issue them for a registry.
//!
//! The order of the checks is: size, header, issuer and audience, time, key, signature. The algorithm that the header
//! names must be one that the chosen key is made for, so nobody can talk us into using a key in another way.

use std::{path::PathBuf, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::Algorithm;
use serde::{Deserialize, de::IgnoredAny};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;

use crate::{
    auth::{
        access::Access,
        cache::Cache,
        challenge::{Reason, Refusal, clip},
        claims::Claims,
        grant::{Grant, Identity},
        keys::{
            PublicKey, TrustedKeys,
            bundle::{self, InvalidBundle},
            chain,
            jwks::{self, InvalidKeySet},
        },
    },
    clock::Clock,
};

/// Longest token, in bytes.
pub const TOKEN_LEN_MAX: usize = 64 << 10;
/// Longest header of a token without a certificate chain, in bytes after decoding.
pub const HEADER_LEN_MAX: usize = 4 << 10;
/// Longest header of a token that carries its certificate chain (`x5c`).
const HEADER_WITH_CHAIN_LEN_MAX: usize = 32 << 10;

const ALGORITHMS: &[(&str, Algorithm)] = &[
    ("RS256", Algorithm::RS256),
    ("RS384", Algorithm::RS384),
    ("RS512", Algorithm::RS512),
    ("PS256", Algorithm::PS256),
    ("PS384", Algorithm::PS384),
    ("PS512", Algorithm::PS512),
    ("ES256", Algorithm::ES256),
    ("ES384", Algorithm::ES384),
    ("EdDSA", Algorithm::EdDSA),
];

/// `auth.token`
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where clients get tokens: the address in the challenge.
    pub realm: String,
    /// What a token's audience must be.
    pub service: String,
    /// What a token's issuer must be.
    pub issuer: String,
    pub rootcertbundle: Option<PathBuf>,
    pub jwks: Option<PathBuf>,
    /// JOSE names; `None` allows all that are supported.
    pub signingalgorithms: Option<Vec<String>>,
    /// The challenge names the host that the client asked for instead of `realm`.
    pub autoredirect: bool,
    pub autoredirectpath: String,
}

/// Why `auth.token` cannot be put in force.
#[derive(Debug, thiserror::Error)]
pub enum InvalidSettings {
    #[error("auth.token.{0} is required")]
    Missing(&'static str),
    #[error("token auth requires at least one token signing key: auth.token.rootcertbundle or auth.token.jwks")]
    NoKeys,
    #[error("auth.token.signingalgorithms: {0}")]
    Algorithm(UnsupportedAlgorithm),
    #[error("auth.token.signingalgorithms is an empty list: no token could be accepted")]
    NoAlgorithms,
    #[error("auth.token.rootcertbundle: {0}")]
    Bundle(InvalidBundle),
    #[error("auth.token.jwks: {0}")]
    KeySet(InvalidKeySet),
}

/// A signing algorithm that is never accepted.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum UnsupportedAlgorithm {
    #[error("ES512 is not supported")]
    Es512,
    #[error("{0} is never accepted: it needs no private key")]
    Unsafe(String),
    #[error("{0:?} is not a supported signing algorithm")]
    Unknown(String),
}

/// Checks tokens against keys that were read once.
#[derive(Debug)]
pub struct Verifier {
    settings: Settings,
    algorithms: Vec<Algorithm>,
    trusted: TrustedKeys,
    clock: Arc<dyn Clock>,
    cache: Cache,
}

/// Parts of a request that decide the answer to a token.
#[derive(Clone, Copy)]
pub(super) struct Presented<'a> {
    pub(super) authorization: Option<&'a [u8]>,
    pub(super) host: Option<&'a str>,
    pub(super) scheme: &'a str,
    pub(super) grace: Option<&'a Grace>,
}

/// Lets a push that outlives its token come to its end: only this token, only for pushing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Grace {
    /// SHA-256 of the token that began the upload.
    pub token: [u8; 32],
    /// How long past its end it is still accepted.
    pub duration: Duration,
}

impl Verifier {
    /// Reads the keys.
    pub fn load(settings: Settings, clock: Arc<dyn Clock>) -> Result<Self, InvalidSettings> {
        let required = [("realm", &settings.realm), ("service", &settings.service), ("issuer", &settings.issuer)];
        if let Some((name, _)) = required.into_iter().find(|(_, value)| value.is_empty()) {
            return Err(InvalidSettings::Missing(name));
        }
        let algorithms = match &settings.signingalgorithms {
            None => ALGORITHMS.iter().map(|(_, algorithm)| *algorithm).collect(),
            Some(names) if names.is_empty() => return Err(InvalidSettings::NoAlgorithms),
            Some(names) => names
                .iter()
                .map(|name| parse_algorithm(name))
                .collect::<Result<_, _>>()
                .map_err(InvalidSettings::Algorithm)?,
        };
        let mut trusted = TrustedKeys::default();
        if let Some(path) = &settings.rootcertbundle {
            trusted.merge(bundle::load(path).map_err(InvalidSettings::Bundle)?);
        }
        if let Some(path) = &settings.jwks {
            trusted.merge(jwks::load(path).map_err(InvalidSettings::KeySet)?);
        }
        if trusted.keys.is_empty() {
            return Err(InvalidSettings::NoKeys);
        }
        Ok(Self { settings, algorithms, trusted, clock, cache: Cache::default() })
    }

    pub(super) fn authorise(&self, presented: Presented<'_>, access: &Access) -> Result<Grant, Refusal> {
        // An upload's own token may be late for nothing but that push.
        let grace = presented.grace.filter(|_| access.is_push());
        self.identify(presented.authorization, grace)
            .and_then(|identity| Grant::of(identity, access).ok_or(Reason::InsufficientScope))
            .map_err(|reason| Refusal::bearer(&self.realm(presented), &self.settings.service, access, reason))
    }

    /// Whose token this is, if it is valid now.
    fn identify(&self, authorization: Option<&[u8]>, grace: Option<&Grace>) -> Result<Identity, Reason> {
        let token = authorization.and_then(bearer).ok_or(Reason::TokenRequired)?;
        if token.len() > TOKEN_LEN_MAX {
            return Err(Reason::Malformed(format!("{} bytes, at most {TOKEN_LEN_MAX} are read", token.len())));
        }
        let now = self.clock.now();
        let hash: [u8; 32] = Sha256::digest(token).into();
        let late = grace.filter(|grace| grace.token == hash).map_or(Duration::ZERO, |grace| grace.duration);
        if let Some(claims) = self.cache.find(&hash, now.unix_timestamp()) {
            claims.check_time(now, late)?;
            return Ok(Identity::token(claims, hash));
        }
        let parsed = Parsed::new(token)?;
        parsed.claims.check_parties(&self.settings.issuer, &self.settings.service)?;
        parsed.claims.check_time(now, late)?;
        let until = self.check_signature(&parsed, now)?;
        let claims = Arc::new(parsed.claims);
        self.cache.insert(hash, Arc::clone(&claims), token.len(), until);
        Ok(Identity::token(claims, hash))
    }

    /// Until when (seconds since the epoch) the signature needs no further look.
    fn check_signature(&self, parsed: &Parsed<'_>, now: OffsetDateTime) -> Result<i64, Reason> {
        let algorithm = parse_algorithm(&parsed.header.alg).map_err(|error| Reason::malformed(&error))?;
        if !self.algorithms.contains(&algorithm) {
            return Err(Reason::Malformed(format!("{} is not among auth.token.signingalgorithms", parsed.header.alg)));
        }
        let expires = i64::try_from(parsed.claims.expires()).unwrap_or(i64::MAX);
        let verifies = |key: &PublicKey| key.verifies(algorithm, parsed.signed, parsed.signature);
        if let Some(chain) = &parsed.header.x5c {
            let leaf = chain::verify(chain, &self.trusted.roots, now)?;
            return verifies(&leaf.key)
                .then(|| expires.min(leaf.not_after))
                .ok_or_else(|| mismatch(&parsed.header.alg));
        }
        let id = parsed.header.key_id();
        let mut candidates = self.trusted.candidates(id).peekable();
        if candidates.peek().is_none() {
            return Err(Reason::UntrustedKey { id: clip(id.unwrap_or_default()) });
        }
        candidates.any(verifies).then_some(expires).ok_or_else(|| mismatch(&parsed.header.alg))
    }

    /// Where the client is sent for a token. A host that could not be one is not repeated to anybody.
    fn realm(&self, presented: Presented<'_>) -> String {
        let host = presented.host.filter(|host| self.settings.autoredirect && is_authority(host));
        let scheme = if presented.scheme.eq_ignore_ascii_case("http") { "http" } else { "https" };
        host.map_or_else(
            || self.settings.realm.clone(),
            |host| format!("{scheme}://{host}/{}", self.settings.autoredirectpath.trim_start_matches('/')),
        )
    }
}

fn mismatch(algorithm: &str) -> Reason {
    Reason::Signature(format!("the {algorithm} signature is not the key's"))
}

fn parse_algorithm(name: &str) -> Result<Algorithm, UnsupportedAlgorithm> {
    if let Some((_, algorithm)) = ALGORITHMS.iter().find(|(known, _)| *known == name) {
        return Ok(*algorithm);
    }
    Err(match name {
        "ES512" => UnsupportedAlgorithm::Es512,
        "none" | "HS256" | "HS384" | "HS512" => UnsupportedAlgorithm::Unsafe(name.to_owned()),
        _ => UnsupportedAlgorithm::Unknown(name.chars().take(32).collect()),
    })
}

/// The token of `Bearer <token>`; the scheme's case does not matter (RFC 9110 section 11.1).
fn bearer(authorization: &[u8]) -> Option<&[u8]> {
    const SCHEME: &[u8] = b"bearer ";
    let (scheme, token) = authorization.split_at_checked(SCHEME.len())?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(SCHEME) && !token.is_empty()).then_some(token)
}

/// A host name or address with an optional port, by its alphabet.
fn is_authority(host: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    !host.is_empty() && host.len() <= 255 && host.bytes().all(legal)
}

/// A token taken apart; nothing of it is trusted yet.
struct Parsed<'a> {
    header: Header,
    claims: Claims,
    /// What was signed: header and claims as they were sent.
    signed: &'a [u8],
    /// base64url
    signature: &'a str,
}

/// The JOSE header, as far as it decides anything. `typ`, `jku`, `x5u` and the rest are not even kept.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    x5c: Option<Vec<String>>,
    jwk: Option<EmbeddedKey>,
    crit: Option<IgnoredAny>,
}

/// A key that came with the token: only its name is read, to find the trusted key of that name.
#[derive(Deserialize)]
struct EmbeddedKey {
    kid: Option<String>,
}

impl Header {
    fn parse(json: &[u8]) -> Result<Self, Reason> {
        let malformed = |what: String| Reason::malformed(&format_args!("the header: {what}"));
        if json.len() > HEADER_WITH_CHAIN_LEN_MAX {
            return Err(malformed(format!("{} bytes", json.len())));
        }
        let header: Self = serde_json::from_slice(json).map_err(|error| malformed(error.to_string()))?;
        if json.len() > HEADER_LEN_MAX && header.x5c.is_none() {
            return Err(malformed(format!("{} bytes, at most {HEADER_LEN_MAX} are read", json.len())));
        }
        if header.crit.is_some() {
            return Err(malformed("critical extensions (crit) are not understood".to_owned()));
        }
        Ok(header)
    }

    fn key_id(&self) -> Option<&str> {
        self.kid.as_deref().or_else(|| self.jwk.as_ref()?.kid.as_deref())
    }
}

impl<'a> Parsed<'a> {
    fn new(token: &'a [u8]) -> Result<Self, Reason> {
        let malformed = |what: &str| Reason::malformed(what);
        let text = std::str::from_utf8(token).map_err(|_| malformed("not text"))?;
        let (signed, signature) = text.rsplit_once('.').ok_or_else(|| malformed("not three parts"))?;
        let (header, claims) = signed.split_once('.').ok_or_else(|| malformed("not three parts"))?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| malformed("a part is not base64url"));
        if decode(signature)?.is_empty() {
            return Err(malformed("it has no signature"));
        }
        Ok(Self {
            header: Header::parse(&decode(header)?)?,
            claims: Claims::parse(&decode(claims)?)?,
            signed: signed.as_bytes(),
            signature,
        })
    }
}
