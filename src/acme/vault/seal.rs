//! The envelope of a record: plain where the file system keeps others out, encrypted where it does not.
//!
//! A record is sealed with AES-256-GCM under a key of its own, made by HKDF-SHA256 from the operator's secret and a
//! random salt; where it lies is authenticated with it, so that no record can stand in for another. In a place that
//! should be encrypted a plain one is refused: whoever can write there could otherwise choose what we serve.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    hkdf::{HKDF_SHA256, Salt},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{acme::vault::Error, secret::Secret, store::key::Key};

/// The form of the envelope.
const VERSION: u32 = 1;

/// What the keys are made for.
const PURPOSE: &[u8] = b"pierhead acme record, version 1";

const SALT_LEN: usize = 32;
const NONCE_LEN: usize = 12;

/// Who else can read the place.
#[derive(Clone, Debug)]
pub enum Sealing {
    /// Nobody: a directory with the permissions for that.
    Plain,
    /// Others; this secret keeps them out.
    Encrypted(Secret<Vec<u8>>),
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Envelope<'a> {
    version: u32,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    plain: Option<&'a RawValue>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sealed: Option<Sealed>,
}

/// Each in base64.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    salt: String,
    nonce: String,
    text: String,
}

impl Sealing {
    pub(super) fn seal<T: Serialize>(&self, key: &Key, record: &T) -> Result<Vec<u8>, Error> {
        let text = Secret::new(serde_json::to_vec(record).expect("records have keys of text alone"));
        let raw;
        let envelope = match self {
            Self::Plain => {
                raw = serde_json::from_slice::<&RawValue>(text.expose()).expect("what was just encoded");
                Envelope { version: VERSION, plain: Some(raw), sealed: None }
            }
            Self::Encrypted(secret) => {
                let sealed = encrypt(secret, key, text.expose()).ok_or_else(|| Error::Sealed(key.clone()))?;
                Envelope { version: VERSION, plain: None, sealed: Some(sealed) }
            }
        };
        Ok(serde_json::to_vec(&envelope).expect("as above"))
    }

    /// The record's JSON.
    pub(super) fn open(&self, key: &Key, envelope: &[u8]) -> Result<Secret<Vec<u8>>, Error> {
        let unreadable = || Error::Unreadable(key.clone());
        let envelope: Envelope<'_> = serde_json::from_slice(envelope).map_err(|_| unreadable())?;
        if envelope.version != VERSION {
            return Err(unreadable());
        }
        match (self, envelope.plain, envelope.sealed) {
            (Self::Plain, Some(plain), None) => Ok(Secret::new(plain.get().as_bytes().to_vec())),
            (Self::Encrypted(secret), None, Some(sealed)) => {
                decrypt(secret, key, &sealed).ok_or_else(|| Error::Sealed(key.clone()))
            }
            (Self::Encrypted(_), Some(_), None) => Err(Error::Open(key.clone())),
            (Self::Plain, None, Some(_)) => Err(Error::Sealed(key.clone())),
            _ => Err(unreadable()),
        }
    }
}

fn encrypt(secret: &Secret<Vec<u8>>, key: &Key, text: &[u8]) -> Option<Sealed> {
    let (mut salt, mut nonce) = ([0; SALT_LEN], [0; NONCE_LEN]);
    getrandom::fill(&mut salt).ok()?;
    getrandom::fill(&mut nonce).ok()?;
    let mut text = text.to_vec();
    let cipher = cipher(secret, &salt)?;
    cipher.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(key.as_str()), &mut text).ok()?;
    let [salt, nonce, text] = [&salt[..], &nonce[..], &text[..]].map(|bytes| BASE64_STANDARD.encode(bytes));
    Some(Sealed { salt, nonce, text })
}

fn decrypt(secret: &Secret<Vec<u8>>, key: &Key, sealed: &Sealed) -> Option<Secret<Vec<u8>>> {
    let bytes = |text: &str| BASE64_STANDARD.decode(text).ok();
    let nonce = Nonce::try_assume_unique_for_key(&bytes(&sealed.nonce)?).ok()?;
    let mut text = Secret::new(bytes(&sealed.text)?);
    let cipher = cipher(secret, &bytes(&sealed.salt)?)?;
    let mut opened = text.expose().clone();
    let length = cipher.open_in_place(nonce, Aad::from(key.as_str()), &mut opened).ok()?.len();
    opened.truncate(length);
    text = Secret::new(opened);
    Some(text)
}

fn cipher(secret: &Secret<Vec<u8>>, salt: &[u8]) -> Option<LessSafeKey> {
    let extracted = Salt::new(HKDF_SHA256, salt).extract(secret.expose());
    let expanded = extracted.expand(&[PURPOSE], &AES_256_GCM).ok()?;
    Some(LessSafeKey::new(UnboundKey::from(expanded)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        name.parse().unwrap()
    }

    fn with(secret: &str) -> Sealing {
        Sealing::Encrypted(Secret::new(secret.as_bytes().to_vec()))
    }

    #[test]
    fn what_was_sealed_is_opened_in_its_place_with_its_secret() {
        let record = serde_json::json!({"key": "canary"});
        let sealed = with("one").seal(&key("a/1"), &record).unwrap();
        assert!(!String::from_utf8(sealed.clone()).unwrap().contains("canary"));
        let opened = with("one").open(&key("a/1"), &sealed).unwrap();
        assert_eq!(serde_json::from_slice::<serde_json::Value>(opened.expose()).unwrap(), record);
        assert!(matches!(with("two").open(&key("a/1"), &sealed), Err(Error::Sealed(_))));
        assert!(matches!(with("one").open(&key("a/2"), &sealed), Err(Error::Sealed(_))));
        assert!(matches!(Sealing::Plain.open(&key("a/1"), &sealed), Err(Error::Sealed(_))));
        // The same record is never the same text.
        assert_ne!(with("one").seal(&key("a/1"), &record).unwrap(), sealed);
    }

    #[test]
    fn a_changed_envelope_is_refused() {
        let sealed = with("one").seal(&key("a"), &"canary").unwrap();
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(with("one").open(&key("a"), &changed).is_err(), "byte {at}");
        }
        for end in 0..sealed.len() {
            assert!(with("one").open(&key("a"), &sealed[..end]).is_err(), "{end} bytes");
        }
    }

    #[test]
    fn a_plain_record_is_no_record_where_all_are_encrypted() {
        let plain = Sealing::Plain.seal(&key("a"), &"text").unwrap();
        assert_eq!(Sealing::Plain.open(&key("a"), &plain).unwrap().expose(), b"\"text\"");
        assert!(matches!(with("one").open(&key("a"), &plain), Err(Error::Open(_))));
    }

    #[test]
    fn newer_envelopes_are_not_guessed_at() {
        let newer = br#"{"version": 2, "plain": "text"}"#;
        assert!(matches!(Sealing::Plain.open(&key("a"), newer), Err(Error::Unreadable(_))));
    }
}
