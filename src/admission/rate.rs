//! A limit as a bucket that fills at a steady rate, kept as one number (the generic cell rate algorithm, ITU-T I.371).
//!
//! The number is the time at which the bucket will be full again. What is taken moves it on by as long as that much takes
//! to come; it may lie ahead of now by as long as the whole bucket takes to fill.

use std::{num::NonZeroU64, time::Duration};

/// So many for each period, and so many at once.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rate {
    amount: NonZeroU64,
    period: Duration,
    burst: NonZeroU64,
}

/// When a bucket will be full again, in nanoseconds; 0 is full.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Level(u64);

impl Rate {
    /// `burst` is what the bucket holds.
    #[must_use]
    pub const fn new(amount: NonZeroU64, period: Duration, burst: NonZeroU64) -> Self {
        Self { amount, period, burst }
    }

    /// Takes one, or says when there will be one.
    ///
    /// # Errors
    /// The bucket holds less than one.
    pub fn take(&self, level: &mut Level, now: u64) -> Result<(), Duration> {
        let full = level.0.max(now).saturating_add(self.time_of(1));
        match self.missing(full, now) {
            Duration::ZERO => {
                level.0 = full;
                Ok(())
            }
            wait => Err(wait),
        }
    }

    /// Takes as many as are asked for, which may be more than there are; how long it takes until there were that many.
    #[must_use]
    pub fn charge(&self, level: &mut Level, now: u64, count: u64) -> Duration {
        level.0 = level.0.max(now).saturating_add(self.time_of(count));
        self.missing(level.0, now)
    }

    fn missing(&self, full: u64, now: u64) -> Duration {
        Duration::from_nanos(full.saturating_sub(now).saturating_sub(self.time_of(self.burst.get())))
    }

    /// Nanoseconds in which this many come.
    fn time_of(&self, count: u64) -> u64 {
        let nanos = self.period.as_nanos().saturating_mul(u128::from(count)) / u128::from(self.amount.get());
        u64::try_from(nanos).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn rate(amount: u64, burst: u64) -> Rate {
        Rate::new(NonZeroU64::new(amount).unwrap(), Duration::from_secs(1), NonZeroU64::new(burst).unwrap())
    }

    #[test]
    fn a_burst_and_then_the_rate() {
        let rate = rate(10, 3);
        let mut level = Level::default();
        let mut check = |now: u64, expected: Result<(), u64>| {
            let taken = rate.take(&mut level, now);
            assert_eq!(taken, expected.map_err(Duration::from_millis), "at {now}");
        };
        let at = |millis: u64| 5 * SECOND + millis * 1_000_000;
        check(at(0), Ok(()));
        check(at(0), Ok(()));
        check(at(0), Ok(()));
        check(at(0), Err(100));
        check(at(60), Err(40));
        check(at(100), Ok(()));
        check(at(100), Err(100));
        // No more than the bucket holds is saved up.
        check(at(60_000), Ok(()));
        check(at(60_000), Ok(()));
        check(at(60_000), Ok(()));
        check(at(60_000), Err(100));
    }

    #[test]
    fn what_is_charged_is_waited_for() {
        let rate = rate(1000, 500);
        let mut level = Level::default();
        assert_eq!(rate.charge(&mut level, SECOND, 500), Duration::ZERO);
        assert_eq!(rate.charge(&mut level, SECOND, 1000), Duration::from_secs(1));
        // A second transfer of the same client waits for both.
        assert_eq!(rate.charge(&mut level, SECOND, 1000), Duration::from_secs(2));
        assert_eq!(rate.charge(&mut level, 4 * SECOND, 1), Duration::ZERO);
    }

    #[test]
    fn numbers_without_measure_do_no_harm() {
        let slow = Rate::new(NonZeroU64::MIN, Duration::MAX, NonZeroU64::MAX);
        let mut level = Level::default();
        assert_eq!(slow.charge(&mut level, u64::MAX, u64::MAX), Duration::ZERO);
        let fast = Rate::new(NonZeroU64::MAX, Duration::from_nanos(1), NonZeroU64::MIN);
        assert_eq!(fast.take(&mut Level::default(), 0), Ok(()));
    }
}
