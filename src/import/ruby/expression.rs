//! Literal values. What is none becomes opaque, as small a part as can be told: one entry of a hash, not the whole.

use crate::import::{
    place::{Place, SyntaxError},
    ruby::{
        DEPTH_MAX, Node, Value,
        token::{Lexeme, Token},
    },
};

/// Most entries of one hash: each new key is compared with those before it.
const ENTRIES_MAX: usize = 1000;

/// Reads the words of one statement. Its brackets are closed in pairs, which was seen to before.
pub(super) struct Reader<'a> {
    lexemes: &'a [Lexeme],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) const fn over(lexemes: &'a [Lexeme]) -> Self {
        Self { lexemes, at: 0 }
    }

    /// The one value that all words make.
    pub(super) fn whole(mut self) -> Result<Node, SyntaxError> {
        let first = self.place();
        let node = self.expression(0)?;
        self.skip_lines();
        if self.at == self.lexemes.len() {
            return Ok(node);
        }
        Ok(Node { place: first, value: Value::Opaque("several values".to_owned()) })
    }

    fn token(&self) -> Option<&'a Token> {
        self.lexemes.get(self.at).map(|lexeme| &lexeme.token)
    }

    fn place(&self) -> Place {
        let lexeme = self.lexemes.get(self.at).or_else(|| self.lexemes.last());
        lexeme.map_or(Place { line: 1, column: 1 }, |lexeme| lexeme.place)
    }

    fn eat(&mut self, mark: &str) -> bool {
        let here = self.token().is_some_and(|token| token.is(mark));
        self.at += usize::from(here);
        here
    }

    fn skip_lines(&mut self) {
        while self.token() == Some(&Token::NewLine) {
            self.at += 1;
        }
    }

    /// A value and nothing that changes it, or something opaque.
    fn expression(&mut self, depth: usize) -> Result<Node, SyntaxError> {
        self.skip_lines();
        if depth > DEPTH_MAX {
            return Err(SyntaxError::at(self.place(), format_args!("nested deeper than {DEPTH_MAX}")));
        }
        let (start, place) = (self.at, self.place());
        if let Some(value) = self.value(depth)? {
            let end = self.at;
            self.skip_lines();
            match self.token() {
                None | Some(Token::Mark("," | ")" | "]" | "}")) => return Ok(Node { place, value }),
                _ => self.at = end,
            }
        }
        let end = self.end_of_expression(start);
        let what = described(&self.lexemes[start..end]);
        self.at = end;
        Ok(Node { place, value: Value::Opaque(what) })
    }

    /// Where the next comma or closing bracket is that belongs to what is around the expression.
    fn end_of_expression(&self, start: usize) -> usize {
        let (mut brackets, mut blocks) = (0_usize, 0_usize);
        for (at, lexeme) in self.lexemes.iter().enumerate().skip(start) {
            match &lexeme.token {
                Token::Mark("," | ")" | "]" | "}") if brackets == 0 && blocks == 0 => return at,
                Token::Mark("(" | "[" | "{") => brackets += 1,
                Token::Mark(")" | "]" | "}") => brackets = brackets.saturating_sub(1),
                Token::Name(name) if name == "do" => blocks += 1,
                Token::Name(name) if name == "end" => blocks = blocks.saturating_sub(1),
                _ => {}
            }
        }
        self.lexemes.len()
    }

    /// `None` where no literal stands here; the position is then of no meaning.
    fn value(&mut self, depth: usize) -> Result<Option<Value>, SyntaxError> {
        let Some(token) = self.token() else { return Ok(None) };
        self.at += 1;
        Ok(match token {
            Token::Text(text) => self.joined(text.clone()),
            Token::Symbol(text) => Some(Value::Text(text.clone())),
            Token::Integer(number) => Some(Value::Integer(*number)),
            Token::Float(number) => Some(Value::Float(*number)),
            Token::Words(words) => {
                let place = self.lexemes[self.at - 1].place;
                let node = |word: &String| Node { place, value: Value::Text(word.clone()) };
                Some(Value::List(words.iter().map(node).collect()))
            }
            Token::Name(name) => match name.as_str() {
                "nil" => Some(Value::Nil),
                "true" => Some(Value::Bool(true)),
                "false" => Some(Value::Bool(false)),
                _ => None,
            },
            Token::Mark("-") => self.negative(),
            Token::Mark("[") => self.list(depth)?.map(Value::List),
            Token::Mark("{") => self.map(depth)?.map(Value::Map),
            Token::Mark("(") => {
                let inner = self.expression(depth + 1)?;
                self.eat(")").then_some(inner.value).filter(|value| !matches!(value, Value::Opaque(_)))
            }
            _ => None,
        })
    }

    /// Texts that are written side by side, or added.
    fn joined(&mut self, mut text: String) -> Option<Value> {
        loop {
            let next = match self.token() {
                Some(Token::Mark("+")) => {
                    self.at += 1;
                    self.skip_lines();
                    self.token()
                }
                Some(token @ Token::Text(_)) => Some(token),
                _ => return Some(Value::Text(text)),
            };
            let Some(Token::Text(more)) = next else { return None };
            text.push_str(more);
            self.at += 1;
        }
    }

    fn negative(&mut self) -> Option<Value> {
        let value = match self.token() {
            Some(Token::Integer(number)) => Value::Integer(-number),
            Some(Token::Float(number)) => Value::Float(-number),
            _ => return None,
        };
        self.at += 1;
        Some(value)
    }

    fn list(&mut self, depth: usize) -> Result<Option<Vec<Node>>, SyntaxError> {
        let mut items = Vec::new();
        loop {
            self.skip_lines();
            if self.eat("]") {
                return Ok(Some(items));
            }
            items.push(self.expression(depth + 1)?);
            self.skip_lines();
            if !self.eat(",") && !self.token().is_some_and(|token| token.is("]")) {
                return Ok(None);
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Option<Vec<(String, Node)>>, SyntaxError> {
        let mut entries: Vec<(String, Node)> = Vec::new();
        loop {
            self.skip_lines();
            if self.eat("}") {
                return Ok(Some(entries));
            }
            let Some(key) = self.key() else { return Ok(None) };
            let node = self.expression(depth + 1)?;
            if entries.len() == ENTRIES_MAX {
                return Err(SyntaxError::at(self.place(), format_args!("a hash of more than {ENTRIES_MAX} entries")));
            }
            match entries.iter_mut().find(|(known, _)| *known == key) {
                Some((_, known)) => *known = node,
                None => entries.push((key, node)),
            }
            self.skip_lines();
            if !self.eat(",") && !self.token().is_some_and(|token| token.is("}")) {
                return Ok(None);
            }
        }
    }

    fn key(&mut self) -> Option<String> {
        let token = self.token()?;
        self.at += 1;
        if let Token::Label(name) = token {
            return Some(name.clone());
        }
        let key = match token {
            Token::Text(text) | Token::Symbol(text) => text.clone(),
            Token::Integer(number) => number.to_string(),
            _ => return None,
        };
        self.skip_lines();
        self.eat("=>").then_some(key)
    }
}

/// A noun for what is no literal. Names of the language only: a text may be a secret.
fn described(lexemes: &[Lexeme]) -> String {
    let conditional = |lexeme: &Lexeme| lexeme.token.is_name("if") || lexeme.token.is_name("unless");
    match lexemes.first().map(|lexeme| &lexeme.token) {
        None => "nothing".to_owned(),
        Some(Token::Constant(name)) => format!("an expression with `{name}`"),
        Some(Token::Name(name)) if name != "if" => format!("the variable or call `{name}`"),
        _ if lexemes.iter().any(conditional) => "a value with a condition".to_owned(),
        Some(Token::Code(what)) if lexemes.len() == 1 => (*what).to_owned(),
        _ => "a calculation".to_owned(),
    }
}
