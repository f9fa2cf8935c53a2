//! `log`: what is written about requests and about ourselves.

use anyhow::Result;

use crate::config::{
    inert,
    schema::{Key, Shape, key, section, value},
    section::Section,
};

pub(in crate::config) const KEYS: &[Key] = &[
    section("accesslog", &[value("disabled").or("false")]).always(),
    value("level"),
    value("formatter").or("text"),
    key("fields", Shape::Named(&Shape::Open)).always(),
    key("hooks", Shape::List(&Shape::Section(inert::HOOK))).inert(),
    value("reportcaller").inert(),
    value("output").inert(),
];

#[derive(Clone, Debug)]
pub struct Log {
    /// Whether each request is written to standard output as an Apache Combined line.
    pub access_log: bool,
    pub level: Level,
    pub formatter: Formatter,
    /// Fields of every line, by name.
    pub fields: serde_json::Map<String, serde_json::Value>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Level {
    Error,
    Warn,
    Info,
    Debug,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Formatter {
    Text,
    Json,
    Logstash,
}

impl Log {
    /// Reads `log`, and the older `loglevel` beside it.
    pub(in crate::config) fn read(document: &Section<'_>) -> Result<Self> {
        let log = document.need_section("log")?;
        let levels = [("error", Level::Error), ("warn", Level::Warn), ("info", Level::Info), ("debug", Level::Debug)];
        let level = log.find("level").or_else(|| document.find("loglevel"));
        let formatters = [("text", Formatter::Text), ("json", Formatter::Json), ("logstash", Formatter::Logstash)];
        let fields = log.need_section("fields")?;
        Ok(Self {
            access_log: !log.need_section("accesslog")?.boolean("disabled")?,
            level: level.map_or(Ok(Level::Info), |level| level.word(&levels))?,
            formatter: log.need("formatter")?.word(&formatters)?,
            fields: fields.fields().map(|(name, field)| (name.to_owned(), field.untyped())).collect(),
        })
    }
}
