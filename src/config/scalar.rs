//! Plain text as Go's YAML reader understands it, one function per wanted type.

/// Nothing (YAML 1.1 null).
pub(in crate::config) fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// YAML 1.1 booleans.
pub(in crate::config) fn boolean(text: &str) -> Option<bool> {
    match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "true" | "True" | "TRUE" => Some(true),
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

/// YAML 1.1 integers: decimal, `0x`, `0b`, octal with `0` or `0o`, and `_` between digits.
pub(in crate::config) fn integer(text: &str) -> Option<i64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    if !digits.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    let digits = digits.replace('_', "");
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x', ..] => (16, &digits[2..]),
        [b'0', b'b', ..] => (2, &digits[2..]),
        [b'0', b'o', ..] => (8, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, &digits[..]),
    };
    if !digits.starts_with(|first: char| first.is_ascii_hexdigit()) {
        return None;
    }
    i64::from_str_radix(&format!("{sign}{digits}"), radix).ok()
}

/// A duration in nanoseconds, in Go's syntax (`1h30m`, `1.5s`, `-2ms`); a bare integer is nanoseconds.
pub(in crate::config) fn duration(text: &str) -> Option<i64> {
    if let Some(nanoseconds) = integer(text) {
        return Some(nanoseconds);
    }
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let (number, tail) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit() && c != '.')?);
        let (unit, tail) = tail.split_at(tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len()));
        total = total.checked_add(term(number, unit)?)?;
        rest = tail;
    }
    if text.trim_start_matches(['-', '+']).is_empty() {
        return None;
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

/// `number` (digits, at most one point) times a unit, in nanoseconds.
fn term(number: &str, unit: &str) -> Option<i128> {
    let unit: i128 = match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    // Nanoseconds are the last digit that counts: an hour has thirteen digits of them.
    let fraction = &fraction[..fraction.len().min(15)];
    let scale = 10_i128.pow(u32::try_from(fraction.len()).ok()?);
    let part = if fraction.is_empty() { 0 } else { fraction.parse::<i128>().ok()? * unit / scale };
    whole.checked_mul(unit)?.checked_add(part)
}

/// A size in bytes: a bare number, or one with `KiB`, `MiB`, `GiB`, `TiB`, `kB`, `MB`, `GB`, `TB` or `B`.
pub(in crate::config) fn size(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: u64 = number.replace('_', "").parse().ok()?;
    let unit: u64 = match unit.trim_start() {
        "" | "B" => 1,
        "kB" => 1_000,
        "KiB" => 1 << 10,
        "MB" => 1_000_000,
        "MiB" => 1 << 20,
        "GB" => 1_000_000_000,
        "GiB" => 1 << 30,
        "TB" => 1_000_000_000_000,
        "TiB" => 1 << 40,
        _ => return None,
    };
    number.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn booleans() {
        for text in ["y", "Y", "yes", "Yes", "YES", "on", "On", "ON", "true", "True", "TRUE"] {
            assert_eq!(boolean(text), Some(true), "{text}");
        }
        for text in ["n", "N", "no", "No", "NO", "off", "Off", "OFF", "false", "False", "FALSE"] {
            assert_eq!(boolean(text), Some(false), "{text}");
        }
        for text in ["", "tRUE", "1", "0", "t", "null", "yess"] {
            assert_eq!(boolean(text), None, "{text}");
        }
    }

    #[test]
    fn integers() {
        let check = |text: &str, expected: Option<i64>| assert_eq!(integer(text), expected, "{text}");
        check("0", Some(0));
        check("-12", Some(-12));
        check("+12", Some(12));
        check("1_000", Some(1000));
        check("0x1F", Some(31));
        check("0b101", Some(5));
        check("010", Some(8));
        check("0o10", Some(8));
        check("9223372036854775807", Some(i64::MAX));
        check("9223372036854775808", None);
        for text in ["", "-", "+-1", "1.0", "1s", "0x", "0x-1", "08", "_1", "abc"] {
            check(text, None);
        }
    }

    #[test]
    fn durations() {
        let check = |text: &str, expected: Option<i64>| assert_eq!(duration(text), expected, "{text}");
        check("10s", Some(10_000_000_000));
        check("1h30m", Some(5_400_000_000_000));
        check("1.5s", Some(1_500_000_000));
        check(".5s", Some(500_000_000));
        check("1.s", Some(1_000_000_000));
        check("500ms", Some(500_000_000));
        check("2µs", Some(2_000));
        check("-2ms", Some(-2_000_000));
        check("168h", Some(604_800_000_000_000));
        check("0", Some(0));
        check("500", Some(500));
        check("0.00000000000000000000001h", Some(0));
        for text in ["", "-", "s", "1d", "10 s", "1s ", "1..5s", "1h30", ".s", "99999999999h", "1e3s", "∞s"] {
            check(text, None);
        }
    }

    #[test]
    fn sizes() {
        let check = |text: &str, expected: Option<u64>| assert_eq!(size(text), expected, "{text}");
        check("64MiB", Some(64 << 20));
        check("64 MiB", Some(64 << 20));
        check("10485760", Some(10_485_760));
        check("1kB", Some(1000));
        check("2TiB", Some(2 << 40));
        for text in ["", "MiB", "-1", "64M", "1.5GiB", "99999999999TiB"] {
            check(text, None);
        }
    }
}
