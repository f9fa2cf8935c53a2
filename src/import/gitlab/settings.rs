//! The settings of a `gitlab.rb` as one tree: what its statements come to in the end.

use crate::import::{
    place::Place,
    ruby::{Node, Script, Value},
};

/// What each section and function was set to.
pub(super) struct Settings(Node);

/// A setting that has a value.
#[derive(Clone, Copy)]
pub(super) struct Setting<'a> {
    pub(super) place: Place,
    pub(super) value: &'a Value,
}

impl Settings {
    /// The last assignment counts. Below something that is not known, everything is.
    pub(super) fn of(script: Script) -> Self {
        let mut root = Node { place: Place { line: 1, column: 1 }, value: Value::Map(Vec::new()) };
        for assignment in script.assignments {
            place(&mut root, &assignment.path, assignment.node);
        }
        Self(root)
    }

    /// What is set at this path; nil is nothing.
    pub(super) fn find(&self, path: &[&str]) -> Option<Setting<'_>> {
        let mut node = &self.0;
        for key in path {
            let Value::Map(entries) = &node.value else { return None };
            node = &entries.iter().find(|(name, _)| name == key)?.1;
        }
        (node.value != Value::Nil).then_some(Setting { place: node.place, value: &node.value })
    }

    /// The sections and functions, in the order in which they were first set.
    pub(super) fn entries(&self) -> &[(String, Node)] {
        match &self.0.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }
}

fn place(node: &mut Node, path: &[String], new: Node) {
    let Some((key, rest)) = path.split_first() else {
        *node = new;
        return;
    };
    match &mut node.value {
        Value::Map(_) => {}
        Value::Opaque(_) => return,
        // Nothing can stand in anything else, so it was not meant to stay.
        _ => node.value = Value::Map(Vec::new()),
    }
    let Value::Map(entries) = &mut node.value else { return };
    let at = entries.iter().position(|(name, _)| name == key).unwrap_or_else(|| {
        let inner = if rest.is_empty() { Value::Nil } else { Value::Map(Vec::new()) };
        entries.push((key.clone(), Node { place: new.place, value: inner }));
        entries.len() - 1
    });
    place(&mut entries[at].1, rest, new);
}

/// As it is written in the file: `registry['storage']['s3']`.
pub(super) fn written(path: &[&str]) -> String {
    let Some((first, rest)) = path.split_first() else { return String::new() };
    rest.iter().fold((*first).to_owned(), |name, key| format!("{name}['{}']", key.escape_default()))
}
