//! What was read from a socket and not yet by the layer above it.
//!
//! How much is read at once follows what comes. An idle connection holds no memory, a request without a body gets a little,
//! and where a client sends faster than we read, one read takes all that the kernel holds: each read lets the client send
//! on, and the kernel wakes a thread for what comes, though one is awake and reads already.

use std::{
    io, mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
    thread::available_parallelism,
};

use bytes::{Buf, BytesMut};
use tokio::io::ReadBuf;

/// What is tried first: enough for a request without a body, and cheaper to have.
const FIRST: usize = 8 << 10;

/// rustls asks for 4 KiB at a time; reading ahead makes that one system call for four records.
pub(super) const AHEAD: usize = 64 << 10;

/// Where a client sends faster than we read.
const BULK: usize = 2 << 20;

/// Buffers of [`BULK`] bytes for each processor, and for all of them. A connection has one from when it is filled until
/// all of that was taken; the others read [`AHEAD`] meanwhile.
const BULK_PER_PROCESSOR: usize = 2;
const BULK_MOST: usize = 16;

/// How many bytes a large buffer gives for one unit of tokio's budget, of which a task has 128 before others have their
/// turn. Reads of [`AHEAD`] bytes from the socket take two.
const BYTES_PER_UNIT: usize = AHEAD / 2;

/// Large buffers that all connections of a server share: never more than so many.
#[derive(Clone, Debug)]
pub(super) struct Bulk(Arc<Mutex<Stock>>);

#[derive(Debug)]
struct Stock {
    kept: Vec<BytesMut>,
    /// How many may be made yet.
    makeable: usize,
}

impl Bulk {
    /// As many as this machine can work on.
    pub(super) fn of_machine() -> Self {
        Self::new(BULK_MOST.min(BULK_PER_PROCESSOR * available_parallelism().map_or(1, usize::from)))
    }

    /// None at all: for what is passed on as it comes.
    pub(super) fn none() -> Self {
        Self::new(0)
    }

    fn new(most: usize) -> Self {
        Self(Arc::new(Mutex::new(Stock { kept: Vec::new(), makeable: most })))
    }

    fn has_one(&self) -> bool {
        let stock = self.stock();
        stock.makeable > 0 || !stock.kept.is_empty()
    }

    fn take(&self) -> Option<BytesMut> {
        let mut stock = self.stock();
        if let Some(kept) = stock.kept.pop() {
            return Some(kept);
        }
        stock.makeable = stock.makeable.checked_sub(1)?;
        drop(stock);
        Some(BytesMut::with_capacity(BULK))
    }

    fn put_back(&self, mut buffer: BytesMut) {
        buffer.clear();
        // What was read from its front is room again.
        buffer.reserve(BULK);
        self.stock().kept.push(buffer);
    }

    fn stock(&self) -> MutexGuard<'_, Stock> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How the last read found the socket.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Flow {
    Trickle,
    Stream,
    /// At least [`AHEAD`] bytes were there.
    Flood,
}

impl Flow {
    /// By how much a read brought that had room for `room` bytes.
    const fn of(count: usize, room: usize) -> Self {
        let much = if room < AHEAD { room } else { AHEAD };
        if count >= AHEAD {
            Self::Flood
        } else if count >= much / 2 {
            Self::Stream
        } else {
            Self::Trickle
        }
    }
}

/// Bytes read ahead on one connection.
#[derive(Debug)]
pub(super) struct Ahead {
    bytes: BytesMut,
    /// Whether its memory is one of `bulk`.
    lent: bool,
    flow: Flow,
    bulk: Bulk,
    /// Given from a lent buffer since it was last charged, in bytes.
    given: usize,
}

impl Ahead {
    pub(super) fn new(bulk: Bulk) -> Self {
        Self { bytes: BytesMut::new(), lent: false, flow: Flow::Trickle, bulk, given: 0 }
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether a reader with room for so many bytes gains nothing from a second buffer.
    pub(super) fn is_needless(&self, room: usize) -> bool {
        self.bytes.is_empty() && room >= AHEAD / 2 && !(self.flow == Flow::Flood && self.bulk.has_one())
    }

    /// Takes account of a read that went past it.
    pub(super) fn passed(&mut self, count: usize, room: usize) {
        self.flow = Flow::of(count, room);
        self.release();
    }

    /// Whether so much was given without a look at the socket that a unit of the task's budget is due.
    pub(super) const fn is_due(&self) -> bool {
        self.given >= BYTES_PER_UNIT
    }

    pub(super) const fn charged(&mut self) {
        self.given = 0;
    }

    /// Adds what `read` puts into the memory that it is given.
    pub(super) fn fill(
        &mut self,
        read: impl FnOnce(&mut BytesMut) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let room = self.make_room();
        let filled = read(&mut self.bytes);
        if let Poll::Ready(Ok(count)) = filled {
            self.flow = Flow::of(count, room);
        }
        if self.bytes.is_empty() {
            self.release();
        }
        filled
    }

    /// Moves as much as there is room for; how much that was.
    pub(super) fn give(&mut self, out: &mut ReadBuf<'_>) -> usize {
        let count = out.remaining().min(self.bytes.len());
        out.put_slice(&self.bytes[..count]);
        self.bytes.advance(count);
        if self.lent {
            self.given += count;
        }
        if self.bytes.is_empty() && (self.lent || self.flow == Flow::Trickle) {
            self.release();
        }
        count
    }

    /// All that is left, in memory of its own.
    pub(super) fn into_bytes(mut self) -> BytesMut {
        if self.lent { BytesMut::from(self.as_slice()) } else { mem::take(&mut self.bytes) }
    }

    fn make_room(&mut self) -> usize {
        if self.flow == Flow::Flood
            && self.bytes.is_empty()
            && let Some(buffer) = self.bulk.take()
        {
            (self.bytes, self.lent) = (buffer, true);
            return BULK;
        }
        let room = if self.flow == Flow::Trickle { FIRST } else { AHEAD };
        self.bytes.reserve(room);
        room
    }

    fn release(&mut self) {
        let bytes = mem::take(&mut self.bytes);
        if mem::take(&mut self.lent) {
            self.bulk.put_back(bytes);
        }
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads as a socket that holds so many bytes does.
    fn fill(ahead: &mut Ahead, held: usize) -> usize {
        let filled = ahead.fill(|buffer| {
            let count = held.min(buffer.capacity() - buffer.len());
            buffer.resize(buffer.len() + count, 7);
            Poll::Ready(Ok(count))
        });
        let Poll::Ready(Ok(count)) = filled else { panic!("{filled:?}") };
        count
    }

    fn drain(ahead: &mut Ahead) {
        let mut memory = vec![0; 4 << 10];
        while !ahead.as_slice().is_empty() {
            ahead.give(&mut ReadBuf::new(&mut memory));
        }
    }

    #[test]
    fn reads_grow_with_what_comes() {
        let mut ahead = Ahead::new(Bulk::new(1));
        for (held, count) in [(300, 300), (1 << 30, FIRST), (1 << 30, AHEAD), (1 << 30, BULK), (1 << 30, BULK)] {
            assert_eq!(fill(&mut ahead, held), count);
            drain(&mut ahead);
        }
        assert_eq!(fill(&mut ahead, 100), 100);
        drain(&mut ahead);
        assert_eq!(ahead.bytes.capacity(), 0, "who brings little holds nothing");
        assert_eq!(fill(&mut ahead, 1 << 30), FIRST);
    }

    #[test]
    fn large_buffers_are_few_and_used_again() {
        let bulk = Bulk::new(1);
        let (mut one, mut other) = (Ahead::new(bulk.clone()), Ahead::new(bulk.clone()));
        for ahead in [&mut one, &mut other] {
            ahead.passed(AHEAD, AHEAD);
        }
        assert_eq!(fill(&mut one, 1 << 30), BULK);
        let memory = one.as_slice().as_ptr();
        assert_eq!(fill(&mut other, 1 << 30), AHEAD, "there is no other");
        drain(&mut other);
        drain(&mut one);
        assert_eq!(fill(&mut other, 1 << 30), BULK, "who waits for more holds none");
        assert_eq!(other.as_slice().as_ptr(), memory);
        drop(other);
        assert_eq!(fill(&mut one, 1 << 30), BULK, "nor does who is gone");
        assert_eq!(one.into_bytes().len(), BULK);
        assert_eq!(bulk.0.lock().unwrap().kept.len(), 1);
    }

    #[test]
    fn large_readers_are_passed_by_unless_a_large_buffer_is_to_be_had() {
        let bulk = Bulk::new(1);
        let mut ahead = Ahead::new(bulk.clone());
        assert!(ahead.is_needless(AHEAD) && !ahead.is_needless(4 << 10));
        ahead.passed(AHEAD, AHEAD);
        assert!(!ahead.is_needless(AHEAD));
        let lent = bulk.take().unwrap();
        assert!(ahead.is_needless(AHEAD), "another one has the only one");
        bulk.put_back(lent);
        assert!(!ahead.is_needless(AHEAD));
        fill(&mut ahead, 10);
        assert!(!ahead.is_needless(AHEAD), "what was read comes first");
        drain(&mut ahead);
        ahead.passed(AHEAD / 2, AHEAD);
        assert!(ahead.is_needless(AHEAD));
        assert_eq!(ahead.bytes.capacity(), 0);
    }

    #[test]
    fn a_large_buffer_costs_what_reads_do() {
        let mut ahead = Ahead::new(Bulk::new(1));
        fill(&mut ahead, 1 << 20);
        drain(&mut ahead);
        assert!(!ahead.is_due(), "reads are charged by themselves");
        ahead.passed(AHEAD, AHEAD);
        assert_eq!(fill(&mut ahead, 1 << 30), BULK);
        let (mut memory, mut units) = (vec![0; 4 << 10], 0);
        while !ahead.as_slice().is_empty() {
            ahead.give(&mut ReadBuf::new(&mut memory));
            if ahead.is_due() {
                ahead.charged();
                units += 1;
            }
        }
        assert_eq!(units, 2 * BULK / AHEAD);
    }

    #[test]
    fn a_read_that_found_nothing_holds_nothing() {
        let mut ahead = Ahead::new(Bulk::new(1));
        ahead.passed(AHEAD, AHEAD);
        assert!(ahead.fill(|_| Poll::Pending).is_pending());
        assert_eq!((ahead.lent, ahead.bytes.capacity()), (false, 0));
    }

    #[test]
    fn nothing_is_lost_on_the_way() {
        let mut ahead = Ahead::new(Bulk::new(1));
        ahead.passed(AHEAD, AHEAD);
        let sent: Vec<u8> = (0..3 * BULK).map(|number| u8::try_from(number % 251).unwrap()).collect();
        let (mut left, mut come) = (sent.as_slice(), Vec::new());
        let mut memory = vec![0; 4097];
        while come.len() < sent.len() {
            if ahead.as_slice().is_empty() {
                let filled = ahead.fill(|buffer| {
                    let count = left.len().min(buffer.capacity() - buffer.len());
                    buffer.extend_from_slice(&left[..count]);
                    left = &left[count..];
                    Poll::Ready(Ok(count))
                });
                assert!(filled.is_ready());
            }
            let mut out = ReadBuf::new(&mut memory);
            ahead.give(&mut out);
            come.extend_from_slice(out.filled());
        }
        assert!(come == sent);
    }
}
