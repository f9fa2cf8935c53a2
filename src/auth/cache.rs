//! Tokens whose signature was good: a client sends the same one with every request of a push or pull.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use crate::auth::claims::Claims;

/// Most tokens that are remembered.
const ENTRIES_MAX: usize = 4096;
/// Most bytes of tokens that are remembered; parsed claims take a small multiple of that.
const BYTES_MAX: usize = 8 << 20;

/// Verified claims by the full SHA-256 of their token, first in, first out.
#[derive(Debug, Default)]
pub(super) struct Cache(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    by_hash: HashMap<[u8; 32], Entry>,
    order: VecDeque<[u8; 32]>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    claims: Arc<Claims>,
    size: usize,
    /// Seconds since the epoch; from then on the token is verified anew.
    until: i64,
}

impl Cache {
    pub(super) fn find(&self, hash: &[u8; 32], now: i64) -> Option<Arc<Claims>> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.by_hash.get(hash).filter(|entry| now < entry.until).map(|entry| Arc::clone(&entry.claims))
    }

    /// Remembers a token of `size` bytes.
    pub(super) fn insert(&self, hash: [u8; 32], claims: Arc<Claims>, size: usize, until: i64) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = entries.by_hash.get_mut(&hash) {
            known.until = until;
            return;
        }
        while entries.order.len() >= ENTRIES_MAX || entries.bytes + size > BYTES_MAX {
            let Some(oldest) = entries.order.pop_front() else { break };
            let freed = entries.by_hash.remove(&oldest).map_or(0, |entry| entry.size);
            entries.bytes -= freed;
        }
        entries.by_hash.insert(hash, Entry { claims, size, until });
        entries.order.push_back(hash);
        entries.bytes += size;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims() -> Arc<Claims> {
        Arc::new(Claims::parse(br#"{"exp":1}"#).unwrap())
    }

    fn hash(number: usize) -> [u8; 32] {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&number.to_be_bytes());
        hash
    }

    #[test]
    fn an_entry_ends() {
        let cache = Cache::default();
        cache.insert(hash(1), claims(), 10, 100);
        assert!(cache.find(&hash(1), 99).is_some());
        assert!(cache.find(&hash(1), 100).is_none());
        assert!(cache.find(&hash(2), 0).is_none());
        cache.insert(hash(1), claims(), 10, 200);
        assert!(cache.find(&hash(1), 150).is_some());
    }

    fn check_bounds(size: usize, kept: usize) {
        let cache = Cache::default();
        for number in 0..2 * ENTRIES_MAX {
            cache.insert(hash(number), claims(), size, 100);
        }
        let entries = cache.0.lock().unwrap();
        assert_eq!((entries.by_hash.len(), entries.order.len(), entries.bytes), (kept, kept, kept * size));
        assert!(entries.by_hash.contains_key(&hash(2 * ENTRIES_MAX - 1)));
        drop(entries);
        assert!(cache.find(&hash(0), 0).is_none());
    }

    #[test]
    fn it_stays_small() {
        check_bounds(1, ENTRIES_MAX);
        check_bounds(64 << 10, 128);
    }
}
