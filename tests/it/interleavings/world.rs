//! One upload's storage, its clients, and what they were promised.

use std::collections::{BTreeMap, BTreeSet};

use pierhead::{
    oci::{
        digest::{Algorithm, Digest},
        hasher::Hasher,
    },
    registry::session::{
        attempt::{Answer, Goal},
        record::{Contents, Phase, Record, Tail},
    },
    store::{Distance, Limits, Part, Parts},
};

use super::{process::Process, shared::Shared};

/// Clients send so many bytes at most.
pub(super) const CONTENT_LEN: u64 = 3;

/// A full part, on a store of equal parts.
const PART_LEN: u64 = 2;

/// What distinguishes bytes of one client from those of another at the same place.
pub(super) const KIND: u8 = 16;

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Medium {
    /// Numbered parts of equal size and tails, as in S3.
    EqualParts,
    /// Bytes at their offset in one file per segment, which a late writer may still hold open.
    Appended,
}

/// A rule of the protocol that can be left out.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Rule {
    Reservation,
    CreateOnlyRecords,
    JournalBeforeAnswer,
    RangeCheck,
    LookAgainAfterWriting,
    OwnSegmentAfterTakeover,
    SealBeforePublishing,
    CopyWhereWritersLinger,
    DataBeforeLink,
    LastRecordStays,
}

impl Rule {
    pub(super) const ALL: [Self; 10] = [
        Self::Reservation,
        Self::CreateOnlyRecords,
        Self::JournalBeforeAnswer,
        Self::RangeCheck,
        Self::LookAgainAfterWriting,
        Self::OwnSegmentAfterTakeover,
        Self::SealBeforePublishing,
        Self::CopyWhereWritersLinger,
        Self::DataBeforeLink,
        Self::LastRecordStays,
    ];

    /// The smallest world in which its absence shows.
    pub(super) const fn shown_by(self) -> Bounds {
        let world = Bounds::new(Medium::EqualParts, 2).crashes(0);
        let files = Bounds::new(Medium::Appended, 3).crashes(0);
        let copied = Bounds { goals: Goals::AppendsAndPut, blob_len: 1, ..files.one_kind_of_bytes() };
        let bounds = match self {
            Self::JournalBeforeAnswer => Bounds::new(Medium::EqualParts, 1).one_kind_of_bytes(),
            Self::RangeCheck => world.one_kind_of_bytes(),
            Self::SealBeforePublishing => Bounds { attempts: 3, blob_len: 2, ..world.one_kind_of_bytes() },
            Self::LookAgainAfterWriting => Bounds { attempts: 3, ..world.one_kind_of_bytes() },
            Self::OwnSegmentAfterTakeover => Bounds { goals: Goals::Appends, ..files },
            Self::CopyWhereWritersLinger => copied,
            Self::Reservation | Self::CreateOnlyRecords | Self::DataBeforeLink | Self::LastRecordStays => world,
        };
        Bounds { without: Some(self), ..bounds }
    }
}

/// What clients try.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Goals {
    All,
    /// PATCH.
    Appends,
    /// PATCH, and PUT without a body.
    AppendsAndPut,
}

/// How far the exploration goes.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct Bounds {
    pub medium: Medium,
    pub attempts: u8,
    pub crashes: u8,
    pub kinds: u8,
    /// The blob is the first so many bytes; clients may send all of [`CONTENT_LEN`].
    pub blob_len: u64,
    pub goals: Goals,
    /// Whether some replicas do not know the form in which others store the hash: they read the content back.
    pub versions: bool,
    pub without: Option<Rule>,
    /// Whether steps are put into words.
    pub told: bool,
}

impl Bounds {
    pub(super) const fn new(medium: Medium, attempts: u8) -> Self {
        Self {
            medium,
            attempts,
            crashes: 1,
            kinds: 2,
            blob_len: CONTENT_LEN,
            goals: Goals::All,
            versions: false,
            without: None,
            told: false,
        }
    }

    pub(super) const fn crashes(self, crashes: u8) -> Self {
        Self { crashes, ..self }
    }

    pub(super) const fn goals(self, goals: Goals) -> Self {
        Self { goals, ..self }
    }

    pub(super) const fn of_several_versions(self) -> Self {
        Self { versions: true, ..self }
    }

    /// All clients send the same bytes.
    pub(super) const fn one_kind_of_bytes(self) -> Self {
        Self { kinds: 1, ..self }
    }
}

/// Everything that can change.
#[derive(Clone, Debug, Hash)]
pub(super) struct World {
    pub bounds: Bounds,
    pub journal: BTreeMap<u64, Shared<Record>>,
    /// Segments that were begun and not completed.
    pub begun: BTreeSet<u64>,
    /// Bytes of segments by slot: the part's number, or the byte's offset.
    pub slots: BTreeMap<(u64, u64), Vec<u8>>,
    /// Completed segments.
    pub objects: BTreeMap<u64, Object>,
    pub tails: BTreeMap<(u64, u32), Vec<u8>>,
    pub blob: Option<Vec<u8>>,
    /// The segment whose file the blob's is.
    pub blob_shares: Option<u64>,
    pub linked: bool,
    /// In the order of their hashes: processes are alike, so their order makes no state of its own.
    pub processes: Vec<Shared<Process>>,
    pub crashes: u8,
    pub started: u8,
    /// What clients were told.
    pub acknowledged: u64,
    pub acknowledged_places: u8,
    /// What became of the upload, whoever was told.
    pub done: bool,
    pub cancelled: bool,
    /// A promise that an answer broke.
    pub lie: Option<&'static str>,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Object {
    pub bytes: Vec<u8>,
    /// A late writer's bytes still land in it.
    pub live: bool,
}

impl World {
    pub(super) const fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            journal: BTreeMap::new(),
            begun: BTreeSet::new(),
            slots: BTreeMap::new(),
            objects: BTreeMap::new(),
            tails: BTreeMap::new(),
            blob: None,
            blob_shares: None,
            linked: false,
            processes: Vec::new(),
            crashes: 0,
            started: 0,
            acknowledged: 0,
            acknowledged_places: 0,
            done: false,
            cancelled: false,
            lie: None,
        }
    }

    pub(super) fn lacks(&self, rule: Rule) -> bool {
        self.bounds.without == Some(rule)
    }

    /// A step in words, where they are wanted.
    pub(super) fn step(&self, words: impl FnOnce() -> String) -> String {
        if self.bounds.told { words() } else { String::new() }
    }

    pub(super) fn limits(&self) -> Limits {
        let parts = match self.bounds.medium {
            Medium::EqualParts => Parts::Equal { size: PART_LEN },
            Medium::Appended => Parts::Appended,
        };
        Limits { parts, parts_max: 10, distance: Distance::Here }
    }

    /// Every state that one step of anybody leads to.
    pub(super) fn successors(&self) -> Vec<(String, Self)> {
        let mut all = Vec::new();
        self.start_attempts(&mut all);
        for at in 0..self.processes.len() {
            if self.crashes < self.bounds.crashes {
                let mut next = self.clone();
                let gone = next.processes.remove(at);
                next.crashes += 1;
                all.push((self.step(|| format!("{:?} crashes", *gone)), next));
            }
            let mut rest = self.clone();
            let process = rest.processes.remove(at);
            for (step, mut next, process) in process.steps(&rest) {
                next.processes.extend(process.map(Shared::from));
                next.processes.sort();
                all.push((step, next));
            }
        }
        all
    }

    /// Clients begin at what they were told, or at what they asked the status for.
    fn start_attempts(&self, all: &mut Vec<(String, Self)>) {
        if self.started == self.bounds.attempts {
            return;
        }
        let committed = self.highest().map_or(0, |(_, record)| record.contents.offset);
        let starts = BTreeSet::from([self.acknowledged, committed]);
        let mut goals = vec![(Goal::Abort, 0, 0), (Goal::Complete { digest: self.right_digest(), last: None }, 0, 0)];
        for start in starts.iter().copied().filter(|start| *start < CONTENT_LEN) {
            let rest = CONTENT_LEN - start;
            let last = self.bounds.blob_len.saturating_sub(start);
            goals.push((Goal::Complete { digest: self.right_digest(), last: Some(start) }, start, last));
            goals.extend(BTreeSet::from([1, rest]).into_iter().map(|length| (Goal::Append { start }, start, length)));
        }
        goals.retain(|(goal, ..)| match self.bounds.goals {
            Goals::All => true,
            Goals::Appends => matches!(goal, Goal::Append { .. }),
            Goals::AppendsAndPut => matches!(goal, Goal::Append { .. } | Goal::Complete { last: None, .. }),
        });
        for (goal, start, length) in goals {
            for kind in 0..if length > 0 { self.bounds.kinds } else { 1 } {
                for rehashes in if self.bounds.versions && length > 0 { &[false, true][..] } else { &[false] } {
                    let mut next = self.clone();
                    next.started += 1;
                    let process = Process::new(goal.clone(), kind, start, length, self.done);
                    let process = if *rehashes { process.of_another_version() } else { process };
                    let step = self.step(|| format!("a client starts {process:?}"));
                    next.processes.push(process.into());
                    next.processes.sort();
                    all.push((step, next));
                }
            }
        }
    }

    /// The content that everybody means to upload.
    fn right_content(&self) -> Vec<u8> {
        (0..3).take(usize::try_from(self.bounds.blob_len).expect("small")).collect()
    }

    fn right_digest(&self) -> Digest {
        Hasher::digest(Algorithm::Sha256, &self.right_content())
    }

    pub(super) fn highest(&self) -> Option<(u64, &Record)> {
        self.journal.last_key_value().map(|(seq, record)| (*seq, &**record))
    }

    /// A client hears an answer.
    pub(super) fn hear(&mut self, answer: &Answer, goal: &Goal, start: u64, began_done: bool) {
        match answer {
            Answer::Appended { offset } => {
                let places = (start..*offset).fold(0, |places, place| places | 1 << place);
                if self.acknowledged_places & places != 0 {
                    self.lie = Some("the same place was acknowledged to two clients");
                }
                self.acknowledged_places |= places;
                self.acknowledged = self.acknowledged.max(*offset);
            }
            Answer::Completed { .. } if !self.linked => {
                self.lie = Some("a client heard 201 and the blob is not there");
            }
            Answer::Unknown | Answer::Mismatch { .. } | Answer::OutOfOrder { .. }
                if began_done && !self.cancelled && matches!(goal, Goal::Complete { last: None, .. }) =>
            {
                self.lie = Some("a retried PUT of a finished upload was refused");
            }
            _ => {}
        }
    }

    /// What may never be seen, in any state.
    pub(super) fn broken_promise(&self) -> Option<String> {
        if let Some(lie) = self.lie {
            return Some(lie.to_owned());
        }
        if self.linked && self.blob.as_deref() != Some(self.right_content().as_slice()) {
            return Some(format!("the repository links a blob that is {:?}", self.blob));
        }
        let Some((_, record)) = self.highest() else {
            return (self.acknowledged > 0 && !self.done && !self.cancelled)
                .then(|| "acknowledged bytes and no journal".to_owned());
        };
        if record.contents.offset < self.acknowledged {
            return Some(format!("{} bytes acknowledged, {} kept", self.acknowledged, record.contents.offset));
        }
        match record.phase {
            Phase::Reserved | Phase::Committed => self.torn(&record.contents),
            Phase::Committing { .. } | Phase::Done { .. } | Phase::Cancelled => None,
        }
    }

    /// Whether the stored bytes are not those that the journal's hash covers.
    fn torn(&self, contents: &Contents) -> Option<String> {
        let Some(bytes) = self.stored(contents) else {
            return Some("committed bytes are missing".to_owned());
        };
        if bytes.iter().zip(0..).any(|(byte, place)| byte % KIND != place) {
            return Some(format!("committed bytes are out of place: {bytes:?}"));
        }
        let found = Hasher::digest(Algorithm::Sha256, &bytes);
        (bytes.len() as u64 != contents.offset || contents.digest() != Some(found))
            .then(|| format!("committed bytes were overwritten: {bytes:?}"))
    }

    /// The bytes that these contents name, as far as they are there.
    pub(super) fn stored(&self, contents: &Contents) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        for segment in &contents.segments {
            match self.objects.get(&segment.number) {
                Some(object) => bytes.extend(&object.bytes),
                None => bytes.extend(self.segment_bytes(segment.number, &segment.parts)?),
            }
        }
        for tail in &contents.tails {
            bytes.extend(self.tail(*tail)?);
        }
        Some(bytes)
    }

    pub(super) fn tail(&self, tail: Tail) -> Option<&Vec<u8>> {
        self.tails.get(&(tail.seq, tail.number)).filter(|bytes| bytes.len() as u64 == tail.length)
    }

    /// What completing a segment with these parts would make.
    pub(super) fn segment_bytes(&self, segment: u64, parts: &[Part]) -> Option<Vec<u8>> {
        let slots: Vec<u64> = match self.bounds.medium {
            Medium::EqualParts => parts.iter().map(|part| u64::from(part.number)).collect(),
            Medium::Appended => (0..parts.iter().map(|part| part.length).sum()).collect(),
        };
        slots
            .iter()
            .map(|slot| self.slots.get(&(segment, *slot)).cloned())
            .collect::<Option<Vec<_>>>()
            .map(|b| b.concat())
    }
}
