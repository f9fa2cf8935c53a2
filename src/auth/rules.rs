//! Tag protection and immutability, as GitLab writes them into a token's access entries (`meta`).
//!
//! Patterns are RE2 syntax, not anchored; matching is linear in the tag's length.

use regex::{Regex, RegexBuilder};
use serde::Deserialize;

use crate::oci::tag::Tag;

/// Most patterns in one list.
pub const PATTERNS_MAX: usize = 5;
/// Longest pattern, in characters.
pub const PATTERN_LEN_MAX: usize = 100;
/// Largest compiled pattern, in bytes: counted repetitions multiply what 100 characters can ask for.
const COMPILED_SIZE_MAX: usize = 1 << 20;

/// The `meta` object of an access entry, as far as it is about tags.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Meta {
    tag_deny_access_patterns: Option<DenyPatterns>,
    tag_immutable_patterns: Option<Vec<String>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct DenyPatterns {
    push: Option<Vec<String>>,
    delete: Option<Vec<String>>,
}

/// What a token forbids on the tags of one repository, beyond its actions.
#[derive(Clone, Debug, Default)]
pub struct TagRules {
    push_denied: Vec<Regex>,
    delete_denied: Vec<Regex>,
    immutable: Vec<Regex>,
}

/// What may be done to a tag or a manifest.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    Allowed,
    /// Nobody with this token may.
    Protected,
    /// The tag may be made but, once it exists, neither moved nor deleted.
    Immutable,
}

/// A token's tag patterns cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidRules {
    #[error("malformed tag patterns in the token: {list} has more than {PATTERNS_MAX} patterns")]
    TooMany { list: &'static str },
    #[error("malformed tag patterns in the token: a pattern of {list} has more than {PATTERN_LEN_MAX} characters")]
    TooLong { list: &'static str },
    #[error("malformed tag patterns in the token: a pattern of {list} is not a regular expression")]
    Syntax { list: &'static str },
}

impl TagRules {
    /// The rules of all entries that name one repository, taken together.
    pub(super) fn collect<'a>(entries: impl Iterator<Item = &'a Meta> + Clone) -> Result<Self, InvalidRules> {
        let denied = entries.clone().filter_map(|meta| meta.tag_deny_access_patterns.as_ref());
        Ok(Self {
            push_denied: compile("tag_deny_access_patterns.push", denied.clone().filter_map(|d| d.push.as_ref()))?,
            delete_denied: compile("tag_deny_access_patterns.delete", denied.filter_map(|d| d.delete.as_ref()))?,
            immutable: compile("tag_immutable_patterns", entries.filter_map(|m| m.tag_immutable_patterns.as_ref()))?,
        })
    }

    /// May this tag be written? `Immutable` refuses only where the tag exists already.
    pub fn push(&self, tag: &Tag) -> Verdict {
        verdict(&self.push_denied, &self.immutable, tag)
    }

    /// May this tag be deleted?
    pub fn delete(&self, tag: &Tag) -> Verdict {
        verdict(&self.delete_denied, &self.immutable, tag)
    }

    /// May a manifest be deleted by its digest? Any of its tags could be protected, so any rule about deleting
    /// forbids it.
    pub const fn delete_by_digest(&self) -> Verdict {
        if self.delete_denied.is_empty() && self.immutable.is_empty() { Verdict::Allowed } else { Verdict::Protected }
    }
}

fn verdict(denied: &[Regex], immutable: &[Regex], tag: &Tag) -> Verdict {
    let any = |patterns: &[Regex]| patterns.iter().any(|pattern| pattern.is_match(tag.as_str()));
    if any(denied) {
        Verdict::Protected
    } else if any(immutable) {
        Verdict::Immutable
    } else {
        Verdict::Allowed
    }
}

fn compile<'a>(
    list: &'static str,
    patterns: impl Iterator<Item = &'a Vec<String>>,
) -> Result<Vec<Regex>, InvalidRules> {
    let mut compiled = Vec::new();
    for pattern in patterns.flatten() {
        if compiled.len() == PATTERNS_MAX {
            return Err(InvalidRules::TooMany { list });
        }
        if pattern.chars().count() > PATTERN_LEN_MAX {
            return Err(InvalidRules::TooLong { list });
        }
        let regex = RegexBuilder::new(pattern).size_limit(COMPILED_SIZE_MAX).dfa_size_limit(COMPILED_SIZE_MAX).build();
        compiled.push(regex.map_err(|_| InvalidRules::Syntax { list })?);
    }
    Ok(compiled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(meta: &str) -> Result<TagRules, InvalidRules> {
        let meta: Meta = serde_json::from_str(meta).unwrap();
        TagRules::collect(std::iter::once(&meta))
    }

    fn check(meta: &str, tag: &str, push: Verdict, delete: Verdict, by_digest: Verdict) {
        let (rules, tag) = (rules(meta).unwrap(), tag.parse().unwrap());
        assert_eq!(
            (rules.push(&tag), rules.delete(&tag), rules.delete_by_digest()),
            (push, delete, by_digest),
            "{meta}"
        );
    }

    #[test]
    fn verdicts() {
        use Verdict::{Allowed, Immutable, Protected};
        check("{}", "latest", Allowed, Allowed, Allowed);
        check(r#"{"project_path":"a/b","project_id":1}"#, "latest", Allowed, Allowed, Allowed);
        check(r#"{"tag_deny_access_patterns":null,"tag_immutable_patterns":null}"#, "v1", Allowed, Allowed, Allowed);
        let push = r#"{"tag_deny_access_patterns":{"push":["^v\\d+$"]}}"#;
        check(push, "v1", Protected, Allowed, Allowed);
        check(push, "v1-rc", Allowed, Allowed, Allowed);
        let delete = r#"{"tag_deny_access_patterns":{"push":[],"delete":["lat"]}}"#;
        check(delete, "latest", Allowed, Protected, Protected);
        check(delete, "other", Allowed, Allowed, Protected);
        let immutable = r#"{"tag_immutable_patterns":["^1\\."]}"#;
        check(immutable, "1.0", Immutable, Immutable, Protected);
        check(immutable, "2.0", Allowed, Allowed, Protected);
        let both = r#"{"tag_deny_access_patterns":{"push":["1"],"delete":[]},"tag_immutable_patterns":["1"]}"#;
        check(both, "1.0", Protected, Immutable, Protected);
    }

    fn check_refused(meta: &str, expected: &InvalidRules) {
        assert_eq!(&rules(meta).unwrap_err(), expected);
    }

    #[test]
    fn bounds() {
        let list = "tag_immutable_patterns";
        check_refused(r#"{"tag_immutable_patterns":["1","2","3","4","5","6"]}"#, &InvalidRules::TooMany { list });
        let long = format!(r#"{{"tag_immutable_patterns":["{}"]}}"#, "a".repeat(101));
        check_refused(&long, &InvalidRules::TooLong { list });
        check_refused(r#"{"tag_immutable_patterns":["("]}"#, &InvalidRules::Syntax { list });
        check_refused(r#"{"tag_immutable_patterns":["((a{1000}){1000}){1000}"]}"#, &InvalidRules::Syntax { list });
        let list = "tag_deny_access_patterns.push";
        check_refused(r#"{"tag_deny_access_patterns":{"push":["[z-a]"]}}"#, &InvalidRules::Syntax { list });
        assert!(rules(r#"{"tag_immutable_patterns":["1","2","3","4","5"]}"#).is_ok());
    }
}
