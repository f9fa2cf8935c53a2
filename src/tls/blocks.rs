//! What a file holds that should hold PEM: enough to say in a sentence why it does not serve.

use std::fmt;

/// More blocks, and longer labels, than any file of certificates has.
const LABELS_MAX: usize = 64;
const LABEL_BYTES_MAX: usize = 64;

/// The mark of a key that is encrypted as OpenSSL did before PKCS#8 (RFC 1421 section 4.6.1.1).
const LEGACY_ENCRYPTION: &str = "Proc-Type: 4,ENCRYPTED";

/// What stands in a file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Content {
    Empty,
    /// Binary ASN.1, as `.der`, `.cer`, `.p12` and `.pfx` files are.
    Der,
    /// The labels of its blocks, in their order; none where it is no PEM at all.
    Pem(Vec<String>),
}

impl Content {
    pub(super) fn of(text: &[u8]) -> Self {
        if text.trim_ascii().is_empty() {
            return Self::Empty;
        }
        // A sequence, with its length in the long or the indefinite form.
        if matches!(text, [0x30, 0x80..=0x84, ..]) {
            return Self::Der;
        }
        Self::Pem(labels(text))
    }

    pub(super) fn holds(&self, part: Part) -> bool {
        let Self::Pem(labels) = self else { return false };
        labels.iter().any(|label| match part {
            Part::Certificate => label == "CERTIFICATE",
            Part::Key => label.ends_with("PRIVATE KEY"),
            Part::Passwords => false,
        })
    }
}

/// Continues the sentence "holds no ...".
impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("it is empty"),
            Self::Der => f.write_str("it is binary (DER or PKCS#12), and PEM is wanted; openssl can convert it"),
            Self::Pem(labels) if labels.is_empty() => f.write_str("it is no PEM"),
            Self::Pem(labels) => write!(f, "it holds {}", labels.join(", ")),
        }
    }
}

/// What a file has to hold.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Part {
    Certificate,
    Key,
    Passwords,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Certificate => "certificate",
            Self::Key => "key",
            Self::Passwords => "password file",
        })
    }
}

pub(super) fn has_legacy_encryption(text: &[u8]) -> bool {
    text.split(|byte| *byte == b'\n').any(|line| line.trim_ascii() == LEGACY_ENCRYPTION.as_bytes())
}

fn labels(text: &[u8]) -> Vec<String> {
    let label = |line: &[u8]| {
        let label = line.trim_ascii().strip_prefix(b"-----BEGIN ")?.strip_suffix(b"-----")?;
        let plain = label.len() <= LABEL_BYTES_MAX && label.iter().all(|byte| matches!(byte, b' '..=b'~'));
        plain.then(|| String::from_utf8_lossy(label).into_owned())
    };
    text.split(|byte| *byte == b'\n').filter_map(label).take(LABELS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents() {
        let check = |text: &[u8], expected: &str| assert_eq!(Content::of(text).to_string(), expected);
        check(b" \n", "it is empty");
        check(b"\x30\x82\x01", "it is binary (DER or PKCS#12), and PEM is wanted; openssl can convert it");
        check(b"junk\n-----BEGIN \x1b[2J-----", "it is no PEM");
        check(b"x\r\n-----BEGIN A B-----\r\n-----BEGIN C-----", "it holds A B, C");
        assert!(has_legacy_encryption(b"a\nProc-Type: 4,ENCRYPTED\r\nb") && !has_legacy_encryption(b"a"));
    }
}
