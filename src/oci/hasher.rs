//! A running hash that can be put down on one machine and taken up on another.

use sha2::digest::{
    Digest as _,
    common::hazmat::{SerializableState, SerializedState},
};

use crate::oci::digest::{Algorithm, Digest};

/// Hashes content as it passes.
#[derive(Clone)]
pub enum Hasher {
    Sha256(sha2::Sha256),
    Sha512(sha2::Sha512),
}

impl Hasher {
    #[must_use]
    pub fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::Sha256(sha2::Sha256::new()),
            Algorithm::Sha512 => Self::Sha512(sha2::Sha512::new()),
        }
    }

    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        match self {
            Self::Sha256(_) => Algorithm::Sha256,
            Self::Sha512(_) => Algorithm::Sha512,
        }
    }

    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hash) => hash.update(bytes),
            Self::Sha512(hash) => hash.update(bytes),
        }
    }

    #[must_use]
    pub fn finish(self) -> Digest {
        match self {
            Self::Sha256(hash) => Digest::from_hash(Algorithm::Sha256, &hash.finalize()),
            Self::Sha512(hash) => Digest::from_hash(Algorithm::Sha512, &hash.finalize()),
        }
    }

    /// The digest of content that is all there.
    #[must_use]
    pub fn digest(algorithm: Algorithm, content: &[u8]) -> Digest {
        let mut hasher = Self::new(algorithm);
        hasher.update(content);
        hasher.finish()
    }

    /// The state between two chunks, in sha2's own serialisation (little-endian words, pending block, length).
    #[must_use]
    pub fn to_state(&self) -> Vec<u8> {
        match self {
            Self::Sha256(hash) => hash.serialize().to_vec(),
            Self::Sha512(hash) => hash.serialize().to_vec(),
        }
    }

    /// Takes a stored state up again; `None` when these bytes are no state of this algorithm.
    #[must_use]
    pub fn from_state(algorithm: Algorithm, state: &[u8]) -> Option<Self> {
        Some(match algorithm {
            Algorithm::Sha256 => {
                let state = SerializedState::<sha2::Sha256>::try_from(state).ok()?;
                Self::Sha256(sha2::Sha256::deserialize(&state).ok()?)
            }
            Algorithm::Sha512 => {
                let state = SerializedState::<sha2::Sha512>::try_from(state).ok()?;
                Self::Sha512(sha2::Sha512::deserialize(&state).ok()?)
            }
        })
    }
}

impl std::fmt::Debug for Hasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hasher({})", self.algorithm())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_taken_up_again_gives_the_same_digest() {
        for algorithm in Algorithm::ALL {
            for split in [0, 1, 63, 64, 127, 128, 300] {
                let content: Vec<u8> = (0..=255).cycle().take(300).collect();
                let mut first = Hasher::new(algorithm);
                first.update(&content[..split]);
                let mut second = Hasher::from_state(algorithm, &first.to_state()).expect("own state");
                second.update(&content[split..]);
                assert_eq!(second.finish(), Hasher::digest(algorithm, &content));
            }
        }
    }

    /// Uploads begun by one version are finished by the next: this serialisation may never change unnoticed.
    #[test]
    fn the_stored_form_is_pinned() {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(b"abc");
        let state = hasher.to_state();
        let hex = state.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
        let words = "67e6096a85ae67bb72f36e3c3af54fa57f520e518c68059babd9831f19cde05b";
        let length = "0000000000000000";
        let block = format!("03616263{}", "00".repeat(60));
        assert_eq!(hex, format!("{words}{length}{block}"));
    }

    #[test]
    fn junk_is_no_state() {
        assert!(Hasher::from_state(Algorithm::Sha256, b"").is_none());
        assert!(Hasher::from_state(Algorithm::Sha256, &[0xff; 104]).is_none());
    }
}
