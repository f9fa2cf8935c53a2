//! One budget for the bytes of all uploads that are on their way to the store.
//!
//! Memory is taken in slabs as bytes arrive, never ahead of them. When the pool is used up, one upload at a time may
//! go on from a reserve that is large enough for a whole part: so there is always one that finishes and gives back.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What is taken at once, in bytes.
pub const SLAB_BYTES: u64 = 1 << 20;

/// Shared by all uploads of a process.
#[derive(Debug)]
pub struct Budget {
    pool: Arc<Semaphore>,
    reserve: Arc<Semaphore>,
    slabs: usize,
}

/// Slabs held by one upload for bytes that have not landed yet; given back when dropped.
#[derive(Debug, Default)]
pub struct Slabs {
    pooled: Vec<OwnedSemaphorePermit>,
    /// The right to take from the reserve until this part has landed.
    reserve: Option<OwnedSemaphorePermit>,
    reserved: u64,
}

impl Budget {
    /// A budget of so many bytes, rounded down to slabs, of at least one.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        let slabs = usize::try_from(bytes / SLAB_BYTES).unwrap_or(usize::MAX).clamp(1, Semaphore::MAX_PERMITS);
        Self { pool: Arc::new(Semaphore::new(slabs)), reserve: Arc::new(Semaphore::new(1)), slabs }
    }

    /// Bytes that are taken now.
    #[must_use]
    pub fn taken(&self) -> u64 {
        (self.slabs - self.pool.available_permits()) as u64 * SLAB_BYTES
    }

    /// Waits until `held` covers this many bytes.
    pub async fn cover(&self, held: &mut Slabs, bytes: u64) {
        while held.covered() < bytes {
            self.take(held).await;
        }
    }

    async fn take(&self, held: &mut Slabs) {
        if held.reserve.is_some() {
            held.reserved += 1;
            return;
        }
        let pooled = Arc::clone(&self.pool).acquire_owned();
        let reserve = Arc::clone(&self.reserve).acquire_owned();
        tokio::select! {
            biased;
            Ok(permit) = pooled => held.pooled.push(permit),
            Ok(permit) = reserve => {
                held.reserve = Some(permit);
                held.reserved += 1;
            }
            // Neither semaphore is ever closed.
            else => {}
        }
    }
}

impl Slabs {
    /// How many bytes they are worth.
    #[must_use]
    pub fn covered(&self) -> u64 {
        (self.pooled.len() as u64 + self.reserved) * SLAB_BYTES
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn one_upload_goes_on_when_the_pool_is_empty() {
        let budget = Budget::new(2 * SLAB_BYTES);
        let (mut first, mut second, mut third) = (Slabs::default(), Slabs::default(), Slabs::default());
        budget.cover(&mut first, SLAB_BYTES).await;
        budget.cover(&mut second, 1).await;
        assert_eq!(budget.taken(), 2 * SLAB_BYTES);

        // The pool is empty: the first to ask gets the reserve, for as much as its part needs.
        budget.cover(&mut first, 16 * SLAB_BYTES).await;
        let waits = tokio::time::timeout(Duration::from_millis(20), budget.cover(&mut third, 1)).await;
        assert!(waits.is_err());

        drop(first);
        budget.cover(&mut third, 1).await;
        assert_eq!(third.covered(), SLAB_BYTES);
    }
}
