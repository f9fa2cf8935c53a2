//! A line that is an object: the labels of the metrics, and what else is known of a request.

use std::fmt::Write as _;

use time::format_description::well_known::Rfc3339;

use crate::telemetry::{
    access::{FIELD_BYTES_MAX, USER_BYTES_MAX, Unreadable, redact, without_query},
    exchange::Exchange,
    text::json_string,
};

/// Most bytes of a field beside the target, the referer and the client's name: all together stay below what the writer
/// takes.
const SHORT_BYTES_MAX: usize = 256;

pub(super) fn line(exchange: &Exchange) -> String {
    let mut object = Object::default();
    object.text("time", Some(&moment(exchange.time)), SHORT_BYTES_MAX);
    object.text("id", Some(&exchange.id.to_string()), SHORT_BYTES_MAX);
    object.text("client", exchange.peer.map(|peer| peer.ip().to_string()).as_deref(), SHORT_BYTES_MAX);
    object.text("user", exchange.user.as_deref(), USER_BYTES_MAX);
    object.text("method", Some(exchange.method.as_str()), USER_BYTES_MAX);
    object.text("host", Some(&exchange.host).filter(|host| !host.is_empty()).map(String::as_str), SHORT_BYTES_MAX);
    object.text("uri", Some(&redact(&exchange.uri)), FIELD_BYTES_MAX);
    object.text("protocol", Some(&format!("{:?}", exchange.version)), SHORT_BYTES_MAX);
    object.bare("status", exchange.status.as_u16());
    object.text("handler", Some(exchange.route), SHORT_BYTES_MAX);
    object.bare("bytes_sent", exchange.bytes_sent);
    object.bare("bytes_received", exchange.bytes_received);
    object.bare("duration_seconds", format_args!("{:.6}", exchange.duration.as_secs_f64()));
    object.text("referer", exchange.referer.as_deref().map(without_query), FIELD_BYTES_MAX / 2);
    object.text("user_agent", exchange.user_agent.as_deref(), FIELD_BYTES_MAX / 2);
    object.text("repository", exchange.repository.as_deref(), SHORT_BYTES_MAX);
    object.text("reference", exchange.reference.as_deref(), SHORT_BYTES_MAX);
    object.text("digest", exchange.digest.as_deref(), SHORT_BYTES_MAX);
    object.text("error", exchange.error.as_ref().map(|(code, _)| *code), SHORT_BYTES_MAX);
    object.end()
}

pub(super) fn unreadable(head: &Unreadable) -> String {
    let mut object = Object::default();
    object.text("time", Some(&moment(head.time)), SHORT_BYTES_MAX);
    object.text("client", head.peer.map(|peer| peer.ip().to_string()).as_deref(), SHORT_BYTES_MAX);
    object.bare("status", head.status.as_u16());
    object.text("handler", Some("unreadable"), SHORT_BYTES_MAX);
    object.end()
}

fn moment(time: time::OffsetDateTime) -> String {
    // A year of four digits, which the clock gives, has an RFC 3339 form.
    time.format(&Rfc3339).unwrap_or_default()
}

/// Written member by member; what is not known is left out.
#[derive(Default)]
struct Object(String);

impl Object {
    fn bare(&mut self, name: &str, value: impl std::fmt::Display) {
        let mark = if self.0.is_empty() { '{' } else { ',' };
        // Writing to a String cannot fail.
        let _ = write!(self.0, "{mark}\"{name}\":{value}");
    }

    fn text(&mut self, name: &str, value: Option<&str>, bytes_max: usize) {
        if let Some(value) = value {
            self.bare(name, json_string(value, bytes_max));
        }
    }

    fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::access::tests::exchange;

    #[test]
    fn a_line_is_an_object_without_secrets() {
        let line = line(&Exchange { error: Some(("DENIED", "why".to_owned())), ..exchange() });
        assert_eq!(
            line,
            r#"{"time":"2026-01-02T03:04:05Z","id":"00000000-0000-0000-0000-000000000000","client":"192.0.2.1","user":"a b\n","method":"GET","host":"registry.example","uri":"/v2/?a=1&_state=[REDACTED]","protocol":"HTTP/1.1","status":200,"handler":"base","bytes_sent":2,"bytes_received":0,"duration_seconds":0.003000,"referer":"https://a.example/b","user_agent":"x\u001b[2J\"","error":"DENIED"}"#
        );
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read["user_agent"], "x\u{1b}[2J\"");
    }
}
