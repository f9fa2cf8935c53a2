//! Tags: `[A-Za-z0-9_][A-Za-z0-9._-]{0,127}` (OCI distribution-spec 1.1, "Pulling manifests").

use std::{fmt, str::FromStr};

/// Longest tag, in bytes.
const LEN_MAX: usize = 128;

/// A name for a manifest that can be moved to another.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Tag(Box<str>);

impl Tag {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Tag {
    type Err = InvalidTag;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some(first) = text.bytes().next() else { return Err(InvalidTag::Empty) };
        if text.len() > LEN_MAX {
            return Err(InvalidTag::TooLong { found: text.len() });
        }
        if !(first.is_ascii_alphanumeric() || first == b'_') {
            return Err(InvalidTag::FirstCharacter);
        }
        if !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-')) {
            return Err(InvalidTag::Character);
        }
        Ok(Self(text.into()))
    }
}

/// Why a text is not a tag.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidTag {
    #[error("a tag is not empty")]
    Empty,
    #[error("a tag has at most {LEN_MAX} characters, not {found}")]
    TooLong { found: usize },
    #[error("a tag begins with a letter, a digit or an underscore")]
    FirstCharacter,
    #[error("a tag is made of letters, digits, '_', '.' and '-'")]
    Character,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &Result<(), InvalidTag>) {
        assert_eq!(&text.parse::<Tag>().map(|tag| assert_eq!(tag.to_string(), text)), expected, "{text}");
    }

    #[test]
    fn grammar() {
        check("latest", &Ok(()));
        check("_1.0-RC", &Ok(()));
        check(&"a".repeat(128), &Ok(()));
        check("", &Err(InvalidTag::Empty));
        check(&"a".repeat(129), &Err(InvalidTag::TooLong { found: 129 }));
        check(".hidden", &Err(InvalidTag::FirstCharacter));
        check("-x", &Err(InvalidTag::FirstCharacter));
        check("a/b", &Err(InvalidTag::Character));
        check("ä", &Err(InvalidTag::FirstCharacter));
    }
}
