//! Reading typed values out of a filled-in document; every refusal says where, which key and why.

use std::{fmt::Display, num::NonZeroUsize, path::PathBuf, time::Duration};

use anyhow::{Result, anyhow};

use crate::{
    config::{
        node::{Node, Origin, Style, Value},
        scalar, schema,
    },
    secret::Secret,
};

/// A map whose keys are read one by one.
#[derive(Clone)]
pub(in crate::config) struct Section<'a> {
    path: String,
    origin: &'a Origin,
    entries: &'a [(String, Node)],
}

/// One value and the path to it.
#[derive(Clone)]
pub(in crate::config) struct Field<'a> {
    path: String,
    node: &'a Node,
}

impl<'a> Section<'a> {
    /// # Errors
    /// The document is not a map.
    pub(in crate::config) fn document(node: &'a Node) -> Result<Self> {
        match &node.value {
            Value::Map(entries) => Ok(Self { path: String::new(), origin: &node.origin, entries }),
            _ => Err(anyhow!("{}: a configuration is a map of sections", node.origin)),
        }
    }

    pub(in crate::config) fn origin(&self) -> &'a Origin {
        self.origin
    }

    /// An error about the whole section.
    pub(in crate::config) fn fail(&self, problem: impl Display) -> anyhow::Error {
        anyhow!("{}: {} {problem}", self.origin, self.path)
    }

    /// A key's value; null counts as absent.
    pub(in crate::config) fn find(&self, name: &str) -> Option<Field<'a>> {
        self.fields().find(|(key, field)| *key == name && !field.node.is_null()).map(|(_, field)| field)
    }

    pub(in crate::config) fn need(&self, name: &str) -> Result<Field<'a>> {
        self.find(name).ok_or_else(|| anyhow!("{}: {} is required", self.origin, schema::join(&self.path, name)))
    }

    /// A text that is not empty, as an empty one means that nothing was set.
    pub(in crate::config) fn text(&self, name: &str) -> Result<Option<&'a str>> {
        let text = self.find(name).map(|field| field.text()).transpose()?;
        Ok(text.filter(|text| !text.is_empty()))
    }

    pub(in crate::config) fn need_text(&self, name: &str) -> Result<String> {
        self.text(name)?
            .map(str::to_owned)
            .ok_or_else(|| anyhow!("{}: {} is required", self.origin, schema::join(&self.path, name)))
    }

    pub(in crate::config) fn path(&self, name: &str) -> Result<Option<PathBuf>> {
        Ok(self.text(name)?.map(PathBuf::from))
    }

    pub(in crate::config) fn secret(&self, name: &str) -> Result<Option<Secret<String>>> {
        Ok(self.text(name)?.map(|text| Secret::new(text.to_owned())))
    }

    pub(in crate::config) fn section(&self, name: &str) -> Result<Option<Self>> {
        self.find(name).map(|field| field.section()).transpose()
    }

    /// A section that the schema fills in.
    pub(in crate::config) fn need_section(&self, name: &str) -> Result<Self> {
        self.need(name)?.section()
    }

    pub(in crate::config) fn boolean(&self, name: &str) -> Result<bool> {
        self.need(name)?.boolean()
    }

    pub(in crate::config) fn list(&self, name: &str) -> Result<Vec<Field<'a>>> {
        self.find(name).map_or(Ok(Vec::new()), |field| field.list())
    }

    /// Every key in the order written, null or not.
    pub(in crate::config) fn fields(&self) -> impl Iterator<Item = (&'a str, Field<'a>)> {
        self.entries.iter().map(|(name, node)| (name.as_str(), Field { path: schema::join(&self.path, name), node }))
    }
}

impl<'a> Field<'a> {
    pub(in crate::config) const fn node(&self) -> &'a Node {
        self.node
    }

    pub(in crate::config) fn key(&self) -> &str {
        &self.path
    }

    /// An error at this place.
    pub(in crate::config) fn fail(&self, problem: impl Display) -> anyhow::Error {
        anyhow!("{}: {} {problem}", self.node.origin, self.path)
    }

    pub(in crate::config) fn text(&self) -> Result<&'a str> {
        match &self.node.value {
            Value::Scalar { text, .. } if self.node.is_null() => Ok(&text[..0]),
            Value::Scalar { text, .. } => Ok(text),
            Value::List(_) | Value::Map(_) => Err(self.fail("must be one value, not a list or a map")),
        }
    }

    pub(in crate::config) fn boolean(&self) -> Result<bool> {
        let text = self.text()?;
        scalar::boolean(text).ok_or_else(|| self.fail("must be true or false"))
    }

    /// A boolean that may also be written as the text that Go's `strconv.ParseBool` takes, as in parameters of drivers.
    pub(in crate::config) fn switch(&self) -> Result<bool> {
        match self.text()? {
            "1" | "t" | "T" => Ok(true),
            "0" | "f" | "F" => Ok(false),
            _ => self.boolean(),
        }
    }

    pub(in crate::config) fn integer(&self) -> Result<i64> {
        let text = self.text()?;
        scalar::integer(text).ok_or_else(|| self.fail("must be an integer"))
    }

    /// An integer from 0.
    pub(in crate::config) fn count(&self) -> Result<u64> {
        u64::try_from(self.integer()?).map_err(|_| self.fail("must not be negative"))
    }

    pub(in crate::config) fn at_least_one(&self) -> Result<NonZeroUsize> {
        let count = usize::try_from(self.count()?).map_err(|_| self.fail("is too large"))?;
        NonZeroUsize::new(count).ok_or_else(|| self.fail("must be at least 1"))
    }

    pub(in crate::config) fn duration(&self) -> Result<Duration> {
        let text = self.text()?;
        let nanoseconds =
            scalar::duration(text).ok_or_else(|| self.fail("must be a duration such as 10s, 500ms or 1h30m"))?;
        u64::try_from(nanoseconds).map(Duration::from_nanos).map_err(|_| self.fail("must not be negative"))
    }

    /// A duration that somebody can wait for: `10` without a unit is ten nanoseconds, which nobody means.
    pub(in crate::config) fn timeout(&self) -> Result<Duration> {
        let duration = self.duration()?;
        if duration < Duration::from_millis(1) {
            return Err(self.fail("must be at least 1ms (a number without a unit is nanoseconds)"));
        }
        Ok(duration)
    }

    /// The same, or nothing at all.
    pub(in crate::config) fn timeout_or_zero(&self) -> Result<Duration> {
        let duration = self.duration()?;
        if !duration.is_zero() && duration < Duration::from_millis(1) {
            return Err(self.fail("must be 0 or at least 1ms (a number without a unit is nanoseconds)"));
        }
        Ok(duration)
    }

    /// A duration of at least one second, as for what is fetched or signed again.
    pub(in crate::config) fn at_least_a_second(&self) -> Result<Duration> {
        let duration = self.duration()?;
        if duration < Duration::from_secs(1) {
            return Err(self.fail("must be at least 1s (a number without a unit is nanoseconds)"));
        }
        Ok(duration)
    }

    /// In bytes.
    pub(in crate::config) fn size(&self) -> Result<u64> {
        let text = self.text()?;
        scalar::size(text).ok_or_else(|| self.fail("must be a size such as 64MiB, or a number of bytes"))
    }

    pub(in crate::config) fn section(&self) -> Result<Section<'a>> {
        match &self.node.value {
            Value::Map(entries) => Ok(Section { path: self.path.clone(), origin: &self.node.origin, entries }),
            _ => Err(self.fail("must be a section with keys of its own")),
        }
    }

    pub(in crate::config) fn list(&self) -> Result<Vec<Self>> {
        let Value::List(items) = &self.node.value else { return Err(self.fail("must be a list")) };
        let field = |(index, node)| Self { path: format!("{}.{index}", self.path), node };
        Ok(items.iter().enumerate().map(field).collect())
    }

    /// One of several words, whatever their case.
    pub(in crate::config) fn word<T: Copy>(&self, words: &[(&str, T)]) -> Result<T> {
        let text = self.text()?;
        words.iter().find(|(word, _)| word.eq_ignore_ascii_case(text)).map(|(_, meaning)| *meaning).ok_or_else(|| {
            let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
            self.fail(format_args!("is {text:?}; it must be one of {}", words.join(", ")))
        })
    }

    /// A value of any type, scalars resolved as YAML 1.1 does.
    pub(in crate::config) fn untyped(&self) -> serde_json::Value {
        untyped(self.node)
    }
}

fn untyped(node: &Node) -> serde_json::Value {
    use serde_json::Value as Json;
    match &node.value {
        Value::Scalar { text, style: Style::Quoted } => Json::from(text.as_str()),
        Value::Scalar { text, style: Style::Plain } => {
            if scalar::is_null(text) {
                return Json::Null;
            }
            let number = || text.parse().ok().filter(|_| text.contains('.')).and_then(serde_json::Number::from_f64);
            scalar::boolean(text)
                .map(Json::from)
                .or_else(|| scalar::integer(text).map(Json::from))
                .or_else(|| number().map(Json::from))
                .unwrap_or_else(|| Json::from(text.as_str()))
        }
        Value::List(items) => items.iter().map(untyped).collect(),
        Value::Map(entries) => entries.iter().map(|(name, node)| (name.clone(), untyped(node))).collect(),
    }
}
