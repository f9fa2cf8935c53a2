//! The configuration in force, as YAML without its secrets.
//!
//! Only keys that are known are shown: nobody can say whether an unknown one holds a secret.

use std::fmt::Write;

use crate::config::{
    node::{Node, Style, Value},
    redact::{self, REDACTED},
    scalar,
    schema::{Secrecy, Shape},
};

/// Parts of names that give a secret away where no table knows the key.
const TELLING: &[&str] = &["secret", "password", "passwd", "key", "token", "credential", "dsn", "authorization"];

/// # Panics
/// Never: writing to a string cannot fail.
pub(in crate::config) fn yaml(document: &Node, shape: &Shape) -> String {
    let mut text = String::new();
    write_entries(&mut text, document, shape, 0);
    text
}

fn write_entries(text: &mut String, node: &Node, shape: &Shape, indent: usize) {
    let Value::Map(entries) = &node.value else { return };
    for (name, child) in entries {
        let (shape, secrecy) = match shape {
            Shape::Section(keys) | Shape::Parameters(keys) | Shape::Choice(keys) | Shape::Gathered(keys) => {
                let Some(key) = keys.iter().find(|key| key.name == name) else { continue };
                (key.shape, key.secrecy)
            }
            Shape::Named(shape) => (**shape, Secrecy::Public),
            Shape::Open | Shape::Value | Shape::List(_) => (Shape::Open, telling(name)),
        };
        if child.is_null() {
            continue;
        }
        let _ = write!(text, "{:indent$}{}:", "", scalar(name, Style::Plain));
        match secrecy {
            Secrecy::Secret => write_redacted(text, child, indent + 2),
            Secrecy::Public => write_value(text, child, &shape, indent + 2),
        }
    }
}

/// A value behind its key or dash, and the end of its line.
fn write_value(text: &mut String, node: &Node, shape: &Shape, indent: usize) {
    match &node.value {
        Value::Scalar { text: value, style } => {
            let _ = writeln!(text, " {}", scalar(&redact::url(value), *style));
        }
        Value::List(items) if items.is_empty() => text.push_str(" []\n"),
        Value::List(items) => {
            let shape = if let Shape::List(shape) = shape { shape } else { &Shape::Open };
            text.push('\n');
            for item in items {
                let _ = write!(text, "{:indent$}-", "");
                write_value(text, item, shape, indent + 2);
            }
        }
        Value::Map(_) => {
            let mut inner = String::new();
            write_entries(&mut inner, node, shape, indent);
            if inner.is_empty() {
                text.push_str(" {}\n");
            } else {
                text.push('\n');
                text.push_str(&inner);
            }
        }
    }
}

/// A secret: a map keeps its names, as those of headers, and loses every value.
fn write_redacted(text: &mut String, node: &Node, indent: usize) {
    let Value::Map(entries) = &node.value else {
        let _ = writeln!(text, " {REDACTED}");
        return;
    };
    text.push_str(if entries.is_empty() { " {}\n" } else { "\n" });
    for (name, _) in entries {
        let _ = writeln!(text, "{:indent$}{}: {REDACTED}", "", scalar(name, Style::Plain));
    }
}

fn telling(name: &str) -> Secrecy {
    let name = name.to_lowercase();
    if TELLING.iter().any(|part| name.contains(part)) { Secrecy::Secret } else { Secrecy::Public }
}

/// A scalar as YAML, quoted unless it means the same without.
fn scalar(value: &str, style: Style) -> String {
    let plain = value.chars().all(|c| c.is_ascii_alphanumeric() || "/._+-:".contains(c))
        && value.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/')
        && !value.ends_with(':');
    let ambiguous = style == Style::Quoted
        && (scalar::is_null(value) || scalar::boolean(value).is_some() || value.parse::<f64>().is_ok());
    if plain && !ambiguous { value.to_owned() } else { serde_json::Value::from(value).to_string() }
}
