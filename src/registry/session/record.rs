//! What an upload's journal holds.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde::{Deserialize, Serialize};

use crate::{
    oci::{
        digest::{Algorithm, Digest},
        hasher::Hasher,
    },
    store::Part,
};

/// The version that this code writes, and the highest that it reads.
const VERSION: u32 = 1;

/// A record and its place in the journal.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Entry {
    /// From 1, without gaps at its upper end.
    pub seq: u64,
    pub record: Record,
}

/// One step in an upload's life. It carries everything committed so far, so that the highest record alone is enough.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Record {
    pub phase: Phase,
    pub contents: Contents,
}

/// How far the upload is.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// A writer is streaming behind what is committed.
    Reserved,
    /// Nobody is writing.
    Committed,
    /// The content is being published under this digest; no byte is added any more.
    Committing { digest: Digest },
    /// Published; kept for a while so that a retried PUT hears the same answer.
    Done { digest: Digest, size: u64 },
    /// Given up.
    Cancelled,
}

/// The committed bytes, in order: the segments' parts, then the tails.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Contents {
    /// How many there are.
    pub offset: u64,
    /// Their running hash.
    pub hash: HashState,
    pub segments: Vec<Segment>,
    pub tails: Vec<Tail>,
    /// Whether a reservation was ever passed over: its writer may still hold a segment open.
    pub fenced: bool,
}

/// A multipart upload that holds consecutive bytes.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Segment {
    /// Unique within the upload: made from the number of the reservation that opened it.
    pub number: u64,
    /// The store's name for the multipart upload.
    pub id: String,
    /// Numbered from 1 without gaps.
    pub parts: Vec<Part>,
    /// Whether it was made an object already, so that no part can follow.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub closed: bool,
}

/// Bytes that are too few for a part, kept as an object of their own.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Tail {
    /// The reservation under which it was written.
    pub seq: u64,
    /// Which of that reservation's tails, from 0.
    pub number: u32,
    /// In bytes, at least 1.
    pub length: u64,
}

/// A hash that goes on in the next request, on any replica.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct HashState {
    algorithm: String,
    /// Base64 of sha2's serialised state.
    state: String,
}

impl Contents {
    /// Of an upload that nothing was sent to.
    #[must_use]
    pub fn empty(algorithm: Algorithm) -> Self {
        Self {
            offset: 0,
            hash: HashState::of(&Hasher::new(algorithm)),
            segments: Vec::new(),
            tails: Vec::new(),
            fenced: false,
        }
    }

    /// Bytes that stand in tails.
    #[must_use]
    pub fn tail_len(&self) -> u64 {
        self.tails.iter().map(|tail| tail.length).sum()
    }

    /// The digest of the committed bytes under the algorithm that was hashed all along.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        self.hash.hasher().map(Hasher::finish)
    }
}

impl Segment {
    /// In bytes.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.parts.iter().map(|part| part.length).sum()
    }
}

impl HashState {
    #[must_use]
    pub fn of(hasher: &Hasher) -> Self {
        Self { algorithm: hasher.algorithm().to_string(), state: BASE64.encode(hasher.to_state()) }
    }

    /// `None` when the state was written in a form that this version does not know.
    #[must_use]
    pub fn hasher(&self) -> Option<Hasher> {
        Hasher::from_state(self.algorithm()?, &BASE64.decode(&self.state).ok()?)
    }

    #[must_use]
    pub fn algorithm(&self) -> Option<Algorithm> {
        self.algorithm.parse().ok()
    }
}

/// The stored form: the version stands first, so that it can be read before anything else is believed.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: u32,
    phase: Phase,
    contents: Contents,
}

#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

impl Record {
    /// The stored form: one JSON object.
    ///
    /// # Panics
    /// Never: a record is made of strings and numbers.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let stored = Stored { version: VERSION, phase: self.phase.clone(), contents: self.contents.clone() };
        serde_json::to_vec(&stored).expect("a record is made of strings and numbers")
    }

    /// # Errors
    /// When the bytes are no record, or one of a later version.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Unreadable> {
        let Versioned { version } = serde_json::from_slice(bytes).map_err(|_| Unreadable::Malformed)?;
        if version > VERSION {
            return Err(Unreadable::Newer { version });
        }
        let stored: Stored = serde_json::from_slice(bytes).map_err(|_| Unreadable::Malformed)?;
        Ok(Self { phase: stored.phase, contents: stored.contents })
    }
}

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unreadable {
    #[error("the journal record is malformed")]
    Malformed,
    #[error("the journal record has version {version}; this program reads up to {VERSION}")]
    Newer { version: u32 },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Record {
        let mut contents = Contents::empty(Algorithm::Sha256);
        contents.segments.push(Segment {
            number: 100,
            id: "m".to_owned(),
            parts: vec![Part { number: 1, tag: "t".to_owned(), length: 5 }],
            closed: false,
        });
        contents.tails.push(Tail { seq: 3, number: 0, length: 2 });
        contents.offset = 7;
        Record { phase: Phase::Committed, contents }
    }

    #[test]
    fn stored_and_read_again() {
        let mut record = sample();
        assert!(!String::from_utf8(record.to_bytes()).unwrap().contains("closed"), "what is usual is not written");
        assert_eq!(Record::from_bytes(&record.to_bytes()), Ok(record.clone()));
        record.contents.segments[0].closed = true;
        assert_eq!(Record::from_bytes(&record.to_bytes()), Ok(record));
    }

    #[test]
    fn a_later_version_is_never_guessed_at() {
        let text = String::from_utf8(sample().to_bytes()).unwrap().replacen("\"version\":1", "\"version\":2", 1);
        assert_eq!(Record::from_bytes(text.as_bytes()), Err(Unreadable::Newer { version: 2 }));
    }

    #[test]
    fn junk_is_refused() {
        for junk in ["", "{}", "null", "{\"version\":1}", "{\"version\":\"1\"}"] {
            assert_eq!(Record::from_bytes(junk.as_bytes()), Err(Unreadable::Malformed), "{junk}");
        }
    }
}
