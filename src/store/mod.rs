//! Bytes under keys, in the verbs of object stores.
//!
//! Nothing here knows what a registry is. A store keeps whole objects under [`Key`]s; an object that is written in
//! parts stays invisible until [`Store::complete`]. A difference between backends is data ([`Limits`]), never a
//! downcast. Every backend passes the one contract suite in `tests/it/store/contract.rs`.

use std::{
    fmt::{self, Debug},
    ops::Range,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use time::OffsetDateTime;

pub mod doctor;
pub mod error;
pub mod faulty;
pub mod filesystem;
pub mod key;
pub mod locate;
pub mod memory;
pub mod metered;
pub mod readonly;
pub mod s3;

use crate::store::{error::Error, key::Key};

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A place that keeps objects.
///
/// All methods may be called from any task, and by several processes at once on one store. A returned success is
/// durable: it survives the loss of power wherever the medium can promise that.
#[async_trait]
pub trait Store: Debug + Send + Sync + 'static {
    fn limits(&self) -> &Limits;

    /// Size and age of an object. A missing one is [`Error`] of kind `NotFound`.
    async fn head(&self, key: &Key) -> Result<Meta>;

    /// An object's bytes in order, whole or a part. `range` must lie within the object and hold at least one byte,
    /// else kind `Range`.
    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Object>;

    /// Writes a whole object at once: readers see all of it or what was there before.
    async fn put(&self, key: &Key, content: Vec<Bytes>, precondition: Precondition) -> Result<()>;

    /// Removes objects, the last of them after all others; a missing key is success. Directories that become empty go
    /// too, where a backend has any.
    async fn delete(&self, keys: &[Key]) -> Result<()>;

    /// One page of what lies below a prefix; an empty page where nothing does. A prefix in the answer may hold no
    /// object: a directory can be empty, or hold unfinished uploads only, which are never listed.
    async fn list(&self, listing: &Listing) -> Result<Page>;

    /// Opens an upload in parts. It is a value: any process that knows it can go on with it.
    async fn begin(&self, key: &Key) -> Result<Multipart>;

    /// Writes one part; the same slot written again replaces it. Durable only after [`Store::flush`].
    async fn put_part(&self, upload: &Multipart, slot: Slot, content: Vec<Bytes>) -> Result<Part>;

    /// Makes every part of this upload that was written so far durable. Where parts are durable at once nothing is
    /// asked, and an upload that is gone is noticed by the next part.
    async fn flush(&self, upload: &Multipart) -> Result<()>;

    /// Makes the object out of exactly these parts, in order, and ends the upload. When the upload is gone but an
    /// object of this total size stands at the key, an earlier call did it: success.
    async fn complete(&self, upload: &Multipart, parts: &[Part], writers: Writers) -> Result<()>;

    /// Drops an upload and its parts; one that is gone is success.
    async fn abort(&self, upload: &Multipart) -> Result<()>;

    /// Every unfinished upload whose key lies below a prefix, and whatever else a crash left there that
    /// [`Store::abort`] can remove.
    async fn pending(&self, prefix: &Key) -> Result<Vec<Pending>>;

    /// Joins whole objects into one at `to`, inside the store. The sources stay. Where parts are equal, every source but
    /// the last must be one or more whole parts.
    async fn promote(&self, sources: &[Key], to: &Key) -> Result<()>;
}

/// What a backend can do.
#[derive(Clone, Debug)]
pub struct Limits {
    pub parts: Parts,
    /// Most parts that one upload may have.
    pub parts_max: u32,
    pub distance: Distance,
}

/// What one call costs: many small ones are nothing here, and a long wait there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Distance {
    /// A system call or less.
    Here,
    /// A round trip over the network.
    Away,
}

/// Where memory, and its place in an object, should begin so that a store may take bytes without a copy, in bytes: whole
/// pages, which is what nearly every disk asks of direct writes (`O_DIRECT`).
pub const PAGE_BYTES: usize = 4096;

/// How an upload's parts are cut.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Parts {
    /// Parts of any size are appended one after the other, as in a file: neighbours may be named as one part.
    Appended,
    /// All parts but the last have exactly this size, in bytes.
    Equal { size: u64 },
}

/// What must hold at a key for a write to happen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Precondition {
    Always,
    /// Nothing stands there, else kind `AlreadyExists`. Exactly one of several racing writers succeeds.
    Absent,
}

/// Whether another writer may still hold an upload's parts open when it is completed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Writers {
    /// The caller alone has ever written to it.
    Sole,
    /// A writer that was fenced off may still be writing behind the parts named.
    MayLinger,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Meta {
    /// In bytes.
    pub size: u64,
    pub modified: OffsetDateTime,
}

/// An object, or a range of one, on its way out.
pub struct Object {
    /// Of the whole object, also when a range was asked for.
    pub meta: Meta,
    pub content: BoxStream<'static, Result<Bytes>>,
}

impl Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Object").field("meta", &self.meta).finish_non_exhaustive()
    }
}

/// An unfinished upload.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Multipart {
    pub key: Key,
    /// The backend's own name for it.
    pub id: String,
}

/// Where a part goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Slot {
    /// From 1.
    pub number: u32,
    /// Of its first byte within the upload.
    pub offset: u64,
}

/// A written part.
#[derive(Clone, Debug, Eq, Hash, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    pub number: u32,
    /// What the backend wants to hear again at completion (an `ETag`), may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tag: String,
    /// In bytes.
    pub length: u64,
}

/// An upload that somebody began.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pending {
    pub upload: Multipart,
    /// When it was begun, or later: a backend may only know the last write.
    pub started: OffsetDateTime,
}

/// A question for one page of names.
#[derive(Clone, Debug)]
pub struct Listing {
    /// A directory-like prefix: only what lies below `<prefix>/` is listed.
    pub prefix: Key,
    pub depth: Depth,
    /// Only names greater than this one, relative to the prefix.
    pub after: Option<String>,
    /// Most entries in the answer.
    pub limit: usize,
}

/// How far down a listing goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Depth {
    /// The next level only; what lies deeper is folded into [`Entry::Prefix`].
    Children,
    /// Every object.
    All,
}

/// Entries are ordered by the bytes of their relative name, a folded prefix by its name without a slash.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Page {
    pub entries: Vec<Entry>,
    /// Whether names greater than the last one may exist.
    pub more: bool,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Entry {
    Object {
        /// Relative to the listing's prefix.
        name: String,
        meta: Meta,
    },
    Prefix {
        /// Relative to the listing's prefix, without a slash at its end.
        name: String,
    },
}

impl Entry {
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Object { name, .. } | Self::Prefix { name } => name,
        }
    }
}
