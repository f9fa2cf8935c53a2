//! Cutting one request's bytes into parts.

use crate::{
    oci::{digest::Algorithm, hasher::Hasher},
    registry::session::record::{Contents, HashState, Segment, Tail},
    store::{Limits, Part, Parts, Slot},
};

/// Most segments that one reservation opens; each holds as many parts as the store allows.
const SEGMENTS_MAX: u64 = 100;

/// What a writer adds behind the committed bytes, under its own reservation.
#[derive(Debug)]
pub struct Draft {
    contents: Contents,
    hasher: Hasher,
    /// The number of the reservation.
    seq: u64,
    limits: Limits,
    /// Whether the last segment may be continued.
    open: bool,
    opened: u64,
    tails_written: u32,
}

/// Where the next part goes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Place {
    /// Behind the last part of the segment that is open.
    In { segment: u64, id: String, slot: Slot },
    /// Into a segment of this number that must be begun first.
    InNew { segment: u64 },
}

impl Draft {
    /// `hasher` has hashed the contents, whose own state may be in a form that this version does not know; `continues`
    /// says whether the last committed segment is ours to go on with.
    #[must_use]
    pub const fn new(contents: Contents, hasher: Hasher, seq: u64, continues: bool, limits: Limits) -> Self {
        let open = continues && !contents.segments.is_empty();
        Self { contents, hasher, seq, limits, open, opened: 0, tails_written: 0 }
    }

    /// Takes account of bytes that arrived, in order.
    pub fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.contents.offset += bytes.len() as u64;
    }

    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.contents.offset
    }

    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.hasher.algorithm()
    }

    /// Bytes in the tails, which stand before everything not yet in a part.
    #[must_use]
    pub fn tail_len(&self) -> u64 {
        self.contents.tail_len()
    }

    /// Where the next part goes.
    #[must_use]
    pub fn place(&self) -> Place {
        match self.continued() {
            Some(segment) => Place::In {
                segment: segment.number,
                id: segment.id.clone(),
                slot: Slot { number: next_number(segment, self.limits.parts), offset: segment.length() },
            },
            None => Place::InNew { segment: self.seq * SEGMENTS_MAX + self.opened },
        }
    }

    /// Of the next part's first byte within its segment.
    #[must_use]
    pub fn next_offset(&self) -> u64 {
        self.continued().map_or(0, Segment::length)
    }

    /// The segment that the next part goes into, unless a new one is to be begun.
    fn continued(&self) -> Option<&Segment> {
        self.contents.segments.last().filter(|segment| self.open && has_room(segment, &self.limits))
    }

    /// The new segment of [`Draft::place`] was begun.
    pub fn opened(&mut self, number: u64, id: String) {
        self.contents.segments.push(Segment { number, id, parts: Vec::new(), closed: false });
        self.open = true;
        self.opened += 1;
    }

    /// A part is on its way to the place that [`Draft::place`] named: the next one goes behind it.
    pub fn placed(&mut self, part: Part) {
        let Some(segment) = self.contents.segments.last_mut() else { return };
        match (self.limits.parts, segment.parts.last_mut()) {
            (Parts::Appended, Some(last)) => last.length += part.length,
            _ => segment.parts.push(part),
        }
    }

    /// The store's word for a part that landed.
    pub fn landed(&mut self, segment: u64, number: u32, tag: &str) {
        let segment = self.contents.segments.iter_mut().rev().find(|candidate| candidate.number == segment);
        if let Some(part) = segment.and_then(|segment| segment.parts.iter_mut().rev().find(|p| p.number == number)) {
            tag.clone_into(&mut part.tag);
        }
    }

    /// Every tail so far went into a part: they are forgotten, and returned to be deleted after the commit.
    pub fn gathered(&mut self) -> Vec<Tail> {
        std::mem::take(&mut self.contents.tails)
    }

    /// A tail for `length` bytes that are too few for a part.
    pub fn tail(&mut self, length: u64) -> Tail {
        let tail = Tail { seq: self.seq, number: self.tails_written, length };
        self.tails_written += 1;
        self.contents.tails.push(tail);
        tail
    }

    /// What is committed when every part and tail has landed.
    #[must_use]
    pub fn finish(mut self) -> Contents {
        self.contents.segments.retain(|segment| !segment.parts.is_empty());
        self.contents.hash = HashState::of(&self.hasher);
        self.contents
    }
}

fn has_room(segment: &Segment, limits: &Limits) -> bool {
    let fits = match limits.parts {
        Parts::Appended => true,
        // Another replica may cut parts of another size; within a segment they must be equal.
        Parts::Equal { size } => {
            segment.parts.len() < limits.parts_max as usize
                && segment.parts.last().is_none_or(|part| part.length == size)
        }
    };
    fits && !segment.closed
}

fn next_number(segment: &Segment, parts: Parts) -> u32 {
    match parts {
        Parts::Appended => 1,
        Parts::Equal { .. } => segment.parts.last().map_or(1, |part| part.number + 1),
    }
}
