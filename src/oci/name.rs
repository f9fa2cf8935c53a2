//! Repository names (OCI distribution-spec 1.1, "Pulling manifests"):
//! `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*` components joined by `/`.
//!
//! As in the registry that we replace, a first component that is a host name may hold capitals and a port when
//! others follow it: mirrors keep images under such names.

use std::{fmt, str::FromStr};

/// Longest name, in bytes: what file systems and the specification's recommendation allow.
pub const LEN_MAX: usize = 255;

/// The name of a repository.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RepositoryName(Box<str>);

impl RepositoryName {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for RepositoryName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err(InvalidName::Empty);
        }
        if text.len() > LEN_MAX {
            return Err(InvalidName::TooLong { found: text.len() });
        }
        let mut components = text.split('/');
        let first = components.next().unwrap_or_default();
        let alone = first.len() == text.len();
        if !is_path_component(first) && (alone || !is_host(first)) {
            return Err(InvalidName::Component { component: first.to_owned() });
        }
        match components.find(|component| !is_path_component(component)) {
            Some(component) => Err(InvalidName::Component { component: component.to_owned() }),
            None => Ok(Self(text.into())),
        }
    }
}

/// One pass, no backtracking: runs of `[a-z0-9]` held together by `.`, `_`, `__` or dashes.
fn is_path_component(text: &str) -> bool {
    let mut separator = 0_usize..0;
    let bytes = text.as_bytes();
    let alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    if !(bytes.first().is_some_and(alphanumeric) && bytes.last().is_some_and(alphanumeric)) {
        return false;
    }
    for (at, byte) in bytes.iter().enumerate() {
        if !alphanumeric(byte) {
            separator.end = at + 1;
            continue;
        }
        if !separator.is_empty() && !matches!(&bytes[separator], [b'.' | b'_'] | [b'_', b'_'] | [b'-', ..]) {
            return false;
        }
        separator = at + 1..at + 1;
    }
    // A run that begins with a dash must hold nothing but dashes.
    text.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        .all(|run| !run.starts_with('-') || run.bytes().all(|byte| byte == b'-'))
}

/// `host[:port]` in the reference grammar: dot-joined labels of letters, digits and inner dashes.
fn is_host(text: &str) -> bool {
    let (name, port) = text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port)));
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.split('.').all(label) && port.is_none_or(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()))
}

/// Why a text is no repository name.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidName {
    #[error("a repository name is not empty")]
    Empty,
    #[error("a repository name has at most {LEN_MAX} characters, not {found}")]
    TooLong { found: usize },
    #[error(
        "'{component}' is not a valid path component: lower-case letters and digits, joined by single '.', \
         one or two '_', or dashes, neither first nor last"
    )]
    Component { component: String },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, legal: bool) {
        let parsed = text.parse::<RepositoryName>();
        assert_eq!(parsed.is_ok(), legal, "{text}: {parsed:?}");
        if let Ok(name) = parsed {
            assert_eq!(name.to_string(), text);
        }
    }

    #[test]
    fn grammar() {
        for legal in ["a", "a/b/c", "a.b", "a_b", "a__b", "a-b", "a---b", "0/1", "Foo/bar", "host:5000/x", "a.b.C/d"] {
            check(legal, true);
        }
        for illegal in [
            "",
            "/",
            "a/",
            "/a",
            "a//b",
            "Foo",
            "a/B",
            "a..b",
            "a___b",
            "a._b",
            "a-_b",
            "a_-b",
            "_a",
            "a_",
            "-a",
            "a-",
            ".a",
            "a.",
            "a/..",
            "../a",
            "a b",
            "a%2fb",
            "ä",
            "a:b",
            "host:/x",
            "host:port/x",
            "a/host:1/b",
            "-a/b",
        ] {
            check(illegal, false);
        }
    }

    #[test]
    fn length() {
        check(&"a".repeat(255), true);
        check(&"a".repeat(256), false);
        // The shape that makes a backtracking matcher explode.
        check(&format!("{}!", "a-".repeat(120)), false);
    }
}
