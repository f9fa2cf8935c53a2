//! Who may place orders: one process at a time.
//!
//! A lease is a record with a number that nobody else can write, too. It begins when the store says that it was written
//! and ends so many seconds later, also by the store's clock: no other clock is asked. Its holder writes the next number
//! while it goes on; whoever finds that the highest has ended writes the one after that. After each write its writer
//! looks again, and holds the lease only if its record is the highest: sweeping frees numbers, so that a write can
//! succeed that comes far too late.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    acme::vault::{Error, Vault, records::Version1},
    store::Precondition,
};

/// How long a lease holds, in seconds.
const LIFETIME_SECS: u32 = 45;

/// How often its holder writes the next number.
const RENEWAL: Duration = Duration::from_secs(10);

const PLACE: &str = "lease";

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Record {
    version: Version1,
    holder: Uuid,
    /// From when it was written; 0 gives it up.
    seconds: u32,
}

/// The right to place orders, while it is kept.
#[derive(Debug)]
pub(in crate::acme) struct Lease {
    vault: Vault,
    holder: Uuid,
    number: u64,
}

/// What became of a wish for the lease.
#[derive(Debug)]
pub(in crate::acme) enum Taken {
    Ours(Lease),
    /// Somebody else holds it.
    Theirs,
}

impl Lease {
    pub(in crate::acme) async fn take(vault: &Vault) -> Result<Taken, Error> {
        let highest = vault.numbers(PLACE).await?.last().copied();
        if let Some(number) = highest
            && is_running(vault, number).await?
        {
            return Ok(Taken::Theirs);
        }
        let lease = Self { vault: vault.clone(), holder: Uuid::new_v4(), number: highest.unwrap_or(0) };
        lease.advance(LIFETIME_SECS).await
    }

    /// Writes the number after ours, and looks whether it is the highest.
    async fn advance(mut self, seconds: u32) -> Result<Taken, Error> {
        self.number += 1;
        let key = self.vault.numbered(PLACE, self.number);
        let record = Record { version: Version1, holder: self.holder, seconds };
        match self.vault.write(&key, &record, Precondition::Absent).await {
            Err(error) if error.is_taken() => return Ok(Taken::Theirs),
            other => other?,
        }
        if self.vault.numbers(PLACE).await?.last() != Some(&self.number) {
            // It came too late, into a number that others had swept away.
            self.vault.store.delete(&[key]).await?;
            return Ok(Taken::Theirs);
        }
        self.vault.sweep_place(PLACE, self.number - 1).await?;
        Ok(Taken::Ours(self))
    }

    /// What is written under this lease has its number.
    pub(in crate::acme) const fn number(&self) -> u64 {
        self.number
    }

    /// The same lease, one number further.
    pub(in crate::acme) fn again(&self) -> Self {
        Self { vault: self.vault.clone(), holder: self.holder, number: self.number }
    }

    /// Keeps the lease; returns when it is lost. The holder's number stays what it was, as others only begin above it.
    pub(in crate::acme) async fn keep(&self) {
        let mut lease = self.again();
        let mut written = tokio::time::Instant::now();
        let lifetime = Duration::from_secs(LIFETIME_SECS.into());
        loop {
            tokio::time::sleep(RENEWAL).await;
            let begun = tokio::time::Instant::now();
            let number = lease.number;
            match tokio::time::timeout_at(written + lifetime, lease.again().advance(LIFETIME_SECS)).await {
                Ok(Ok(Taken::Ours(next))) => {
                    lease = next;
                    written = begun;
                }
                // The write may have been done: the number after it is tried next.
                Ok(Err(error)) if begun < written + lifetime => {
                    tracing::warn!(
                        acme.lease = number,
                        "the right to order certificates could not be prolonged: {error}"
                    );
                    lease.number = self.mine(number).await;
                }
                Ok(_) | Err(_) => return,
            }
        }
    }

    /// The highest number that is ours, where that can be told.
    async fn mine(&self, number: u64) -> u64 {
        let next = self.vault.read::<Record>(&self.vault.numbered(PLACE, number + 1)).await;
        match next {
            Ok(Some(record)) if record.holder == self.holder => number + 1,
            _ => number,
        }
    }

    /// Gives it up, if it is still ours.
    pub(in crate::acme) async fn release(self) -> Result<(), Error> {
        let Some(highest) = self.vault.numbers(PLACE).await?.last().copied() else { return Ok(()) };
        let record = self.vault.read::<Record>(&self.vault.numbered(PLACE, highest)).await?;
        if record.is_none_or(|record| record.holder != self.holder) {
            return Ok(());
        }
        Self { number: highest, ..self }.advance(0).await.map(drop)
    }
}

/// Whether a record's time is not over, by the clock of the store.
async fn is_running(vault: &Vault, number: u64) -> Result<bool, Error> {
    let key = vault.numbered(PLACE, number);
    let Some(record) = vault.read::<Record>(&key).await? else {
        // Swept away by a successor, who holds it.
        return Ok(true);
    };
    if record.seconds == 0 {
        return Ok(false);
    }
    let written = match vault.store.head(&key).await {
        Ok(meta) => meta.modified,
        Err(error) if error.is_not_found() => return Ok(true),
        Err(error) => return Err(error.into()),
    };
    Ok(now(vault).await? < written + time::Duration::seconds(record.seconds.into()))
}

/// The time of day where the records are, which is told by when something is written there.
async fn now(vault: &Vault) -> Result<OffsetDateTime, Error> {
    let key = vault.key(&format!("clock/{}", Uuid::new_v4()));
    vault.store.put(&key, vec![bytes::Bytes::from_static(b"?")], Precondition::Always).await?;
    let meta = vault.store.head(&key).await;
    vault.store.delete(&[key]).await?;
    Ok(meta?.modified)
}

/// Whether somebody holds it now.
pub(in crate::acme) async fn is_held(vault: &Vault) -> Result<bool, Error> {
    match vault.numbers(PLACE).await?.last() {
        Some(&number) => is_running(vault, number).await,
        None => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        acme::vault::seal::Sealing,
        clock::ManualClock,
        store::{Distance, Limits, Parts, Store, memory::Memory},
    };

    fn vault() -> (Vault, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::new(OffsetDateTime::UNIX_EPOCH));
        let limits = Limits { parts: Parts::Appended, parts_max: 1, distance: Distance::Here };
        let store: Arc<dyn Store> = Arc::new(Memory::new(limits, Arc::clone(&clock) as _));
        (Vault::new(store, "acme".parse().unwrap(), Sealing::Plain), clock)
    }

    async fn ours(vault: &Vault) -> Option<Lease> {
        match Lease::take(vault).await.unwrap() {
            Taken::Ours(lease) => Some(lease),
            Taken::Theirs => None,
        }
    }

    #[tokio::test]
    async fn one_holds_it_until_it_is_given_up_or_ends() {
        let (vault, clock) = vault();
        assert!(!is_held(&vault).await.unwrap());
        let first = ours(&vault).await.unwrap();
        assert!(is_held(&vault).await.unwrap());
        assert!(ours(&vault).await.is_none());
        let number = first.number();
        first.release().await.unwrap();
        let second = ours(&vault).await.unwrap();
        assert!(second.number() > number);
        clock.advance(Duration::from_secs(44));
        assert!(ours(&vault).await.is_none());
        clock.advance(Duration::from_secs(1));
        let third = ours(&vault).await.unwrap();
        // Who lost it gives nothing up.
        second.release().await.unwrap();
        assert!(ours(&vault).await.is_none());
        third.release().await.unwrap();
        assert!(!is_held(&vault).await.unwrap());
    }

    #[tokio::test]
    async fn a_write_that_comes_too_late_is_no_lease() {
        let (vault, clock) = vault();
        let late = ours(&vault).await.unwrap();
        clock.advance(Duration::from_mins(1));
        let mut holder = ours(&vault).await.unwrap();
        for _ in 0..3 {
            let Taken::Ours(next) = holder.advance(LIFETIME_SECS).await.unwrap() else { panic!("lost") };
            holder = next;
        }
        // The number after `late`'s own is free by now.
        assert!(matches!(late.advance(LIFETIME_SECS).await.unwrap(), Taken::Theirs));
        assert_eq!(vault.numbers(PLACE).await.unwrap(), [holder.number()]);
    }

    #[tokio::test]
    async fn of_many_one_wins() {
        let (vault, _) = vault();
        let all = futures_util::future::join_all((0..20).map(|_| ours(&vault))).await;
        assert_eq!(all.into_iter().flatten().count(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_kept_while_its_holder_lives() {
        let (vault, clock) = vault();
        let lease = ours(&vault).await.unwrap();
        let others = async {
            for _ in 0..30 {
                tokio::time::sleep(Duration::from_secs(10)).await;
                clock.advance(Duration::from_secs(10));
                assert!(ours(&vault).await.is_none());
            }
        };
        tokio::select! {
            () = lease.keep() => panic!("lost"),
            () = others => {}
        }
        lease.release().await.unwrap();
        assert!(ours(&vault).await.is_some());
    }
}
