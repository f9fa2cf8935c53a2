//! Names each setting that does nothing, that cannot be read, or that nobody knows.

use crate::import::{
    Fate, Note,
    gitlab::{
        known::{self, Known},
        settings::{Settings, written},
    },
    place::Place,
    ruby::{Node, Value},
};

/// Most lines that are named for a section that is not the registry's.
const LINES_MAX: usize = 8;

pub(super) fn of(settings: &Settings) -> Vec<Note> {
    let mut notes = Vec::new();
    for (name, node) in settings.entries() {
        match name.as_str() {
            "registry" => section(node, &[name], known::REGISTRY, &mut notes),
            "registry_nginx" => section(node, &[name], known::NGINX, &mut notes),
            "letsencrypt" => section(node, &[name], known::LETSENCRYPT, &mut notes),
            "gitlab_rails" => rails(node, &mut notes),
            "nginx" => site(node, &mut notes),
            "external_url" | "registry_external_url" => opaque(node, &[name], &mut notes),
            _ => notes.push(foreign(name, node, "it is not the registry's")),
        }
    }
    notes
}

/// A section all of whose keys are about the registry.
fn section(node: &Node, path: &[&str], table: &[(&str, Known)], notes: &mut Vec<Note>) {
    let Value::Map(entries) = &node.value else {
        opaque(node, path, notes);
        return;
    };
    // nil is how a setting is taken back.
    for (key, node) in entries.iter().filter(|(_, node)| node.value != Value::Nil) {
        let path = [path, &[key]].concat();
        match known::fate(table, key) {
            Some(Known::Read) if path == ["registry", "nginx"] => section(node, &path, known::NGINX, notes),
            Some(Known::Read) if path == ["registry", "database"] => database(node, notes),
            Some(Known::Read) => opaque(node, &path, notes),
            Some(Known::Idle(reason)) => notes.push(Note::new(node.place, written(&path), Fate::NoEffect, reason)),
            None => notes.push(Note::new(node.place, written(&path), Fate::Unknown, "it is left out")),
        }
    }
}

/// Only whether there is a metadata database matters here.
fn database(node: &Node, notes: &mut Vec<Note>) {
    let path = ["registry", "database"];
    let Value::Map(entries) = &node.value else {
        opaque(node, &path, notes);
        return;
    };
    for (key, node) in entries {
        let path = [path[0], path[1], key];
        if key == "enabled" {
            opaque(node, &path, notes);
        } else {
            let reason = "there is no metadata database: tags lie in the storage";
            notes.push(Note::new(node.place, written(&path), Fate::NoEffect, reason));
        }
    }
}

fn rails(node: &Node, notes: &mut Vec<Note>) {
    let Value::Map(entries) = &node.value else {
        opaque(node, &["gitlab_rails"], notes);
        return;
    };
    let about = |(key, _): &&(String, Node)| key.starts_with("registry_") || known::fate(known::RAILS, key).is_some();
    let (ours, others): (Vec<_>, Vec<_>) = entries.iter().partition(about);
    let of = |entries: Vec<&(String, Node)>| Node {
        place: entries.first().map_or(node.place, |(_, first)| first.place),
        value: Value::Map(entries.into_iter().cloned().collect()),
    };
    if !others.is_empty() {
        notes.push(foreign("gitlab_rails", &of(others), "these are not about the registry"));
    }
    section(&of(ours), &["gitlab_rails"], known::RAILS, notes);
}

fn site(node: &Node, notes: &mut Vec<Note>) {
    let Value::Map(entries) = &node.value else {
        opaque(node, &["nginx"], notes);
        return;
    };
    for (key, node) in entries {
        let path = ["nginx", key];
        match known::fate(known::SITE_NGINX, key) {
            Some(Known::Read) => opaque(node, &path, notes),
            _ => notes.push(Note::new(node.place, written(&path), Fate::NoEffect, known::SITE_REASON)),
        }
    }
}

/// One line for a whole section, or function, of another part of GitLab.
fn foreign(name: &str, node: &Node, reason: &str) -> Note {
    let lines = match &node.value {
        Value::Map(entries) => {
            let mut lines: Vec<_> = entries.iter().map(|(_, node)| node.place.line).collect();
            lines.dedup();
            lines
        }
        _ => Vec::new(),
    };
    let shown: Vec<_> = lines.iter().take(LINES_MAX).map(ToString::to_string).collect();
    let more = if lines.len() > LINES_MAX { " and more" } else { "" };
    let where_else = match lines.len() {
        0 | 1 => String::new(),
        _ => format!(" (lines {}{more})", shown.join(", ")),
    };
    Note::new(node.place, name, Fate::NoEffect, format!("{reason}{where_else}"))
}

/// What cannot be evaluated, at this place or below it, to the depth that files have.
fn opaque(node: &Node, path: &[&str], notes: &mut Vec<Note>) {
    let mut left_out = |place: Place, what: &str| {
        let reason = format!("{what} cannot be evaluated here; write its value into the result");
        notes.push(Note::new(place, written(path), Fate::NotRead, reason));
    };
    match &node.value {
        Value::Opaque(what) => left_out(node.place, what),
        Value::List(items) => {
            for (number, node) in items.iter().enumerate() {
                opaque(node, &[path, &[&number.to_string()]].concat(), notes);
            }
        }
        Value::Map(entries) => {
            for (key, node) in entries {
                opaque(node, &[path, &[key]].concat(), notes);
            }
        }
        _ => {}
    }
}
