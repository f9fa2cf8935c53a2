//! Where something stands in a text, and a cursor that knows it.

use std::fmt;

/// A line and a column, both counted from 1; columns count characters.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Place {
    pub line: usize,
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// Why a text cannot be read at all. The problem names kinds and words of the language, never a value.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct SyntaxError {
    pub place: Place,
    pub problem: String,
}

impl SyntaxError {
    pub(in crate::import) fn at(place: Place, problem: impl fmt::Display) -> Self {
        Self { place, problem: problem.to_string() }
    }
}

/// What is left of a text.
#[derive(Clone)]
pub(in crate::import) struct Cursor<'a> {
    rest: &'a str,
    place: Place,
}

impl<'a> Cursor<'a> {
    pub(in crate::import) fn over(text: &'a str) -> Self {
        // Editors of other systems put a mark of the encoding before the first line.
        let rest = text.strip_prefix('\u{feff}').unwrap_or(text);
        Self { rest, place: Place { line: 1, column: 1 } }
    }

    pub(in crate::import) const fn place(&self) -> Place {
        self.place
    }

    pub(in crate::import) const fn rest(&self) -> &'a str {
        self.rest
    }

    pub(in crate::import) fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    /// The character behind the next one.
    pub(in crate::import) fn second(&self) -> Option<char> {
        self.rest.chars().nth(1)
    }

    pub(in crate::import) fn bump(&mut self) -> Option<char> {
        let mut letters = self.rest.chars();
        let letter = letters.next()?;
        self.rest = letters.as_str();
        if letter == '\n' {
            self.place = Place { line: self.place.line + 1, column: 1 };
        } else {
            self.place.column += 1;
        }
        Some(letter)
    }

    /// Goes past `word` if it stands here.
    pub(in crate::import) fn eat(&mut self, word: &str) -> bool {
        let here = self.rest.starts_with(word);
        if here {
            word.chars().for_each(|_| {
                self.bump();
            });
        }
        here
    }

    pub(in crate::import) fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let all = self.rest;
        while self.peek().is_some_and(&wanted) {
            self.bump();
        }
        &all[..all.len() - self.rest.len()]
    }

    /// The rest of this line without its end, which is passed as well.
    pub(in crate::import) fn line(&mut self) -> &'a str {
        let line = self.take_while(|letter| letter != '\n');
        self.bump();
        line.strip_suffix('\r').unwrap_or(line)
    }
}
