//! A bounded memory of what was read before; what was used longest ago is forgotten first.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    hash::Hash,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::registry::CacheCounts;

/// Values under keys whose weights add up to no more than the capacity.
pub(in crate::registry) struct Cache<K, V> {
    capacity: usize,
    memory: Mutex<Memory<K, V>>,
    looks: AtomicU64,
    hits: AtomicU64,
}

struct Memory<K, V> {
    entries: HashMap<K, Entry<V>>,
    /// Keys by the moment of their last use.
    uses: BTreeMap<u64, K>,
    /// Counts uses.
    moment: u64,
    weight: usize,
}

struct Entry<V> {
    value: V,
    weight: usize,
    used: u64,
}

impl<K: Clone + Eq + Hash, V: Clone> Cache<K, V> {
    /// A capacity of 0 remembers nothing.
    pub(in crate::registry) fn new(capacity: usize) -> Self {
        let memory = Memory { entries: HashMap::new(), uses: BTreeMap::new(), moment: 0, weight: 0 };
        Self { capacity, memory: Mutex::new(memory), looks: AtomicU64::new(0), hits: AtomicU64::new(0) }
    }

    /// Every look counts, unless there is nothing to look into.
    pub(in crate::registry) fn get(&self, key: &K) -> Option<V> {
        if self.capacity == 0 {
            return None;
        }
        let found = self.find(key);
        self.looks.fetch_add(1, Ordering::Relaxed);
        self.hits.fetch_add(u64::from(found.is_some()), Ordering::Relaxed);
        found
    }

    pub(in crate::registry) fn counts(&self) -> CacheCounts {
        // Hits first: what is counted meanwhile may make the looks too many, never too few.
        let hits = self.hits.load(Ordering::Relaxed);
        CacheCounts { hits, looks: self.looks.load(Ordering::Relaxed).max(hits) }
    }

    /// A look that does not count.
    pub(in crate::registry) fn find(&self, key: &K) -> Option<V> {
        let mut memory = self.lock();
        let moment = memory.next_moment();
        let entry = memory.entries.get_mut(key)?;
        let (before, value) = (entry.used, entry.value.clone());
        entry.used = moment;
        memory.uses.remove(&before);
        memory.uses.insert(moment, key.clone());
        Some(value)
    }

    pub(in crate::registry) fn insert(&self, key: K, value: V, weight: usize) {
        let mut memory = self.lock();
        memory.remove(&key);
        if weight > self.capacity {
            return;
        }
        while memory.weight + weight > self.capacity {
            let Some((_, oldest)) = memory.uses.pop_first() else { break };
            memory.remove(&oldest);
        }
        let used = memory.next_moment();
        memory.uses.insert(used, key.clone());
        memory.weight += weight;
        memory.entries.insert(key, Entry { value, weight, used });
    }

    pub(in crate::registry) fn remove(&self, key: &K) {
        self.lock().remove(key);
    }

    /// Nothing under this lock can leave the memory half changed, so a poisoned one is as good as any.
    fn lock(&self) -> MutexGuard<'_, Memory<K, V>> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash, V> Memory<K, V> {
    const fn next_moment(&mut self) -> u64 {
        self.moment += 1;
        self.moment
    }

    fn remove(&mut self, key: &K) {
        if let Some(entry) = self.entries.remove(key) {
            self.weight -= entry.weight;
            self.uses.remove(&entry.used);
        }
    }
}

impl<K, V> fmt::Debug for Cache<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cache(capacity {})", self.capacity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_unused_is_forgotten_first() {
        let cache = Cache::new(2);
        cache.insert("a", 1, 1);
        cache.insert("b", 2, 1);
        assert_eq!(cache.get(&"a"), Some(1));
        cache.insert("c", 3, 1);
        assert_eq!([cache.get(&"a"), cache.get(&"b"), cache.get(&"c")], [Some(1), None, Some(3)]);
    }

    #[test]
    fn weights_are_bounded_and_given_back() {
        let cache = Cache::new(10);
        cache.insert("too heavy", 0, 11);
        assert_eq!(cache.get(&"too heavy"), None);
        cache.insert("a", 1, 6);
        cache.insert("a", 2, 4);
        cache.insert("b", 3, 6);
        assert_eq!([cache.get(&"a"), cache.get(&"b")], [Some(2), Some(3)]);
        cache.remove(&"a");
        cache.insert("c", 4, 4);
        assert_eq!([cache.get(&"a"), cache.get(&"b"), cache.get(&"c")], [None, Some(3), Some(4)]);
        let memory = cache.lock();
        assert_eq!((memory.weight, memory.uses.len(), memory.entries.len()), (10, 2, 2));
    }

    #[test]
    fn no_capacity_no_memory() {
        let cache = Cache::new(0);
        cache.insert("a", 1, 1);
        assert_eq!(cache.get(&"a"), None);
        assert_eq!(cache.counts(), CacheCounts { looks: 0, hits: 0 });
    }

    #[test]
    fn looks_are_counted() {
        let cache = Cache::new(1);
        cache.insert("a", 1, 1);
        for key in ["a", "b", "a"] {
            cache.get(&key);
        }
        assert_eq!(cache.counts(), CacheCounts { looks: 3, hits: 2 });
    }
}
