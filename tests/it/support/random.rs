//! Seeded bytes and choices: a run can be repeated from the seed that it printed.

use std::io;

/// Bytes that depend on the seed alone and do not compress.
pub(crate) fn write_random(to: &mut impl io::Write, seed: u64, length: u64) {
    let mut to = io::BufWriter::with_capacity(1 << 20, to);
    let mut random = Random(seed);
    let mut left = length;
    while left > 0 {
        let word = random.next().to_le_bytes();
        let take = left.min(8);
        io::Write::write_all(&mut to, &word[..usize::try_from(take).unwrap()]).unwrap();
        left -= take;
    }
    io::Write::flush(&mut to).unwrap();
}

/// `SplitMix64`: small, seeded, good enough to make content and to choose between cases.
#[derive(Clone, Debug)]
pub(crate) struct Random(pub u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ word >> 31
    }

    /// Below `end`, which is not zero.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}
