//! The signed hint in a Location: `_state` is base64url(HMAC-SHA256 of the claims, then the claims).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use uuid::Uuid;

use crate::{
    oci::{digest::Algorithm, name::RepositoryName},
    registry::uploads::{Hint, TokenHash},
};

/// The version that this code signs and the only one it reads.
const VERSION: u32 = 1;

/// Length of the signature, in bytes.
const MAC_LEN: usize = 32;

/// Longest `_state` that is looked at, in characters: far above what we ever sign.
const LEN_MAX: usize = 2048;

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Claims<'a> {
    version: u32,
    #[serde(borrow)]
    repository: std::borrow::Cow<'a, str>,
    id: Uuid,
    offset: u64,
    /// When the upload was started: Unix time, seconds.
    started: i64,
    algorithm: std::borrow::Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token: Option<std::borrow::Cow<'a, str>>,
}

/// Signs a hint for this repository.
///
/// # Panics
/// Never: claims are made of strings and numbers.
#[must_use]
pub fn seal(secret: &[u8], repository: &RepositoryName, hint: &Hint) -> String {
    let claims = Claims {
        version: VERSION,
        repository: repository.as_str().into(),
        id: hint.id,
        offset: hint.offset,
        started: hint.started,
        algorithm: hint.algorithm.as_str().into(),
        token: hint.token.map(|token| BASE64URL.encode(token).into()),
    };
    let claims = serde_json::to_vec(&claims).expect("claims are made of strings and numbers");
    let mut sealed = mac(secret, &claims).finalize().into_bytes().to_vec();
    sealed.extend_from_slice(&claims);
    BASE64URL.encode(sealed)
}

/// The hint, if we signed it for this repository.
#[must_use]
pub fn open(secret: &[u8], repository: &RepositoryName, state: &str) -> Option<Hint> {
    if state.len() > LEN_MAX {
        return None;
    }
    let sealed = BASE64URL.decode(state).ok()?;
    let (signature, claims) = sealed.split_at_checked(MAC_LEN)?;
    mac(secret, claims).verify_slice(signature).ok()?;
    let claims: Claims<'_> = serde_json::from_slice(claims).ok()?;
    if claims.version != VERSION || claims.repository != repository.as_str() {
        return None;
    }
    let token = match claims.token {
        Some(token) => Some(TokenHash::try_from(BASE64URL.decode(&*token).ok()?).ok()?),
        None => None,
    };
    let algorithm: Algorithm = claims.algorithm.parse().ok()?;
    Some(Hint { id: claims.id, offset: claims.offset, started: claims.started, algorithm, token })
}

fn mac(secret: &[u8], claims: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes a key of any length");
    mac.update(claims);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint(token: Option<TokenHash>) -> Hint {
        Hint { id: Uuid::from_u128(7), offset: 1 << 40, started: 1_790_000_000, algorithm: Algorithm::Sha512, token }
    }

    #[test]
    fn sealed_and_opened_again() {
        let name: RepositoryName = "g/app".parse().unwrap();
        for token in [None, Some([9; 32])] {
            let state = seal(b"key", &name, &hint(token));
            assert_eq!(open(b"key", &name, &state), Some(hint(token)));
        }
    }

    #[test]
    fn of_another_key_or_repository_it_means_nothing() {
        let name: RepositoryName = "g/app".parse().unwrap();
        let state = seal(b"key", &name, &hint(None));
        assert_eq!(open(b"other", &name, &state), None);
        assert_eq!(open(b"key", &"g/other".parse().unwrap(), &state), None);
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let name: RepositoryName = "g/app".parse().unwrap();
        let state = seal(b"key", &name, &hint(Some([1; 32])));
        for at in 0..state.len() {
            let mut bytes = state.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(bytes).unwrap();
            assert_eq!(open(b"key", &name, &forged), None, "byte {at}");
            assert_eq!(open(b"key", &name, &state[..at]), None, "cut at {at}");
        }
        assert_eq!(open(b"key", &name, "%%%"), None);
    }
}
