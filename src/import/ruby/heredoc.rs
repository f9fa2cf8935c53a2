//! Heredocs: `<<EOS`, `<<-EOS` (its end may be indented) and `<<~EOS` (the text's indentation is taken off, too).

use crate::import::{
    place::{Cursor, Place, SyntaxError},
    ruby::{literal, token::Token},
};

/// One whose text is still to come.
pub(super) struct Pending {
    /// Of its word among the words.
    pub(super) index: usize,
    place: Place,
    end: String,
    form: Form,
    quoting: Quoting,
}

#[derive(Clone, Copy, PartialEq)]
enum Form {
    Plain,
    Indented,
    Squiggly,
}

#[derive(Clone, Copy, PartialEq)]
enum Quoting {
    Single,
    Double,
    Command,
}

/// What a heredoc begins with, if one stands here.
pub(super) fn begin(cursor: &mut Cursor<'_>, place: Place, index: usize) -> Option<Pending> {
    if !cursor.eat("<<") {
        return None;
    }
    let form = if cursor.eat("~") {
        Form::Squiggly
    } else if cursor.eat("-") {
        Form::Indented
    } else {
        Form::Plain
    };
    let (quoting, end) = match cursor.peek()? {
        quote @ ('\'' | '"' | '`') => {
            cursor.bump();
            let end = cursor.take_while(|letter| letter != quote && letter != '\n').to_owned();
            if cursor.bump() != Some(quote) {
                return None;
            }
            let quoting = match quote {
                '\'' => Quoting::Single,
                '"' => Quoting::Double,
                _ => Quoting::Command,
            };
            (quoting, end)
        }
        letter if letter.is_alphabetic() || letter == '_' => (Quoting::Double, literal::name(cursor).to_owned()),
        _ => return None,
    };
    (!end.is_empty()).then_some(Pending { index, place, end, form, quoting })
}

impl Pending {
    /// The text, which begins at this line.
    pub(super) fn read(self, cursor: &mut Cursor<'_>) -> Result<Token, SyntaxError> {
        let mut lines = Vec::new();
        loop {
            if cursor.rest().is_empty() {
                return Err(self.endless());
            }
            let line = cursor.line();
            let bare = if self.form == Form::Plain { line } else { line.trim_start_matches([' ', '\t']) };
            if bare == self.end {
                break;
            }
            lines.push(line);
        }
        let text = match self.form {
            Form::Squiggly => dedented(&lines),
            _ => lines.iter().flat_map(|line| [line, "\n"]).collect(),
        };
        match self.quoting {
            Quoting::Single => Ok(Token::Text(text)),
            Quoting::Double => literal::double(&text, self.place),
            Quoting::Command => Ok(Token::Code("a command of the shell")),
        }
    }

    pub(super) fn endless(&self) -> SyntaxError {
        SyntaxError::at(self.place, format_args!("the heredoc that begins here has no end {}", self.end))
    }
}

/// Without the indentation that all lines share; blank lines do not count.
fn dedented(lines: &[&str]) -> String {
    let indentation = |line: &&str| line.len() - line.trim_start_matches([' ', '\t']).len();
    let written = lines.iter().filter(|line| !line.trim().is_empty());
    let shared = written.map(indentation).min().unwrap_or(0);
    let stripped = lines.iter().map(|line| line.get(shared..).unwrap_or(""));
    stripped.flat_map(|line| [line, "\n"]).collect()
}
