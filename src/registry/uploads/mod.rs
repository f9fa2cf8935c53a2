//! Uploads of one repository: bytes on their way to becoming a blob, on any replica.
//!
//! Starting one stores nothing: its whole state is the signed hint in its Location ([`state`]). From the first byte on
//! the truth is its journal (`journal`), which the machines of [`crate::registry::session`] read and write; `drive`
//! runs them, `receive` streams bodies into parts through a `buffer` of `slab`s under one [`budget`], `publish` makes
//! the blob. A body whose digest is known before its first byte skips all that and goes straight to its final key
//! (`direct`); what it has in the store before that is `unpublished`. What nobody finished is found by [`purge`].

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::SemaphorePermit;
use uuid::Uuid;

use crate::{
    oci::{
        digest::{Algorithm, Digest},
        name::RepositoryName,
    },
    registry::{
        Registry,
        blobs::Blob,
        session::{
            attempt::Goal,
            record::{Entry, Phase},
        },
        uploads::{
            drive::{Drive, Outcome, Stop},
            journal::Journal,
            receive::Bounds,
        },
    },
    store,
};

pub mod budget;
mod buffer;
mod direct;
mod drive;
pub mod finished;
mod journal;
mod publish;
pub mod purge;
mod receive;
pub(in crate::registry) mod slab;
pub mod state;
mod unpublished;

/// The uploads of one repository.
#[derive(Clone, Copy, Debug)]
pub struct Uploads<'a> {
    pub(in crate::registry) registry: &'a Registry,
    pub(in crate::registry) repository: &'a RepositoryName,
}

/// A body on its way in. The next chunk is fetched only when the last was taken care of.
#[async_trait]
pub trait Incoming: Send {
    /// The next chunk, `None` at the end.
    async fn chunk(&mut self) -> Result<Option<Bytes>, Interrupted>;
}

/// A body that did not end: what arrived before is kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Interrupted {
    #[error("the client went away")]
    Disconnected,
    #[error("the client sent too slowly")]
    TimedOut,
    #[error("the body is malformed")]
    Malformed,
}

/// SHA-256 of a bearer token: names the token that authorised a request without keeping it.
pub type TokenHash = [u8; 32];

/// An upload that a request may go on with; each of its operations consumes it.
#[derive(Debug)]
pub struct Upload<'a> {
    pub(in crate::registry) uploads: Uploads<'a>,
    pub(in crate::registry) hint: Hint,
}

/// What the signed `_state` of a Location says; the journal knows better.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Hint {
    pub id: Uuid,
    pub offset: u64,
    /// When the upload was started: Unix time, seconds.
    pub started: i64,
    /// What its content is hashed with on the way in.
    pub algorithm: Algorithm,
    /// Of the request that made this hint; lets that very token finish the upload for a while past its end.
    pub token: Option<TokenHash>,
}

/// How far an upload has come: what a 202 or 204 tells.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Progress {
    pub id: Uuid,
    /// Bytes committed.
    pub offset: u64,
    /// For the next `Location`: the value of `_state`.
    pub state: String,
}

/// Where the bytes of a PATCH or PUT belong, as the request says it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Extent {
    /// First byte and last byte of `Content-Range`, inclusive.
    pub range: Option<(u64, u64)>,
    /// `Content-Length`.
    pub length: Option<u64>,
}

/// How an upload operation failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the upload is unknown")]
    Unknown,
    #[error("the upload's state is not one that we signed for it")]
    StateInvalid,
    /// 416 with the committed `Range`.
    #[error("these bytes do not follow the {} committed ones", .committed.offset)]
    OutOfOrder { committed: Progress },
    #[error("Content-Range and the body's length disagree")]
    SizeMismatch,
    #[error("the content's digest is {actual}, not {expected}")]
    DigestMismatch { expected: Digest, actual: Digest },
    /// 429: more bodies are running than the configuration allows.
    #[error("too many uploads are running")]
    Busy,
    #[error("the blob is larger than the configured limit of {limit} bytes")]
    TooLarge { limit: u64 },
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
    #[error(transparent)]
    Store(#[from] store::error::Error),
}

impl<'a> Uploads<'a> {
    /// Starts an upload; nothing is stored yet. The content is hashed as SHA-256 unless the client names another
    /// algorithm in advance.
    #[must_use]
    pub fn start(&self, algorithm: Option<Algorithm>, token: Option<TokenHash>) -> Progress {
        let started = self.registry.clock.now().unix_timestamp();
        let algorithm = algorithm.unwrap_or(Algorithm::Sha256);
        self.progress(&Hint { id: Uuid::now_v7(), offset: 0, started, algorithm, token })
    }

    /// Checks a `_state` without touching storage: the signature, the repository, the id and the age.
    pub fn verify(&self, id: &str, state: &str) -> Result<Hint, Error> {
        let hint = state::open(self.registry.secret.expose(), self.repository, state).ok_or(Error::StateInvalid)?;
        if id.parse() != Ok(hint.id) {
            return Err(Error::StateInvalid);
        }
        self.refuse_expired(hint.started)?;
        Ok(hint)
    }

    fn refuse_expired(&self, started: i64) -> Result<(), Error> {
        let age_secs = self.registry.clock.now().unix_timestamp().saturating_sub(started);
        match u64::try_from(age_secs) {
            Ok(age_secs) if age_secs > self.registry.settings.upload_lifetime.as_secs() => Err(Error::Unknown),
            _ => Ok(()),
        }
    }

    /// The upload that a verified hint names.
    #[must_use]
    pub const fn resume(self, hint: Hint) -> Upload<'a> {
        Upload { uploads: self, hint }
    }

    /// How far an upload has come, asked for by its id alone: known once something was stored.
    pub async fn status(&self, id: &str, token: Option<TokenHash>) -> Result<Progress, Error> {
        let id: Uuid = id.parse().map_err(|_| Error::Unknown)?;
        let journal = self.journal(id);
        let latest = journal.latest().await?.ok_or(Error::Unknown)?;
        let started = journal.started_at().await?.ok_or(Error::Unknown)?.unix_timestamp();
        self.refuse_expired(started)?;
        let algorithm = latest.record.contents.hash.algorithm().unwrap_or(Algorithm::Sha256);
        Ok(self.progress(&Hint { id, offset: open_offset(&latest)?, started, algorithm, token }))
    }

    /// Stores a whole blob in one request: `POST ?digest=`.
    pub async fn store(&self, digest: &Digest, extent: Extent, body: &mut dyn Incoming) -> Result<Blob, Error> {
        let bounds = self.bounds(extent)?;
        let _running = self.running()?;
        if direct::takes(self.registry, &bounds) {
            return direct::store(self, digest, bounds, body).await;
        }
        let started = self.registry.clock.now().unix_timestamp();
        let hint = Hint { id: Uuid::now_v7(), offset: 0, started, algorithm: digest.algorithm(), token: None };
        self.resume(hint).seal(digest, Some(0), bounds, body).await
    }

    fn journal(&self, id: Uuid) -> Journal<'a> {
        Journal { registry: self.registry, repository: self.repository, id }
    }

    fn progress(&self, hint: &Hint) -> Progress {
        let state = state::seal(self.registry.secret.expose(), self.repository, hint);
        Progress { id: hint.id, offset: hint.offset, state }
    }

    /// A place among the bodies that may run at once.
    fn running(&self) -> Result<Option<SemaphorePermit<'a>>, Error> {
        let Some(bodies) = &self.registry.bodies else { return Ok(None) };
        bodies.try_acquire().map(Some).map_err(|_| Error::Busy)
    }

    fn bounds(&self, extent: Extent) -> Result<Bounds, Error> {
        let ranged = match extent.range {
            None => None,
            Some((first, last)) if first > last => return Err(Error::SizeMismatch),
            Some((first, last)) => Some((last - first).checked_add(1).ok_or(Error::SizeMismatch)?),
        };
        if ranged.is_some() && extent.length.is_some() && ranged != extent.length {
            return Err(Error::SizeMismatch);
        }
        let blob_size_max = self.registry.settings.upload_size_max;
        match (ranged.or(extent.length), blob_size_max) {
            (Some(announced), Some(limit)) if announced > limit => Err(Error::TooLarge { limit }),
            (announced, blob_size_max) => Ok(Bounds { announced, blob_size_max }),
        }
    }
}

impl Upload<'_> {
    /// GET: how far the upload has come.
    pub async fn status(self, token: Option<TokenHash>) -> Result<Progress, Error> {
        let offset = match self.journal().latest().await? {
            Some(latest) => open_offset(&latest)?,
            None => 0,
        };
        Ok(self.uploads.progress(&Hint { offset, token, ..self.hint }))
    }

    /// PATCH: appends what the body brings; what arrived of an interrupted body is committed too.
    pub async fn append(
        self,
        extent: Extent,
        token: Option<TokenHash>,
        body: &mut dyn Incoming,
    ) -> Result<Progress, Error> {
        let _running = self.uploads.running()?;
        let bounds = self.uploads.bounds(extent)?;
        let goal = Goal::Append { start: self.start(extent) };
        match self.drive(goal, Some(body), bounds, None).await? {
            Outcome::Appended { offset } => Ok(self.uploads.progress(&Hint { offset, token, ..self.hint })),
            Outcome::Completed(_) | Outcome::Aborted => Err(Error::Unknown),
        }
    }

    /// PUT: appends the last bytes, if any, and makes the blob when they hash to this digest.
    pub async fn complete(self, digest: &Digest, extent: Extent, body: &mut dyn Incoming) -> Result<Blob, Error> {
        let has_body = extent.length != Some(0);
        let bounds = self.uploads.bounds(extent)?;
        let _running = if has_body { self.uploads.running()? } else { None };
        let start = self.start(extent);
        let direct = has_body && start == 0 && direct::takes(self.uploads.registry, &bounds);
        if direct && self.journal().latest().await?.is_none() {
            return direct::store(&self.uploads, digest, bounds, body).await;
        }
        self.seal(digest, has_body.then_some(start), bounds, body).await
    }

    /// Through the journal; `last` is where the body's bytes begin, if there is a body.
    async fn seal(
        self,
        digest: &Digest,
        last: Option<u64>,
        bounds: Bounds,
        body: &mut dyn Incoming,
    ) -> Result<Blob, Error> {
        let goal = Goal::Complete { digest: digest.clone(), last };
        match self.drive(goal, last.map(|_| body), bounds, Some(digest)).await? {
            Outcome::Completed(blob) => Ok(blob),
            Outcome::Appended { .. } | Outcome::Aborted => Err(Error::Unknown),
        }
    }

    /// DELETE: forgets the upload.
    pub async fn abort(self) -> Result<(), Error> {
        let bounds = self.uploads.bounds(Extent::default())?;
        self.drive(Goal::Abort, None, bounds, None).await.map(drop)
    }

    async fn drive(
        &self,
        goal: Goal,
        body: Option<&mut dyn Incoming>,
        bounds: Bounds,
        wanted: Option<&Digest>,
    ) -> Result<Outcome, Error> {
        let drive = Drive::new(self.journal(), goal, &self.hint, body, bounds);
        drive.run(wanted).await.map_err(|stop| match stop {
            Stop::OutOfOrder { committed: offset } => {
                Error::OutOfOrder { committed: self.uploads.progress(&Hint { offset, ..self.hint.clone() }) }
            }
            Stop::Failed(error) => error,
        })
    }

    /// Where the request's bytes begin.
    fn start(&self, extent: Extent) -> u64 {
        extent.range.map_or(self.hint.offset, |(first, _)| first)
    }

    fn journal(&self) -> Journal<'_> {
        self.uploads.journal(self.hint.id)
    }
}

/// The committed offset of an upload that is still open.
const fn open_offset(latest: &Entry) -> Result<u64, Error> {
    match latest.record.phase {
        Phase::Reserved | Phase::Committed | Phase::Committing { .. } => Ok(latest.record.contents.offset),
        Phase::Done { .. } | Phase::Cancelled => Err(Error::Unknown),
    }
}
