//! Names of objects: `/`-joined segments that can be laid onto any file system without leaving its root.

use std::{fmt, str::FromStr};

/// Longest key, in bytes (the limit of S3).
const LEN_MAX: usize = 1024;

/// The name of an object, relative to the store's root.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Key(Box<str>);

impl Key {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key below this one.
    ///
    /// # Errors
    /// When the relative part breaks the grammar of keys.
    pub fn join(&self, relative: &str) -> Result<Self, InvalidKey> {
        format!("{self}/{relative}").parse()
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Key {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let legal = |segment: &str| !matches!(segment, "" | "." | "..") && !segment.contains('\0');
        if text.len() <= LEN_MAX && text.split('/').all(legal) { Ok(Self(text.into())) } else { Err(InvalidKey) }
    }
}

/// A text is no key.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a key is made of non-empty segments other than '.' and '..', {LEN_MAX} bytes at most")]
pub struct InvalidKey;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grammar() {
        for legal in ["a", "a/b", "docker/registry/v2/_pierhead/format", "a:b"] {
            assert_eq!(legal.parse::<Key>().map(|key| key.to_string()), Ok(legal.to_owned()));
        }
        for illegal in ["", "/", "/a", "a/", "a//b", "..", "a/../b", "./a", "a\0b"] {
            assert_eq!(illegal.parse::<Key>(), Err(InvalidKey), "{illegal}");
        }
        assert_eq!("a".repeat(1025).parse::<Key>(), Err(InvalidKey));
    }
}
