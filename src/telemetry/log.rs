//! The application's log: tracing events, and the `log` records of libraries, as one safe line each.

use std::{collections::BTreeMap, fmt::Debug, sync::Arc};

use arc_swap::ArcSwap;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
};
use tracing_log::NormalizeEvent as _;
use tracing_subscriber::{
    Layer,
    layer::{Context, SubscriberExt as _},
};

use crate::clock::{Clock as _, SystemClock};
use crate::telemetry::{
    text::{escape_within, is_unsafe, json_string},
    writer::{LINE_BYTES_MAX, Writer},
};

/// Most bytes of one value in a line; of a name, a tenth.
const VALUE_BYTES_MAX: usize = 2 * 1024;
const NAME_BYTES_MAX: usize = VALUE_BYTES_MAX / 10;
/// Stands at the end of a line from which fields were left out.
const TRUNCATED: &str = "truncated";

/// The shape of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `time="…" level=info msg="…" key=value`
    #[default]
    Text,
    /// One object with `time`, `level`, `msg` and the fields.
    Json,
    /// One object with `@timestamp`, `@version`, `level`, `message` and the fields.
    Logstash,
}

/// `log.level`, `log.formatter` and `log.fields`.
#[derive(Clone, Debug)]
pub struct Settings {
    pub level: LevelFilter,
    pub format: Format,
    /// On each line, e.g. `service` and `environment`; an event's own field of the same name wins.
    pub fields: BTreeMap<String, String>,
}

/// The log's settings, which can be exchanged while it is written.
#[derive(Clone, Debug)]
pub struct Log(Arc<ArcSwap<Settings>>);

impl Log {
    /// From now on lines are made, or left out, by these.
    pub fn configure(&self, settings: Settings) {
        self.0.store(Arc::new(settings));
        // Every place that makes an event remembers whether somebody wants it.
        tracing::callsite::rebuild_interest_cache();
    }
}

/// Makes `writer` the place of every event of this process. The error says that a log was set up before.
pub fn init(settings: Settings, writer: Writer) -> Result<Log, tracing::subscriber::SetGlobalDefaultError> {
    let settings = Arc::new(ArcSwap::from_pointee(settings));
    let subscriber = tracing_subscriber::registry().with(Lines { settings: Arc::clone(&settings), writer });
    tracing::subscriber::set_global_default(subscriber)?;
    // More of it would be noise, and dear to make: pingora spells out the body of a request in its traces. Fails only when
    // another logger stands already; then the records of libraries go there, and ours here.
    let records = tracing_log::LogTracer::builder().with_max_level(tracing_log::log::LevelFilter::Warn);
    if records.init().is_err() {
        tracing::warn!("the log records of libraries go elsewhere: another logger was set up before");
    }
    Ok(Log(settings))
}

struct Lines {
    settings: Arc<ArcSwap<Settings>>,
    writer: Writer,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn enabled(&self, metadata: &tracing::Metadata<'_>, _: Context<'_, S>) -> bool {
        *metadata.level() <= self.settings.load().level
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.settings.load().level)
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let normalized = event.normalized_metadata();
        let metadata = normalized.as_ref().unwrap_or_else(|| event.metadata());
        if is_noise(metadata.target(), *metadata.level()) {
            return;
        }
        let mut fields = Fields { message: String::new(), rest: BTreeMap::new() };
        let settings = self.settings.load();
        for (name, value) in &settings.fields {
            fields.rest.insert(name.clone(), Value::Text(value.clone()));
        }
        event.record(&mut fields);
        self.writer.line(&line(settings.format, *metadata.level(), SystemClock.now(), &fields));
    }
}

/// The engine and its HTTP/2 library tell of each connection: only their warnings and errors concern operators.
fn is_noise(target: &str, level: Level) -> bool {
    let family = target.split([':', '_']).next().unwrap_or_default();
    level > Level::WARN && matches!(family, "pingora" | "h2" | "hyper" | "rustls")
}

enum Value {
    Text(String),
    /// Digits, or true and false: needs no quotes anywhere.
    Bare(String),
}

struct Fields {
    message: String,
    rest: BTreeMap<String, Value>,
}

impl Fields {
    fn set(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::Text(text) | Value::Bare(text)) => self.message = text,
            // Where a library's record came from: of use to its developers only.
            (name, _) if name.starts_with("log.") => {}
            (name, value) => drop(self.rest.insert(name.to_owned(), value)),
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, Value::Text(value.to_owned()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, Value::Bare(value.to_string()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, Value::Bare(value.to_string()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, Value::Bare(value.to_string()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.set(field, Value::Text(format!("{value:?}")));
    }
}

fn line(format: Format, level: Level, now: OffsetDateTime, fields: &Fields) -> String {
    // A year of four digits, which the clock gives, has an RFC 3339 form.
    let time = now.format(&Rfc3339).unwrap_or_default();
    match format {
        Format::Text => text_line(level, &time, fields),
        Format::Json => json_line(&[("level", level_name(level)), ("msg", &fields.message), ("time", &time)], fields),
        Format::Logstash => json_line(
            &[("@timestamp", &time), ("@version", "1"), ("level", level_name(level)), ("message", &fields.message)],
            fields,
        ),
    }
}

fn text_line(level: Level, time: &str, fields: &Fields) -> String {
    let mut out = format!("time=\"{time}\" level={} msg={}", level_name(level), text_value(&fields.message));
    let members = fields.rest.iter().map(|(name, value)| {
        let (Value::Text(raw) | Value::Bare(raw)) = value;
        format!(" {}={}", escape_within(name, NAME_BYTES_MAX), text_value(raw))
    });
    fill(&mut out, members, &format!(" {TRUNCATED}=true"));
    out
}

/// Quotes a value only when it has a character outside logrus's plain set.
fn text_value(raw: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._/@^+".contains(c);
    if !raw.is_empty() && raw.len() <= VALUE_BYTES_MAX && raw.chars().all(plain) {
        raw.to_owned()
    } else {
        json_string(raw, VALUE_BYTES_MAX)
    }
}

fn json_line(head: &[(&str, &str)], fields: &Fields) -> String {
    let member = |name: &str, value: String| format!("{}:{value}", json_string(name, NAME_BYTES_MAX));
    let own: Vec<String> = head.iter().map(|(name, text)| member(name, json_string(text, VALUE_BYTES_MAX))).collect();
    let mut out = format!("{{{}", own.join(","));
    let members = fields.rest.iter().map(|(name, value)| {
        // A field may not speak for the line's own time, level or message.
        let taken = head.iter().any(|(own, _)| own == name);
        let name = if taken { format!("fields.{name}") } else { name.clone() };
        let value = match value {
            Value::Text(raw) => json_string(raw, VALUE_BYTES_MAX),
            Value::Bare(raw) => raw.clone(),
        };
        format!(",{}", member(&name, value))
    });
    fill(&mut out, members, &format!(",\"{TRUNCATED}\":true"));
    out.push('}');
    debug_assert!(!out.contains(is_unsafe), "escaped above");
    out
}

/// Appends the members that fit into a line, and `mark` if one did not: a line is whole in its format, however long
/// the text that strangers brought.
fn fill(out: &mut String, members: impl Iterator<Item = String>, mark: &str) {
    let room = LINE_BYTES_MAX - mark.len() - "}\n".len();
    let mut truncated = false;
    for member in members {
        if out.len() + member.len() > room {
            truncated = true;
        } else {
            out.push_str(&member);
        }
    }
    if truncated {
        out.push_str(mark);
    }
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warning",
        Level::INFO => "info",
        Level::DEBUG | Level::TRACE => "debug",
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[track_caller]
    fn check(format: Format, expected: &str) {
        let rest = [
            ("err.detail".to_owned(), Value::Text("a\u{1b}[2J\nb".to_owned())),
            ("http.response.status".to_owned(), Value::Bare("404".to_owned())),
        ];
        let fields = Fields { message: "response completed".to_owned(), rest: rest.into() };
        assert_eq!(line(format, Level::WARN, datetime!(2026-01-02 03:04:05.5 UTC), &fields), expected);
    }

    #[test]
    fn each_format_is_one_safe_line() {
        check(
            Format::Text,
            "time=\"2026-01-02T03:04:05.5Z\" level=warning msg=\"response completed\" \
             err.detail=\"a\\u001b[2J\\nb\" http.response.status=404",
        );
        check(
            Format::Json,
            r#"{"level":"warning","msg":"response completed","time":"2026-01-02T03:04:05.5Z","err.detail":"a\u001b[2J\nb","http.response.status":404}"#,
        );
        check(
            Format::Logstash,
            r#"{"@timestamp":"2026-01-02T03:04:05.5Z","@version":"1","level":"warning","message":"response completed","err.detail":"a\u001b[2J\nb","http.response.status":404}"#,
        );
    }

    #[test]
    fn a_long_line_stays_whole() {
        let long = "\u{1b}\"é".repeat(LINE_BYTES_MAX);
        let rest = (0..9).map(|number| (format!("field.{number}"), Value::Text(long.clone())));
        let fields =
            Fields { message: long.clone(), rest: rest.chain([(long.clone(), Value::Bare("1".into()))]).collect() };
        for format in [Format::Json, Format::Logstash] {
            let line = line(format, Level::INFO, datetime!(2026-01-02 03:04:05 UTC), &fields);
            assert!(line.len() < LINE_BYTES_MAX, "{}", line.len());
            let read: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert_eq!(read["truncated"], true);
            assert!(read["field.0"].as_str().unwrap().starts_with("\u{1b}\"é"), "{line}");
        }
        let line = line(Format::Text, Level::INFO, datetime!(2026-01-02 03:04:05 UTC), &fields);
        assert!(line.len() < LINE_BYTES_MAX && line.ends_with(" truncated=true"), "{line}");
    }

    #[test]
    fn the_engine_is_heard_only_when_something_is_wrong() {
        assert!(is_noise("pingora_proxy::proxy", Level::INFO));
        assert!(!is_noise("pingora_core", Level::ERROR));
        assert!(!is_noise("pierhead::app", Level::DEBUG));
    }
}
