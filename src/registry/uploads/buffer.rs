//! Bytes of one body that wait for a part to fill.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use crate::registry::uploads::budget::SLAB_BYTES;

/// How long a body may hold memory while it brings less than a slab, and, where there is too little memory for all,
/// while it brings less than a part.
const HOLD: Duration = Duration::from_secs(10);

/// Chunks smaller than this are copied together, so that many small ones cost no more than their bytes.
const SMALL_BYTES: usize = 8 << 10;

/// Whether others wait for the memory that a body holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Memory {
    Plenty,
    Scarce,
}

#[derive(Debug)]
pub(super) struct Buffer {
    pieces: Vec<Bytes>,
    small: BytesMut,
    length: u64,
    /// When the first byte came, and when the first of the last slab did.
    since: Instant,
    slab_since: Instant,
    /// How long the buffer was then.
    slab_start: u64,
}

impl Default for Buffer {
    fn default() -> Self {
        let now = Instant::now();
        Self { pieces: Vec::new(), small: BytesMut::new(), length: 0, since: now, slab_since: now, slab_start: 0 }
    }
}

impl Buffer {
    /// In bytes.
    pub(super) const fn length(&self) -> u64 {
        self.length
    }

    pub(super) fn push(&mut self, chunk: Bytes) {
        let now = Instant::now();
        if self.length == 0 {
            (self.since, self.slab_since, self.slab_start) = (now, now, 0);
        } else if self.length - self.slab_start >= SLAB_BYTES {
            (self.slab_since, self.slab_start) = (now, self.length);
        }
        self.length += chunk.len() as u64;
        if chunk.len() < SMALL_BYTES {
            self.small.extend_from_slice(&chunk);
            return;
        }
        self.close_small();
        self.pieces.push(chunk);
    }

    pub(super) fn take(&mut self) -> Vec<Bytes> {
        self.close_small();
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

    fn close_small(&mut self) {
        if !self.small.is_empty() {
            self.pieces.push(std::mem::take(&mut self.small).freeze());
        }
    }
}
