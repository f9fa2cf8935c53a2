//! Content digests: `<algorithm>:<lower-case hex>` (OCI image-spec, descriptor.md, "Digests").

use std::{fmt, str::FromStr};

/// A hash function that content may be addressed by.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Algorithm {
    Sha256,
    Sha512,
}

impl Algorithm {
    /// Every supported algorithm, the canonical one first.
    pub const ALL: [Self; 2] = [Self::Sha256, Self::Sha512];

    /// The registered name, as it stands before the colon.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// Length of the encoded part, in hexadecimal digits.
    #[must_use]
    pub const fn hex_len(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Algorithm {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == text).ok_or(InvalidDigest::UnsupportedAlgorithm)
    }
}

/// The address of some content.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Digest {
    algorithm: Algorithm,
    hex: Box<str>,
}

impl Digest {
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The encoded part: lower-case hexadecimal of the algorithm's length.
    #[must_use]
    pub fn hex(&self) -> &str {
        &self.hex
    }

    /// Made from a finished hash; `bytes` has the algorithm's output length.
    pub(in crate::oci) fn from_hash(algorithm: Algorithm, bytes: &[u8]) -> Self {
        debug_assert_eq!(bytes.len() * 2, algorithm.hex_len());
        let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble & 0xf)]);
        let hex: String = bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect();
        Self { algorithm, hex: hex.into_boxed_str() }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm, self.hex)
    }
}

impl FromStr for Digest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (algorithm, hex) = text.split_once(':').ok_or(InvalidDigest::MissingColon)?;
        let algorithm: Algorithm = algorithm.parse()?;
        if hex.len() != algorithm.hex_len() {
            return Err(InvalidDigest::WrongLength { algorithm, expected: algorithm.hex_len(), found: hex.len() });
        }
        if !hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(InvalidDigest::NotLowerHex);
        }
        Ok(Self { algorithm, hex: hex.into() })
    }
}

impl TryFrom<String> for Digest {
    type Error = InvalidDigest;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl<'de> serde::Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl serde::Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Why a text is not a digest.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidDigest {
    #[error("a digest is written <algorithm>:<hex>; the colon is missing")]
    MissingColon,
    #[error("the digest algorithm is not supported; sha256 and sha512 are")]
    UnsupportedAlgorithm,
    #[error("a {algorithm} digest has {expected} hexadecimal digits, not {found}")]
    WrongLength { algorithm: Algorithm, expected: usize, found: usize },
    #[error("a digest is written in lower-case hexadecimal")]
    NotLowerHex,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &Result<(), InvalidDigest>) {
        let parsed = text.parse::<Digest>();
        if let Ok(digest) = &parsed {
            assert_eq!(digest.to_string(), text);
        }
        assert_eq!(&parsed.map(drop), expected, "{text}");
    }

    #[test]
    fn grammar() {
        let zeros = "0".repeat(64);
        check(&format!("sha256:{zeros}"), &Ok(()));
        check(&format!("sha512:{zeros}{zeros}"), &Ok(()));
        check(&zeros, &Err(InvalidDigest::MissingColon));
        check(&format!("md5:{zeros}"), &Err(InvalidDigest::UnsupportedAlgorithm));
        check(&format!("SHA256:{zeros}"), &Err(InvalidDigest::UnsupportedAlgorithm));
        check(&format!("sha256:{}", "A".repeat(64)), &Err(InvalidDigest::NotLowerHex));
        check(&format!("sha256:../../{}", "0".repeat(58)), &Err(InvalidDigest::NotLowerHex));
        check("sha256:00", &Err(InvalidDigest::WrongLength { algorithm: Algorithm::Sha256, expected: 64, found: 2 }));
    }
}
