//! A configuration on its way out: sections in order, each with a comment that says where it comes from, as YAML.

use std::fmt::Write as _;

#[derive(Clone, PartialEq)]
pub(in crate::import) enum Item {
    Null,
    Bool(bool),
    /// Written as it is.
    Number(String),
    Text(String),
    List(Vec<Self>),
    Map(Map),
}

/// Keys in the order in which they were first set.
#[derive(Clone, Default, PartialEq)]
pub(in crate::import) struct Map(Vec<Entry>);

#[derive(Clone, PartialEq)]
struct Entry {
    key: String,
    /// Lines above the key.
    comment: Vec<String>,
    item: Item,
}

impl From<&str> for Item {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Item {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<bool> for Item {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Item {
    fn from(value: i64) -> Self {
        Self::Number(value.to_string())
    }
}

impl<T: Into<Self>> From<Vec<T>> for Item {
    fn from(items: Vec<T>) -> Self {
        Self::List(items.into_iter().map(Into::into).collect())
    }
}

impl Map {
    pub(in crate::import) fn get(&self, path: &[&str]) -> Option<&Item> {
        let (first, rest) = path.split_first()?;
        let item = &self.0.iter().find(|entry| entry.key == *first)?.item;
        match item {
            _ if rest.is_empty() => Some(item),
            Item::Map(map) => map.get(rest),
            _ => None,
        }
    }

    /// Sets what stands at this path, making the sections on the way.
    pub(in crate::import) fn set(&mut self, path: &[&str], item: impl Into<Item>) {
        let (last, sections) = path.split_last().expect("a path has a key");
        let mut map = self;
        for section in sections {
            let entry = map.entry(section);
            if !matches!(entry.item, Item::Map(_)) {
                entry.item = Item::Map(Self::default());
            }
            let Item::Map(inner) = &mut entry.item else { unreachable!("it was made a map above") };
            map = inner;
        }
        map.entry(last).item = item.into();
    }

    /// As [`Map::set`], with a line above the key.
    pub(in crate::import) fn set_from(&mut self, path: &[&str], item: impl Into<Item>, source: impl Into<String>) {
        self.set(path, item);
        self.comment(path, source);
    }

    /// Puts a line above a key that is set; where it is not, nowhere.
    pub(in crate::import) fn comment(&mut self, path: &[&str], line: impl Into<String>) {
        let mut map = self;
        for (at, key) in path.iter().enumerate() {
            let Some(entry) = map.0.iter_mut().find(|entry| entry.key == *key) else { return };
            if at + 1 == path.len() {
                // An end of line would turn the rest of a comment into keys.
                entry.comment.push(line.into().replace(|letter: char| letter.is_control(), " "));
                return;
            }
            let Item::Map(inner) = &mut entry.item else { return };
            map = inner;
        }
    }

    fn entry(&mut self, key: &str) -> &mut Entry {
        let at = self.0.iter().position(|entry| entry.key == key).unwrap_or_else(|| {
            self.0.push(Entry { key: key.to_owned(), comment: Vec::new(), item: Item::Null });
            self.0.len() - 1
        });
        &mut self.0[at]
    }

    /// The whole as YAML, below these lines of comment.
    pub(in crate::import) fn yaml(&self, head: &[String]) -> String {
        let mut out = String::new();
        for line in head {
            let _ = writeln!(out, "# {line}");
        }
        self.write(&mut out, 0);
        out
    }

    fn write(&self, out: &mut String, indent: usize) {
        for entry in &self.0 {
            for line in &entry.comment {
                let _ = writeln!(out, "{:indent$}# {line}", "");
            }
            let _ = write!(out, "{:indent$}{}:", "", scalar(&entry.key));
            entry.item.write(out, indent);
        }
    }
}

impl Item {
    /// What stands behind a key's colon, or behind a dash, to the end of the line and below.
    fn write(&self, out: &mut String, indent: usize) {
        match self {
            Self::Map(map) if !map.0.is_empty() => {
                out.push('\n');
                map.write(out, indent + 2);
            }
            Self::List(items) if items.iter().any(|item| matches!(item, Self::Map(_) | Self::List(_))) => {
                out.push('\n');
                for item in items {
                    // The first key of a section stands behind its dash.
                    let mut inner = String::new();
                    item.write(&mut inner, indent + 2);
                    let _ = write!(out, "{:width$}- {}", "", inner.trim_start(), width = indent + 2);
                }
            }
            Self::List(items) => {
                let words: Vec<_> = items.iter().map(Self::word).collect();
                let _ = writeln!(out, " [{}]", words.join(", "));
            }
            item => {
                let _ = writeln!(out, " {}", item.word());
            }
        }
    }

    fn word(&self) -> String {
        match self {
            Self::Null => "null".to_owned(),
            Self::Bool(value) => value.to_string(),
            Self::Number(number) => number.clone(),
            Self::Text(text) => scalar(text),
            Self::List(_) => "[]".to_owned(),
            Self::Map(_) => "{}".to_owned(),
        }
    }
}

/// A text, in quotes unless it can only be read as one.
fn scalar(text: &str) -> String {
    let plain = text.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '/')
        && text.chars().all(|letter| letter.is_ascii_alphanumeric() || "_-./:".contains(letter))
        && !text.ends_with(':');
    // Words that one reader of YAML or another takes for something else.
    let words = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];
    if plain && !words.contains(&text.to_ascii_lowercase().as_str()) {
        return text.to_owned();
    }
    // A text of JSON is one of YAML, but for what YAML takes for an end of line.
    let quoted = serde_json::to_string(text).expect("a text can always be written");
    quoted
        .replace('\u{85}', "\\u0085")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
        .replace('\u{7f}', "\\u007f")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inner(key: &str, item: impl Into<Item>) -> Item {
        let mut map = Map::default();
        map.set(&[key], item);
        Item::Map(map)
    }

    #[test]
    fn comments_stand_above_their_keys() {
        let mut map = Map::default();
        map.set(&["version"], Item::Number("0.1".to_owned()));
        map.set_from(&["a", "b"], "x", "from\nhere");
        map.set(&["a", "list"], vec!["1", "two"]);
        map.set(&["a", "maps"], Item::List(vec![inner("k", "v"), inner("k", Item::Map(Map::default()))]));
        map.comment(&["a"], "the section");
        map.comment(&["none", "such"], "lost");
        let expected = "# head\nversion: 0.1\n# the section\na:\n  # from here\n  b: x\n  list: [\"1\", two]\n  maps:\n    \
            - k: v\n    - k: {}\n";
        assert_eq!(map.yaml(&["head".to_owned()]), expected);
        assert!(matches!(map.get(&["a", "b"]), Some(Item::Text(text)) if text == "x"));
    }

    /// Whatever a text is, another reader of YAML has the same one.
    #[test]
    fn texts_come_back() {
        for text in [
            "",
            "yes",
            "NO",
            "1",
            "0x1f",
            "~",
            "null",
            "a: b",
            "a #b",
            "- a",
            "*a",
            "&a",
            "!a",
            "%a",
            "@a",
            "`a",
            "{a",
            "a\nb",
            "a\tb",
            "\u{85}",
            "\u{2028}",
            "\u{7f}",
            "\u{1b}",
            "ä",
            "a:",
            ":5000",
            "127.0.0.1:5000",
            "12:30:45",
            "/x/y",
            "https://a.test:5050/",
            "'",
            "\"",
            "\\",
            "a\\nb",
            "2026-11-24",
            "1e3",
            ".inf",
            "=",
            "<<",
            "😀",
        ] {
            let mut map = Map::default();
            map.set(&["key"], text);
            map.set(&[text], vec![text]);
            let read: serde_yaml::Value = serde_yaml::from_str(&map.yaml(&[])).unwrap();
            assert_eq!(read["key"], serde_yaml::Value::from(text), "{text:?}");
            assert_eq!(read[text][0], serde_yaml::Value::from(text), "{text:?}");
        }
    }
}
