//! When a request is sent again, and after how long.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

/// The first wait is a random moment of this, each later one of twice as much.
const WAIT: Duration = Duration::from_millis(100);
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Longest wait that a store may ask for; longer, and the client is told instead.
const ASKED_MAX: Duration = Duration::from_secs(10);

/// Retries that may be outstanding at once, and what one costs in successes.
const BUDGET: u32 = 1000;
const PRICE: u32 = 10;

/// Retries that all operations together may still make: a store that fails everything is not asked many times as
/// often because of it.
#[derive(Debug)]
pub(super) struct Budget(AtomicU32);

impl Default for Budget {
    fn default() -> Self {
        Self(AtomicU32::new(BUDGET))
    }
}

impl Budget {
    /// Whether one more retry is within bounds.
    pub(super) fn spend(&self) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(PRICE)).is_ok()
    }

    /// A request succeeded.
    pub(super) fn earn(&self) {
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| (left < BUDGET).then_some(left + 1));
    }
}

/// How long to wait after this many attempts: `random` is from 0 to 1, `asked` what the store wants.
pub(super) fn wait(attempts: u32, asked: Option<Duration>, random: f64) -> Option<Duration> {
    if let Some(asked) = asked {
        return (asked <= ASKED_MAX).then(|| asked + WAIT.mul_f64(random));
    }
    let most = WAIT.saturating_mul(1 << attempts.saturating_sub(1).min(16)).min(WAIT_MAX);
    Some(most.mul_f64(random))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound() {
        let check = |attempts, asked: Option<u64>, expected: Option<u64>| {
            let found = wait(attempts, asked.map(Duration::from_secs), 1.0);
            assert_eq!(found, expected.map(Duration::from_millis), "{attempts} {asked:?}");
        };
        check(1, None, Some(100));
        check(2, None, Some(200));
        check(6, None, Some(3200));
        check(100, None, Some(5000));
        check(1, Some(2), Some(2100));
        check(1, Some(60), None);
        assert_eq!(wait(3, None, 0.0), Some(Duration::ZERO));
    }

    #[test]
    fn the_budget_is_earned_back() {
        let budget = Budget::default();
        assert_eq!((0..1000).filter(|_| budget.spend()).count(), 100);
        (0..PRICE).for_each(|_| budget.earn());
        assert!(budget.spend());
        assert!(!budget.spend());
    }
}
