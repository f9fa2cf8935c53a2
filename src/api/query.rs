//! The query of a request target.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// What RFC 3986 calls unreserved stays as it is.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The parameters, decoded, in their order.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(in crate::api) struct Query<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Query<'a> {
    /// Reads `name=value` pairs. A plus sign stays one: no value of ours holds a space, but media types hold pluses,
    /// which some clients do not encode.
    #[must_use]
    pub(in crate::api) fn parse(text: Option<&'a str>) -> Self {
        let pairs = text.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                .map(|(name, value)| (decode(name), decode(value)))
                .collect(),
        )
    }

    /// The first value of a parameter.
    #[must_use]
    pub(in crate::api) fn first(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    pub(in crate::api) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(own, _)| own == name).map(|(_, value)| value.as_ref())
    }
}

fn decode(text: &str) -> Cow<'_, str> {
    percent_decode_str(text).decode_utf8_lossy()
}

/// Makes text fit to stand as a value in a query.
pub(in crate::api) fn encode(text: &str) -> impl std::fmt::Display {
    utf8_percent_encode(text, ENCODED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters() {
        let query = Query::parse(Some("tag=a&n=5&tag=b%2Fc&&empty=&bare&at=a%2Bb+c"));
        assert_eq!(query.all("tag").collect::<Vec<_>>(), ["a", "b/c"]);
        assert_eq!(query.first("n"), Some("5"));
        assert_eq!(query.first("empty"), Some(""));
        assert_eq!(query.first("bare"), Some(""));
        assert_eq!(query.first("at"), Some("a+b+c"));
        assert_eq!(query.first("none"), None);
        assert_eq!(Query::parse(None), Query::default());
    }

    #[test]
    fn encoding() {
        assert_eq!(encode("a/b:c+d=~").to_string(), "a%2Fb%3Ac%2Bd%3D~");
    }
}
