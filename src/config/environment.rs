//! `REGISTRY_*` variables, laid over the file by the rules of CNCF Distribution.
//!
//! Variables apply in the order of their names, so `REGISTRY_STORAGE` comes before `REGISTRY_STORAGE_CACHE`. A name is
//! a path: its elements, split at `_`, are fields in a section (in capitals; a few have another name than their key),
//! keys in a map (whatever their case), and indices in a list (one past the end appends). The value is YAML and takes
//! the place of all that stood there. Below `EDGE` the underscores of keys are not told from those of the path.

use std::{collections::BTreeMap, fmt, iter};

use anyhow::{Context, Result, anyhow};

use crate::config::{
    Warning,
    node::{Node, Origin, Value},
    schema::{self, Key, Shape},
    yaml,
};

const PREFIX: &str = "REGISTRY_";
const CONFIGURATION_PATH: &str = "REGISTRY_CONFIGURATION_PATH";

/// Environment variables, by name. `Debug` shows no values.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        Self(variables.into_iter().filter(|(name, _)| name.starts_with(PREFIX)).collect())
    }
}

impl Environment {
    /// This process's variables.
    ///
    /// # Errors
    /// A variable that is meant for us is not UTF-8.
    pub fn of_process() -> Result<Self> {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
            .filter(|(name, _)| name.starts_with(PREFIX))
            .map(|(name, value)| match value.into_string() {
                Ok(value) => Ok((name, value)),
                Err(_) => Err(anyhow!("{name}: the value is not UTF-8")),
            })
            .collect()
    }

    /// Where the configuration file is, if a variable says so.
    #[must_use]
    pub fn configuration_path(&self) -> Option<&str> {
        self.0.get(CONFIGURATION_PATH).map(String::as_str).filter(|path| !path.is_empty())
    }

    /// Lays every variable over a document.
    ///
    /// # Errors
    /// A value that is not YAML, a list index past the end, a path through something that has no parts. A name that
    /// means nothing is a warning.
    pub(in crate::config) fn overlay(&self, document: &mut Node, warnings: &mut Vec<Warning>) -> Result<()> {
        for (name, text) in self.0.iter().filter(|(name, _)| *name != CONFIGURATION_PATH) {
            let origin = Origin::Environment(name.as_str().into());
            let value = yaml::parse(text, &origin)?;
            let elements: Vec<&str> = name[PREFIX.len()..].split('_').collect();
            match assign(document, &schema::DOCUMENT, &elements, Spelling::Exact, value).context(name.clone())? {
                Outcome::Assigned => {}
                Outcome::Unrecognized => warnings.push(Warning {
                    key: name.clone(),
                    text: format!("Ignoring unrecognized environment variable {name}"),
                }),
            }
        }
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Outcome {
    Assigned,
    Unrecognized,
}

/// How elements of a name make up a key.
#[derive(Clone, Copy)]
enum Spelling {
    /// One element is one key.
    Exact,
    /// Several elements may be one key: its underscores are left out.
    Joined,
}

fn assign(node: &mut Node, shape: &Shape, elements: &[&str], spelling: Spelling, value: Node) -> Result<Outcome> {
    let Some((first, rest)) = elements.split_first() else {
        *node = value;
        return Ok(Outcome::Assigned);
    };
    match shape {
        Shape::Section(keys) => {
            let Some((key, rest)) = field(keys, elements, spelling) else { return Ok(Outcome::Unrecognized) };
            let spelling = if key.name == schema::OWN { Spelling::Joined } else { spelling };
            assign(entry(node, key.name, &value.origin)?, &key.shape, rest, spelling, value)
        }
        Shape::Parameters(keys) => {
            node.spread();
            let key = keys.iter().find(|key| key.name.eq_ignore_ascii_case(first));
            let name = key.map_or_else(|| existing(node, first), |key| key.name.to_owned());
            let shape = key.map_or(&Shape::Open, |key| &key.shape);
            assign(entry(node, &name, &value.origin)?, shape, rest, spelling, value)
        }
        Shape::Named(shape) => {
            let name = existing(node, first);
            assign(entry(node, &name, &value.origin)?, shape, rest, spelling, value)
        }
        Shape::List(shape) => assign(item(node, first, &value.origin)?, shape, rest, spelling, value),
        Shape::Value => Ok(Outcome::Unrecognized),
        Shape::Open if matches!(node.value, Value::List(_)) => {
            assign(item(node, first, &value.origin)?, shape, rest, spelling, value)
        }
        Shape::Open => {
            let name = existing(node, first);
            assign(entry(node, &name, &value.origin)?, &Shape::Open, rest, spelling, value)
        }
    }
}

/// The key that a name's first elements mean, and the elements behind it.
fn field<'e>(keys: &'static [Key], elements: &'e [&'e str], spelling: Spelling) -> Option<(&'static Key, &'e [&'e str])> {
    let longest = match spelling {
        Spelling::Exact => 1,
        Spelling::Joined => elements.len(),
    };
    (1..=longest).rev().find_map(|length| {
        let (name, rest) = elements.split_at(length);
        let name = name.concat();
        let means = |key: &&Key| match spelling {
            Spelling::Exact => key.is_called(&name),
            Spelling::Joined => key.name.replace('_', "").to_ascii_uppercase() == name,
        };
        keys.iter().find(means).map(|key| (key, rest))
    })
}

/// The name of an existing key that differs in case only, else a new name in small letters.
fn existing(node: &Node, element: &str) -> String {
    let Value::Map(entries) = &node.value else { return element.to_lowercase() };
    entries
        .iter()
        .map(|(name, _)| name)
        .find(|name| name.to_lowercase() == element.to_lowercase())
        .map_or_else(|| element.to_lowercase(), Clone::clone)
}

/// The value at a key of a map, made if it is missing.
fn entry<'n>(node: &'n mut Node, name: &str, origin: &Origin) -> Result<&'n mut Node> {
    if node.is_null() {
        *node = Node::empty_map(origin.clone());
    }
    let Value::Map(entries) = &mut node.value else {
        return Err(anyhow!("what stands at {} has no keys of its own", node.origin));
    };
    let position = entries.iter().position(|(key, _)| key == name).unwrap_or_else(|| {
        entries.push((name.to_owned(), Node::null(origin.clone())));
        entries.len() - 1
    });
    Ok(&mut entries[position].1)
}

/// The value at an index of a list; the index behind the last one appends.
fn item<'n>(node: &'n mut Node, element: &str, origin: &Origin) -> Result<&'n mut Node> {
    if node.is_null() {
        *node = Node { origin: origin.clone(), value: Value::List(Vec::new()) };
    }
    let Value::List(items) = &mut node.value else {
        return Err(anyhow!("what stands at {} is not a list", node.origin));
    };
    let index: usize = element.parse().map_err(|_| anyhow!("{element:?} is not an index of a list"))?;
    if index > items.len() {
        return Err(anyhow!("undefined index: {index}, the list has {} entries", items.len()));
    }
    items.extend(iter::repeat_with(|| Node::null(origin.clone())).take(usize::from(index == items.len())));
    Ok(&mut items[index])
}

