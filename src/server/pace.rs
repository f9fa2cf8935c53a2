//! How fast a transfer goes while its client is waited for.

use std::time::Duration;

use crate::server::bounds::Deadlines;

/// The transfer was too slow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct TooSlow;

/// What a client must keep to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Least {
    /// Of waiting; each is judged at its end.
    pub(super) period: Duration,
    /// Bytes per second over a period; 0 for no rate.
    pub(super) rate: u32,
}

/// Measures one transfer. Neither a pause nor our own slowness counts.
#[derive(Debug, Default)]
pub(super) struct Pace {
    waited: Duration,
    bytes: u64,
}

impl Pace {
    /// Counts bytes that were waited for.
    pub(super) fn advance(&mut self, waited: Duration, bytes: u64, least: Least) -> Result<(), TooSlow> {
        self.waited += waited;
        self.bytes = self.bytes.saturating_add(bytes);
        if self.waited < least.period {
            return Ok(());
        }
        let due = u128::from(least.rate) * self.waited.as_millis() / 1000;
        if u128::from(self.bytes) < due {
            return Err(TooSlow);
        }
        *self = Self::default();
        Ok(())
    }
}

impl Least {
    /// Of a request's body.
    pub(super) const fn received(deadlines: &Deadlines) -> Self {
        Self { period: deadlines.body, rate: deadlines.body_rate_min }
    }

    /// Of an answer.
    pub(super) const fn sent(deadlines: &Deadlines) -> Self {
        Self { period: deadlines.write, rate: deadlines.write_rate_min }
    }

    /// The longest that this many bytes may take: one period, and their time at the least rate. `None` without a rate.
    pub(super) fn time_for(self, bytes: usize) -> Option<Duration> {
        let secs = (bytes as u64).checked_div(u64::from(self.rate))?;
        Some(self.period.saturating_add(Duration::from_secs(secs)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pace_is_judged_once_per_period_of_waiting() {
        let least = Least { period: Duration::from_secs(10), rate: 100 };
        let check = |steps: &[(u64, u64)], expected: Result<(), TooSlow>| {
            let mut pace = Pace::default();
            let mut advance = |&(secs, bytes)| pace.advance(Duration::from_secs(secs), bytes, least);
            assert_eq!(steps.iter().try_for_each(&mut advance), expected, "{steps:?}");
        };
        check(&[(9, 1)], Ok(()));
        check(&[(9, 1), (1, 1)], Err(TooSlow));
        check(&[(9, 1), (1, 999)], Ok(()));
        check(&[(10, 1000), (9, 0)], Ok(()));
        check(&[(10, 1000), (10, 999)], Err(TooSlow));
    }

    #[test]
    fn a_piece_has_its_time() {
        let least = |rate| Least { period: Duration::from_secs(10), rate };
        assert_eq!(least(100).time_for(1000), Some(Duration::from_secs(20)));
        assert_eq!(least(0).time_for(1000), None);
    }
}
