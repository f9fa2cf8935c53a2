//! One request's way through an upload's journal.

use crate::{
    oci::digest::{Algorithm, Digest},
    registry::session::record::{Contents, Entry, Phase, Record},
};

/// What a request wants.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Goal {
    /// PATCH: these bytes begin at `start`.
    Append { start: u64 },
    /// PUT: the whole content has this digest. `last` is where the body's bytes begin, if there is a body.
    Complete { digest: Digest, last: Option<u64> },
    /// DELETE.
    Abort,
}

/// A machine that is told what happened and says what to do next.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Attempt {
    goal: Goal,
    /// Of an upload whose journal is still empty.
    algorithm: Algorithm,
    /// Whether our reservation stands right over a commit, so that its last segment is ours to go on with.
    continues: bool,
    /// How the body ended that is being committed.
    end: End,
    /// How often publishing found its sources gone.
    rounds: u8,
    /// What the content hashes to, where it was read back and that is not what it should be.
    found: Option<Digest>,
    state: State,
}

/// Most times that publishing starts over before the upload counts as lost.
const ROUNDS_MAX: u8 = 3;

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum State {
    /// Waiting for the journal's highest entry.
    Looking,
    /// A record was put, if nothing stood there.
    Writing(Entry),
    /// Whether the record that we wrote is the highest.
    Confirming(Entry),
    /// The body streams behind a reservation of this number.
    Receiving {
        seq: u64,
    },
    /// Our place was lost to somebody else: where does the upload stand?
    Overtaken,
    /// The journal is being tidied after a commit.
    Sweeping(Answer),
    /// Segments become objects, objects become the blob, the blob becomes this repository's.
    Finishing(Entry),
    Promoting(Entry),
    Linking(Entry),
    /// Everything but the last record is being removed.
    Discarding(Answer),
    Ended,
}

/// What to do next.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Action {
    /// Read the journal's highest entry.
    Look,
    /// Put this record where none stands.
    Write(Entry),
    /// Stream the body behind `contents`, under the reservation `seq`.
    Receive { seq: u64, contents: Contents, continues: bool },
    /// Make the segments objects, and where the digest is of another algorithm than the running hash, check it.
    Finish { contents: Contents, digest: Digest },
    /// Make the blob of the objects, unless data of this size stands already.
    Promote { contents: Contents, digest: Digest },
    /// Make the blob the repository's.
    Link { digest: Digest },
    /// Delete the records before this number.
    Sweep { before: u64 },
    /// Delete everything but the record of this number.
    Discard { keep: u64 },
    /// Tell the client.
    Answer(Answer),
}

/// What happened.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// The journal's highest entry.
    Journal(Option<Entry>),
    Written,
    /// Another record stands there.
    Taken,
    /// What arrived has landed.
    Received {
        contents: Contents,
        end: End,
    },
    Finished,
    /// Read back, the content does not have the digest that it was to be published under.
    Mismatched {
        actual: Digest,
    },
    Promoted,
    Linked,
    /// What was to be published is gone: somebody else finished or cancelled.
    Gone,
    Removed,
}

/// How a body ended.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum End {
    Whole,
    /// There is more, but it is time to commit what came.
    Checkpoint,
    /// The client went away or was too slow.
    Interrupted,
}

/// What the client hears.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Answer {
    Appended {
        offset: u64,
    },
    /// The body broke off; what arrived is committed.
    Interrupted {
        offset: u64,
    },
    Completed {
        digest: Digest,
        size: u64,
    },
    Aborted,
    OutOfOrder {
        committed: u64,
    },
    Mismatch {
        actual: Digest,
    },
    Unknown,
}

impl Attempt {
    #[must_use]
    pub const fn new(goal: Goal, algorithm: Algorithm) -> Self {
        Self { goal, algorithm, continues: false, end: End::Whole, rounds: 0, found: None, state: State::Looking }
    }

    /// What to do first.
    #[must_use]
    pub const fn first(&self) -> Action {
        Action::Look
    }

    /// What to do after this event. An event that does not belong to the last action ends the attempt as `Unknown`.
    pub fn next(&mut self, event: Event) -> Action {
        match (std::mem::replace(&mut self.state, State::Ended), event) {
            (State::Looking, Event::Journal(latest)) => self.decide(latest),
            (State::Writing(entry), Event::Written) => self.look(State::Confirming(entry)),
            (State::Writing(entry), Event::Taken) => self.lost(&entry.record.phase),
            (State::Confirming(own), Event::Journal(latest)) => self.confirm(own, latest),
            (State::Receiving { seq }, Event::Received { contents, end }) => {
                self.end = end;
                self.write(seq + 1, Phase::Committed, contents)
            }
            (State::Overtaken, Event::Journal(latest)) => self.yield_to(latest),
            (State::Finishing(entry), Event::Finished) => self.promote(entry),
            (State::Finishing(entry), Event::Mismatched { actual }) => {
                self.found = Some(actual);
                self.write(entry.seq + 1, Phase::Cancelled, entry.record.contents)
            }
            (State::Promoting(entry), Event::Promoted) => self.link(entry),
            (State::Linking(entry), Event::Linked) => self.done(entry),
            (State::Finishing(_) | State::Promoting(_), Event::Gone) if self.rounds < ROUNDS_MAX => {
                self.rounds += 1;
                self.look(State::Looking)
            }
            (State::Sweeping(answer) | State::Discarding(answer), Event::Removed) => Action::Answer(answer),
            _ => Action::Answer(Answer::Unknown),
        }
    }

    /// From the highest entry, what this request may do.
    fn decide(&mut self, latest: Option<Entry>) -> Action {
        let fresh =
            || Entry { seq: 0, record: Record { phase: Phase::Committed, contents: Contents::empty(self.algorithm) } };
        let latest = latest.unwrap_or_else(fresh);
        match (&self.goal, &latest.record.phase) {
            (_, Phase::Cancelled)
            | (Goal::Append { .. }, Phase::Committing { .. } | Phase::Done { .. })
            | (Goal::Abort, Phase::Done { .. }) => Action::Answer(Answer::Unknown),
            (Goal::Abort, _) => self.write(latest.seq + 1, Phase::Cancelled, latest.record.contents),
            (Goal::Complete { digest, .. }, Phase::Done { digest: done, size }) if digest == done => {
                Action::Answer(Answer::Completed { digest: done.clone(), size: *size })
            }
            (Goal::Complete { digest, .. }, Phase::Committing { digest: sealed }) if digest == sealed => {
                self.finish(latest)
            }
            (Goal::Complete { .. }, Phase::Done { .. }) => Action::Answer(Answer::Unknown),
            (Goal::Complete { .. }, Phase::Committing { digest: sealed }) => {
                Action::Answer(Answer::Mismatch { actual: sealed.clone() })
            }
            (Goal::Append { start } | Goal::Complete { last: Some(start), .. }, _) => self.reserve(latest, *start),
            (Goal::Complete { digest, last: None }, _) => {
                let digest = digest.clone();
                self.seal(latest, digest)
            }
        }
    }

    /// Takes the place behind what is committed.
    fn reserve(&mut self, latest: Entry, start: u64) -> Action {
        let Record { phase, mut contents } = latest.record;
        if start != contents.offset {
            return Action::Answer(Answer::OutOfOrder { committed: contents.offset });
        }
        // Whoever reserved before us and did not commit may be writing still.
        self.continues = phase != Phase::Reserved;
        contents.fenced |= phase == Phase::Reserved;
        self.write(latest.seq + 1, Phase::Reserved, contents)
    }

    /// Records under which digest the content will be published, or that it never will be.
    fn seal(&mut self, latest: Entry, digest: Digest) -> Action {
        let Record { phase, mut contents } = latest.record;
        // Of another algorithm nothing is known before the content is read back.
        let known = contents.digest().filter(|found| found.algorithm() == digest.algorithm());
        match known.filter(|found| *found != digest) {
            // Somebody may be sending what is missing: that upload is not ours to end.
            Some(actual) if phase == Phase::Reserved => Action::Answer(Answer::Mismatch { actual }),
            Some(_) => self.write(latest.seq + 1, Phase::Cancelled, contents),
            None => {
                contents.fenced |= phase == Phase::Reserved;
                self.write(latest.seq + 1, Phase::Committing { digest }, contents)
            }
        }
    }

    /// Our record stands where we put it; it counts if it is the highest.
    fn confirm(&mut self, own: Entry, latest: Option<Entry>) -> Action {
        if latest.as_ref().is_none_or(|latest| latest.seq != own.seq) {
            return match own.record.phase {
                Phase::Reserved | Phase::Committed => self.yield_to(latest),
                Phase::Committing { .. } | Phase::Done { .. } | Phase::Cancelled => self.decide(latest),
            };
        }
        let Entry { seq, record: Record { phase, contents } } = own;
        match phase {
            Phase::Reserved => {
                self.state = State::Receiving { seq };
                Action::Receive { seq, contents, continues: self.continues }
            }
            Phase::Committed => self.committed(seq, contents),
            Phase::Committing { digest } => {
                self.finish(Entry { seq, record: Record { phase: Phase::Committing { digest }, contents } })
            }
            Phase::Done { digest, size } => self.discard(seq, Answer::Completed { digest, size }),
            Phase::Cancelled => {
                let answer = match (&self.goal, self.found.take().or_else(|| contents.digest())) {
                    (Goal::Complete { .. }, Some(actual)) => Answer::Mismatch { actual },
                    _ => Answer::Aborted,
                };
                self.discard(seq, answer)
            }
        }
    }

    /// What arrived is in the journal: now the client may hear of it.
    fn committed(&mut self, seq: u64, contents: Contents) -> Action {
        let offset = contents.offset;
        let entry = Entry { seq, record: Record { phase: Phase::Committed, contents } };
        match (self.end, &mut self.goal) {
            (End::Checkpoint, _) => self.reserve(entry, offset),
            (End::Interrupted, _) => self.sweep(seq - 1, Answer::Interrupted { offset }),
            (End::Whole, Goal::Complete { digest, last }) => {
                // The body is in; from here on this is a PUT without one.
                *last = None;
                let digest = digest.clone();
                self.seal(entry, digest)
            }
            (End::Whole, Goal::Append { .. } | Goal::Abort) => self.sweep(seq - 1, Answer::Appended { offset }),
        }
    }

    /// Somebody else's record stands where ours should.
    fn lost(&mut self, phase: &Phase) -> Action {
        match phase {
            Phase::Reserved | Phase::Committed => self.look(State::Overtaken),
            Phase::Committing { .. } | Phase::Done { .. } | Phase::Cancelled => self.look(State::Looking),
        }
    }

    /// Our bytes do not count: the client goes on from where the upload stands. A retried PUT that finds its own
    /// digest sealed or done joins in, for then the bytes were all there.
    fn yield_to(&mut self, latest: Option<Entry>) -> Action {
        let sealed = latest.as_ref().and_then(|latest| match &latest.record.phase {
            Phase::Committing { digest } | Phase::Done { digest, .. } => Some(digest),
            Phase::Reserved | Phase::Committed | Phase::Cancelled => None,
        });
        match (&self.goal, sealed) {
            (Goal::Complete { digest, .. }, Some(sealed)) if digest == sealed => self.decide(latest),
            _ => {
                Action::Answer(Answer::OutOfOrder { committed: latest.map_or(0, |entry| entry.record.contents.offset) })
            }
        }
    }

    fn look(&mut self, state: State) -> Action {
        self.state = state;
        Action::Look
    }

    fn write(&mut self, seq: u64, phase: Phase, contents: Contents) -> Action {
        let entry = Entry { seq, record: Record { phase, contents } };
        self.state = State::Writing(entry.clone());
        Action::Write(entry)
    }

    fn finish(&mut self, entry: Entry) -> Action {
        self.publish(entry, State::Finishing, |contents, digest| Action::Finish { contents, digest })
    }

    fn promote(&mut self, entry: Entry) -> Action {
        self.publish(entry, State::Promoting, |contents, digest| Action::Promote { contents, digest })
    }

    fn link(&mut self, entry: Entry) -> Action {
        self.publish(entry, State::Linking, |_, digest| Action::Link { digest })
    }

    /// One step of publishing; `entry` is the record that sealed the upload.
    fn publish(&mut self, entry: Entry, state: fn(Entry) -> State, action: fn(Contents, Digest) -> Action) -> Action {
        let Phase::Committing { digest } = entry.record.phase.clone() else {
            return Action::Answer(Answer::Unknown);
        };
        let contents = entry.record.contents.clone();
        self.state = state(entry);
        action(contents, digest)
    }

    fn done(&mut self, entry: Entry) -> Action {
        let Entry { seq, record: Record { phase, contents } } = entry;
        let Phase::Committing { digest } = phase else { return Action::Answer(Answer::Unknown) };
        self.write(seq + 1, Phase::Done { digest, size: contents.offset }, contents)
    }

    fn sweep(&mut self, before: u64, answer: Answer) -> Action {
        self.state = State::Sweeping(answer);
        Action::Sweep { before }
    }

    fn discard(&mut self, keep: u64, answer: Answer) -> Action {
        self.state = State::Discarding(answer);
        Action::Discard { keep }
    }
}
