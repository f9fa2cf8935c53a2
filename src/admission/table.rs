//! What each client has taken, in bounded memory.
//!
//! Each shard holds two generations. Who is seen is in the young one; when that is full it becomes the old one, and what
//! was in the old one is forgotten: clients that were not seen while many others were. To be forgotten is to have a full
//! bucket again, so it helps only whoever has thousands of addresses, and who has those needs no help.

use std::{collections::HashMap, sync::Mutex};

use crate::admission::rate::Level;

/// Requests on different processors seldom wait for each other.
const SHARDS: usize = 64;

/// What one client has taken.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Taken {
    pub(super) requests: Level,
    pub(super) received: Level,
    pub(super) sent: Level,
}

#[derive(Debug)]
pub(super) struct Table {
    shards: Vec<Mutex<Shard>>,
    /// Entries of one generation of one shard.
    generation_max: usize,
}

#[derive(Debug, Default)]
struct Shard {
    young: HashMap<u64, Taken>,
    old: HashMap<u64, Taken>,
}

impl Table {
    /// For about this many clients; the memory is taken as they come.
    pub(super) fn new(clients_max: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, generation_max: (clients_max / SHARDS / 2).max(1) }
    }

    pub(super) fn update<T>(&self, key: u64, change: impl FnOnce(&mut Taken) -> T) -> T {
        // The key is a hash: its low bits are as good as any. The remainder fits.
        let shard = usize::try_from(key % SHARDS as u64).unwrap_or_default();
        let mut shard = self.shards[shard].lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        change(shard.entry(key, self.generation_max))
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        let count = |shard: &Mutex<Shard>| shard.lock().map(|shard| shard.young.len() + shard.old.len()).unwrap();
        self.shards.iter().map(count).sum()
    }
}

impl Shard {
    fn entry(&mut self, key: u64, generation_max: usize) -> &mut Taken {
        if !self.young.contains_key(&key) {
            let taken = self.old.remove(&key).unwrap_or_default();
            if self.young.len() >= generation_max {
                std::mem::swap(&mut self.young, &mut self.old);
                self.young.clear();
            }
            self.young.insert(key, taken);
        }
        self.young.entry(key).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u64) -> u64 {
        // As evenly as hashes.
        number.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32)
    }

    #[test]
    fn a_million_addresses_take_no_more_than_the_bound() {
        let table = Table::new(10_000);
        for number in 0..1_000_000 {
            table.update(key(number), |_| ());
        }
        assert!((5_000..=10_000).contains(&table.len()), "{}", table.len());
    }

    #[test]
    fn who_is_seen_is_remembered() {
        let table = Table::new(10_000);
        let rate = crate::admission::rate::Rate::new(
            std::num::NonZeroU64::MIN,
            std::time::Duration::from_secs(1),
            std::num::NonZeroU64::MIN,
        );
        let take = |number| table.update(key(number), |taken| rate.take(&mut taken.requests, 0).is_ok());
        assert!(take(0));
        for number in 1..100_000 {
            assert!(number % 1000 != 0 || !take(0), "forgotten at {number}");
            take(number);
        }
        for number in 100_000..200_000 {
            take(number);
        }
        assert!(take(0), "not seen for long");
    }
}
