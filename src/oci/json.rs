//! JSON that means the same to every reader (I-JSON, RFC 7493, as far as manifests need it).
//!
//! Parsers differ in what they make of a name that stands twice, of lone surrogates and of very deep nesting. A
//! document whose meaning depends on the parser can pass a check here and be something else to the next client.

use std::{collections::HashSet, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

/// Deepest nesting of objects and arrays.
const DEPTH_MAX: usize = 32;

/// Most members of one object: bounds what remembering their names costs.
const MEMBERS_MAX: usize = 4096;

/// Checks that a text is one JSON document without duplicate names, lone surrogates or excessive nesting.
///
/// # Errors
/// Says what is wrong, with line and column.
pub fn check(text: &[u8]) -> Result<(), serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    Checked { depth: 0 }.deserialize(&mut deserializer)?;
    deserializer.end()
}

/// A value that is looked at and forgotten.
#[derive(Clone, Copy)]
struct Checked {
    depth: usize,
}

impl Checked {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth == DEPTH_MAX {
            return Err(E::custom(format_args!("nested deeper than {DEPTH_MAX} levels")));
        }
        Ok(Self { depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Checked {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Checked {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        let inside = self.deeper()?;
        while elements.next_element_seed(inside)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let inside = self.deeper()?;
        let mut names: HashSet<String> = HashSet::new();
        while let Some(name) = members.next_key::<String>()? {
            if names.len() == MEMBERS_MAX {
                return Err(A::Error::custom(format_args!("an object has more than {MEMBERS_MAX} members")));
            }
            if let Some(twice) = names.replace(name) {
                return Err(A::Error::custom(format_args!("the name {twice:?} stands twice in one object")));
            }
            members.next_value_seed(inside)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> Option<String> {
        check(text.as_bytes()).err().map(|error| error.to_string())
    }

    #[test]
    fn one_document() {
        for good in ["{}", " [1, -1, 1.5, null, true, \"\\ud83d\\ude00\"]\n", "{\"a\":{\"b\":1},\"c\":{\"b\":2}}"] {
            assert_eq!(refused(good), None, "{good}");
        }
        for bad in ["", "\u{feff}{}", "{} {}", "{}x", "{\"a\":NaN}", "{'a':1}", "\"\\ud800\"", "{\"a\":\"\\udc00\"}"] {
            assert!(refused(bad).is_some(), "{bad}");
        }
        assert!(check(b"\"\xff\"").is_err());
    }

    #[test]
    fn duplicates_are_found_at_every_level_and_behind_escapes() {
        for bad in ["{\"a\":1,\"a\":1}", "{\"x\":[{\"a\":1,\"\\u0061\":2}]}", "{\"x\":{\"a\":1,\"b\":0,\"a\":2}}"] {
            assert!(refused(bad).is_some_and(|why| why.contains("\"a\" stands twice")), "{bad}");
        }
    }

    #[test]
    fn size_is_bounded() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(refused(&nested(DEPTH_MAX)), None);
        assert!(refused(&nested(DEPTH_MAX + 1)).is_some_and(|why| why.contains("nested")));
        assert!(refused(&nested(10_000)).is_some_and(|why| why.contains("nested")));

        let wide = |members: usize| {
            let members: Vec<String> = (0..members).map(|n| format!("\"{n}\":0")).collect();
            format!("{{{}}}", members.join(","))
        };
        assert_eq!(refused(&wide(MEMBERS_MAX)), None);
        assert!(refused(&wide(MEMBERS_MAX + 1)).is_some_and(|why| why.contains("members")));
    }
}
