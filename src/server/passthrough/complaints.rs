//! Saying that another server cannot be reached, without filling the log: anybody can ask for it at any rate.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use tracing::warn;

use crate::server::passthrough::target::Error;

/// Between two lines about one rule.
const INTERVAL: Duration = Duration::from_secs(10);

/// What was said about one rule, and what was not.
#[derive(Debug, Default)]
pub(super) struct Complaints(Mutex<Said>);

#[derive(Debug, Default)]
struct Said {
    last: Option<Instant>,
    unsaid: u64,
}

impl Complaints {
    /// `rule` is what the rule is called.
    pub(super) fn about(&self, rule: &str, error: &Error) {
        if let Some(unsaid) = self.due() {
            warn!(rule, unsaid, "edge.passthrough: {error}");
        }
    }

    /// How many were not said before this one, if this one is to be.
    fn due(&self) -> Option<u64> {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if said.last.is_some_and(|last| last.elapsed() < INTERVAL) {
            said.unsaid += 1;
            return None;
        }
        said.last = Some(Instant::now());
        Some(std::mem::take(&mut said.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_is_said_in_ten_seconds() {
        let complaints = Complaints::default();
        let say = || complaints.due();
        assert_eq!([say(), say(), say()], [Some(0), None, None]);
        tokio::time::advance(INTERVAL).await;
        assert_eq!([say(), say()], [Some(2), None]);
    }
}
