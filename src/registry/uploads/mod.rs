//! Uploads of one repository: bytes on their way to becoming a blob, on any replica.

use async_trait::async_trait;
use bytes::Bytes;
use uuid::Uuid;

use crate::{
    oci::{
        digest::{Algorithm, Digest},
        name::RepositoryName,
    },
    registry::{Registry, blobs::Blob},
    store,
};

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
    #[error("the body is larger than the configured limit of {limit} bytes")]
    TooLarge { limit: u64 },
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
    #[error(transparent)]
    Store(#[from] store::error::Error),
}

impl<'a> Uploads<'a> {
    /// Starts an upload; nothing is stored yet.
    #[must_use]
    pub fn start(&self, algorithm: Option<Algorithm>, token: Option<TokenHash>) -> Progress {
        let _ = (self.registry, self.repository, algorithm, token);
        todo!()
    }

    /// Checks a `_state` without touching storage: the signature, the repository, the id and the age.
    pub fn verify(&self, id: &str, state: &str) -> Result<Hint, Error> {
        let _ = (id, state);
        todo!()
    }

    /// The upload that a verified hint names.
    #[must_use]
    pub const fn resume(self, hint: Hint) -> Upload<'a> {
        Upload { uploads: self, hint }
    }

    /// How far an upload has come, asked for by its id alone.
    pub async fn status(&self, id: &str, token: Option<TokenHash>) -> Result<Progress, Error> {
        let _ = (id, token);
        todo!()
    }

    /// Stores a whole blob in one request: `POST ?digest=`.
    pub async fn store(&self, digest: &Digest, extent: Extent, body: &mut dyn Incoming) -> Result<Blob, Error> {
        let _ = (digest, extent, body);
        todo!()
    }
}

impl Upload<'_> {
    /// PATCH: appends what the body brings; what arrived of an interrupted body is committed too.
    pub async fn append(
        self,
        extent: Extent,
        token: Option<TokenHash>,
        body: &mut dyn Incoming,
    ) -> Result<Progress, Error> {
        let _ = (self.uploads, self.hint, extent, token, body);
        todo!()
    }

    /// PUT: appends the last bytes, if any, and makes the blob when they hash to this digest.
    pub async fn complete(self, digest: &Digest, extent: Extent, body: &mut dyn Incoming) -> Result<Blob, Error> {
        let _ = (digest, extent, body);
        todo!()
    }

    /// DELETE: forgets the upload.
    pub async fn abort(self) -> Result<(), Error> {
        todo!()
    }
}
