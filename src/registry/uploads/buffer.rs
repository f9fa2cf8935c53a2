//! Bytes of one body that wait for a part to fill.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::registry::uploads::{
    budget::SLAB_BYTES,
    slab::{Slab, Stock},
};

/// How long a body may hold memory while it brings less than a slab, and, where there is too little memory for all,
/// while it brings less than a part.
const HOLD: Duration = Duration::from_secs(10);

/// Whether others wait for the memory that a body holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Memory {
    Plenty,
    Scarce,
}

#[derive(Debug)]
pub(super) struct Buffer {
    pieces: Vec<Bytes>,
    /// The last piece, while there is room in it.
    slab: Option<Slab>,
    stock: Stock,
    length: u64,
    /// When the first byte came, and when the first of the last slab did.
    since: Instant,
    slab_since: Instant,
    /// How long the buffer was then.
    slab_start: u64,
}

impl Buffer {
    pub(super) fn new(stock: Stock) -> Self {
        let now = Instant::now();
        Self { pieces: Vec::new(), slab: None, stock, length: 0, since: now, slab_since: now, slab_start: 0 }
    }

    /// In bytes.
    pub(super) const fn length(&self) -> u64 {
        self.length
    }

    pub(super) fn push(&mut self, mut chunk: Bytes) {
        let now = Instant::now();
        if self.length == 0 {
            (self.since, self.slab_since, self.slab_start) = (now, now, 0);
        } else if self.length - self.slab_start >= SLAB_BYTES {
            (self.slab_since, self.slab_start) = (now, self.length);
        }
        self.length += chunk.len() as u64;
        while !chunk.is_empty() {
            let slab = self.slab.get_or_insert_with(|| self.stock.take());
            slab.fill(&mut chunk);
            if slab.is_full() {
                self.close_slab();
            }
        }
    }

    pub(super) fn take(&mut self) -> Vec<Bytes> {
        self.close_slab();
        self.length = 0;
        std::mem::take(&mut self.pieces)
    }

    /// The body was made to wait: that time does not count.
    pub(super) fn pause(&mut self, waited: Duration) {
        self.since += waited;
        self.slab_since += waited;
    }

    /// When what it holds has to be put elsewhere; `None` while it holds nothing.
    pub(super) fn hold_ends(&self, memory: Memory) -> Option<Instant> {
        let since = match memory {
            Memory::Plenty => self.slab_since,
            Memory::Scarce => self.since,
        };
        (self.length > 0).then(|| since + HOLD)
    }

    fn close_slab(&mut self) {
        self.pieces.extend(self.slab.take().map(Slab::freeze));
    }
}
