//! Private keys: PKCS#8, PKCS#1 and SEC1, and PKCS#8 that a password opens.

use pkcs8::EncryptedPrivateKeyInfoRef;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use x509_parser::pem::Pem;

use crate::{
    secret::Secret,
    tls::{
        blocks::{self, Content, Part},
        pem::Problem,
    },
};

const ENCRYPTED: &str = "ENCRYPTED PRIVATE KEY";

/// Passwords of keys, one a line, as nginx's `ssl_password_file` has them: each is tried in turn.
#[derive(Clone, Debug)]
pub(super) struct Passwords(Secret<Vec<u8>>);

impl Passwords {
    pub(super) const fn new(text: Vec<u8>) -> Self {
        Self(Secret::new(text))
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let lines = self.0.expose().split(|byte| *byte == b'\n');
        lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line)).filter(|line| !line.is_empty())
    }
}

/// The first key of a PEM text.
pub(super) fn read(text: &[u8], passwords: Option<&Passwords>) -> Result<PrivateKeyDer<'static>, Problem> {
    if blocks::has_legacy_encryption(text) {
        return Err(Problem::LegacyEncryption);
    }
    let found = rustls_pemfile::private_key(&mut &*text).map_err(|source| Problem::Pem { part: Part::Key, source })?;
    match found {
        Some(key) => Ok(key),
        None => match encrypted(text)? {
            Some(sealed) => open(&sealed, passwords),
            None => Err(Problem::NoKey { found: Content::of(text) }),
        },
    }
}

fn encrypted(text: &[u8]) -> Result<Option<Vec<u8>>, Problem> {
    let unreadable = |error: x509_parser::error::PEMError| Problem::Encryption(error.to_string());
    for block in Pem::iter_from_buffer(text) {
        let block = block.map_err(unreadable)?;
        if block.label == ENCRYPTED {
            return Ok(Some(block.contents));
        }
    }
    Ok(None)
}

fn open(sealed: &[u8], passwords: Option<&Passwords>) -> Result<PrivateKeyDer<'static>, Problem> {
    let sealed =
        EncryptedPrivateKeyInfoRef::try_from(sealed).map_err(|error| Problem::Encryption(error.to_string()))?;
    let passwords = passwords.ok_or(Problem::NoPassword)?;
    let key = passwords.iter().find_map(|password| sealed.decrypt(password).ok()).ok_or(Problem::WrongPassword)?;
    Ok(PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.as_bytes().to_vec())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A P-256 key under the password `open sesame` (PBES2: PBKDF2 with HMAC-SHA-256, AES-256-CBC), made for this test.
    const SEALED: &str = include_str!("testdata/sealed.pem");

    #[test]
    fn one_of_the_passwords_opens() {
        let check = |passwords: Option<&str>, expected: Result<(), &str>| {
            let passwords = passwords.map(|text| Passwords::new(text.as_bytes().to_vec()));
            let outcome = read(SEALED.as_bytes(), passwords.as_ref());
            assert_eq!(outcome.map(drop).map_err(|problem| problem.to_string()), expected.map_err(str::to_owned));
        };
        check(Some("wrong\r\n\r\nopen sesame\r\n"), Ok(()));
        check(Some("open sesame"), Ok(()));
        check(Some("open sesame \n"), Err("none of the passwords in edge.tls.password_file opens the key"));
        check(Some(""), Err("none of the passwords in edge.tls.password_file opens the key"));
        check(None, Err("the key is encrypted, and there is no edge.tls.password_file with its password"));
    }

    #[test]
    fn what_is_no_key_is_said() {
        let check = |text: &str, expected: &str| {
            let problem = read(text.as_bytes(), None).unwrap_err().to_string();
            assert!(problem.contains(expected), "{problem}");
        };
        check(
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n\
             -----END RSA PRIVATE KEY-----\n",
            "openssl pkcs8 -topk8",
        );
        check(
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
            "cannot be decoded",
        );
        check("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "it holds PUBLIC KEY");
    }
}
