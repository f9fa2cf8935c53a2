//! Where a statement ends, and what it sets.

use crate::import::{
    place::{Place, SyntaxError},
    ruby::{
        Assignment, DEPTH_MAX, Node, Script, Unread, Value,
        expression::Reader,
        token::{Lexeme, Token},
    },
};

/// Functions of a `gitlab.rb` that set something, beside `external_url` and what ends so.
const SETTERS: &[&str] = &["roles", "role", "git_data_dirs"];

/// Why a setting inside is not read.
const CONDITIONAL: &str = "a value that stands in a condition or in a block";

pub(super) fn script(lexemes: &[Lexeme]) -> Result<Script, SyntaxError> {
    let mut script = Script::default();
    let mut rest = lexemes;
    while let Some(first) = rest.first() {
        if separates(&first.token) {
            rest = &rest[1..];
            continue;
        }
        let (statement, after) = rest.split_at(extent(rest)?);
        read(statement, &mut script)?;
        rest = after;
    }
    Ok(script)
}

fn separates(token: &Token) -> bool {
    *token == Token::NewLine || token.is(";")
}

/// What is open, and where it was opened.
struct Open {
    place: Place,
    kind: Kind,
}

#[derive(PartialEq)]
enum Kind {
    Bracket(&'static str),
    Block,
    /// `while` and the like, whose `do` opens nothing more.
    Loop,
}

/// How many words the statement at the beginning has.
fn extent(lexemes: &[Lexeme]) -> Result<usize, SyntaxError> {
    let mut open: Vec<Open> = Vec::new();
    let mut before: Option<&Token> = None;
    for (at, lexeme) in lexemes.iter().enumerate() {
        let ended = lexeme.token.is(";") || (lexeme.token == Token::NewLine && !before.is_some_and(goes_on));
        if open.is_empty() && ended {
            return Ok(at);
        }
        step(lexeme, before, &mut open)?;
        if open.len() > DEPTH_MAX {
            return Err(SyntaxError::at(lexeme.place, format_args!("nested deeper than {DEPTH_MAX}")));
        }
        before = Some(&lexeme.token);
    }
    match open.last() {
        Some(Open { place, kind: Kind::Bracket(mark) }) => {
            Err(SyntaxError::at(*place, format_args!("the {mark} that stands here is never closed")))
        }
        Some(Open { place, .. }) => Err(SyntaxError::at(*place, "the block that begins here has no end")),
        None => Ok(lexemes.len()),
    }
}

/// Whether a line that ends with this goes on in the next.
fn goes_on(token: &Token) -> bool {
    matches!(token, Token::Mark(mark) if !matches!(*mark, ")" | "]" | "}" | ";")) || matches!(token, Token::Label(_))
}

fn step(lexeme: &Lexeme, before: Option<&Token>, open: &mut Vec<Open>) -> Result<(), SyntaxError> {
    let place = lexeme.place;
    match &lexeme.token {
        Token::Mark(mark @ ("(" | "[" | "{")) => open.push(Open { place, kind: Kind::Bracket(mark) }),
        Token::Mark(mark @ (")" | "]" | "}")) => {
            let expected = match *mark {
                ")" => "(",
                "]" => "[",
                _ => "{",
            };
            if open.pop().is_none_or(|last| last.kind != Kind::Bracket(expected)) {
                return Err(SyntaxError::at(place, format_args!("a {mark} that closes nothing")));
            }
        }
        Token::Name(name) if !before.is_some_and(|token| token.is(".") || token.is("&.")) => {
            keyword(name, place, before, open)?;
        }
        _ => {}
    }
    Ok(())
}

fn keyword(name: &str, place: Place, before: Option<&Token>, open: &mut Vec<Open>) -> Result<(), SyntaxError> {
    let kind = match name {
        "begin" | "case" | "def" | "class" | "module" => Kind::Block,
        // Behind a value these are conditions of it.
        "if" | "unless" if begins(before) => Kind::Block,
        "while" | "until" if begins(before) => Kind::Loop,
        "for" => Kind::Loop,
        "do" => match open.last_mut() {
            Some(last) if last.kind == Kind::Loop => {
                last.kind = Kind::Block;
                return Ok(());
            }
            _ => Kind::Block,
        },
        "end" => {
            return match open.pop() {
                Some(Open { kind: Kind::Block | Kind::Loop, .. }) => Ok(()),
                _ => Err(SyntaxError::at(place, "an end that ends nothing")),
            };
        }
        _ => return Ok(()),
    };
    open.push(Open { place, kind });
    Ok(())
}

/// Whether a value or a statement begins behind this.
fn begins(before: Option<&Token>) -> bool {
    match before {
        None | Some(Token::NewLine | Token::Label(_)) => true,
        Some(Token::Mark(mark)) => !matches!(*mark, ")" | "]" | "}"),
        Some(Token::Name(name)) => {
            matches!(name.as_str(), "then" | "else" | "elsif" | "do" | "begin" | "ensure" | "and" | "or" | "not")
        }
        Some(_) => false,
    }
}

fn read(statement: &[Lexeme], script: &mut Script) -> Result<(), SyntaxError> {
    let place = statement[0].place;
    if let Some((path, rest)) = indexed(statement) {
        if let Some(assignment) = assigned(path, place, rest)? {
            script.assignments.push(assignment);
            return Ok(());
        }
    } else if let Some((name, rest)) = called(statement) {
        let node = Reader::over(rest).whole()?;
        script.assignments.push(Assignment { path: vec![name.to_owned()], node });
        return Ok(());
    }
    let hidden = hidden(statement);
    if hidden.is_empty() {
        script.unread.push(Unread { place, what: described(statement) });
    }
    script.assignments.extend(hidden);
    Ok(())
}

/// `name['a'][:b]` and what is behind it.
fn indexed(statement: &[Lexeme]) -> Option<(Vec<String>, &[Lexeme])> {
    let Token::Name(name) = &statement[0].token else { return None };
    let mut path = vec![name.clone()];
    let mut rest = &statement[1..];
    while let [Lexeme { token: Token::Mark("["), spaced: false, .. }, key, close, ..] = rest {
        match &key.token {
            Token::Text(key) | Token::Symbol(key) if close.token.is("]") => path.push(key.clone()),
            _ => return None,
        }
        rest = &rest[3..];
    }
    (path.len() > 1).then_some((path, rest))
}

/// What is set where `rest` follows a path; `None` where it is not.
fn assigned(path: Vec<String>, place: Place, rest: &[Lexeme]) -> Result<Option<Assignment>, SyntaxError> {
    let node = match rest.first().map(|lexeme| &lexeme.token) {
        Some(Token::Mark("=")) => Node { place, ..Reader::over(&rest[1..]).whole()? },
        Some(token) if changes(token) => {
            Node { place, value: Value::Opaque("a change of an earlier value".to_owned()) }
        }
        _ => return Ok(None),
    };
    Ok(Some(Assignment { path, node }))
}

/// Whether this, behind a setting, may give it another value: `=`, `||=`, `<<`, a call such as `.merge!`.
fn changes(token: &Token) -> bool {
    let Token::Mark(mark) = token else { return false };
    let compares = matches!(*mark, "==" | "===" | "!=" | "<=" | ">=");
    (mark.ends_with('=') && !compares) || matches!(*mark, "<<" | "." | "&." | "[")
}

/// `external_url 'value'` and the like: the name, and its argument.
fn called(statement: &[Lexeme]) -> Option<(&str, &[Lexeme])> {
    let Token::Name(name) = &statement[0].token else { return None };
    let sets = name.ends_with("external_url") || SETTERS.contains(&name.as_str());
    let argument = statement.get(1)?;
    let call = argument.spaced && !matches!(argument.token, Token::Mark(mark) if !matches!(mark, "[" | "{" | "("));
    (sets && (call || argument.token.is("("))).then_some((name.as_str(), &statement[1..]))
}

/// Settings inside of a block: it is not known whether they are made.
fn hidden(statement: &[Lexeme]) -> Vec<Assignment> {
    let mut found = Vec::new();
    for at in 0..statement.len() {
        let rest = &statement[at..];
        let place = rest[0].place;
        let path = match indexed(rest) {
            Some((path, behind)) => behind.first().is_some_and(|next| changes(&next.token)).then_some(path),
            None => called(rest).map(|(name, _)| vec![name.to_owned()]),
        };
        let node = Node { place, value: Value::Opaque(CONDITIONAL.to_owned()) };
        found.extend(path.map(|path| Assignment { path, node }));
    }
    found
}

fn described(statement: &[Lexeme]) -> String {
    match &statement[0].token {
        Token::Name(name) => match name.as_str() {
            "if" | "unless" | "case" => "a condition".to_owned(),
            "while" | "until" | "for" | "begin" | "def" | "class" | "module" => "a block of Ruby".to_owned(),
            _ if statement.get(1).is_some_and(|next| next.token.is("=")) => format!("the Ruby variable `{name}`"),
            _ => format!("the Ruby code that begins with `{name}`"),
        },
        Token::Constant(name) => format!("the Ruby code that begins with `{name}`"),
        Token::Code(what) => (*what).to_owned(),
        _ => "Ruby code".to_owned(),
    }
}
