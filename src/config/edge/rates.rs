//! `edge.rates`: how many requests and bytes a client may take, by its address and by the subject of its login.

use std::{
    num::{NonZeroU64, NonZeroUsize},
    time::Duration,
};

use anyhow::Result;

use crate::config::{
    scalar,
    schema::{Key, section, value},
    section::{Field, Section},
};

const BOTH: &[Key] = &[value("per_address"), value("per_subject")];

pub(in crate::config) const KEYS: &[Key] = &[
    section("requests", BOTH).always().live(),
    section("bytes_in", BOTH).always().live(),
    section("bytes_out", BOTH).always().live(),
    value("clients_max").or("100000"),
];

/// A burst that nobody has chosen is what comes in this long.
const BURST: Duration = Duration::from_secs(10);

/// Slower transfers would be cut by the clients' own timeouts.
const BYTES_PER_SECOND_MIN: u64 = 1024;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rates {
    pub requests: Both,
    pub bytes_in: Both,
    pub bytes_out: Both,
    /// How many clients are remembered.
    pub clients_max: NonZeroUsize,
}

/// `None` is without a limit.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Both {
    pub per_address: Option<Rate>,
    pub per_subject: Option<Rate>,
}

/// So many for each period, and so many at once.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rate {
    pub amount: NonZeroU64,
    pub period: Duration,
    pub burst: NonZeroU64,
}

/// What is counted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::config) enum Unit {
    Requests,
    Bytes,
}

impl Rates {
    pub(in crate::config) fn read(rates: &Section<'_>) -> Result<Self> {
        let both = |name, unit| Both::read(&rates.need_section(name)?, unit);
        Ok(Self {
            requests: both("requests", Unit::Requests)?,
            bytes_in: both("bytes_in", Unit::Bytes)?,
            bytes_out: both("bytes_out", Unit::Bytes)?,
            clients_max: rates.need("clients_max")?.at_least_one()?,
        })
    }
}

impl Both {
    fn read(both: &Section<'_>, unit: Unit) -> Result<Self> {
        let rate = |name| both.find(name).map(|field| Rate::read(&field, unit)).transpose();
        Ok(Self { per_address: rate("per_address")?, per_subject: rate("per_subject")? })
    }
}

impl Rate {
    /// `100/s`, `6000/m burst 500`, `50MiB/s burst 1GiB`.
    pub(in crate::config) fn read(field: &Field<'_>, unit: Unit) -> Result<Self> {
        let text = field.text()?;
        let rate = Self::parse(text, unit).ok_or_else(|| {
            let example = if unit == Unit::Bytes { "50MiB/s burst 1GiB" } else { "100/s or 6000/m burst 500" };
            field.fail(format_args!("is {text:?}; it must be a rate such as {example}, with /s, /m or /h"))
        })?;
        let least = u128::from(BYTES_PER_SECOND_MIN) * u128::from(rate.period.as_secs());
        if unit == Unit::Bytes && u128::from(rate.amount.get()) < least {
            return Err(field.fail("must be at least 1KiB/s"));
        }
        Ok(rate)
    }

    fn parse(text: &str, unit: Unit) -> Option<Self> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let (rate, burst) = match words[..] {
            [rate] => (rate, None),
            [rate, "burst", burst] => (rate, Some(burst)),
            _ => return None,
        };
        let (amount, period) = rate.split_once('/')?;
        let amount = unit.number(amount)?;
        let period = match period {
            "s" => Duration::from_secs(1),
            "m" => Duration::from_mins(1),
            "h" => Duration::from_hours(1),
            _ => return None,
        };
        let burst = match burst {
            Some(burst) => unit.number(burst)?,
            None => share(amount, period),
        };
        Some(Self { amount, period, burst })
    }
}

/// What comes in [`BURST`], rounded up.
fn share(amount: NonZeroU64, period: Duration) -> NonZeroU64 {
    let share = u128::from(amount.get()).saturating_mul(BURST.as_nanos()).div_ceil(period.as_nanos());
    NonZeroU64::new(u64::try_from(share).unwrap_or(u64::MAX)).unwrap_or(NonZeroU64::MIN)
}

impl Unit {
    fn number(self, text: &str) -> Option<NonZeroU64> {
        let number = match self {
            Self::Requests => scalar::integer(text).and_then(|number| u64::try_from(number).ok()),
            Self::Bytes => scalar::size(text),
        };
        number.and_then(NonZeroU64::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read() {
        let check = |unit, text: &str, expected: Option<(u64, u64, u64)>| {
            let rate = Rate::parse(text, unit);
            let found = rate.map(|rate| (rate.amount.get(), rate.period.as_secs(), rate.burst.get()));
            assert_eq!(found, expected, "{text}");
        };
        check(Unit::Requests, "100/s", Some((100, 1, 1000)));
        check(Unit::Requests, "100/s burst 500", Some((100, 1, 500)));
        check(Unit::Requests, " 100/m  burst 1 ", Some((100, 60, 1)));
        check(Unit::Requests, "100/m", Some((100, 60, 17)));
        check(Unit::Requests, "5/h", Some((5, 3600, 1)));
        check(Unit::Bytes, "50MiB/s", Some((50 << 20, 1, 500 << 20)));
        check(Unit::Bytes, "50MiB/s burst 1GiB", Some((50 << 20, 1, 1 << 30)));
        check(Unit::Bytes, "2048/s burst 1", Some((2048, 1, 1)));
        for text in ["", "100", "/s", "0/s", "-1/s", "1/d", "1.5/s", "1KiB/s", "100/s burst", "100/s burst 0", "1/s 5"]
        {
            check(Unit::Requests, text, None);
        }
        for text in ["0/s", "1KiB", "1XB/s", "1KiB/s burst 0"] {
            check(Unit::Bytes, text, None);
        }
    }
}
