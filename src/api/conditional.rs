//! Conditional requests (RFC 9110 section 13) for content whose entity tag is its quoted digest.

use http::{HeaderMap, HeaderValue, header};

use crate::oci::digest::Digest;

/// `"<digest>"`
pub(in crate::api) fn etag(digest: &Digest) -> HeaderValue {
    HeaderValue::try_from(format!("\"{digest}\"")).expect("a digest is visible ASCII")
}

/// Whether the client has this content already: `If-None-Match` names it, weakly or strongly, or anything at all.
/// Digests without quotes count, too: containerd and others send them so.
pub(in crate::api) fn is_known(headers: &HeaderMap, digest: &Digest) -> bool {
    let digest = digest.to_string();
    let values = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).any(|tag| {
        let tag = tag.strip_prefix("W/").unwrap_or(tag);
        tag == "*" || unquoted(tag) == digest
    })
}

/// The `Range` header, unless `If-Range` says that it was meant for other content. Dates and weak tags never match:
/// we promise neither.
pub(in crate::api) fn range<'a>(headers: &'a HeaderMap, digest: &Digest) -> Option<&'a str> {
    let range = headers.get(header::RANGE)?.to_str().ok()?;
    match headers.get(header::IF_RANGE) {
        None => Some(range),
        Some(tag) => {
            let same = tag.to_str().is_ok_and(|tag| unquoted(tag.trim()) == digest.to_string());
            same.then_some(range)
        }
    }
}

fn unquoted(tag: &str) -> &str {
    tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).unwrap_or(tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn check_known(value: &str, expected: bool) {
        let mut headers = HeaderMap::new();
        headers.insert(header::IF_NONE_MATCH, value.parse().unwrap());
        assert_eq!(is_known(&headers, &DIGEST.parse().unwrap()), expected, "{value}");
    }

    #[test]
    fn if_none_match() {
        check_known(DIGEST, true);
        check_known(&format!("\"{DIGEST}\""), true);
        check_known(&format!("W/\"{DIGEST}\""), true);
        check_known(&format!("\"x\", \"{DIGEST}\""), true);
        check_known("*", true);
        check_known("\"x\"", false);
        check_known("", false);
        assert!(!is_known(&HeaderMap::new(), &DIGEST.parse().unwrap()));
    }

    #[test]
    fn if_range() {
        let check = |if_range: Option<&str>, expected| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RANGE, HeaderValue::from_static("bytes=0-1"));
            if let Some(value) = if_range {
                headers.insert(header::IF_RANGE, value.parse().unwrap());
            }
            assert_eq!(range(&headers, &DIGEST.parse().unwrap()).is_some(), expected, "{if_range:?}");
        };
        check(None, true);
        check(Some(&format!("\"{DIGEST}\"")), true);
        check(Some(DIGEST), true);
        check(Some(&format!("W/\"{DIGEST}\"")), false);
        check(Some("Wed, 21 Oct 2015 07:28:00 GMT"), false);
        assert_eq!(range(&HeaderMap::new(), &DIGEST.parse().unwrap()), None);
    }
}
