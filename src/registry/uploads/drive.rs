//! Runs an [`Attempt`] over the store: each of its actions is one thing done here.

use crate::{
    oci::digest::{Algorithm, Digest},
    registry::{
        blobs::Blob,
        session::{
            attempt::{Action, Answer, Attempt, Event, Goal},
            draft::Draft,
            record::{Contents, Entry, Phase, Tail},
        },
        uploads::{
            Error, Hint, Incoming,
            journal::Journal,
            publish,
            receive::{Bounds, Cause, Receiver, Target},
        },
    },
    store,
};

/// One request's work on an upload.
pub(super) struct Drive<'a, 'b> {
    journal: Journal<'a>,
    attempt: Attempt,
    /// What the upload is hashed with, unless its journal says otherwise.
    algorithm: Algorithm,
    body: Option<&'b mut dyn Incoming>,
    bounds: Bounds,
    cause: Option<Cause>,
    gathered: Vec<Tail>,
    /// The record written last, until it was looked for.
    wrote: Option<Entry>,
    /// The numbers of the records that stood when the journal was looked at last.
    sequences: Vec<u64>,
}

/// What an attempt came to.
#[derive(Debug)]
pub(super) enum Outcome {
    Appended { offset: u64 },
    Completed(Blob),
    Aborted,
}

impl<'a, 'b> Drive<'a, 'b> {
    pub(super) const fn new(
        journal: Journal<'a>,
        goal: Goal,
        hint: &Hint,
        body: Option<&'b mut dyn Incoming>,
        bounds: Bounds,
    ) -> Self {
        let attempt = Attempt::new(goal, hint.algorithm);
        Self {
            journal,
            attempt,
            algorithm: hint.algorithm,
            body,
            bounds,
            cause: None,
            gathered: Vec::new(),
            wrote: None,
            sequences: Vec::new(),
        }
    }

    /// To the answer. `wanted` is the digest that the client asked to complete with, for the error that names it.
    pub(super) async fn run(mut self, wanted: Option<&Digest>) -> Result<Outcome, Stop> {
        let mut action = self.attempt.first();
        loop {
            let event = match action {
                Action::Answer(answer) => return self.outcome(answer, wanted),
                action => self.perform(action).await?,
            };
            action = self.attempt.next(event);
        }
    }

    async fn perform(&mut self, action: Action) -> store::Result<Event> {
        let journal = self.journal;
        Ok(match action {
            Action::Look => Event::Journal(self.look().await?),
            Action::Write(entry) => {
                if !journal.write(&entry).await? {
                    return Ok(Event::Taken);
                }
                if entry.record.phase == Phase::Cancelled {
                    tolerate(journal.abort(&entry.record.contents).await);
                }
                self.wrote = Some(entry);
                Event::Written
            }
            Action::Receive { seq, contents, continues } => self.receive(seq, contents, continues).await?,
            Action::Finish { contents, digest } => publish::finish(&journal, &contents, &digest).await?,
            Action::Promote { contents, digest } => publish::promote(&journal, &contents, &digest).await?,
            Action::Link { digest } => {
                publish::link(journal.registry, journal.repository, &digest).await?;
                Event::Linked
            }
            Action::Sweep { before } => {
                tolerate(journal.sweep(&self.sequences, before, &self.gathered).await);
                Event::Removed
            }
            Action::Discard { keep } => {
                tolerate(journal.discard(keep).await);
                journal.registry.finished.push(journal.registry.clock.now(), journal.repository, journal.id);
                Event::Removed
            }
            // `run` returns on an answer and never passes it here.
            Action::Answer(_) => Event::Removed,
        })
    }

    /// The highest record; one that this request wrote itself is not read again.
    async fn look(&mut self) -> store::Result<Option<Entry>> {
        let sequences = self.journal.sequences().await?;
        let own = self.wrote.take().filter(|wrote| sequences.iter().max() == Some(&wrote.seq));
        self.sequences = sequences;
        match own {
            Some(own) => Ok(Some(own)),
            None => self.journal.latest_of(self.sequences.iter().copied().max()).await,
        }
    }

    async fn receive(&mut self, seq: u64, mut contents: Contents, continues: bool) -> store::Result<Event> {
        let registry = self.journal.registry;
        let hasher = if let Some(hasher) = contents.hash.hasher() {
            hasher
        } else {
            let algorithm = contents.hash.algorithm().unwrap_or(self.algorithm);
            publish::rehash(&self.journal, &mut contents, algorithm).await?
        };
        let draft = Draft::new(contents, hasher, seq, continues, registry.store.limits().clone());
        let writer = Receiver::new(registry, Target::Upload(self.journal), draft);
        let received = match self.body.as_deref_mut() {
            Some(body) => writer.run(body, &mut self.bounds).await?,
            None => writer.run(&mut Nothing, &mut self.bounds).await?,
        };
        self.cause = received.cause;
        self.gathered.extend(received.gathered);
        Ok(Event::Received { contents: received.contents, end: received.end })
    }

    fn outcome(&self, answer: Answer, wanted: Option<&Digest>) -> Result<Outcome, Stop> {
        Err(match answer {
            Answer::Appended { offset } => return Ok(Outcome::Appended { offset }),
            Answer::Completed { digest, size } => return Ok(Outcome::Completed(Blob { digest, size })),
            Answer::Aborted => return Ok(Outcome::Aborted),
            Answer::Unknown => Stop::Failed(Error::Unknown),
            Answer::OutOfOrder { committed } => Stop::OutOfOrder { committed },
            Answer::Mismatch { actual } => Stop::Failed(match wanted {
                Some(expected) => Error::DigestMismatch { expected: expected.clone(), actual },
                None => Error::Unknown,
            }),
            Answer::Interrupted { .. } => Stop::Failed(self.interruption()),
        })
    }

    const fn interruption(&self) -> Error {
        match self.cause {
            Some(Cause::Interrupted(interrupted)) => Error::Interrupted(interrupted),
            Some(Cause::TooLarge { limit }) => Error::TooLarge { limit },
            Some(Cause::Size) | None => Error::SizeMismatch,
        }
    }
}

/// Why an attempt came to nothing.
#[derive(Debug)]
pub(super) enum Stop {
    /// The client is told where to go on.
    OutOfOrder {
        committed: u64,
    },
    Failed(Error),
}

impl From<store::error::Error> for Stop {
    fn from(error: store::error::Error) -> Self {
        Self::Failed(error.into())
    }
}

/// The body of a request that has none.
struct Nothing;

#[async_trait::async_trait]
impl Incoming for Nothing {
    async fn chunk(&mut self) -> Result<Option<bytes::Bytes>, super::Interrupted> {
        Ok(None)
    }
}

/// What is left behind when tidying fails is found again by the purge; the client's work is done.
fn tolerate(tidied: store::Result<()>) {
    if let Err(error) = tidied {
        tracing::warn!(err.message = %error, "could not tidy up behind an upload");
    }
}
