//! The part of Ruby that a `gitlab.rb` is written in, read without running anything.
//!
//! Such a file is a list of `section['key'] = value` and `external_url 'value'`, where values are literals. That part
//! is read exactly. Everything else (variables, conditions, calls, texts with code in them) needs Ruby, the machine
//! and its environment to have a value, so it becomes [`Value::Opaque`]: it is named, and never guessed. An earlier
//! value of a setting that such code may change is forgotten for the same reason.
//!
//! `token` cuts the text into words, `literal` reads quoted ones, `statement` finds where a statement ends and what it
//! sets, `expression` reads its value.

use std::fmt;

mod expression;
mod heredoc;
mod literal;
mod statement;
#[cfg(test)]
mod tests;
mod token;

use crate::import::place::{Place, SyntaxError};

/// Deepest nesting of brackets and blocks.
const DEPTH_MAX: usize = 64;

/// What a file says, in its order.
#[derive(Debug, Default)]
pub(in crate::import) struct Script {
    pub(in crate::import) assignments: Vec<Assignment>,
    pub(in crate::import) unread: Vec<Unread>,
}

/// `a['b']['c'] = value` with the path `a`, `b`, `c`; or `a value` with the path `a`.
#[derive(Debug)]
pub(in crate::import) struct Assignment {
    pub(in crate::import) path: Vec<String>,
    pub(in crate::import) node: Node,
}

/// A statement that sets nothing that can be told.
#[derive(Debug)]
pub(in crate::import) struct Unread {
    pub(in crate::import) place: Place,
    /// A noun: "a condition".
    pub(in crate::import) what: String,
}

#[derive(Clone, Debug, PartialEq)]
pub(in crate::import) struct Node {
    pub(in crate::import) place: Place,
    pub(in crate::import) value: Value,
}

#[derive(Clone, PartialEq)]
pub(in crate::import) enum Value {
    Nil,
    Bool(bool),
    Integer(i64),
    Float(f64),
    /// A string or a symbol.
    Text(String),
    List(Vec<Node>),
    /// Keys in the order written, each once: the last one counts.
    Map(Vec<(String, Node)>),
    /// What cannot be evaluated here, as a noun: "a call of `read`".
    Opaque(String),
}

/// Without what is in it: secrets are.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nil => f.write_str("Nil"),
            Self::Bool(_) => f.write_str("Bool"),
            Self::Integer(_) => f.write_str("Integer"),
            Self::Float(_) => f.write_str("Float"),
            Self::Text(_) => f.write_str("Text"),
            Self::List(items) => f.debug_list().entries(items).finish(),
            Self::Map(entries) => f.debug_map().entries(entries.iter().map(|(key, node)| (key, node))).finish(),
            Self::Opaque(what) => write!(f, "Opaque({what})"),
        }
    }
}

/// Reads a whole file.
///
/// # Errors
/// A text, a heredoc or a bracket that never ends, or nesting without measure.
pub(in crate::import) fn parse(text: &str) -> Result<Script, SyntaxError> {
    statement::script(&token::tokens(text)?)
}
