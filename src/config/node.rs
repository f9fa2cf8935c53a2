//! A configuration document before it has types: text, lists and maps that remember where they were written.
//!
//! Scalars stay text until somebody says which type is wanted, so `password: 0123` is still `0123` and
//! `realm: yes` is still `yes`, while `enabled: yes` becomes true.

use std::{fmt, sync::Arc};

use crate::config::scalar;

/// Where a value was written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::config) enum Origin {
    File {
        name: Arc<str>,
        /// From 1.
        line: usize,
    },
    /// The variable's name.
    Environment(Arc<str>),
    /// Nobody wrote it: the schema's default.
    Default,
}

/// One value of the document. Deliberately without `Debug`: a document holds secrets.
#[derive(Clone)]
pub(in crate::config) struct Node {
    pub(in crate::config) origin: Origin,
    pub(in crate::config) value: Value,
}

#[derive(Clone)]
pub(in crate::config) enum Value {
    Scalar {
        text: String,
        style: Style,
    },
    List(Vec<Node>),
    /// In the order written; no key stands twice.
    Map(Vec<(String, Node)>),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::config) enum Style {
    /// May be a boolean, a number or null.
    Plain,
    /// Is a string whatever it looks like.
    Quoted,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { name, line } => write!(f, "{name}:{line}"),
            Self::Environment(name) => f.write_str(name),
            Self::Default => f.write_str("default"),
        }
    }
}

impl Origin {
    /// The same place with another line; a variable has no lines.
    pub(in crate::config) fn at(&self, line: usize) -> Self {
        match self {
            Self::File { name, .. } => Self::File { name: Arc::clone(name), line },
            other => other.clone(),
        }
    }
}

impl Node {
    pub(in crate::config) const fn null(origin: Origin) -> Self {
        Self { origin, value: Value::Scalar { text: String::new(), style: Style::Plain } }
    }

    pub(in crate::config) const fn empty_map(origin: Origin) -> Self {
        Self { origin, value: Value::Map(Vec::new()) }
    }

    pub(in crate::config) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, style: Style::Plain } if scalar::is_null(text))
    }

    /// Whether it asks for nothing: null, false, empty, switched off by its own `enabled`, or a map of such values.
    pub(in crate::config) fn is_idle(&self) -> bool {
        match &self.value {
            Value::Scalar { text, .. } => scalar::is_null(text) || scalar::boolean(text) == Some(false),
            Value::List(items) => items.is_empty(),
            Value::Map(entries) => {
                self.child("enabled").is_some_and(Self::is_idle) || entries.iter().all(|(_, node)| node.is_idle())
            }
        }
    }

    /// Whether it says the same, wherever each was written. The order of keys says nothing.
    pub(in crate::config) fn is_same(&self, other: &Self) -> bool {
        match (&self.value, &other.value) {
            (Value::Scalar { text, style }, Value::Scalar { text: other, style: other_style }) => {
                text == other && style == other_style
            }
            (Value::List(items), Value::List(others)) => {
                items.len() == others.len() && items.iter().zip(others).all(|(item, other)| item.is_same(other))
            }
            (Value::Map(entries), Value::Map(others)) => {
                entries.len() == others.len()
                    && entries.iter().all(|(key, node)| other.child(key).is_some_and(|other| node.is_same(other)))
            }
            _ => false,
        }
    }

    pub(in crate::config) fn child(&self, name: &str) -> Option<&Self> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|(key, _)| key == name).map(|(_, node)| node),
            _ => None,
        }
    }

    /// Turns a bare word into a map that holds it, as `storage: inmemory` means `storage: {inmemory: {}}`; and nothing
    /// into an empty map.
    pub(in crate::config) fn spread(&mut self) {
        if let Value::Scalar { text, .. } = &mut self.value {
            let word = std::mem::take(text);
            let entries =
                if scalar::is_null(&word) { Vec::new() } else { vec![(word, Self::empty_map(self.origin.clone()))] };
            self.value = Value::Map(entries);
        }
    }

    /// Turns a value or a list into a map that holds it under a key; nothing stays nothing.
    pub(in crate::config) fn gather(&mut self, key: &str) {
        if !self.is_null() && !matches!(self.value, Value::Map(_)) {
            let whole = Self::empty_map(self.origin.clone());
            let held = std::mem::replace(self, whole);
            self.value = Value::Map(vec![(key.to_owned(), held)]);
        }
    }

    /// What it occupies, in bytes, roughly.
    pub(in crate::config) fn weight(&self) -> usize {
        const OVERHEAD: usize = size_of::<Node>();
        OVERHEAD
            + match &self.value {
                Value::Scalar { text, .. } => text.len(),
                Value::List(items) => items.iter().map(Self::weight).sum(),
                Value::Map(entries) => entries.iter().map(|(key, node)| key.len() + node.weight()).sum(),
            }
    }
}
