//! Text of strangers made safe for one line on a terminal.

use std::fmt::Write as _;

/// Escapes quotes, backslashes, control characters and the marks that reorder text, so that the result stays on one
/// line and reads on a terminal as what it is.
#[must_use]
pub fn escape(raw: &str) -> String {
    escape_within(raw, usize::MAX)
}

/// The same of as much of the text's beginning as takes at most `bytes_max`; an ellipsis follows where it was cut.
#[must_use]
pub fn escape_within(raw: &str, bytes_max: usize) -> String {
    let mut out = String::with_capacity(raw.len().min(bytes_max));
    push_within(&mut out, raw, bytes_max);
    out
}

/// The same behind what is there already.
pub fn push_within(out: &mut String, raw: &str, bytes_max: usize) {
    if raw.len() <= bytes_max && raw.bytes().all(is_plain) {
        out.push_str(raw);
        return;
    }
    let start = out.len();
    for character in raw.chars() {
        let before = out.len();
        push_escaped(out, character);
        if out.len() - start > bytes_max {
            out.truncate(before);
            out.push('…');
            break;
        }
    }
}

/// Whether it stands for itself: almost all text has nothing else in it.
const fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\'
}

fn push_escaped(out: &mut String, character: char) {
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

/// Controls, line separators and bidirectional overrides.
#[must_use]
pub fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Appends a JSON string, in quotes, in which also the unsafe characters that JSON would let through are escaped; cut as
/// by [`escape_within`].
pub fn push_json_string(out: &mut String, raw: &str, bytes_max: usize) {
    out.push('"');
    push_within(out, raw, bytes_max);
    out.push('"');
}

/// The same by itself.
#[must_use]
pub fn json_string(raw: &str, bytes_max: usize) -> String {
    let mut out = String::with_capacity(raw.len().min(bytes_max) + 2);
    push_json_string(&mut out, raw, bytes_max);
    out
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
        let read: String = serde_json::from_str(&json_string(raw, usize::MAX)).unwrap();
        assert_eq!(read, raw);
    }

    #[test]
    fn a_cut_never_splits_a_character_or_an_escape() {
        let check = |raw: &str, bytes_max, expected: &str| assert_eq!(escape_within(raw, bytes_max), expected);
        check("abc", 3, "abc");
        check("abcd", 3, "abc…");
        check("aé", 2, "a…");
        check("a\u{1b}b", 6, "a…");
        check("a\"", 2, "a…");
    }
}
