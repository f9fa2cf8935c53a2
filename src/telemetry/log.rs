//! The application's log: tracing events, and the `log` records of libraries, as one safe line each.

use std::{
    collections::BTreeMap,
    fmt::{self, Debug, Write as _},
    ops::Range,
    sync::Arc,
};

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
    text::{is_unsafe, push_json_string, push_within},
    writer::{LINE_BYTES_MAX, Writer},
};

/// Most bytes of one value in a line; of a name, a tenth.
const VALUE_BYTES_MAX: usize = 2 * 1024;
const NAME_BYTES_MAX: usize = VALUE_BYTES_MAX / 10;
/// Memory for a line to begin with.
const LINE_BYTES_USUAL: usize = 1024;
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
        let settings = self.settings.load();
        let mut fields = Fields::default();
        for (name, value) in &settings.fields {
            fields.add(name, Kind::Text, format_args!("{value}"));
        }
        event.record(&mut Recorder(&mut fields));
        self.writer.line(&line(settings.format, *metadata.level(), SystemClock.now(), &mut fields));
    }
}

/// The engine and its HTTP/2 library tell of each connection: only their warnings and errors concern operators.
fn is_noise(target: &str, level: Level) -> bool {
    let family = target.split([':', '_']).next().unwrap_or_default();
    level > Level::WARN && matches!(family, "pingora" | "h2" | "hyper" | "rustls")
}

/// What is said of an event. All values lie in one piece of memory, since there is a line for each request.
#[derive(Default)]
struct Fields<'a> {
    text: String,
    message: Range<usize>,
    rest: Vec<Entry<'a>>,
}

struct Entry<'a> {
    name: &'a str,
    kind: Kind,
    value: Range<usize>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Text,
    /// Digits, or true and false: needs no quotes anywhere.
    Bare,
}

impl<'a> Fields<'a> {
    fn add(&mut self, name: &'a str, kind: Kind, value: fmt::Arguments<'_>) {
        let value = self.keep(value);
        self.rest.push(Entry { name, kind, value });
    }

    fn say(&mut self, message: fmt::Arguments<'_>) {
        self.message = self.keep(message);
    }

    fn keep(&mut self, value: fmt::Arguments<'_>) -> Range<usize> {
        let start = self.text.len();
        // Writing to a String cannot fail.
        let _ = self.text.write_fmt(value);
        start..self.text.len()
    }

    /// By name; of several with one name, the last: an event's own comes after what is configured.
    fn sort(&mut self) {
        self.rest.sort_by(|one, other| one.name.cmp(other.name));
        self.rest.dedup_by(|later, earlier| {
            let same = later.name == earlier.name;
            if same {
                std::mem::swap(later, earlier);
            }
            same
        });
    }

    fn message(&self) -> &str {
        &self.text[self.message.clone()]
    }

    fn members(&self) -> impl Iterator<Item = (&'a str, Kind, &str)> {
        self.rest.iter().map(|entry| (entry.name, entry.kind, &self.text[entry.value.clone()]))
    }
}

struct Recorder<'b, 'a>(&'b mut Fields<'a>);

impl Recorder<'_, '_> {
    fn record(&mut self, field: &Field, kind: Kind, value: fmt::Arguments<'_>) {
        match field.name() {
            "message" => self.0.say(value),
            // Where a library's record came from: of use to its developers only.
            name if name.starts_with("log.") => {}
            name => self.0.add(name, kind, value),
        }
    }
}

impl Visit for Recorder<'_, '_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record(field, Kind::Text, format_args!("{value}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.record(field, Kind::Bare, format_args!("{value}"));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.record(field, Kind::Bare, format_args!("{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.record(field, Kind::Bare, format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.record(field, Kind::Text, format_args!("{value:?}"));
    }
}

fn line(format: Format, level: Level, now: OffsetDateTime, fields: &mut Fields<'_>) -> String {
    fields.sort();
    let fields = &*fields;
    // A year of four digits, which the clock gives, has an RFC 3339 form.
    let time = now.format(&Rfc3339).unwrap_or_default();
    match format {
        Format::Text => text_line(level, &time, fields),
        Format::Json => json_line(&[("level", level_name(level)), ("msg", fields.message()), ("time", &time)], fields),
        Format::Logstash => json_line(
            &[("@timestamp", &time), ("@version", "1"), ("level", level_name(level)), ("message", fields.message())],
            fields,
        ),
    }
}

fn text_line(level: Level, time: &str, fields: &Fields<'_>) -> String {
    let mut out = String::with_capacity(LINE_BYTES_USUAL);
    for part in ["time=\"", time, "\" level=", level_name(level), " msg="] {
        out.push_str(part);
    }
    push_text_value(&mut out, fields.message());
    fill(&mut out, fields, &format!(" {TRUNCATED}=true"), |out, name, _, value| {
        out.push(' ');
        push_within(out, name, NAME_BYTES_MAX);
        out.push('=');
        push_text_value(out, value);
    });
    out
}

/// Quotes a value only when it has a character outside logrus's plain set.
fn push_text_value(out: &mut String, raw: &str) {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._/@^+".contains(&byte);
    if !raw.is_empty() && raw.len() <= VALUE_BYTES_MAX && raw.bytes().all(plain) {
        out.push_str(raw);
    } else {
        push_json_string(out, raw, VALUE_BYTES_MAX);
    }
}

fn json_line(head: &[(&str, &str)], fields: &Fields<'_>) -> String {
    let mut out = String::with_capacity(LINE_BYTES_USUAL);
    for (name, text) in head {
        out.push(if out.is_empty() { '{' } else { ',' });
        push_json_string(&mut out, name, NAME_BYTES_MAX);
        out.push(':');
        push_json_string(&mut out, text, VALUE_BYTES_MAX);
    }
    fill(&mut out, fields, &format!(",\"{TRUNCATED}\":true"), |out, name, kind, value| {
        out.push(',');
        // A field may not speak for the line's own time, level or message.
        if head.iter().any(|(own, _)| *own == name) {
            push_json_string(out, &format!("fields.{name}"), NAME_BYTES_MAX);
        } else {
            push_json_string(out, name, NAME_BYTES_MAX);
        }
        out.push(':');
        match kind {
            Kind::Text => push_json_string(out, value, VALUE_BYTES_MAX),
            Kind::Bare => out.push_str(value),
        }
    });
    out.push('}');
    debug_assert!(!out.contains(is_unsafe), "escaped above");
    out
}

/// Appends the members that fit into a line, each as `push` writes it, and `mark` if one did not: a line is whole in its
/// format, however long the text that strangers brought.
fn fill(out: &mut String, fields: &Fields<'_>, mark: &str, push: impl Fn(&mut String, &str, Kind, &str)) {
    let room = LINE_BYTES_MAX - mark.len() - "}\n".len();
    let mut truncated = false;
    for (name, kind, value) in fields.members() {
        let before = out.len();
        push(out, name, kind, value);
        if out.len() > room {
            out.truncate(before);
            truncated = true;
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
        let mut fields = Fields::default();
        fields.add("http.response.status", Kind::Text, format_args!("configured"));
        fields.say(format_args!("response completed"));
        fields.add("http.response.status", Kind::Bare, format_args!("404"));
        fields.add("err.detail", Kind::Text, format_args!("a\u{1b}[2J\nb"));
        assert_eq!(line(format, Level::WARN, datetime!(2026-01-02 03:04:05.5 UTC), &mut fields), expected);
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
        let names: Vec<_> = (0..9).map(|number| format!("field.{number}")).collect();
        let mut fields = Fields::default();
        fields.say(format_args!("{long}"));
        fields.add(&long, Kind::Bare, format_args!("1"));
        for name in &names {
            fields.add(name, Kind::Text, format_args!("{long}"));
        }
        for format in [Format::Json, Format::Logstash] {
            let line = line(format, Level::INFO, datetime!(2026-01-02 03:04:05 UTC), &mut fields);
            assert!(line.len() < LINE_BYTES_MAX, "{}", line.len());
            let read: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert_eq!(read["truncated"], true);
            assert!(read["field.0"].as_str().unwrap().starts_with("\u{1b}\"é"), "{line}");
        }
        let line = line(Format::Text, Level::INFO, datetime!(2026-01-02 03:04:05 UTC), &mut fields);
        assert!(line.len() < LINE_BYTES_MAX && line.ends_with(" truncated=true"), "{line}");
    }

    #[test]
    fn the_engine_is_heard_only_when_something_is_wrong() {
        assert!(is_noise("pingora_proxy::proxy", Level::INFO));
        assert!(!is_noise("pingora_core", Level::ERROR));
        assert!(!is_noise("pierhead::app", Level::DEBUG));
    }
}
