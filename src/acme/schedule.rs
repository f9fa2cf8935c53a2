//! When a certificate is asked for: pure, so that every replica comes to the same moment by itself.
//!
//! An authority that offers renewal information (RFC 9773) says when; otherwise it is at two thirds of the life, or as
//! long before the end as the operator wants. Within the window that leaves room, the place is taken from the
//! certificate's own serial number: certificates are spread, and replicas agree. A failure is followed by a pause that
//! grows and never ends the trying.

use time::{Duration, OffsetDateTime};

/// Of a certificate's life, in percent: renewed at the latest then, whatever the authority suggests.
const LATEST_PERCENT: i32 = 90;

/// How much of its life the renewals of certificates of one age are spread over, in percent.
const SPREAD_PERCENT: i32 = 3;

/// Bounds of what the authority says about when to ask it again (RFC 9773 section 4.3.2).
const ASK_AGAIN_MIN: Duration = Duration::MINUTE;
const ASK_AGAIN_MAX: Duration = Duration::DAY;

/// After an authority that gave no renewal information.
pub(super) const ASK_AGAIN_AFTER_FAILURE: Duration = Duration::HOUR;

/// The longest pause that an authority can ask for: a mistake of its own must not let a certificate end.
const RETRY_AFTER_MAX: Duration = Duration::DAY;

/// With less than this left of a certificate's life, or nothing, pauses are short.
const URGENT: Duration = Duration::DAY;

/// The life of a certificate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Life {
    pub(super) begins: OffsetDateTime,
    pub(super) expires: OffsetDateTime,
    pub(super) place: Place,
}

/// Where within a window, from its beginning to its end: made of bytes that are as good as random.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Place(u16);

impl Place {
    pub(super) fn of(bytes: &[u8]) -> Self {
        let end = bytes.last_chunk::<2>().copied().unwrap_or_default();
        Self(u16::from_be_bytes(end))
    }

    fn within(self, span: Duration) -> Duration {
        span * f64::from(self.0) / f64::from(u16::MAX)
    }
}

/// When the authority wants to be asked (RFC 9773 section 4.2).
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Window {
    #[serde(with = "time::serde::rfc3339")]
    pub(super) start: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub(super) end: OffsetDateTime,
}

/// When a certificate is renewed. `before` is how long before its end the operator wants it.
pub(super) fn renewal(life: &Life, window: Option<&Window>, before: Option<Duration>) -> OffsetDateTime {
    let whole = life.expires - life.begins;
    let latest = life.begins + whole * LATEST_PERCENT / 100;
    // A window that ends before it begins is none (RFC 9773 section 4.2).
    let suggested =
        window.filter(|window| window.end > window.start).map(|it| it.start + life.place.within(it.end - it.start));
    let wanted = before.map(|before| life.expires - before);
    let usual = || life.begins + whole * 2 / 3 + life.place.within(whole * SPREAD_PERCENT / 100);
    let moment = match (suggested, wanted) {
        (Some(suggested), Some(wanted)) => suggested.min(wanted),
        (Some(moment), None) | (None, Some(moment)) => moment,
        (None, None) => usual(),
    };
    moment.min(latest)
}

/// When the authority is asked for its window again, which it said itself.
pub(super) fn ask_again(now: OffsetDateTime, said: Duration) -> OffsetDateTime {
    now + said.clamp(ASK_AGAIN_MIN, ASK_AGAIN_MAX)
}

/// What went wrong, as far as it decides how soon it is tried again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Trouble {
    /// The authority could not be reached, or something here failed: trying costs nobody anything.
    Passing,
    /// The authority said no: it counts those.
    Refused,
}

/// How long to wait after so many failures in a row, from 1. `left` is what is left of the certificate that is served;
/// `chance` is random.
pub(super) fn pause(
    failures: u32,
    trouble: Trouble,
    retry_after: Option<Duration>,
    left: Option<Duration>,
    chance: u16,
) -> Duration {
    let urgent = left.is_none_or(|left| left < URGENT);
    let (first, longest) = match trouble {
        Trouble::Passing => (Duration::seconds(5), Duration::minutes(10)),
        // Five in an hour are what the largest authority allows for one name.
        Trouble::Refused if urgent => (Duration::minutes(2), Duration::HOUR),
        Trouble::Refused => (Duration::minutes(2), Duration::hours(6)),
    };
    let doubled = first * 2_i32.pow(failures.saturating_sub(1).min(16));
    let place = Place(chance);
    // Three quarters to five quarters of it.
    let base = doubled.min(longest);
    let pause: Duration = base * 3 / 4 + place.within(base / 2);
    match retry_after.map(|after| after.min(RETRY_AFTER_MAX)) {
        Some(after) => pause.max(after + place.within(after / 10)),
        None => pause,
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const BEGINS: OffsetDateTime = datetime!(2026-01-01 00:00 UTC);
    const FIRST: Place = Place(0);
    const LAST: Place = Place(u16::MAX);

    fn life(days: i64, place: Place) -> Life {
        Life { begins: BEGINS, expires: BEGINS + Duration::days(days), place }
    }

    #[test]
    fn without_information_two_thirds_of_the_life() {
        let check = |days, place, expected: Duration| {
            assert_eq!(renewal(&life(days, place), None, None) - BEGINS, expected, "{days} days");
        };
        check(90, FIRST, Duration::days(60));
        check(90, LAST, Duration::days(60) + Duration::days(90) * 3 / 100);
        check(6, FIRST, Duration::days(4));
        check(1, FIRST, Duration::hours(16));
    }

    #[test]
    fn the_authority_and_the_operator_are_heard() {
        let day = |day| BEGINS + Duration::days(day);
        let window = |start, end| Some(Window { start: day(start), end: day(end) });
        let check = |window: Option<Window>, before: Option<i64>, place, expected: i64| {
            let moment = renewal(&life(90, place), window.as_ref(), before.map(Duration::days));
            assert_eq!(moment, day(expected), "{window:?} {before:?}");
        };
        check(window(50, 52), None, FIRST, 50);
        check(window(50, 52), None, LAST, 52);
        // Revoked: the window is in the past.
        check(window(-3, -1), None, LAST, -1);
        check(window(50, 52), Some(30), LAST, 52);
        check(window(70, 72), Some(30), FIRST, 60);
        check(None, Some(30), LAST, 60);
        // Never so late that there is no time left to fail.
        check(window(100, 102), None, FIRST, 81);
        check(None, Some(1), FIRST, 81);
        // No window at all.
        check(window(52, 50), None, FIRST, 60);
        // Longer before the end than it lives: always due.
        check(None, Some(120), FIRST, -30);
    }

    #[test]
    fn pauses_grow_up_to_a_bound() {
        let hours = |hours| Some(Duration::hours(hours));
        let check = |failures, trouble, left, chance, expected: Duration| {
            assert_eq!(pause(failures, trouble, None, left, chance), expected, "{failures} {trouble:?} {left:?}");
        };
        let second = Duration::SECOND;
        check(1, Trouble::Passing, hours(100), 0, second * 3.75);
        check(1, Trouble::Passing, hours(100), u16::MAX, second * 6.25);
        check(2, Trouble::Passing, None, 0, second * 7.5);
        check(u32::MAX, Trouble::Passing, None, 0, Duration::minutes(10) * 3 / 4);
        check(1, Trouble::Refused, hours(100), 0, Duration::seconds(90));
        check(u32::MAX, Trouble::Refused, hours(100), u16::MAX, Duration::minutes(450));
        check(u32::MAX, Trouble::Refused, hours(1), u16::MAX, Duration::minutes(75));
        check(u32::MAX, Trouble::Refused, hours(-1), 0, Duration::minutes(45));
        check(0, Trouble::Passing, None, 0, second * 3.75);
    }

    #[test]
    fn who_says_when_is_not_asked_before() {
        let check = |after: Duration, chance, expected: Duration| {
            assert_eq!(pause(1, Trouble::Refused, Some(after), None, chance), expected);
        };
        check(Duration::hours(3), 0, Duration::hours(3));
        check(Duration::hours(3), u16::MAX, Duration::minutes(198));
        check(Duration::SECOND, 0, Duration::seconds(90));
        check(Duration::days(300), 0, Duration::DAY);
    }

    #[test]
    fn asked_again_within_bounds() {
        let check = |said, expected| assert_eq!(ask_again(BEGINS, said) - BEGINS, expected);
        check(Duration::ZERO, Duration::MINUTE);
        check(Duration::hours(6), Duration::hours(6));
        check(Duration::weeks(9), Duration::DAY);
    }

    #[test]
    fn places_come_from_the_end_of_a_serial_number() {
        assert_eq!(Place::of(&[]), FIRST);
        assert_eq!(Place::of(&[1]), FIRST);
        assert_eq!(Place::of(&[1, 0xff, 0xff]), LAST);
    }
}
