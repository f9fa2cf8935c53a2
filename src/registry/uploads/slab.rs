//! Memory that bytes of bodies are copied into, one size for all, used again and again.
//!
//! What a connection reads comes in pieces of every size. Kept as they are until a part is full, by hundreds of uploads
//! at once, they leave a heap full of holes: it grows to twice of what is held. Copied into slabs, the pieces are free at
//! once, and a slab costs no page faults when it is used again.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use crate::{registry::uploads::budget::SLAB_BYTES, store::PAGE_BYTES};

/// Most slabs that are kept for later: 32 MiB.
const KEPT_MAX: usize = 32;

/// Where slabs come from, and where they go when the last of their bytes is dropped.
#[derive(Clone, Debug, Default)]
pub(in crate::registry) struct Stock(Arc<Mutex<Vec<Vec<u8>>>>);

impl Stock {
    /// An empty one.
    pub(super) fn take(&self) -> Slab {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut bytes = kept.unwrap_or_else(|| Vec::with_capacity(capacity() + PAGE_BYTES - 1));
        let start = bytes.as_ptr().align_offset(PAGE_BYTES);
        bytes.clear();
        bytes.resize(start, 0);
        Slab { bytes, start, home: self.clone() }
    }

    fn put_back(&self, bytes: Vec<u8>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT_MAX {
            kept.push(bytes);
        }
    }
}

/// Up to [`SLAB_BYTES`] bytes, which begin on a page: a store may take them without a copy.
#[derive(Debug)]
pub(super) struct Slab {
    /// Never grows beyond its capacity, so it stays where it is.
    bytes: Vec<u8>,
    /// Of the first byte that is in use, at the beginning of a page.
    start: usize,
    home: Stock,
}

impl Slab {
    /// Copies as much from the front of `chunk` as there is room for, and takes it away from there.
    pub(super) fn fill(&mut self, chunk: &mut Bytes) {
        let taken = chunk.split_to(chunk.len().min(self.room()));
        self.bytes.extend_from_slice(&taken);
    }

    pub(super) fn is_full(&self) -> bool {
        self.room() == 0
    }

    /// Its bytes, to be shared from now on.
    pub(super) fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }

    fn room(&self) -> usize {
        self.start + capacity() - self.bytes.len()
    }
}

impl AsRef<[u8]> for Slab {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        self.home.put_back(std::mem::take(&mut self.bytes));
    }
}

fn capacity() -> usize {
    usize::try_from(SLAB_BYTES).expect("a slab is smaller than the memory")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slabs_are_filled_shared_and_used_again() {
        let stock = Stock::default();
        let mut slab = stock.take();
        let mut chunk = Bytes::from(vec![7; capacity() + 3]);
        slab.fill(&mut chunk);
        assert!(slab.is_full());
        assert_eq!(chunk, vec![7; 3]);
        assert_eq!(slab.as_ref().as_ptr().align_offset(PAGE_BYTES), 0);
        let (address, bytes) = (slab.as_ref().as_ptr(), slab.freeze());
        let half = bytes.slice(..10);
        drop(bytes);
        let other = stock.take();
        assert_ne!(other.as_ref().as_ptr(), address, "bytes of it are held still");
        assert_eq!(half, [7; 10].as_slice());
        drop(half);
        let again = stock.take();
        assert_eq!(again.as_ref().as_ptr(), address);
        assert!(again.as_ref().is_empty());
    }

    #[test]
    fn not_more_than_a_few_are_kept() {
        let stock = Stock::default();
        let slabs: Vec<_> = (0..2 * KEPT_MAX).map(|_| stock.take()).collect();
        drop(slabs);
        assert_eq!(stock.0.lock().unwrap().len(), KEPT_MAX);
    }
}
