//! What a manifest is asked for by: a tag or a digest.

use std::{fmt, str::FromStr};

use crate::oci::{
    digest::{Digest, InvalidDigest},
    tag::{InvalidTag, Tag},
};

/// The last element of `/v2/<name>/manifests/<reference>`.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Reference {
    Digest(Digest),
    Tag(Tag),
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Digest(digest) => digest.fmt(f),
            Self::Tag(tag) => tag.fmt(f),
        }
    }
}

impl FromStr for Reference {
    type Err = InvalidReference;

    /// A colon never stands in a tag, so it alone decides which grammar the text must follow.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.contains(':') { Ok(Self::Digest(text.parse()?)) } else { Ok(Self::Tag(text.parse()?)) }
    }
}

/// Why a text is no reference.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidReference {
    #[error(transparent)]
    Digest(#[from] InvalidDigest),
    #[error(transparent)]
    Tag(#[from] InvalidTag),
}
