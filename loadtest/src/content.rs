//! Blobs of any size that cost no memory, all different.
//!
//! Their bytes are random and repeat after a block; a stamp at the end makes each one unlike every other. What blobs of
//! one size share is hashed once, so that a client that pushes thousands of them spends its time on sending.

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

/// What repeats, in bytes.
const BLOCK: usize = 1 << 20;

/// What is given to a connection at once, in bytes.
const PIECE: usize = 256 << 10;

/// Bytes of the stamp; no blob is smaller.
pub(crate) const STAMP: u64 = 32;

/// Makes blobs of one size.
#[derive(Clone, Debug)]
pub(crate) struct Mould {
    block: Bytes,
    shared: Sha256,
    size: u64,
    /// Tells the blobs of one run from those of every other.
    run: u64,
}

/// One blob.
#[derive(Clone, Debug)]
pub(crate) struct Blob {
    block: Bytes,
    stamp: Bytes,
    pub(crate) size: u64,
    /// `sha256:…`
    pub(crate) digest: String,
}

impl Mould {
    /// For blobs of `size` bytes, or of [`STAMP`] where that is more; unlike those of any run with another number.
    pub(crate) fn new(size: u64, run: u64) -> Self {
        let size = size.max(STAMP);
        let block = noise(run, size.min(BLOCK as u64));
        let mut shared = Sha256::new();
        let mut left = size - STAMP;
        while left > 0 {
            let part = &block[..usize::try_from(left).unwrap_or(BLOCK).min(BLOCK)];
            shared.update(part);
            left -= part.len() as u64;
        }
        Self { block, shared, size, run }
    }

    pub(crate) fn blob(&self, number: u64) -> Blob {
        let stamp = Bytes::from(format!("{:016x}{number:016x}", self.run));
        let digest = digest(self.shared.clone().chain_update(&stamp));
        Blob { block: self.block.clone(), stamp, size: self.size, digest }
    }
}

impl Blob {
    /// The bytes from `start` to before `end`, in pieces that share one memory.
    pub(crate) fn pieces(&self, start: u64, end: u64) -> impl Iterator<Item = Bytes> + Send + use<> {
        let Self { block, stamp, size, .. } = self.clone();
        let stamped = size - STAMP;
        let (mut at, end) = (start, end.min(size));
        std::iter::from_fn(move || {
            if at >= end {
                return None;
            }
            let most = usize::try_from(end - at).unwrap_or(usize::MAX);
            let piece = if at < stamped {
                let place = usize::try_from(at % BLOCK as u64).unwrap_or_default();
                let most = usize::try_from(stamped - at).unwrap_or(usize::MAX).min(most);
                block.slice(place..block.len().min(place + PIECE).min(place.saturating_add(most)))
            } else {
                let place = usize::try_from(at - stamped).unwrap_or_default();
                stamp.slice(place..stamp.len().min(place.saturating_add(most)))
            };
            at += piece.len() as u64;
            Some(piece)
        })
    }
}

/// `sha256:…` of what was hashed.
pub(crate) fn digest(hasher: Sha256) -> String {
    const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let digits = |byte: &u8| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
    let mut text = String::with_capacity("sha256:".len() + 64);
    text.push_str("sha256:");
    text.extend(hasher.finalize().iter().flat_map(digits));
    text
}

/// Bytes that no compression makes smaller (`SplitMix64`).
pub(crate) fn noise(seed: u64, length: u64) -> Bytes {
    let (mut state, mut bytes) = (seed, Vec::new());
    let length = usize::try_from(length).unwrap_or(BLOCK);
    while bytes.len() < length {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend_from_slice(&(mixed ^ (mixed >> 31)).to_le_bytes());
    }
    bytes.truncate(length);
    bytes.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(blob: &Blob) -> Vec<u8> {
        blob.pieces(0, blob.size).flatten().collect()
    }

    #[test]
    fn the_digest_is_that_of_the_bytes() {
        for size in [0, STAMP, STAMP + 1, 4096, BLOCK as u64, BLOCK as u64 + STAMP, 3 * BLOCK as u64 + 17] {
            let blob = Mould::new(size, 7).blob(3);
            let bytes = whole(&blob);
            assert_eq!(bytes.len() as u64, blob.size);
            assert_eq!(blob.size, size.max(STAMP));
            assert_eq!(digest(Sha256::new_with_prefix(&bytes)), blob.digest, "{size}");
        }
    }

    #[test]
    fn ranges_are_cut_from_the_whole() {
        let blob = Mould::new(2 * BLOCK as u64 + 100, 7).blob(3);
        let bytes = whole(&blob);
        let ends =
            [0, 1, 50, BLOCK - 1, BLOCK, BLOCK + 1, bytes.len() - 33, bytes.len() - 32, bytes.len() - 1, bytes.len()];
        for start in ends {
            for end in ends.into_iter().filter(|end| start <= *end) {
                let cut: Vec<u8> = blob.pieces(start as u64, end as u64).flatten().collect();
                assert_eq!(cut, bytes[start..end], "{start}..{end}");
            }
        }
    }

    #[test]
    fn blobs_differ() {
        let digests = [(1, 1), (1, 2), (2, 1)].map(|(run, number)| Mould::new(100, run).blob(number).digest);
        assert!(digests[0] != digests[1] && digests[0] != digests[2] && digests[1] != digests[2]);
    }
}
