//! An NGINX configuration as directives: words, quoted words, blocks. Variables stay as they are written.

use std::fmt;

use crate::import::place::{Cursor, Place, SyntaxError};

/// Deepest nesting of blocks.
const DEPTH_MAX: usize = 32;

/// `name arg arg;` or `name arg { … }`.
#[derive(Clone, PartialEq)]
pub(in crate::import) struct Directive {
    pub(in crate::import) place: Place,
    pub(in crate::import) name: String,
    pub(in crate::import) arguments: Vec<String>,
    /// `None` where it ends with a semicolon.
    pub(in crate::import) block: Option<Vec<Self>>,
}

/// Without its arguments: a header can be a secret.
impl fmt::Debug for Directive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({} arguments) {:?}", self.place, self.name, self.arguments.len(), self.block)
    }
}

impl Directive {
    /// The first argument, or an empty text.
    pub(in crate::import) fn first(&self) -> &str {
        self.arguments.first().map_or("", String::as_str)
    }

    /// The directives in its block.
    pub(in crate::import) fn inner(&self) -> &[Self] {
        self.block.as_deref().unwrap_or_default()
    }
}

enum Token {
    Word(String),
    Open,
    Close,
    End,
}

/// # Errors
/// A quote, a block or a directive that does not end, a brace too many, nesting without measure.
pub(in crate::import) fn parse(text: &str) -> Result<Vec<Directive>, SyntaxError> {
    let mut cursor = Cursor::over(text);
    // The innermost block is the last; the first is the file.
    let mut blocks: Vec<Vec<Directive>> = vec![Vec::new()];
    let mut words: Vec<(Place, String)> = Vec::new();
    loop {
        space(&mut cursor);
        let place = cursor.place();
        let Some(token) = token(&mut cursor)? else { break };
        match token {
            Token::Word(word) => words.push((place, word)),
            Token::End | Token::Open => {
                let block = matches!(token, Token::Open).then(Vec::new);
                let opens = block.is_some();
                let directive = directive(std::mem::take(&mut words), block, place)?;
                blocks.last_mut().expect("the file is never closed").push(directive);
                if opens {
                    blocks.push(Vec::new());
                }
                if blocks.len() > DEPTH_MAX {
                    return Err(SyntaxError::at(place, format_args!("nested deeper than {DEPTH_MAX}")));
                }
            }
            Token::Close => {
                if let Some((place, _)) = words.first() {
                    return Err(SyntaxError::at(*place, "the directive that begins here has no semicolon"));
                }
                close(&mut blocks, place)?;
            }
        }
    }
    if let Some((place, _)) = words.first() {
        return Err(SyntaxError::at(*place, "the directive that begins here has no semicolon"));
    }
    let file = blocks.swap_remove(0);
    match (blocks.len(), file.last()) {
        (0, _) | (_, None) => Ok(file),
        (_, Some(open)) => Err(SyntaxError::at(open.place, format_args!("the block {} is never closed", open.name))),
    }
}

/// Gives the innermost block to its directive.
fn close(blocks: &mut Vec<Vec<Directive>>, place: Place) -> Result<(), SyntaxError> {
    let block = blocks.pop().filter(|_| !blocks.is_empty());
    let owner = blocks.last_mut().and_then(|around| around.last_mut());
    match (block, owner) {
        (Some(block), Some(owner)) => {
            owner.block = Some(block);
            Ok(())
        }
        _ => Err(SyntaxError::at(place, "a } that closes nothing")),
    }
}

fn directive(
    words: Vec<(Place, String)>,
    block: Option<Vec<Directive>>,
    place: Place,
) -> Result<Directive, SyntaxError> {
    let mut words = words.into_iter();
    let Some((place, name)) = words.next() else {
        return Err(SyntaxError::at(place, "a directive without a name"));
    };
    Ok(Directive { place, name, arguments: words.map(|(_, word)| word).collect(), block })
}

fn space(cursor: &mut Cursor<'_>) {
    loop {
        cursor.take_while(char::is_whitespace);
        if cursor.peek() != Some('#') {
            return;
        }
        cursor.line();
    }
}

fn token(cursor: &mut Cursor<'_>) -> Result<Option<Token>, SyntaxError> {
    let place = cursor.place();
    let Some(letter) = cursor.peek() else { return Ok(None) };
    Ok(Some(match letter {
        ';' | '{' | '}' => {
            cursor.bump();
            match letter {
                ';' => Token::End,
                '{' => Token::Open,
                _ => Token::Close,
            }
        }
        '"' | '\'' => {
            cursor.bump();
            Token::Word(quoted(cursor, letter, place)?)
        }
        _ => Token::Word(bare(cursor)),
    }))
}

fn quoted(cursor: &mut Cursor<'_>, quote: char, place: Place) -> Result<String, SyntaxError> {
    let mut word = String::new();
    loop {
        match cursor.bump() {
            None => return Err(SyntaxError::at(place, "the text that begins here has no end")),
            Some('\\') => word.extend(escaped(cursor)),
            Some(letter) if letter == quote => return Ok(word),
            Some(letter) => word.push(letter),
        }
    }
}

/// A word without quotes. `${name}` is a part of one, in spite of its braces.
fn bare(cursor: &mut Cursor<'_>) -> String {
    let mut word = String::new();
    while let Some(letter) = cursor.peek() {
        match letter {
            ';' | '{' | '}' => break,
            letter if letter.is_whitespace() => break,
            '$' if cursor.second() == Some('{') => {
                word.push_str(cursor.take_while(|letter| letter != '}' && letter != ';' && letter != '\n'));
                word.extend(cursor.bump().filter(|letter| *letter == '}'));
            }
            '\\' => {
                cursor.bump();
                word.extend(escaped(cursor));
            }
            letter => {
                word.push(letter);
                cursor.bump();
            }
        }
    }
    word
}

/// What stands behind a backslash, with it where NGINX keeps it, as in regular expressions.
fn escaped(cursor: &mut Cursor<'_>) -> Vec<char> {
    match cursor.bump() {
        Some('n') => vec!['\n'],
        Some('t') => vec!['\t'],
        Some('r') => vec!['\r'],
        Some(letter @ ('"' | '\'' | '\\' | ' ' | ';')) => vec![letter],
        Some(letter) => vec!['\\', letter],
        None => vec!['\\'],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Directive {
        let mut directives = parse(text).unwrap();
        assert_eq!(directives.len(), 1, "{directives:?}");
        directives.remove(0)
    }

    #[test]
    fn words_are_read_as_nginx_does() {
        for (text, expected) in [
            ("a b c;", &["a", "b", "c"][..]),
            ("\u{feff}a\r\n\tb # c;\n c;", &["a", "b", "c"]),
            ("a \"b c\" 'd \"e\"' \"\";", &["a", "b c", "d \"e\"", ""]),
            (r#"a "b\"c" \;d e\ f '\.g' \.h;"#, &["a", "b\"c", ";d", "e f", r"\.g", r"\.h"]),
            ("a ${b}c $d x#y \"#{z};\";", &["a", "${b}c", "$d", "x#y", "#{z};"]),
            ("a \"b\nc\";", &["a", "b\nc"]),
        ] {
            let directive = one(text);
            let words: Vec<_> = std::iter::once(&directive.name).chain(&directive.arguments).collect();
            assert_eq!(words, expected, "{text}");
        }
    }

    #[test]
    fn blocks_and_places() {
        let http = one("http {\n  server {\n    listen 443 ssl;\n  }\n  server { }\n}\n");
        assert_eq!((http.inner().len(), http.inner()[1].inner().len()), (2, 0));
        let listen = &http.inner()[0].inner()[0];
        assert_eq!((listen.place.to_string().as_str(), listen.first()), ("3:5", "443"));
        assert!(listen.block.is_none() && http.inner()[1].block.is_some());
        assert_eq!(parse("# nothing\n").unwrap(), []);
    }

    #[test]
    fn damage_is_named_with_its_place() {
        let deep = "a {".repeat(DEPTH_MAX + 1);
        for (text, expected) in [
            ("a b", "1:1: the directive that begins here has no semicolon"),
            ("x;\na { b }", "2:5: the directive that begins here has no semicolon"),
            ("a {\n b c;", "1:1: the block a is never closed"),
            ("a;\n}", "2:1: a } that closes nothing"),
            ("; a;", "1:1: a directive without a name"),
            ("a { { } }", "1:5: a directive without a name"),
            ("a 'b;\n", "1:3: the text that begins here has no end"),
            (&deep, "1:96: nested deeper than 32"),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), expected, "{text}");
        }
    }

    /// Whatever is in a file, it is read once from its beginning to its end.
    #[test]
    fn large_files_are_read_soon() {
        for part in ["a b c;\n", "a { b; }\n", "'x' ", "\\", "${", "# \n", "a 'b c' \"d\";"] {
            let _ = parse(&part.repeat((1 << 18) / part.len()));
        }
    }
}
