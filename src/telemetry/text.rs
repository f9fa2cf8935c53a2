//! Text of strangers made safe for one line on a terminal.

use std::fmt::Write as _;

/// Escapes quotes, backslashes, control characters and the marks that reorder text, so that the result stays on one
/// line and reads on a terminal as what it is.
#[must_use]
pub fn escape(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    for character in raw.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            unsafe_on_line if is_unsafe(unsafe_on_line) => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{:04x}", u32::from(unsafe_on_line));
            }
            plain => out.push(plain),
        }
    }
    out
}

/// Controls, line separators and bidirectional overrides.
#[must_use]
pub fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A JSON string, in quotes, in which also the unsafe characters that JSON would let through are escaped.
#[must_use]
pub fn json_string(raw: &str) -> String {
    format!("\"{}\"", escape(raw))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(raw: &str, expected: &str) {
        assert_eq!(escape(raw), expected);
    }

    #[test]
    fn nothing_leaves_its_line() {
        check("plain", "plain");
        check("a\"b\\c", "a\\\"b\\\\c");
        check("a\r\nb\tc", "a\\r\\nb\\tc");
        check("\u{1b}[2J", "\\u001b[2J");
        check("a\u{202e}b\u{2028}\u{9b}", "a\\u202eb\\u2028\\u009b");
    }

    #[test]
    fn json_reads_back_what_was_said() {
        let raw = "é\u{1b}\n\"\\\u{202e}";
        let read: String = serde_json::from_str(&json_string(raw)).unwrap();
        assert_eq!(read, raw);
    }
}
