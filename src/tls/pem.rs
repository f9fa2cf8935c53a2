//! Reads a certificate chain and its key from PEM, and says in a sentence what is wrong with them.

use std::{
    fmt, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    pki_types::{CertificateDer, PrivateKeyDer},
    sign::CertifiedKey,
};
use time::OffsetDateTime;
use x509_parser::{
    certificate::X509Certificate, extensions::GeneralName, prelude::FromDer, public_key::PublicKey, x509,
};

use crate::{secret::Secret, tls::provider};

/// A usable RSA key has at least this many bits (NIST SP 800-57, and what browsers demand).
const RSA_BITS_MIN: usize = 2048;

/// Object identifiers of the signatures with SHA-1: sha1WithRSAEncryption and ecdsa-with-SHA1.
const SHA1_SIGNATURES: [&str; 2] = ["1.2.840.113549.1.1.5", "1.2.840.10045.4.1"];

/// A certificate chain with the key that belongs to it, and what was remarkable about them.
#[derive(Clone, Debug)]
pub struct Pair {
    certified: Arc<CertifiedKey>,
    names: Vec<String>,
    expires: OffsetDateTime,
    warnings: Vec<Warning>,
}

impl Pair {
    pub(super) fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified)
    }

    /// The DNS names and addresses that the certificate is for; a wildcard as `*.example.com`.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// When the certificate (not its chain) ends.
    pub const fn expires(&self) -> OffsetDateTime {
        self.expires
    }

    /// What an operator has to be told although the pair is served.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }
}

/// Whether a pair with a [`Warning`] is still taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Strictness {
    Lenient,
    Strict,
}

/// What is wrong and yet better served than nothing.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Warning {
    #[error("the certificate expired at {0}")]
    Expired(OffsetDateTime),
    #[error("the certificate is not valid before {0}")]
    NotYetValid(OffsetDateTime),
    #[error("the key {path} can be read by others than its owner (mode {mode:04o})", path = path.display())]
    ReadableKey { path: PathBuf, mode: u32 },
}

/// What a file has to hold.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Part {
    Certificate,
    Key,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Certificate => "certificate",
            Self::Key => "key",
        })
    }
}

/// A pair that is refused, with the files that it came from.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{part} {path}: {source}", path = path.display())]
    Unreadable { part: Part, path: PathBuf, source: io::Error },
    #[error("certificate {certificate} with key {key}: {problem}", certificate = certificate.display(), key = key.display())]
    Unusable { certificate: PathBuf, key: PathBuf, problem: Problem },
}

/// Why a pair cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    #[error("the certificate file holds no certificate")]
    NoCertificate,
    #[error("the key file holds no private key in PKCS#8, PKCS#1 or SEC1 form")]
    NoKey,
    #[error("the {part} file is not readable PEM: {source}")]
    Pem { part: Part, source: io::Error },
    #[error("the certificate cannot be decoded: {0}")]
    Certificate(String),
    #[error("an RSA key of {bits} bits is too weak, {RSA_BITS_MIN} are needed")]
    WeakRsa { bits: usize },
    #[error("the certificate is signed with SHA-1")]
    Sha1,
    #[error("the key does not belong to the certificate")]
    Mismatch,
    #[error("the key cannot be used: {0}")]
    Key(rustls::Error),
    #[error(transparent)]
    Refused(Warning),
}

/// Reads and judges two files. The chain is kept in the order of its file: the certificate itself comes first.
pub fn load(certificate: &Path, key: &Path, strictness: Strictness, now: OffsetDateTime) -> Result<Pair, Error> {
    let read = |part, path: &Path| {
        std::fs::read(path).map_err(|source| Error::Unreadable { part, path: path.to_owned(), source })
    };
    let chain_text = read(Part::Certificate, certificate)?;
    let key_text = Secret::new(read(Part::Key, key)?);
    let unusable = |problem| Error::Unusable { certificate: certificate.to_owned(), key: key.to_owned(), problem };
    let mut pair = parse(&chain_text, key_text.expose(), now).map_err(unusable)?;
    let exposed =
        exposure(key).map_err(|source| Error::Unreadable { part: Part::Key, path: key.to_owned(), source })?;
    pair.warnings.extend(exposed);
    match pair.warnings.first() {
        Some(warning) if strictness == Strictness::Strict => Err(unusable(Problem::Refused(warning.clone()))),
        _ => Ok(pair),
    }
}

/// What is to be said of a key's file that others than its owner can read.
pub fn exposure(key: &Path) -> io::Result<Option<Warning>> {
    let mode = std::fs::metadata(key)?.permissions().mode() & 0o7777;
    Ok((mode & 0o077 != 0).then(|| Warning::ReadableKey { path: key.to_owned(), mode }))
}

/// Judges a chain and a key that are in memory already.
pub fn parse(chain_text: &[u8], key_text: &[u8], now: OffsetDateTime) -> Result<Pair, Problem> {
    let chain = chain(chain_text)?;
    let key = private_key(key_text)?;
    let first = chain.first().ok_or(Problem::NoCertificate)?;
    let (_, certificate) = X509Certificate::from_der(first).map_err(|error| Problem::Certificate(error.to_string()))?;
    refuse_weak(&certificate)?;
    let names = names(&certificate);
    let (expires, warnings) = validity(&certificate, now);
    let certified = CertifiedKey::from_der(chain, key, &provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => Problem::Mismatch,
        other => Problem::Key(other),
    })?;
    Ok(Pair { certified: Arc::new(certified), names, expires, warnings })
}

fn chain(mut text: &[u8]) -> Result<Vec<CertificateDer<'static>>, Problem> {
    rustls_pemfile::certs(&mut text)
        .collect::<Result<_, _>>()
        .map_err(|source| Problem::Pem { part: Part::Certificate, source })
}

fn private_key(mut text: &[u8]) -> Result<PrivateKeyDer<'static>, Problem> {
    rustls_pemfile::private_key(&mut text)
        .map_err(|source| Problem::Pem { part: Part::Key, source })?
        .ok_or(Problem::NoKey)
}

fn refuse_weak(certificate: &X509Certificate<'_>) -> Result<(), Problem> {
    if let Ok(PublicKey::RSA(key)) = certificate.public_key().parsed()
        && key.key_size() < RSA_BITS_MIN
    {
        return Err(Problem::WeakRsa { bits: key.key_size() });
    }
    let signature: &x509::AlgorithmIdentifier<'_> = &certificate.signature_algorithm;
    if SHA1_SIGNATURES.contains(&signature.algorithm.to_id_string().as_str()) {
        return Err(Problem::Sha1);
    }
    Ok(())
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(alternatives)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    alternatives
        .value
        .general_names
        .iter()
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            GeneralName::IPAddress(bytes) => address(bytes),
            _ => None,
        })
        .collect()
}

fn address(bytes: &[u8]) -> Option<String> {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        return Some(std::net::Ipv4Addr::from(octets).to_string());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|octets| std::net::Ipv6Addr::from(octets).to_string())
}

fn validity(certificate: &X509Certificate<'_>, now: OffsetDateTime) -> (OffsetDateTime, Vec<Warning>) {
    let (begins, expires) =
        (certificate.validity().not_before.to_datetime(), certificate.validity().not_after.to_datetime());
    let warning = if expires < now {
        Some(Warning::Expired(expires))
    } else if now < begins {
        Some(Warning::NotYetValid(begins))
    } else {
        None
    };
    (expires, warning.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};
    use time::Duration;

    use super::*;

    fn made(params: &CertificateParams) -> (String, KeyPair) {
        let key = KeyPair::generate().unwrap();
        (params.self_signed(&key).unwrap().pem(), key)
    }

    fn named() -> CertificateParams {
        CertificateParams::new(vec!["a.test".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()]).unwrap()
    }

    #[test]
    fn a_pair_knows_its_names() {
        let (certificate, key) = made(&named());
        let pair = parse(certificate.as_bytes(), key.serialize_pem().as_bytes(), OffsetDateTime::now_utc()).unwrap();
        assert_eq!(pair.names(), ["a.test", "127.0.0.1", "::1"]);
        assert_eq!(pair.warnings(), []);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let (certificate, key) = made(&named());
        let key = key.serialize_pem();
        let check = |certificate: &str, key: &str, expected: &str| {
            let problem = parse(certificate.as_bytes(), key.as_bytes(), OffsetDateTime::now_utc()).unwrap_err();
            assert!(problem.to_string().contains(expected), "{problem}");
        };
        check("", &key, "holds no certificate");
        check(&key, &key, "holds no certificate");
        check(&certificate, "", "holds no private key");
        check(&certificate, &certificate, "holds no private key");
        check(&certificate, &KeyPair::generate().unwrap().serialize_pem(), "does not belong");
        check(&certificate[..certificate.len() / 2], &key, "certificate file");
        check("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", &key, "cannot be decoded");
        check(WEAK_RSA, &key, "1024 bits is too weak");
    }

    #[test]
    fn dates_warn_and_are_refused_when_strict() {
        let now = OffsetDateTime::now_utc();
        let directory = tempfile::tempdir().unwrap();
        let (certificate_path, key_path) = (directory.path().join("c.pem"), directory.path().join("k.pem"));
        let check = |begins: i64, ends: i64, mode: u32, expected: Option<&str>| {
            let mut params = named();
            params.not_before = now + Duration::days(begins);
            params.not_after = now + Duration::days(ends);
            let (certificate, key) = made(&params);
            std::fs::write(&certificate_path, certificate).unwrap();
            std::fs::write(&key_path, key.serialize_pem()).unwrap();
            std::fs::set_permissions(&key_path, std::fs::Permissions::from_mode(mode)).unwrap();
            let lenient = load(&certificate_path, &key_path, Strictness::Lenient, now).unwrap();
            let strict = load(&certificate_path, &key_path, Strictness::Strict, now);
            match expected {
                None => assert!(lenient.warnings().is_empty() && strict.is_ok()),
                Some(text) => {
                    assert!(lenient.warnings()[0].to_string().contains(text), "{:?}", lenient.warnings());
                    let refused = strict.unwrap_err().to_string();
                    assert!(refused.contains(text) && refused.contains("c.pem"), "{refused}");
                }
            }
        };
        check(-1, 1, 0o600, None);
        check(-2, -1, 0o600, Some("expired at"));
        check(1, 2, 0o600, Some("not valid before"));
        check(-1, 1, 0o640, Some("(mode 0640)"));
        check(-1, 1, 0o604, Some("can be read by others"));
        let missing = load(&certificate_path, &directory.path().join("none"), Strictness::Lenient, now).unwrap_err();
        assert!(missing.to_string().starts_with("key ") && missing.to_string().contains("none: "), "{missing}");
    }

    /// Self-signed, with an RSA key of 1024 bits.
    const WEAK_RSA: &str = "-----BEGIN CERTIFICATE-----\n\
        MIICBDCCAW2gAwIBAgIUDcuBVEzuL6Erd5+upw2erN1aj0kwDQYJKoZIhvcNAQEL\n\
        BQAwFDESMBAGA1UEAwwJd2Vhay50ZXN0MB4XDTI2MTEyNDAyNDEzMloXDTM2MTEy\n\
        MTAyNDEzMlowFDESMBAGA1UEAwwJd2Vhay50ZXN0MIGfMA0GCSqGSIb3DQEBAQUA\n\
        A4GNADCBiQKBgQCbBeyxhdtdU0GGX5i9rpEsCRwMpL7MUGm36AJ2EeqPE9f4bL85\n\
        dMaKpdMlX6ZkgpvfxDFFLNufTUOMuvArcdNSeItyyhnHW1V3q1iFmez5Y56Lifa6\n\
        1+4akiqrgtMbhayrsTFE9/hFMSQMopGcg0Df6DmgPUMMuEuI5YQdQ/sQ1wIDAQAB\n\
        o1MwUTAdBgNVHQ4EFgQUabkIJ0YSoColvg+b4cHFpba4sBgwHwYDVR0jBBgwFoAU\n\
        abkIJ0YSoColvg+b4cHFpba4sBgwDwYDVR0TAQH/BAUwAwEB/zANBgkqhkiG9w0B\n\
        AQsFAAOBgQCLE4TpI6spk1gCap6IdJjbqrDAIvpfPzOfq12ngES7MjiVV2tDLADM\n\
        9q34/HZHFabhs93S4U5HHpsLU0Qgry9T+eC0UPdSrtwrRQTkjM5bzFnuOQJLshc5\n\
        NCwP7uS09tbydQDSRVUz+yWmebjYZ8OQFpVXCcLt19I9B3K538qiLg==\n\
        -----END CERTIFICATE-----\n";
}
