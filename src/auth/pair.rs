//! The pair that tokens are signed and checked with: whoever issues them has the key, a registry its certificate.
//! Here a pair is made as GitLab makes one, and two files are compared.

use std::fmt;

use rcgen::{
    CertificateParams, DistinguishedName, DnType, IsCa, KeyPair, KeyUsagePurpose, PKCS_RSA_SHA256, RsaKeySize,
};
use rustls::{
    crypto::aws_lc_rs::sign::any_supported_type,
    pki_types::{
        PrivateKeyDer,
        pem::{self, PemObject as _, SectionKind},
    },
};
use sha2::{Digest as _, Sha256};
use time::{Duration, OffsetDateTime};
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

use crate::{
    auth::keys::{PublicKey, UnsuitableKey},
    secret::Secret,
};

/// Clocks of others may be behind ours.
const BACKDATED: Duration = Duration::hours(1);

/// Most certificates and keys of a bundle that are looked at.
const ENTRIES_MAX: usize = 1000;

/// A pair that was made.
#[derive(Debug)]
pub struct Pair {
    /// PEM.
    pub certificate: String,
    /// PEM, PKCS#8.
    pub key: Secret<String>,
    pub names: Names,
}

/// What a key is, and by which ids the header of a token (`kid`) may name it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Names {
    /// `RSA of 4096 bits`.
    pub kind: String,
    /// As libtrust, CNCF Distribution and GitLab name keys.
    pub libtrust: String,
    /// RFC 7638.
    pub thumbprint: String,
}

/// What a bundle and a key come to together.
#[derive(Debug)]
pub struct Comparison {
    pub key: Names,
    /// At least one.
    pub entries: Vec<Entry>,
}

/// A certificate or a public key of a bundle.
#[derive(Debug)]
pub struct Entry {
    pub names: Names,
    /// `None` for a bare public key.
    pub certificate: Option<Certificate>,
}

#[derive(Debug)]
pub struct Certificate {
    pub subject: String,
    /// SHA-256 of the whole, in hexadecimal.
    pub fingerprint: String,
    pub expires: OffsetDateTime,
}

/// Why there is no pair, or nothing to compare.
#[derive(Debug, thiserror::Error)]
pub enum InvalidPair {
    #[error("keys are made with 2048, 3072 or 4096 bits, not with {0}")]
    Bits(u32),
    #[error("a certificate of {0} days ends beyond all calendars")]
    Days(u32),
    #[error("cannot make the pair: {0}")]
    Made(#[from] rcgen::Error),
    #[error("the bundle is not PEM: {0}")]
    Pem(pem::Error),
    #[error("the bundle holds neither a certificate nor a public key")]
    Empty,
    #[error("the bundle has more than {ENTRIES_MAX} certificates and keys")]
    Long,
    /// Entries count from 1.
    #[error("entry {number} of the bundle is damaged: {reason}")]
    Damaged { number: usize, reason: String },
    #[error("the key of entry {number} of the bundle cannot be trusted: {source}")]
    Unsuitable { number: usize, source: UnsuitableKey },
    #[error("there is no private key in the key's file that can be read (one with a password cannot)")]
    NoKey,
    #[error("the private key cannot be used: {0}")]
    Key(String),
}

/// Makes an RSA key and a certificate for it that it signs itself, for so many days from now.
///
/// # Errors
/// A size that is not made, or a life that cannot be written.
pub fn make(bits: u32, days: u32, name: &str, now: OffsetDateTime) -> Result<Pair, InvalidPair> {
    let size = match bits {
        2048 => RsaKeySize::_2048,
        3072 => RsaKeySize::_3072,
        4096 => RsaKeySize::_4096,
        _ => return Err(InvalidPair::Bits(bits)),
    };
    let expires = now.checked_add(Duration::days(days.into())).filter(|expires| expires.year() <= 9999);
    let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, size)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::NoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.not_before = now - BACKDATED;
    params.not_after = expires.ok_or(InvalidPair::Days(days))?;
    let certificate = params.self_signed(&key)?.pem();
    let private = Secret::new(key.serialize_pem());
    let names = private_names(private.expose().as_bytes())?;
    Ok(Pair { certificate, key: private, names })
}

/// Compares a bundle of certificates and public keys with a private key; both are PEM, with ends of lines or, as
/// `gitlab.rb` and JSON hold them, with `\n`.
///
/// # Errors
/// What keeps either from being read. That they do not belong together is none.
pub fn compare(bundle: &[u8], key: &[u8]) -> Result<Comparison, InvalidPair> {
    let key = Secret::new(unescaped(key));
    let entries = entries(&unescaped(bundle))?;
    Ok(Comparison { key: private_names(key.expose())?, entries })
}

impl Comparison {
    /// The entries, counted from 1, whose key this is.
    pub fn matching(&self) -> impl Iterator<Item = usize> {
        let same = |(at, entry): (usize, &Entry)| (entry.names == self.key).then_some(at + 1);
        self.entries.iter().enumerate().filter_map(same)
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, kid {} or {}", self.kind, self.libtrust, self.thumbprint)
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.certificate {
            None => write!(f, "public key: {}", self.names),
            Some(Certificate { subject, fingerprint, expires }) => {
                let (names, day) = (&self.names, expires.date());
                write!(f, "certificate {subject:?} until {day}, SHA-256 {fingerprint}: {names}")
            }
        }
    }
}

/// With ends of lines where `\n` and `\r` are written, and without quotes around.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let text = text.trim_ascii();
    let quoted = |quote: u8| text.strip_prefix(&[quote]).and_then(|rest| rest.strip_suffix(&[quote]));
    let mut rest = quoted(b'"').or_else(|| quoted(b'\'')).unwrap_or(text);
    let mut plain = Vec::with_capacity(rest.len() + 1);
    while let Some((first, behind)) = rest.split_first() {
        let (byte, behind) = match (first, behind.first()) {
            (b'\\', Some(b'n')) => (b'\n', &behind[1..]),
            (b'\\', Some(b'r')) => (b'\r', &behind[1..]),
            _ => (*first, behind),
        };
        plain.push(byte);
        rest = behind;
    }
    plain.push(b'\n');
    plain
}

fn entries(bundle: &[u8]) -> Result<Vec<Entry>, InvalidPair> {
    let mut entries = Vec::new();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(bundle) {
        let (kind, der) = section.map_err(InvalidPair::Pem)?;
        let number = entries.len() + 1;
        if number > ENTRIES_MAX {
            return Err(InvalidPair::Long);
        }
        match kind {
            SectionKind::Certificate => entries.push(certificate(number, &der)?),
            SectionKind::PublicKey => entries.push(Entry { names: public_names(number, &der)?, certificate: None }),
            _ => {}
        }
    }
    if entries.is_empty() { Err(InvalidPair::Empty) } else { Ok(entries) }
}

fn certificate(number: usize, der: &[u8]) -> Result<Entry, InvalidPair> {
    let (_, parsed) =
        X509Certificate::from_der(der).map_err(|error| InvalidPair::Damaged { number, reason: error.to_string() })?;
    let bytes: Vec<_> = Sha256::digest(der).iter().map(|byte| format!("{byte:02x}")).collect();
    let certificate = Certificate {
        subject: parsed.subject().to_string(),
        fingerprint: bytes.concat(),
        expires: parsed.validity().not_after.to_datetime(),
    };
    Ok(Entry { names: public_names(number, parsed.public_key().raw)?, certificate: Some(certificate) })
}

fn public_names(number: usize, spki: &[u8]) -> Result<Names, InvalidPair> {
    let key = PublicKey::from_spki(spki).map_err(|source| InvalidPair::Unsuitable { number, source })?;
    Ok(names(&key))
}

fn private_names(pem: &[u8]) -> Result<Names, InvalidPair> {
    let key = PrivateKeyDer::from_pem_slice(pem).map_err(|_| InvalidPair::NoKey)?;
    let signing = any_supported_type(&key).map_err(|error| InvalidPair::Key(error.to_string()))?;
    let spki = signing.public_key().ok_or(InvalidPair::NoKey)?;
    let key = PublicKey::from_spki(&spki).map_err(|error| InvalidPair::Key(error.to_string()))?;
    Ok(names(&key))
}

fn names(key: &PublicKey) -> Names {
    let (libtrust, thumbprint) = key.computed_ids();
    Names { kind: key.described(), libtrust, thumbprint }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap()
    }

    #[test]
    fn a_pair_belongs_together_and_to_no_other() {
        let one = make(2048, 3650, "Registry", now()).unwrap();
        let other = make(2048, 1, "Registry", now()).unwrap();
        assert_eq!(one.names.kind, "RSA of 2048 bits");
        assert_eq!((one.names.libtrust.len(), one.names.thumbprint.len()), (59, 43));
        let (one_key, other_key) = (one.key.expose().as_bytes(), other.key.expose().as_bytes());
        let found = compare(one.certificate.as_bytes(), one_key).unwrap();
        assert_eq!(found.matching().collect::<Vec<_>>(), [1]);
        let certificate = found.entries[0].certificate.as_ref().unwrap();
        assert_eq!((certificate.subject.as_str(), certificate.expires), ("CN=Registry", now() + Duration::days(3650)));
        assert_eq!(compare(one.certificate.as_bytes(), other_key).unwrap().matching().count(), 0);
        let bundle = format!("{}{}", other.certificate, one.certificate);
        assert_eq!(compare(bundle.as_bytes(), one_key).unwrap().matching().collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn a_pair_may_stand_in_one_line() {
        let pair = make(2048, 1, "Registry", now()).unwrap();
        let line = |text: &str| format!("  \"{}\"\n", text.replace('\n', "\\n"));
        let found = compare(line(&pair.certificate).as_bytes(), line(pair.key.expose()).as_bytes()).unwrap();
        assert_eq!(found.matching().count(), 1);
    }

    #[test]
    fn what_cannot_be_made_or_read_is_said() {
        assert!(matches!(make(1024, 1, "a", now()), Err(InvalidPair::Bits(1024))));
        assert!(matches!(make(2048, u32::MAX, "a", now()), Err(InvalidPair::Days(_))));
        let pair = make(2048, 1, "a", now()).unwrap();
        let (certificate, key) = (pair.certificate.as_bytes(), pair.key.expose().as_bytes());
        let check = |bundle: &[u8], key: &[u8], expected: &str| {
            let problem = compare(bundle, key).unwrap_err().to_string();
            assert!(problem.contains(expected), "{problem}");
        };
        check(b"", key, "neither a certificate nor a public key");
        check(key, key, "neither a certificate nor a public key");
        check(certificate, certificate, "no private key");
        check(certificate, b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "cannot be used");
        check(&certificate[..certificate.len() / 2], key, "not PEM");
        check(
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            key,
            "entry 1 of the bundle is damaged",
        );
        check(&certificate.repeat(ENTRIES_MAX + 1), key, "more than 1000");
    }
}
