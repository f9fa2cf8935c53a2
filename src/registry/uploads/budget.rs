//! One budget for the bytes of all uploads that are on their way to the store.
//!
//! Memory is taken in slabs as bytes arrive, never ahead of them. When the pool is used up, two rules keep everything
//! going. Bodies that hold something come before those that hold nothing, so that parts get filled and the memory is not
//! spread over many that all wait. And one body at a time may go on from a reserve that is large enough for a whole part:
//! so there is always one that finishes and gives back. It must have filled a slab before, or a slow one would sit on it.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What is taken at once, in bytes.
pub const SLAB_BYTES: u64 = 1 << 20;

/// Shared by all uploads of a process.
#[derive(Debug)]
pub struct Budget {
    pool: Arc<Semaphore>,
    reserve: Arc<Semaphore>,
    /// One at a time of those that hold nothing waits at the pool, together with all that hold something.
    turnstile: Semaphore,
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
        let (pool, reserve) = (Arc::new(Semaphore::new(slabs)), Arc::new(Semaphore::new(1)));
        Self { pool, reserve, turnstile: Semaphore::new(1), slabs }
    }

    /// Bytes of the pool that are taken now.
    #[must_use]
    pub fn taken(&self) -> u64 {
        (self.slabs - self.pool.available_permits()) as u64 * SLAB_BYTES
    }

    /// Whether whoever asks now has to wait.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        self.pool.available_permits() == 0
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
        // Its place in the queue is taken when it is asked first.
        let pooled = Arc::clone(&self.pool).acquire_owned();
        if held.pooled.is_empty() {
            // No semaphore is ever closed.
            let _turn = self.turnstile.acquire().await;
            held.pooled.extend(pooled.await);
            return;
        }
        tokio::select! {
            biased;
            Ok(permit) = pooled => held.pooled.push(permit),
            Ok(permit) = Arc::clone(&self.reserve).acquire_owned() => {
                held.reserve = Some(permit);
                held.reserved += 1;
            }
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
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn one_upload_goes_on_when_the_pool_is_empty() {
        let budget = Budget::new(2 * SLAB_BYTES);
        let (mut first, mut second, mut third) = (Slabs::default(), Slabs::default(), Slabs::default());
        budget.cover(&mut first, SLAB_BYTES).await;
        assert!(!budget.is_exhausted());
        budget.cover(&mut second, 1).await;
        assert!(budget.is_exhausted());
        assert_eq!(budget.taken(), 2 * SLAB_BYTES);

        // The first that holds something and asks gets the reserve, for as much as its part needs.
        assert!(budget.cover(&mut third, 1).now_or_never().is_none());
        budget.cover(&mut first, 16 * SLAB_BYTES).await;
        assert!(budget.cover(&mut second, SLAB_BYTES + 1).now_or_never().is_none());

        drop(first);
        budget.cover(&mut third, 1).await;
        assert_eq!(third.covered(), SLAB_BYTES);
    }

    #[tokio::test]
    async fn whoever_holds_something_comes_first() {
        let budget = Budget::new(3 * SLAB_BYTES);
        let (mut going, mut reserved, mut full) = (Slabs::default(), Slabs::default(), Slabs::default());
        for held in [&mut going, &mut reserved, &mut full] {
            budget.cover(held, 1).await;
        }
        budget.cover(&mut reserved, 9 * SLAB_BYTES).await;
        let mut newcomers: Vec<_> = (0..5).map(|_| Box::pin(holding(&budget, Slabs::default()))).collect();
        assert!(newcomers.iter_mut().all(|newcomer| newcomer.now_or_never().is_none()));
        let mut goes_on = Box::pin(holding(&budget, going));
        assert!((&mut goes_on).now_or_never().is_none());

        // One newcomer was there before.
        drop(full);
        let held: Vec<Slabs> = newcomers.iter_mut().filter_map(FutureExt::now_or_never).collect();
        assert_eq!(held.len(), 1);
        drop(held);
        assert!((&mut goes_on).now_or_never().is_some_and(|slabs| slabs.covered() == 2 * SLAB_BYTES));
    }

    /// With one slab more.
    async fn holding(budget: &Budget, mut slabs: Slabs) -> Slabs {
        let wanted = slabs.covered() + 1;
        budget.cover(&mut slabs, wanted).await;
        slabs
    }
}
