//! Access lines, without the secrets that travel in queries: in the Apache Combined format, as GitLab's NGINX writes it
//! (`gitlab`), or as objects (`json`).

mod gitlab;
mod json;

use std::net::SocketAddr;

use time::{OffsetDateTime, format_description::BorrowedFormatItem, macros::format_description};

use crate::telemetry::{
    exchange::Exchange,
    text::{escape, escape_within},
};

/// Most bytes of a field that a client chose: a whole line stays below what the writer takes, so that no field after
/// a long one is lost.
const FIELD_BYTES_MAX: usize = 2 * 1024;
const USER_BYTES_MAX: usize = 128;

const TIME: &[BorrowedFormatItem<'_>] = format_description!(
    "[day]/[month repr:short]/[year]:[hour]:[minute]:[second] [offset_hour sign:mandatory][offset_minute]"
);

/// Parameters whose values open something, in lower case.
const SECRETS: [&str; 16] = [
    "_state",
    "token",
    "access_token",
    "refresh_token",
    "private_token",
    "job_token",
    "authenticity_token",
    "rss_token",
    "feed_token",
    "password",
    "client_secret",
    "signature",
    "sig",
    "x-amz-signature",
    "x-amz-security-token",
    "x-goog-signature",
];

/// What stands in the place of a secret.
const REDACTED: &str = "[REDACTED]";

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Format {
    /// Apache Combined, as CNCF Distribution writes it: what is not there is empty.
    #[default]
    Combined,
    /// As GitLab's NGINX writes it: `-` for what is not there, a ratio of compression at the end, other escapes.
    Gitlab,
    /// One object.
    Json,
}

/// A head that never became a request.
#[derive(Clone, Copy, Debug)]
pub struct Unreadable {
    pub time: OffsetDateTime,
    pub peer: Option<SocketAddr>,
    pub status: http::StatusCode,
}

impl Format {
    /// One line, without its line end.
    #[must_use]
    pub fn line(self, exchange: &Exchange) -> String {
        match self {
            Self::Combined => combined(exchange),
            Self::Gitlab => gitlab::line(exchange),
            Self::Json => json::line(exchange),
        }
    }

    /// The line of a head that never became a request.
    #[must_use]
    pub fn unreadable(self, head: &Unreadable) -> String {
        match self {
            Self::Combined => unreadable(head),
            Self::Gitlab => gitlab::unreadable(head),
            Self::Json => json::unreadable(head),
        }
    }
}

fn combined(exchange: &Exchange) -> String {
    let user = exchange.user.as_deref().map_or_else(|| "-".to_owned(), one_word);
    let referer = exchange.referer.as_deref().map(without_query).unwrap_or_default();
    format!(
        "{} - {user} [{}] \"{} {} {:?}\" {} {} \"{}\" \"{}\"",
        peer(exchange.peer),
        moment(exchange.time),
        escape_within(exchange.method.as_str(), USER_BYTES_MAX),
        escape_within(&redact(&exchange.uri), FIELD_BYTES_MAX),
        exchange.version,
        exchange.status.as_u16(),
        exchange.bytes_sent,
        escape_within(referer, FIELD_BYTES_MAX),
        escape_within(exchange.user_agent.as_deref().unwrap_or_default(), FIELD_BYTES_MAX),
    )
}

/// Its request is `-`, as servers commonly write it.
fn unreadable(head: &Unreadable) -> String {
    format!("{} - - [{}] \"-\" {} 0 \"\" \"\"", peer(head.peer), moment(head.time), head.status.as_u16())
}

fn peer(address: Option<SocketAddr>) -> String {
    address.map_or_else(|| "-".to_owned(), |address| address.ip().to_string())
}

fn moment(time: OffsetDateTime) -> String {
    // A value of OffsetDateTime has every component that TIME asks for.
    time.format(TIME).unwrap_or_default()
}

/// The same path and query with the values of secret parameters replaced.
#[must_use]
pub fn redact(uri: &str) -> String {
    redact_as(uri, REDACTED)
}

fn redact_as(uri: &str, mark: &str) -> String {
    let Some((path, query)) = uri.split_once('?') else { return uri.to_owned() };
    let pairs: Vec<String> = query.split('&').map(|pair| redact_pair(pair, mark)).collect();
    format!("{path}?{}", pairs.join("&"))
}

fn redact_pair(pair: &str, mark: &str) -> String {
    let Some((name, _)) = pair.split_once('=') else { return pair.to_owned() };
    // `%74oken` is `token` to whoever decodes it.
    let decoded = percent_encoding::percent_decode_str(name).decode_utf8_lossy().to_ascii_lowercase();
    if SECRETS.contains(&decoded.as_str()) { format!("{name}={mark}") } else { pair.to_owned() }
}

fn without_query(referer: &str) -> &str {
    referer.split(['?', '#']).next().unwrap_or_default()
}

/// The user's field has no quotes around it: a space would shift every field after it.
fn one_word(user: &str) -> String {
    let start = user.floor_char_boundary(USER_BYTES_MAX);
    escape(&user[..start]).replace(' ', "\\u0020")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use time::macros::datetime;
    use uuid::Uuid;

    use super::*;

    pub(super) fn exchange() -> Exchange {
        Exchange {
            id: Uuid::nil(),
            time: datetime!(2026-01-02 03:04:05 UTC),
            peer: "192.0.2.1:77".parse().ok(),
            host: "registry.example".to_owned(),
            user: Some("a b\n".to_owned()),
            method: http::Method::GET,
            uri: "/v2/?a=1&_state=abc".to_owned(),
            version: http::Version::HTTP_11,
            status: http::StatusCode::OK,
            bytes_sent: 2,
            bytes_received: 0,
            duration: Duration::from_millis(3),
            referer: Some("https://a.example/b?private=1".to_owned()),
            user_agent: Some("x\u{1b}[2J\"".to_owned()),
            content_type: None,
            route: "base",
            repository: None,
            reference: None,
            digest: None,
            error: None,
        }
    }

    #[test]
    fn a_line_is_combined_escaped_and_redacted() {
        let expected = "192.0.2.1 - a\\u0020b\\n [02/Jan/2026:03:04:05 +0000] \
                        \"GET /v2/?a=1&_state=[REDACTED] HTTP/1.1\" 200 2 \
                        \"https://a.example/b\" \"x\\u001b[2J\\\"\"";
        assert_eq!(combined(&exchange()), expected);
    }

    #[test]
    fn a_long_field_does_not_cost_those_after_it() {
        let long = "\u{1b}".repeat(8 * 1024);
        let exchange = Exchange {
            user: Some(long.clone()),
            host: long.clone(),
            uri: "/a".repeat(8 * 1024),
            referer: Some(long.clone()),
            user_agent: Some(long.clone()),
            repository: Some(long.clone()),
            reference: Some(long.clone()),
            digest: Some(long.clone()),
            content_type: Some(long),
            ..exchange()
        };
        for (format, end) in [(Format::Combined, "…\""), (Format::Gitlab, "\" -"), (Format::Json, "}")] {
            let line = format.line(&exchange);
            assert!(line.len() < crate::telemetry::writer::LINE_BYTES_MAX, "{}", line.len());
            assert!(line.ends_with(end), "{line}");
        }
        let line = combined(&exchange);
        assert!(line.contains("… HTTP/1.1\" 200 2 \"") && line.ends_with("…\""), "{line}");
        let object: serde_json::Value = serde_json::from_str(&Format::Json.line(&exchange)).unwrap();
        assert!(object["uri"].as_str().unwrap().ends_with('…') && object["status"] == 200, "{object}");
    }

    #[test]
    fn an_unreadable_head_has_a_line() {
        let (time, status) = (datetime!(2026-01-02 03:04:05 UTC), http::StatusCode::REQUEST_TIMEOUT);
        let head = Unreadable { time, peer: None, status };
        let check = |format: Format, expected: &str| assert_eq!(format.unreadable(&head), expected);
        check(Format::Combined, "- - - [02/Jan/2026:03:04:05 +0000] \"-\" 408 0 \"\" \"\"");
        check(Format::Gitlab, "- - - [02/Jan/2026:03:04:05 +0000] \"-\" 408 0 \"-\" \"-\" -");
        check(Format::Json, r#"{"time":"2026-01-02T03:04:05Z","status":408,"handler":"unreadable"}"#);
    }

    #[track_caller]
    fn check(uri: &str, expected: &str) {
        assert_eq!(redact(uri), expected);
    }

    #[test]
    fn secrets_leave_the_query() {
        check("/v2/", "/v2/");
        check("/v2/?n=5&last=a", "/v2/?n=5&last=a");
        check("/?X-Amz-Signature=ff&b=c", "/?X-Amz-Signature=[REDACTED]&b=c");
        check("/?%74oken=ff", "/?%74oken=[REDACTED]");
        check("/?private_token=a=b&rss_token=", "/?private_token=[REDACTED]&rss_token=[REDACTED]");
        check("/?token", "/?token");
    }
}
