//! Which keys exist: their shape, their default, their name in the environment, and whether they do anything yet.
//!
//! Each section's file owns its own table of [`Key`]s beside the type that is read from it. The tables serve five
//! readers: the environment overlay, the search for unknown keys, the filling in of defaults, the printing of the
//! effective configuration without its secrets, and the search for changes that need a restart.

use anyhow::{Result, bail};

use crate::config::{
    Warning, auth, catalog, edge, health, http, inert, log, middleware,
    node::{Node, Origin, Value},
    storage, validation, yaml,
};

/// One key of a section.
#[derive(Debug)]
pub(in crate::config) struct Key {
    pub(in crate::config) name: &'static str,
    /// Its name in the environment, where that is not the name in capitals.
    pub(in crate::config) variable: Option<&'static str>,
    pub(in crate::config) shape: Shape,
    /// As YAML. A section with the default `{}` is there even when nobody writes it.
    pub(in crate::config) default: Option<&'static str>,
    pub(in crate::config) effect: Effect,
    pub(in crate::config) secrecy: Secrecy,
    pub(in crate::config) change: Change,
}

/// What stands below a key.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) enum Shape {
    /// One scalar.
    Value,
    /// Exactly these keys.
    Section(&'static [Key]),
    /// These keys, and others that somebody else may know.
    Parameters(&'static [Key]),
    /// The same; a bare word stands for the key of that name with nothing below it.
    Choice(&'static [Key]),
    /// Exactly these keys; a value or a list alone stands for the first of them.
    Gathered(&'static [Key]),
    List(&'static Self),
    /// Names of the operator's choice.
    Named(&'static Self),
    /// Anything.
    Open,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::config) enum Effect {
    InForce,
    /// Known, and without any effect in this version.
    Inert,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::config) enum Secrecy {
    Public,
    Secret,
}

/// What it takes for a change to be in force.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::config) enum Change {
    /// The process has to be started again, or upgraded.
    Restart,
    /// The configuration has to be read again; so for everything below the key.
    Reload,
}

pub(in crate::config) const fn key(name: &'static str, shape: Shape) -> Key {
    Key {
        name,
        variable: None,
        shape,
        default: None,
        effect: Effect::InForce,
        secrecy: Secrecy::Public,
        change: Change::Restart,
    }
}

pub(in crate::config) const fn value(name: &'static str) -> Key {
    key(name, Shape::Value)
}

pub(in crate::config) const fn values(name: &'static str) -> Key {
    key(name, Shape::List(&Shape::Value))
}

pub(in crate::config) const fn section(name: &'static str, keys: &'static [Key]) -> Key {
    key(name, Shape::Section(keys))
}

pub(in crate::config) const fn parameters(name: &'static str, keys: &'static [Key]) -> Key {
    key(name, Shape::Parameters(keys))
}

impl Key {
    pub(in crate::config) const fn or(mut self, default: &'static str) -> Self {
        self.default = Some(default);
        self
    }

    pub(in crate::config) const fn always(self) -> Self {
        self.or("{}")
    }

    pub(in crate::config) const fn variable(mut self, name: &'static str) -> Self {
        self.variable = Some(name);
        self
    }

    pub(in crate::config) const fn inert(mut self) -> Self {
        self.effect = Effect::Inert;
        self
    }

    pub(in crate::config) const fn secret(mut self) -> Self {
        self.secrecy = Secrecy::Secret;
        self
    }

    pub(in crate::config) const fn live(mut self) -> Self {
        self.change = Change::Reload;
        self
    }

    /// Whether an environment variable's element means this key.
    pub(in crate::config) fn is_called(&self, element: &str) -> bool {
        match self.variable {
            Some(variable) => variable == element,
            None => self.name.to_ascii_uppercase() == element,
        }
    }
}

/// The whole document.
pub(in crate::config) const DOCUMENT: Shape = Shape::Section(&[
    value("version"),
    section("log", log::KEYS).always().live(),
    value("loglevel").live(),
    key("storage", Shape::Choice(storage::KEYS)).always(),
    key("auth", Shape::Choice(auth::KEYS)).live(),
    section("http", http::KEYS).always(),
    section("health", health::KEYS).always(),
    section("catalog", catalog::CATALOG_KEYS).always().live(),
    section("tags", catalog::TAGS_KEYS).always().live(),
    section("validation", validation::KEYS).always(),
    section("edge", edge::KEYS).always(),
    parameters("middleware", middleware::KEYS),
    section("notifications", inert::NOTIFICATIONS).inert(),
    section("redis", inert::REDIS).inert(),
    section("proxy", inert::PROXY).inert(),
    section("policy", inert::POLICY).inert(),
    section("compatibility", inert::COMPATIBILITY).inert(),
    section("reporting", inert::REPORTING).inert(),
    key("database", Shape::Open),
    key("gc", Shape::Open).inert(),
    key("migration", Shape::Open).inert(),
    key("profiling", Shape::Open).inert(),
    key("rate_limiter", Shape::Open).inert(),
]);

/// Our own section: there a key that we do not know is an error, because nobody else can mean it.
pub(in crate::config) const OWN: &str = "edge";

/// Warns about keys that do nothing and keys that nobody knows.
///
/// # Errors
/// An unknown key in our own section.
pub(in crate::config) fn inspect(node: &Node, shape: &Shape, path: &str, warnings: &mut Vec<Warning>) -> Result<()> {
    let Value::Map(entries) = &node.value else {
        if let (Value::List(items), Shape::List(shape)) = (&node.value, shape) {
            for (index, item) in items.iter().enumerate() {
                inspect(item, shape, &join(path, &index.to_string()), warnings)?;
            }
        }
        return Ok(());
    };
    for (name, child) in entries {
        let path = join(path, name);
        match shape {
            Shape::Section(keys) | Shape::Parameters(keys) | Shape::Choice(keys) | Shape::Gathered(keys) => match keys
                .iter()
                .find(|key| key.name == name)
            {
                Some(key) if key.effect == Effect::InForce => inspect(child, &key.shape, &path, warnings)?,
                Some(_) if child.is_idle() => {}
                Some(_) => warnings.push(Warning::at(child, &path, "is known, but does nothing in this version")),
                None if path.split('.').next() == Some(OWN) => {
                    let known: Vec<_> = keys.iter().map(|key| key.name).collect();
                    bail!("{}: {path}: there is no such key; this section knows {}", child.origin, known.join(", "));
                }
                None => warnings.push(Warning::at(child, &path, "is not a key that is known here; it is ignored")),
            },
            Shape::Named(shape) => inspect(child, shape, &path, warnings)?,
            Shape::Value | Shape::List(_) | Shape::Open => {}
        }
    }
    Ok(())
}

/// Writes the default at every key in force that nobody has set; null is not set.
pub(in crate::config) fn fill(node: &mut Node, shape: &Shape) {
    match shape {
        Shape::Section(keys) | Shape::Parameters(keys) | Shape::Choice(keys) | Shape::Gathered(keys) => {
            match shape {
                Shape::Choice(_) => node.spread(),
                Shape::Gathered(keys) => node.gather(keys[0].name),
                _ => {}
            }
            let Value::Map(entries) = &mut node.value else { return };
            for key in keys.iter().filter(|key| key.effect == Effect::InForce) {
                fill_key(entries, key, shape);
            }
        }
        Shape::List(shape) => {
            if let Value::List(items) = &mut node.value {
                for item in items {
                    fill(item, shape);
                }
            }
        }
        Shape::Named(_) | Shape::Value | Shape::Open => {}
    }
}

fn fill_key(entries: &mut Vec<(String, Node)>, key: &Key, parent: &Shape) {
    let position = entries.iter().position(|(name, _)| name == key.name);
    if let Some(default) = key.default
        && position.is_none_or(|position| entries[position].1.is_null())
    {
        let node = yaml::parse(default, &Origin::Default).expect("every default in the tables is YAML");
        match position {
            Some(position) => entries[position].1 = node,
            None => entries.push((key.name.to_owned(), node)),
        }
    }
    if let Some((_, child)) = entries.iter_mut().find(|(name, _)| name == key.name) {
        // `filesystem:` with nothing below it names a driver, as `http:` with nothing below it says nothing.
        if child.is_null() && matches!((parent, key.shape), (Shape::Choice(_), Shape::Parameters(_))) {
            child.spread();
        }
        fill(child, &key.shape);
    }
}

/// A dotted path.
pub(in crate::config) fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}
