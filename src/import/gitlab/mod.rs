//! `import gitlab.rb`: what GitLab's package would have made of its file, as one configuration.
//!
//! `settings` is what the file says, `known` the table of what each setting comes to, `report` names those that come to
//! nothing. `registry`, `front` and `certificates` make the result: the registry's own configuration as GitLab generates
//! it, with GitLab's defaults; what NGINX did; and Let's Encrypt.

mod certificates;
mod front;
mod known;
mod registry;
mod report;
mod settings;
#[cfg(test)]
mod tests;
mod url;

use crate::import::{
    Error, Fate, Imported, Note,
    document::{Item, Map},
    gitlab::settings::{Setting, Settings, written},
    place::Place,
    ruby::{self, Node, Value},
};

pub(in crate::import) fn import(text: &str, name: &str) -> Result<Imported, Error> {
    let mut script = ruby::parse(text)?;
    let mut notes: Vec<_> = std::mem::take(&mut script.unread)
        .into_iter()
        .map(|unread| Note::new(unread.place, unread.what, Fate::NotRead, "it cannot be evaluated without running it"))
        .collect();
    let settings = Settings::of(script);
    notes.extend(report::of(&settings));
    let mut translation = Translation { settings: &settings, file: name, document: Map::default(), notes };
    translation.document.set(&["version"], Item::Number("0.1".to_owned()));
    registry::translate(&mut translation);
    front::translate(&mut translation);
    let head = [
        format!("Made by `pierhead import gitlab.rb` of {name}. It holds the secrets of that file."),
        "Lines without a setting's name are GitLab's defaults.".to_owned(),
    ];
    Ok(Imported::of(translation.document.yaml(&head), translation.notes))
}

/// A configuration on its way.
struct Translation<'a> {
    settings: &'a Settings,
    /// What comments call the file.
    file: &'a str,
    document: Map,
    notes: Vec<Note>,
}

/// A value, and where it is from.
struct Found<T> {
    value: T,
    place: Place,
    setting: String,
    /// For a comment: the file, the line and the setting.
    source: String,
}

impl<T> Found<T> {
    fn map<U>(self, change: impl FnOnce(T) -> U) -> Found<U> {
        Found { value: change(self.value), place: self.place, setting: self.setting, source: self.source }
    }
}

impl<'a> Translation<'a> {
    /// What is set and can be read; opaque values have been reported.
    fn find(&self, path: &[&str]) -> Option<Found<&'a Value>> {
        let Setting { place, value } = self.settings.find(path)?;
        if matches!(value, Value::Opaque(_)) {
            return None;
        }
        let setting = written(path);
        let source = format!("{}:{} {setting}", self.file, place.line);
        Some(Found { value, place, setting, source })
    }

    fn note<T>(&mut self, found: &Found<T>, fate: Fate, reason: impl Into<String>) {
        self.notes.push(Note::new(found.place, &found.setting, fate, reason));
    }

    /// A value of a kind; another kind is reported.
    fn read<T>(&mut self, path: &[&str], kind: &str, read: impl Fn(&Value) -> Option<T>) -> Option<Found<T>> {
        let found = self.find(path)?;
        let value = read(found.value);
        if value.is_none() {
            self.note(&found, Fate::NotRead, format!("it must be {kind}"));
        }
        Some(Found { value: value?, place: found.place, setting: found.setting, source: found.source })
    }

    /// A text that is not empty; numbers are texts.
    fn text(&mut self, path: &[&str]) -> Option<Found<String>> {
        let found = self.read(path, "a text", |value| match value {
            Value::Text(text) => Some(text.clone()),
            Value::Integer(number) => Some(number.to_string()),
            Value::Float(number) => Some(number.to_string()),
            _ => None,
        });
        found.filter(|found| !found.value.is_empty())
    }

    fn flag(&mut self, path: &[&str]) -> Option<Found<bool>> {
        self.read(path, "true or false", |value| match value {
            Value::Bool(value) => Some(*value),
            _ => None,
        })
    }

    fn port(&mut self, path: &[&str]) -> Option<Found<u16>> {
        self.read(path, "a port", |value| match value {
            Value::Integer(number) => u16::try_from(*number).ok(),
            Value::Text(text) => text.parse().ok(),
            _ => None,
        })
    }

    /// Texts; one text is a list of one.
    fn texts(&mut self, path: &[&str]) -> Option<Found<Vec<String>>> {
        let text = |value: &Value| match value {
            Value::Text(text) => Some(text.clone()),
            Value::Integer(number) => Some(number.to_string()),
            // NGINX's words for them.
            Value::Bool(value) => Some(if *value { "on" } else { "off" }.to_owned()),
            _ => None,
        };
        self.read(path, "a list of texts", |value| match value {
            // An entry that is opaque has been reported.
            Value::List(items) => items
                .iter()
                .filter(|item| !matches!(item.value, Value::Opaque(_)))
                .map(|item| text(&item.value))
                .collect(),
            value => text(value).map(|text| vec![text]),
        })
    }

    /// As NGINX reads it: words with spaces between them.
    fn words(&mut self, path: &[&str]) -> Option<Found<String>> {
        self.texts(path).map(|found| found.map(|words| words.join(" ")))
    }

    /// Sets a key to what was found, if it was, with a comment above it.
    fn take<T: Into<Item>>(&mut self, path: &[&str], found: Option<Found<T>>) {
        if let Some(found) = found {
            self.document.set_from(path, found.value, found.source);
        }
    }
}

/// A value as it stands in a configuration; without what is opaque, which has been reported.
fn item(value: &Value) -> Item {
    let read = |node: &&Node| !matches!(node.value, Value::Opaque(_));
    match value {
        Value::Nil | Value::Opaque(_) => Item::Null,
        Value::Bool(value) => Item::Bool(*value),
        Value::Integer(number) => Item::Number(number.to_string()),
        Value::Float(number) => Item::Number(number.to_string()),
        Value::Text(text) => Item::Text(text.clone()),
        Value::List(items) => Item::List(items.iter().filter(read).map(|node| item(&node.value)).collect()),
        Value::Map(entries) => {
            let mut map = Map::default();
            for (key, node) in entries.iter().filter(|(_, node)| read(&node)) {
                map.set(&[key], item(&node.value));
            }
            Item::Map(map)
        }
    }
}
