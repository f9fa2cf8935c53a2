//! From what stood here before: a `gitlab.rb` or an NGINX configuration becomes a configuration of ours.
//!
//! A file is parsed without running, following or guessing anything (`ruby/`, `nginx/`). Each setting in it then has one
//! of four ends, and all but the first are told to whoever asked: it is in the result; it has no effect here, with the
//! reason; its value cannot be had without the program that it was written for; nobody knows it. The result is a
//! `Document`, with a comment above each key that says where it comes from.
//!
//! Secrets go into the result and nowhere else.

mod document;
mod gitlab;
mod nginx;
mod place;
mod ruby;
mod terms;

use std::fmt;

use crate::{
    import::place::{Place, SyntaxError},
    secret::Secret,
};

/// Largest file that is read, in bytes. GitLab's own template with all settings has a fifth of that.
pub const FILE_SIZE_MAX: u64 = 1 << 20;

/// What came of a file.
#[derive(Debug)]
pub struct Imported {
    /// A whole configuration.
    pub yaml: Secret<String>,
    /// What is not in it, in the order of the file.
    pub notes: Vec<Note>,
}

/// What is to be said of one setting.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Note {
    /// `None` for what is about the file as a whole.
    pub place: Option<Place>,
    /// As it is written in the file: `registry['gc']`, `ssl_dhparam`.
    pub setting: String,
    pub fate: Fate,
    /// A clause that says why.
    pub reason: String,
}

/// What becomes of a setting that is not simply taken over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fate {
    NoEffect,
    /// It would have an effect, but its value cannot be had or used: the result lacks it.
    NotRead,
    Unknown,
    /// It is in the result, and somebody should look at it.
    Remark,
}

/// Why a file gives no configuration.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Syntax(#[from] SyntaxError),
    #[error("there is no server in this file that passes requests on to a registry")]
    NoServer,
    #[error("there are several servers in this file; choose one of {} with --server", .0.join(", "))]
    SeveralServers(Vec<String>),
    #[error("there is no server {wanted:?} in this file, only {}", .known.join(", "))]
    OtherServers { wanted: String, known: Vec<String> },
}

/// Reads a `gitlab.rb`; `name` is what comments call the file.
///
/// # Errors
/// The text is not one that Ruby could read.
pub fn gitlab_rb(text: &str, name: &str) -> Result<Imported, Error> {
    gitlab::import(text, name)
}

/// Reads an NGINX configuration: the server that passes requests on, with this name if one is given.
///
/// # Errors
/// The text is not one that NGINX could read, or has not one such server.
pub fn nginx_conf(text: &str, name: &str, server: Option<&str>) -> Result<Imported, Error> {
    nginx::import(text, name, server)
}

impl Imported {
    fn of(yaml: String, mut notes: Vec<Note>) -> Self {
        notes.sort_by_key(|note| note.place);
        Self { yaml: Secret::new(yaml), notes }
    }

    /// Whether all that has an effect here was understood.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        !self.notes.iter().any(|note| note.fate == Fate::NotRead)
    }
}

impl Note {
    fn new(place: impl Into<Option<Place>>, setting: impl Into<String>, fate: Fate, reason: impl Into<String>) -> Self {
        Self { place: place.into(), setting: setting.into(), fate, reason: reason.into() }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = self.place {
            write!(f, "{place}: ")?;
        }
        let Self { setting, reason, .. } = self;
        match self.fate {
            Fate::NoEffect => write!(f, "{setting} has no effect: {reason}"),
            Fate::NotRead => write!(f, "{setting} is left out: {reason}"),
            Fate::Unknown => write!(f, "{setting} is not known: {reason}"),
            Fate::Remark => write!(f, "{setting}: {reason}"),
        }
    }
}
