//! While nothing may be written where the vault lies, nothing is ordered: an order whose steps are not kept could be paid
//! for and lost.

use std::{
    future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// How often it is looked at in the middle of an order.
const LOOK: Duration = Duration::from_millis(200);

/// Whether to rest, and whether that was told.
#[derive(Debug, Default)]
pub(in crate::acme) struct Rest {
    /// `None`: never.
    wanted: Option<Arc<AtomicBool>>,
    told: AtomicBool,
}

/// What the next round is to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::acme::renewal) enum Stance {
    Working,
    /// The round before this one rested.
    Resumed,
    Resting,
}

impl Rest {
    /// Rests as long as this is set.
    pub(in crate::acme) fn while_set(wanted: Option<Arc<AtomicBool>>) -> Self {
        Self { wanted, told: AtomicBool::new(false) }
    }

    pub(in crate::acme::renewal) fn is_wanted(&self) -> bool {
        self.wanted.as_ref().is_some_and(|wanted| wanted.load(Ordering::Relaxed))
    }

    /// Tells the operator when it has changed.
    pub(in crate::acme::renewal) fn stance(&self) -> Stance {
        let wanted = self.is_wanted();
        match (self.told.swap(wanted, Ordering::Relaxed), wanted) {
            (false, false) => Stance::Working,
            (true, false) => {
                tracing::info!("certificates are ordered again: storage.maintenance.readonly is off");
                Stance::Resumed
            }
            (false, true) => {
                tracing::warn!(
                    "no certificate is ordered or renewed while storage.maintenance.readonly is enabled: edge.acme.state \
                     is storage, where nothing can be written now"
                );
                Stance::Resting
            }
            (true, true) => Stance::Resting,
        }
    }

    /// Completes when it is time to rest.
    pub(in crate::acme::renewal) async fn begins(&self) {
        if self.wanted.is_none() {
            future::pending::<()>().await;
        }
        while !self.is_wanted() {
            tokio::time::sleep(LOOK).await;
        }
    }
}
