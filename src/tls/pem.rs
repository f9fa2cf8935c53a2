//! Reads a certificate chain and its key from PEM, and says in a sentence what is wrong with them.

use std::{
    fs, io,
    io::Read as _,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    InconsistentKeys, SignatureAlgorithm,
    pki_types::CertificateDer,
    sign::{CertifiedKey, SigningKey},
};
use time::OffsetDateTime;

use crate::{
    secret::Secret,
    tls::{
        blocks::{Content, Part},
        judge::{self, Judgement, RSA_BITS_MIN, Warning},
        key::{self, Passwords},
        provider,
    },
};

/// Chains and keys are a few KiB; whatever is larger is another file.
const FILE_SIZE_MAX: u64 = 1 << 20;

/// A certificate chain with the key that belongs to it, and what was remarkable about them.
#[derive(Clone, Debug)]
pub struct Pair {
    certified: Arc<CertifiedKey>,
    names: Vec<String>,
    begins: OffsetDateTime,
    expires: OffsetDateTime,
    serial: String,
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

    /// When the certificate (not its chain) begins to be valid.
    pub const fn begins(&self) -> OffsetDateTime {
        self.begins
    }

    /// When the certificate (not its chain) ends.
    pub const fn expires(&self) -> OffsetDateTime {
        self.expires
    }

    /// As openssl prints it: hexadecimal, in capitals.
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// `rsa`, `ecdsa` or `ed25519`.
    pub fn key_type(&self) -> &'static str {
        match self.certified.key.algorithm() {
            SignatureAlgorithm::RSA => "rsa",
            SignatureAlgorithm::ECDSA => "ecdsa",
            SignatureAlgorithm::ED25519 => "ed25519",
            _ => "other",
        }
    }

    /// What an operator has to be told although the pair is served.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Whether both show the same chain.
    pub fn shows_what(&self, other: &Self) -> bool {
        self.certified.cert == other.certified.cert
    }

    /// Whether it was within its dates when it was read.
    pub(super) fn was_in_date(&self) -> bool {
        !self.warnings.iter().any(Warning::is_about_dates)
    }
}

/// Whether a pair with a [`Warning`] is still taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Strictness {
    Lenient,
    Strict,
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
    #[error("the certificate file holds no certificate: {found}")]
    NoCertificate { found: Content },
    #[error("the key file holds no private key in PKCS#8, PKCS#1 or SEC1 form: {found}")]
    NoKey { found: Content },
    #[error("the two are swapped: the certificate file holds a key, and the key file a certificate")]
    Swapped,
    #[error("the {part} file is not readable PEM: {source}")]
    Pem { part: Part, source: io::Error },
    #[error("certificate {place} of the file cannot be decoded: {reason}")]
    Certificate { place: usize, reason: String },
    #[error("an RSA key of {bits} bits is too weak, {RSA_BITS_MIN} are needed")]
    WeakRsa { bits: usize },
    #[error("a key on the curve {0} is taken by no client; P-256, P-384 and P-521 are")]
    Curve(String),
    #[error("the certificate is signed with SHA-1")]
    Sha1,
    #[error("the key does not belong to the certificate")]
    Mismatch,
    #[error("the key belongs to certificate {place} of the file; the server's own must come first")]
    NotFirst { place: usize },
    #[error("the key cannot be used: {0}")]
    Key(rustls::Error),
    #[error("the key is encrypted, and there is no edge.tls.password_file with its password")]
    NoPassword,
    #[error("none of the passwords in edge.tls.password_file opens the key")]
    WrongPassword,
    #[error("the key is encrypted, but what it says about that cannot be decoded: {0}")]
    Encryption(String),
    #[error(
        "the key is encrypted in OpenSSL's old form, which is not read; `openssl pkcs8 -topk8 -v2 aes-256-cbc` makes it \
         PKCS#8"
    )]
    LegacyEncryption,
    #[error(transparent)]
    Refused(Warning),
}

/// A certificate's file and its key's.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Files {
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// With the passwords of encrypted keys, one a line.
    pub passwords: Option<PathBuf>,
}

impl Files {
    /// Reads and judges them. The chain is kept in the order of its file: the certificate itself comes first.
    pub fn load(&self, strictness: Strictness, now: OffsetDateTime) -> Result<Pair, Error> {
        let chain_text = read(Part::Certificate, &self.certificate)?;
        let key_text = Secret::new(read(Part::Key, &self.key)?);
        let passwords = self.passwords.as_deref().map(|path| read(Part::Passwords, path)).transpose()?;
        let passwords = passwords.map(Passwords::new);
        let unusable =
            |problem| Error::Unusable { certificate: self.certificate.clone(), key: self.key.clone(), problem };
        let mut pair = judged(&chain_text, key_text.expose(), passwords.as_ref(), now).map_err(unusable)?;
        for (part, path) in [(Part::Key, Some(&self.key)), (Part::Passwords, self.passwords.as_ref())] {
            let Some(path) = path else { continue };
            let exposed = exposure(path).map_err(|source| Error::Unreadable { part, path: path.clone(), source })?;
            pair.warnings.extend(exposed);
        }
        match pair.warnings.first() {
            Some(warning) if strictness == Strictness::Strict => Err(unusable(Problem::Refused(warning.clone()))),
            _ => Ok(pair),
        }
    }

    /// Every file that [`Files::load`] reads.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        [Some(&self.certificate), Some(&self.key), self.passwords.as_ref()].into_iter().flatten().map(PathBuf::as_path)
    }
}

/// Reads and judges two files, whose key is not encrypted.
pub fn load(certificate: &Path, key: &Path, strictness: Strictness, now: OffsetDateTime) -> Result<Pair, Error> {
    Files { certificate: certificate.to_owned(), key: key.to_owned(), passwords: None }.load(strictness, now)
}

fn read(part: Part, path: &Path) -> Result<Vec<u8>, Error> {
    let unreadable = |source| Error::Unreadable { part, path: path.to_owned(), source };
    let invalid = |reason: &str| unreadable(io::Error::new(io::ErrorKind::InvalidData, reason));
    // Opening a pipe would wait for whoever writes into it.
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(invalid("not a file"));
    }
    let mut text = Vec::new();
    fs::File::open(path).and_then(|file| file.take(FILE_SIZE_MAX + 1).read_to_end(&mut text)).map_err(unreadable)?;
    if text.len() as u64 > FILE_SIZE_MAX { Err(invalid("larger than 1 MiB")) } else { Ok(text) }
}

/// What is to be said of a secret's file that others than its owner can read.
pub fn exposure(key: &Path) -> io::Result<Option<Warning>> {
    let mode = fs::metadata(key)?.permissions().mode() & 0o7777;
    Ok((mode & 0o077 != 0).then(|| Warning::ReadableKey { path: key.to_owned(), mode }))
}

/// Judges a chain and a key that are in memory already.
pub fn parse(chain_text: &[u8], key_text: &[u8], now: OffsetDateTime) -> Result<Pair, Problem> {
    judged(chain_text, key_text, None, now)
}

fn judged(
    chain_text: &[u8],
    key_text: &[u8],
    passwords: Option<&Passwords>,
    now: OffsetDateTime,
) -> Result<Pair, Problem> {
    let chain = chain(chain_text)?;
    if chain.is_empty() {
        return Err(no_certificate(chain_text, key_text));
    }
    let key = key::read(key_text, passwords)?;
    let Judgement { names, begins, expires, serial, warnings } = judge::judge(chain.iter().map(AsRef::as_ref), now)?;
    let key = provider().key_provider.load_private_key(key).map_err(Problem::Key)?;
    let certified = Arc::new(matched(chain, key)?);
    Ok(Pair { certified, names, begins, expires, serial, warnings })
}

fn chain(mut text: &[u8]) -> Result<Vec<CertificateDer<'static>>, Problem> {
    rustls_pemfile::certs(&mut text)
        .collect::<Result<_, _>>()
        .map_err(|source| Problem::Pem { part: Part::Certificate, source })
}

fn no_certificate(chain_text: &[u8], key_text: &[u8]) -> Problem {
    let (found, beside) = (Content::of(chain_text), Content::of(key_text));
    if found.holds(Part::Key) && beside.holds(Part::Certificate) && !beside.holds(Part::Key) {
        return Problem::Swapped;
    }
    Problem::NoCertificate { found }
}

fn matched(chain: Vec<CertificateDer<'static>>, key: Arc<dyn SigningKey>) -> Result<CertifiedKey, Problem> {
    let belongs = |certificate: &CertificateDer<'static>| {
        CertifiedKey::new(vec![certificate.clone()], Arc::clone(&key)).keys_match()
    };
    match belongs(&chain[0]) {
        // A key that does not tell its public half is believed.
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(CertifiedKey::new(chain, key)),
        Err(rustls::Error::InconsistentKeys(_)) => {
            match chain.iter().position(|certificate| belongs(certificate).is_ok()) {
                Some(index) => Err(Problem::NotFirst { place: index + 1 }),
                None => Err(Problem::Mismatch),
            }
        }
        Err(other) => Err(Problem::Key(other)),
    }
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
        let mut params = named();
        params.serial_number = Some(vec![0x0a, 0xbc].into());
        let (certificate, key) = made(&params);
        let pair = parse(certificate.as_bytes(), key.serialize_pem().as_bytes(), OffsetDateTime::now_utc()).unwrap();
        assert_eq!(pair.names(), ["a.test", "127.0.0.1", "::1"]);
        assert_eq!((pair.serial(), pair.key_type(), pair.warnings()), ("0ABC", "ecdsa", &[][..]));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let (certificate, key) = made(&named());
        let key = key.serialize_pem();
        let check = |certificate: &str, key: &str, expected: &str| {
            let problem = parse(certificate.as_bytes(), key.as_bytes(), OffsetDateTime::now_utc()).unwrap_err();
            assert!(problem.to_string().contains(expected), "{problem}");
        };
        check("", &key, "holds no certificate: it is empty");
        check("0\u{1}junk", &key, "holds no certificate: it is no PEM");
        check(&key, &key, "holds no certificate: it holds PRIVATE KEY");
        check(&key, &certificate, "the two are swapped");
        check(&certificate, "", "holds no private key in PKCS#8, PKCS#1 or SEC1 form: it is empty");
        check(&certificate, &certificate, "it holds CERTIFICATE");
        check(&certificate, &KeyPair::generate().unwrap().serialize_pem(), "does not belong");
        check(&certificate[..certificate.len() / 2], &key, "certificate file");
        check("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", &key, "cannot be decoded");
        check(include_str!("testdata/rsa1024.pem"), &key, "1024 bits is too weak");
        check(include_str!("testdata/p224.pem"), &key, "curve P-224 is taken by no client");
        check(include_str!("testdata/sha1.pem"), &key, "signed with SHA-1");
        let binary = parse(b"\x30\x82\x01\x02", key.as_bytes(), OffsetDateTime::now_utc()).unwrap_err().to_string();
        assert!(binary.contains("it is binary (DER or PKCS#12)"), "{binary}");
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
            fs::write(&certificate_path, certificate).unwrap();
            fs::write(&key_path, key.serialize_pem()).unwrap();
            fs::set_permissions(&key_path, fs::Permissions::from_mode(mode)).unwrap();
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
        let refused = |key: &Path, expected: &str| {
            let error = load(&certificate_path, key, Strictness::Lenient, now).unwrap_err().to_string();
            assert!(error.starts_with("key ") && error.contains(expected), "{error}");
        };
        refused(&directory.path().join("none"), "none: ");
        refused(directory.path(), ": not a file");
        refused(Path::new("/dev/zero"), ": not a file");
        let large = directory.path().join("large");
        fs::write(&large, vec![b'-'; (1 << 20) + 1]).unwrap();
        refused(&large, "larger than 1 MiB");
    }
}
