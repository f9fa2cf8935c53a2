//! Quoted texts, numbers and the literals that begin with `%`.

use crate::import::{
    place::{Cursor, Place, SyntaxError},
    ruby::token::Token,
};

/// A name without the sign that may end it.
pub(super) fn name<'a>(cursor: &mut Cursor<'a>) -> &'a str {
    cursor.take_while(|letter| letter.is_alphanumeric() || letter == '_')
}

/// What stands up to the sign that closes it, which is passed; escapes are left as they are. Where the opening sign is
/// another one, both may stand inside in pairs.
pub(super) fn delimited<'a>(
    cursor: &mut Cursor<'a>,
    place: Place,
    open: char,
    close: char,
) -> Result<&'a str, SyntaxError> {
    let all = cursor.rest();
    let mut depth = 0_usize;
    loop {
        let read = all.len() - cursor.rest().len();
        match cursor.bump() {
            None => return Err(SyntaxError::at(place, "the text that begins here has no end")),
            Some('\\') => {
                cursor.bump();
            }
            Some(letter) if letter == close && depth == 0 => return Ok(&all[..read]),
            Some(letter) if letter == close => depth -= 1,
            Some(letter) if letter == open => depth += 1,
            Some(_) => {}
        }
    }
}

/// A text in single quotes: a backslash escapes itself and what delimits, and is one otherwise.
pub(super) fn single(raw: &str, open: char, close: char) -> String {
    let mut text = String::with_capacity(raw.len());
    let mut letters = raw.chars().peekable();
    while let Some(letter) = letters.next() {
        let escaped = |next: &char| letter == '\\' && (*next == '\\' || *next == open || *next == close);
        text.push(letters.next_if(escaped).unwrap_or(letter));
    }
    text
}

/// A text in double quotes.
pub(super) fn double(raw: &str, place: Place) -> Result<Token, SyntaxError> {
    let mut text = String::with_capacity(raw.len());
    let mut letters = raw.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '#' if letters.peek().is_some_and(|next| "{@$".contains(*next)) => {
                return Ok(Token::Code("a text with code in it"));
            }
            '\\' => match escape(&mut letters) {
                Some(meant) => text.push_str(&meant),
                None => return Err(SyntaxError::at(place, "an escape in the text that begins here is damaged")),
            },
            _ => text.push(letter),
        }
    }
    Ok(Token::Text(text))
}

type Letters<'a> = std::iter::Peekable<std::str::Chars<'a>>;

/// What an escape behind its backslash means; `None` where it means nothing. An escaped end of line means no letter.
fn escape(letters: &mut Letters<'_>) -> Option<String> {
    let meant = match letters.next()? {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        's' => ' ',
        'e' => '\u{1b}',
        'a' => '\u{7}',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'v' => '\u{b}',
        '\n' => return Some(String::new()),
        'x' => ascii(digits(letters, 16, 2)?)?,
        'u' if letters.next_if_eq(&'{').is_some() => {
            let code = digits(letters, 16, 6)?;
            // Several in one pair of braces are not read.
            letters.next_if_eq(&'}')?;
            char::from_u32(code)?
        }
        'u' => char::from_u32(digits(letters, 16, 4)?)?,
        first @ '0'..='7' => {
            let mut code = first.to_digit(8)?;
            for _ in 0..2 {
                let Some(next) = letters.next_if(|letter| letter.is_digit(8)) else { break };
                code = code * 8 + next.to_digit(8)?;
            }
            ascii(code)?
        }
        other => other,
    };
    Some(meant.to_string())
}

/// A byte above 127 is half a character.
fn ascii(code: u32) -> Option<char> {
    char::from_u32(code).filter(char::is_ascii)
}

/// One digit at least, and this many at most.
fn digits(letters: &mut Letters<'_>, radix: u32, most: usize) -> Option<u32> {
    let mut value = None;
    for _ in 0..most {
        let Some(letter) = letters.next_if(|letter| letter.is_digit(radix)) else { break };
        value = Some(value.unwrap_or(0) * radix + letter.to_digit(radix)?);
    }
    value
}

/// A number; one that is more than 64 bits, rational or imaginary is none.
pub(super) fn number(cursor: &mut Cursor<'_>) -> Token {
    let mut text = String::new();
    digits_of(cursor, &mut text);
    let mut ahead = cursor.clone();
    ahead.bump();
    let fraction = cursor.peek() == Some('.') && ahead.peek().is_some_and(|letter| letter.is_ascii_digit());
    if fraction {
        text.extend(cursor.bump());
        digits_of(cursor, &mut text);
    }
    let unsigned = text.replace('_', "");
    let (radix, body) = match unsigned.to_ascii_lowercase() {
        body if body.starts_with("0x") => (16, body[2..].to_owned()),
        body if body.starts_with("0b") => (2, body[2..].to_owned()),
        body if body.starts_with("0o") => (8, body[2..].to_owned()),
        body if body.len() > 1 && body.starts_with('0') && !fraction => (8, body[1..].to_owned()),
        body => (10, body),
    };
    if let Ok(whole) = i64::from_str_radix(&body, radix) {
        return Token::Integer(whole);
    }
    match body.parse::<f64>() {
        Ok(value) if radix == 10 && value.is_finite() && body.contains(['.', 'e']) => Token::Float(value),
        _ => Token::Code("a number that is none here"),
    }
}

fn digits_of(cursor: &mut Cursor<'_>, text: &mut String) {
    text.push_str(cursor.take_while(|letter| letter.is_ascii_alphanumeric() || letter == '_'));
    // The exponent's sign.
    if text.ends_with(['e', 'E']) && !text.starts_with("0x") && matches!(cursor.peek(), Some('-' | '+')) {
        text.extend(cursor.bump());
        text.push_str(cursor.take_while(|letter| letter.is_ascii_digit()));
    }
}

/// `%w(…)`, `%i(…)`, `%q(…)`, `%Q(…)`, `%(…)`, `%r(…)` and `%x(…)`, with any delimiter.
pub(super) fn percent(cursor: &mut Cursor<'_>, place: Place) -> Result<Option<Token>, SyntaxError> {
    let mut ahead = cursor.clone();
    if !ahead.eat("%") {
        return Ok(None);
    }
    let kind = match ahead.peek() {
        Some(kind) if kind.is_ascii_alphabetic() => {
            ahead.bump();
            kind
        }
        _ => 'Q',
    };
    let Some(open) = ahead.bump().filter(char::is_ascii_punctuation) else { return Ok(None) };
    let close = match open {
        '(' => ')',
        '[' => ']',
        '{' => '}',
        '<' => '>',
        other => other,
    };
    // Only a pair can stand inside itself.
    let raw = delimited(&mut ahead, place, if open == close { '\0' } else { open }, close)?;
    *cursor = ahead;
    Ok(Some(match kind {
        'w' | 'i' => Token::Words(words(raw, open, close)),
        'W' | 'I' if !raw.contains(['#', '\\']) => Token::Words(words(raw, open, close)),
        'W' | 'I' => Token::Code("a list with code in it"),
        'q' => Token::Text(single(raw, open, close)),
        'Q' => double(raw, place)?,
        's' => Token::Symbol(single(raw, open, close)),
        'r' => Token::Code("a regular expression"),
        'x' => Token::Code("a command of the shell"),
        _ => Token::Code("a literal of an unknown kind"),
    }))
}

/// At most as many as the text has letters.
fn words(raw: &str, open: char, close: char) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut letters = raw.chars();
    while let Some(letter) = letters.next() {
        let last = words.last_mut().expect("there is always one");
        match letter {
            '\\' => match letters.next() {
                Some(next) if next == open || next == close || next == '\\' || next.is_whitespace() => last.push(next),
                next => {
                    last.push('\\');
                    last.extend(next);
                }
            },
            letter if letter.is_whitespace() => words.push(String::new()),
            letter => last.push(letter),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Longest regular expression, in characters: beyond that a slash is taken for a sign.
const PATTERN_MAX: usize = 1000;

/// Passes a regular expression that begins and ends on this line.
pub(super) fn regular_expression(cursor: &mut Cursor<'_>) -> bool {
    let mut ahead = cursor.clone();
    if !ahead.eat("/") {
        return false;
    }
    for _ in 0..PATTERN_MAX {
        match ahead.bump() {
            Some('/') => {
                ahead.take_while(|letter| letter.is_ascii_lowercase());
                *cursor = ahead;
                return true;
            }
            Some('\\') => {
                ahead.bump();
            }
            None | Some('\n') => return false,
            Some(_) => {}
        }
    }
    false
}
