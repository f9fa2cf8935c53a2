//! The line of GitLab's NGINX: `log_format gitlab_access` of its template.

use std::fmt::Write as _;

use crate::telemetry::{
    access::{FIELD_BYTES_MAX, USER_BYTES_MAX, Unreadable, moment, peer, redact_as, without_query},
    exchange::Exchange,
};

/// What that template writes in the place of a secret.
const FILTERED: &str = "[FILTERED]";

pub(super) fn line(exchange: &Exchange) -> String {
    // NGINX does not quote the user: a space would shift every field after it.
    let user = or_dash(exchange.user.as_deref(), USER_BYTES_MAX).replace(' ', "\\x20");
    // Nothing is compressed here, so the last field, the ratio, is always empty.
    format!(
        "{} - {user} [{}] \"{} {} {:?}\" {} {} \"{}\" \"{}\" -",
        peer(exchange.peer),
        moment(exchange.time),
        escape(exchange.method.as_str(), USER_BYTES_MAX),
        escape(&redact_as(&exchange.uri, FILTERED), FIELD_BYTES_MAX),
        exchange.version,
        exchange.status.as_u16(),
        exchange.bytes_sent,
        or_dash(exchange.referer.as_deref().map(without_query), FIELD_BYTES_MAX),
        or_dash(exchange.user_agent.as_deref(), FIELD_BYTES_MAX),
    )
}

pub(super) fn unreadable(head: &Unreadable) -> String {
    format!("{} - - [{}] \"-\" {} 0 \"-\" \"-\" -", peer(head.peer), moment(head.time), head.status.as_u16())
}

fn or_dash(text: Option<&str>, bytes_max: usize) -> String {
    text.filter(|text| !text.is_empty()).map_or_else(|| "-".to_owned(), |text| escape(text, bytes_max))
}

/// `escape=default`: every byte that is no visible ASCII, a quote and a backslash as `\xHH`. Cut where it gets too long.
fn escape(text: &str, bytes_max: usize) -> String {
    let mut out = String::with_capacity(text.len().min(bytes_max));
    for byte in text.bytes() {
        let plain = (b' '..=b'~').contains(&byte) && byte != b'"' && byte != b'\\';
        if out.len() + if plain { 1 } else { 4 } > bytes_max {
            out.push_str("...");
            break;
        }
        if plain {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\x{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::access::tests::exchange;

    #[test]
    fn a_line_has_the_fields_of_the_template() {
        let expected = "192.0.2.1 - a\\x20b\\x0A [02/Jan/2026:03:04:05 +0000] \
                        \"GET /v2/?a=1&_state=[FILTERED] HTTP/1.1\" 200 2 \
                        \"https://a.example/b\" \"x\\x1B[2J\\x22\" -";
        assert_eq!(line(&exchange()), expected);
        let bare = Exchange { user: None, referer: None, user_agent: Some(String::new()), peer: None, ..exchange() };
        let line = line(&bare);
        assert!(line.starts_with("- - - [") && line.ends_with("200 2 \"-\" \"-\" -"), "{line}");
    }

    #[test]
    fn secrets_of_gitlab_are_filtered() {
        for name in ["private_token", "authenticity_token", "rss_token", "token", "_state"] {
            let line = line(&Exchange { uri: format!("/v2/?{name}=canary&digest=sha256:1"), ..exchange() });
            assert!(!line.contains("canary") && line.contains("digest=sha256:1"), "{line}");
        }
    }
}
