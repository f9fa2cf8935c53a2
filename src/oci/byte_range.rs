//! Byte ranges: `Range` of downloads (RFC 9110 section 14.1.2) and `Content-Range` of upload chunks
//! (OCI distribution-spec 1.1, "Pushing a blob in chunks").

use std::ops::Range;

/// Most ranges that one request may ask for: each costs a read of its own. A client of partial pulls that is refused
/// merges its ranges and asks again, down to this number.
pub const RANGES_MAX: usize = 64;

/// What a `Range` header asks for, of content whose size is known.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Wanted {
    /// All of it: no byte ranges, or text that is to be ignored.
    Whole,
    One(Range<u64>),
    /// At least two, none empty, in the order asked for.
    Many(Vec<Range<u64>>),
    /// Nothing that was asked for exists.
    Unsatisfiable,
    /// More than [`RANGES_MAX`].
    TooMany,
}

impl Wanted {
    /// Reads the header of a request for `size` bytes.
    ///
    /// Malformed headers are ignored, but a range that ends before it begins is unsatisfiable, as in other servers.
    /// Ranges that together are longer than the content gain nobody anything: the whole is sent instead.
    #[must_use]
    pub fn parse(header: &str, size: u64) -> Self {
        let Some(specs) = byte_specs(header) else { return Self::Whole };
        let mut ranges = Vec::new();
        let mut total = 0_u64;
        for (count, spec) in specs.split(',').map(str::trim).filter(|spec| !spec.is_empty()).enumerate() {
            if count == RANGES_MAX {
                return Self::TooMany;
            }
            match Spec::parse(spec) {
                None => return Self::Whole,
                Some(Spec::Backwards) => return Self::Unsatisfiable,
                Some(Spec::Bytes { first, last }) if first < size => ranges.push(first..last.min(size - 1) + 1),
                Some(Spec::Suffix { length }) if length > 0 && size > 0 => {
                    ranges.push(size.saturating_sub(length)..size);
                }
                Some(Spec::Bytes { .. } | Spec::Suffix { .. }) => continue,
            }
            total = total.saturating_add(ranges.last().map_or(0, |range| range.end - range.start));
        }
        match ranges.len() {
            0 => Self::Unsatisfiable,
            1 => Self::One(ranges.remove(0)),
            _ if total > size => Self::Whole,
            _ => Self::Many(ranges),
        }
    }
}

/// What follows `bytes=`; `None` for another unit or none.
fn byte_specs(header: &str) -> Option<&str> {
    let (unit, specs) = header.split_once('=')?;
    (unit.trim().eq_ignore_ascii_case("bytes") && !specs.trim().is_empty()).then_some(specs)
}

/// One element of a ranges-specifier.
enum Spec {
    /// Both inclusive.
    Bytes {
        first: u64,
        last: u64,
    },
    Suffix {
        length: u64,
    },
    Backwards,
}

impl Spec {
    fn parse(text: &str) -> Option<Self> {
        let (first, last) = text.split_once('-')?;
        let (first, last) = (first.trim(), last.trim());
        if first.is_empty() {
            return Some(Self::Suffix { length: number(last)? });
        }
        let first = number(first)?;
        let last = if last.is_empty() { u64::MAX } else { number(last)? };
        // One past the end must be a number, too.
        let last = last.min(u64::MAX - 1);
        Some(if first > last { Self::Backwards } else { Self::Bytes { first, last } })
    }
}

/// Digits only; a number too large to hold is as good as the largest.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

/// First and last byte of an upload chunk, inclusive: `<first>-<last>`, neither unit nor total size.
///
/// # Errors
/// [`InvalidChunkRange`] for anything else, numbers from 2^63 on included: no offset of ours reaches them.
pub fn parse_chunk_range(header: &str) -> Result<(u64, u64), InvalidChunkRange> {
    let (first, last) = header.split_once('-').ok_or(InvalidChunkRange)?;
    let bound = |text: &str| number(text).filter(|number| i64::try_from(*number).is_ok()).ok_or(InvalidChunkRange);
    match (bound(first)?, bound(last)?) {
        (first, last) if first <= last => Ok((first, last)),
        _ => Err(InvalidChunkRange),
    }
}

/// A `Content-Range` that is not `<first>-<last>`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the Content-Range of a chunk is written <first byte>-<last byte>")]
pub struct InvalidChunkRange;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(header: &str, size: u64, expected: &Wanted) {
        assert_eq!(&Wanted::parse(header, size), expected, "{header} of {size}");
    }

    #[test]
    fn single_ranges() {
        check("bytes=0-0", 10, &Wanted::One(0..1));
        check("bytes=2-5", 10, &Wanted::One(2..6));
        check("BYTES = 2-5", 10, &Wanted::One(2..6));
        check("bytes=2-", 10, &Wanted::One(2..10));
        check("bytes=2-99", 10, &Wanted::One(2..10));
        check("bytes=-3", 10, &Wanted::One(7..10));
        check("bytes=-99", 10, &Wanted::One(0..10));
        check("bytes=0-18446744073709551616", 10, &Wanted::One(0..10));
        check("bytes=0-18446744073709551615", u64::MAX, &Wanted::One(0..u64::MAX));
    }

    #[test]
    fn unsatisfiable_ranges() {
        for header in ["bytes=10-", "bytes=10-11", "bytes=5-0", "bytes=-0", "bytes=99999999999999999999-"] {
            check(header, 10, &Wanted::Unsatisfiable);
        }
        check("bytes=0-0", 0, &Wanted::Unsatisfiable);
        check("bytes=-1", 0, &Wanted::Unsatisfiable);
    }

    #[test]
    fn ignored_headers() {
        for header in ["", "bytes", "bytes=", "items=0-1", "bytes=a-b", "bytes=1", "bytes=+1-2", "bytes=0-1,x"] {
            check(header, 10, &Wanted::Whole);
        }
    }

    #[test]
    fn several_ranges() {
        check("bytes=0-1, 4-5", 10, &Wanted::Many(vec![0..2, 4..6]));
        check("bytes=8-9,0-1,-1", 10, &Wanted::Many(vec![8..10, 0..2, 9..10]));
        check("bytes=0-1,20-30", 10, &Wanted::One(0..2));
        check("bytes=20-30,40-", 10, &Wanted::Unsatisfiable);
        check("bytes=0-9,0-9", 10, &Wanted::Whole);
        let many =
            |count: u64| format!("bytes={}", (0..count).map(|n| format!("{n}-{n}")).collect::<Vec<_>>().join(","));
        assert!(matches!(Wanted::parse(&many(64), 1000), Wanted::Many(ranges) if ranges.len() == 64));
        check(&many(65), 1000, &Wanted::TooMany);
    }

    #[test]
    fn chunks() {
        assert_eq!(parse_chunk_range("0-0"), Ok((0, 0)));
        assert_eq!(parse_chunk_range("10-1048575"), Ok((10, 1_048_575)));
        for header in [
            "",
            "-",
            "5",
            "5-",
            "-5",
            "5-4",
            "a-b",
            "bytes 0-5/6",
            "bytes 0-0/*",
            "0-5/6",
            "0 - 5",
            "0-9223372036854775808",
        ] {
            assert_eq!(parse_chunk_range(header), Err(InvalidChunkRange), "{header}");
        }
    }
}
