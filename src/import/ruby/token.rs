//! A Ruby text as words. Where one sign means two things (`/`, `%`, `<<`), what stands before it decides, as in Ruby.

use crate::import::{
    place::{Cursor, Place, SyntaxError},
    ruby::{heredoc, literal},
};

#[derive(Clone, PartialEq)]
pub(super) enum Token {
    /// A name or a keyword.
    Name(String),
    Constant(String),
    Text(String),
    Symbol(String),
    /// `name:` or `"name":`, a key of a hash.
    Label(String),
    /// `%w(a b)`
    Words(Vec<String>),
    Integer(i64),
    Float(f64),
    /// A literal that has no value before the program runs, as a noun.
    Code(&'static str),
    Mark(&'static str),
    NewLine,
}

#[derive(Clone)]
pub(super) struct Lexeme {
    pub(super) token: Token,
    pub(super) place: Place,
    /// Whether there is space before it.
    pub(super) spaced: bool,
}

/// Longer ones first.
const MARKS: &[&str] = &[
    "<=>", "===", "**=", "||=", "&&=", "<<=", ">>=", "...", "=>", "==", "=~", "!=", "!~", "<=", ">=", "<<", ">>", "||",
    "&&", "+=", "-=", "*=", "/=", "%=", "|=", "&=", "^=", "**", "::", "..", "&.", "->", "(", ")", "[", "]", "{", "}",
    ",", ";", "=", "+", "-", "*", "/", "%", "<", ">", "!", "&", "|", "^", "~", "?", ":", ".",
];

impl Token {
    pub(super) fn is(&self, mark: &str) -> bool {
        matches!(self, Self::Mark(own) if *own == mark)
    }

    pub(super) fn is_name(&self, name: &str) -> bool {
        matches!(self, Self::Name(own) if own == name)
    }

    /// Whether an operator may follow: a value ended here.
    fn ends_value(&self) -> bool {
        match self {
            Self::Mark(mark) => matches!(*mark, ")" | "]" | "}"),
            Self::NewLine | Self::Label(_) => false,
            Self::Name(name) => !matches!(
                name.as_str(),
                "if" | "unless" | "while" | "until" | "and" | "or" | "not" | "then" | "else" | "do" | "in" | "when"
            ),
            _ => true,
        }
    }
}

/// All words of a text; an end of line between each two lines and at the end.
pub(super) fn tokens(text: &str) -> Result<Vec<Lexeme>, SyntaxError> {
    let mut lexer = Lexer { cursor: Cursor::over(text), lexemes: Vec::new(), heredocs: Vec::new() };
    while lexer.step()? {}
    if let Some(heredoc) = lexer.heredocs.first() {
        return Err(heredoc.endless());
    }
    let place = lexer.cursor.place();
    lexer.lexemes.push(Lexeme { token: Token::NewLine, place, spaced: false });
    Ok(lexer.lexemes)
}

/// Whether this line says that no program follows.
fn ends_program(rest: &str) -> bool {
    let Some(after) = rest.strip_prefix("__END__") else { return false };
    after.is_empty() || after.starts_with(['\n', '\r'])
}

struct Lexer<'a> {
    cursor: Cursor<'a>,
    lexemes: Vec<Lexeme>,
    /// Begun on this line; their texts follow below it.
    heredocs: Vec<heredoc::Pending>,
}

impl Lexer<'_> {
    /// Reads one word; false at the end.
    fn step(&mut self) -> Result<bool, SyntaxError> {
        let spaced = self.space()?;
        let place = self.cursor.place();
        let Some(letter) = self.cursor.peek() else { return Ok(false) };
        if place.column == 1 && ends_program(self.cursor.rest()) {
            return Ok(false);
        }
        let token = match letter {
            '\n' => self.new_line()?,
            '\'' | '"' => self.quoted(letter, place)?,
            '`' => {
                self.cursor.bump();
                literal::delimited(&mut self.cursor, place, '`', '`')?;
                Token::Code("a command of the shell")
            }
            '@' | '$' => {
                self.cursor.bump();
                self.cursor.take_while(|letter| letter.is_alphanumeric() || "_@".contains(letter));
                Token::Code("a Ruby variable")
            }
            ':' => self.symbol(place)?,
            '0'..='9' => literal::number(&mut self.cursor),
            letter if letter.is_alphabetic() || letter == '_' => self.name(),
            _ => self.sign(place, spaced)?,
        };
        self.push(Lexeme { token, place, spaced });
        Ok(true)
    }

    fn push(&mut self, lexeme: Lexeme) {
        // A line that begins with a dot goes on with the call of the line before.
        let goes_on = lexeme.token.is(".") || lexeme.token.is("&.");
        while goes_on && self.lexemes.last().is_some_and(|last| last.token == Token::NewLine) {
            self.lexemes.pop();
        }
        self.lexemes.push(lexeme);
    }

    /// Passes spaces, comments and line ends that are escaped.
    fn space(&mut self) -> Result<bool, SyntaxError> {
        let before = self.cursor.rest().len();
        loop {
            let place = self.cursor.place();
            match self.cursor.peek() {
                Some(' ' | '\t' | '\r') => {
                    self.cursor.bump();
                }
                Some('\\') if self.cursor.rest()[1..].trim_start_matches('\r').starts_with('\n') => {
                    self.cursor.line();
                }
                Some('#') => {
                    self.cursor.take_while(|letter| letter != '\n');
                }
                Some('=') if place.column == 1 && self.cursor.rest().starts_with("=begin") => self.comment(place)?,
                _ => return Ok(self.cursor.rest().len() != before),
            }
        }
    }

    fn comment(&mut self, place: Place) -> Result<(), SyntaxError> {
        while !self.cursor.rest().is_empty() {
            if self.cursor.line().starts_with("=end") {
                return Ok(());
            }
        }
        Err(SyntaxError::at(place, "the comment that =begin opens has no =end"))
    }

    fn new_line(&mut self) -> Result<Token, SyntaxError> {
        self.cursor.bump();
        for pending in std::mem::take(&mut self.heredocs) {
            let index = pending.index;
            self.lexemes[index].token = pending.read(&mut self.cursor)?;
        }
        Ok(Token::NewLine)
    }

    fn quoted(&mut self, quote: char, place: Place) -> Result<Token, SyntaxError> {
        self.cursor.bump();
        let token = if quote == '"' {
            literal::double(literal::delimited(&mut self.cursor, place, '"', '"')?, place)?
        } else {
            Token::Text(literal::single(literal::delimited(&mut self.cursor, place, '\'', '\'')?, '\'', '\''))
        };
        match token {
            Token::Text(text) if self.cursor.peek() == Some(':') && self.cursor.second() != Some(':') => {
                self.cursor.bump();
                Ok(Token::Label(text))
            }
            token => Ok(token),
        }
    }

    fn symbol(&mut self, place: Place) -> Result<Token, SyntaxError> {
        match self.cursor.second() {
            Some('"') => {
                self.cursor.bump();
                self.cursor.bump();
                let token = literal::double(literal::delimited(&mut self.cursor, place, '"', '"')?, place)?;
                Ok(if let Token::Text(text) = token { Token::Symbol(text) } else { token })
            }
            Some(letter) if letter.is_alphabetic() || letter == '_' => {
                self.cursor.bump();
                let mut name = literal::name(&mut self.cursor).to_owned();
                if let Some(sign @ ('?' | '!')) = self.cursor.peek() {
                    self.cursor.bump();
                    name.push(sign);
                }
                Ok(Token::Symbol(name))
            }
            _ => Ok(self.mark(place)?),
        }
    }

    fn name(&mut self) -> Token {
        let name = literal::name(&mut self.cursor).to_owned();
        if self.cursor.peek() == Some(':') && self.cursor.second() != Some(':') {
            self.cursor.bump();
            return Token::Label(name);
        }
        let question = matches!(self.cursor.peek(), Some('?' | '!')) && self.cursor.second() != Some('=');
        if question {
            self.cursor.bump();
            return Token::Name(format!("{name}?"));
        }
        if name.starts_with(char::is_uppercase) { Token::Constant(name) } else { Token::Name(name) }
    }

    /// An operator, or one of the literals that begin like one.
    fn sign(&mut self, place: Place, spaced: bool) -> Result<Token, SyntaxError> {
        if self.expects_value(spaced) {
            let mut ahead = self.cursor.clone();
            if let Some(pending) = heredoc::begin(&mut ahead, place, self.lexemes.len()) {
                self.cursor = ahead;
                self.heredocs.push(pending);
                // Its text takes this place at the end of the line.
                return Ok(Token::Code("a heredoc"));
            }
            if let Some(token) = literal::percent(&mut self.cursor, place)? {
                return Ok(token);
            }
            if literal::regular_expression(&mut self.cursor) {
                return Ok(Token::Code("a regular expression"));
            }
        }
        self.mark(place)
    }

    /// Whether a value may begin here: no value stands before, or a name that is called with one.
    fn expects_value(&self, spaced: bool) -> bool {
        let argument = spaced && self.cursor.second().is_some_and(|letter| !letter.is_whitespace() && letter != '=');
        match self.lexemes.last().map(|lexeme| &lexeme.token) {
            Some(Token::Name(_)) => argument,
            Some(token) => !token.ends_value(),
            None => true,
        }
    }

    fn mark(&mut self, place: Place) -> Result<Token, SyntaxError> {
        let found = MARKS.iter().find(|mark| self.cursor.eat(mark));
        found.map(|mark| Token::Mark(mark)).ok_or_else(|| SyntaxError::at(place, "a character that Ruby does not know"))
    }
}
