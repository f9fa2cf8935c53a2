//! Texts without what must stay a secret.

use std::borrow::Cow;

/// What stands in a secret's place.
pub(in crate::config) const REDACTED: &str = "<redacted>";

/// A URL without user name and password, without the values of its query and without its fragment: storages, webhooks
/// and checks take tokens in each of them. Text that is no URL stays as it is.
pub(in crate::config) fn url(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let authority = match authority.rsplit_once('@') {
        Some((_, host)) => Cow::from(format!("{REDACTED}@{host}")),
        None => authority.into(),
    };
    // A pattern such as `^https?://a/.?b` has question marks, but no query.
    let path = if is_scheme(scheme) { without_query(path).into() } else { Cow::from(path) };
    format!("{scheme}://{authority}{path}")
}

fn without_query(path: &str) -> String {
    let (path, fragment) = path.split_once('#').map_or((path, None), |(path, fragment)| (path, Some(fragment)));
    let mut shown = path.to_owned();
    if let Some((path, query)) = path.split_once('?') {
        let parameters = query.split('&').map(|parameter| match parameter.split_once('=') {
            Some((name, _)) => format!("{name}={REDACTED}"),
            None => REDACTED.to_owned(),
        });
        shown = format!("{path}?{}", parameters.collect::<Vec<_>>().join("&"));
    }
    if fragment.is_some() {
        shown = format!("{shown}#{REDACTED}");
    }
    shown
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let check = |text: &str, expected: &str| assert_eq!(url(text), expected);
        check("https://u:p@h:1/a/b", "https://<redacted>@h:1/a/b");
        check("redis://:p@w@h", "redis://<redacted>@h");
        check("https://h/a?sig=s&b=&c", "https://h/a?sig=<redacted>&b=<redacted>&<redacted>");
        check("https://h?token=a?b=c#d", "https://h?token=<redacted>#<redacted>");
        check("https://h/a#access_token=s", "https://h/a#<redacted>");
        check("https://h/@scope/a", "https://h/@scope/a");
        for same in ["https://h/a", "/a?b=c", "^https?://h/.?a", "a: b", ""] {
            check(same, same);
        }
    }
}
