//! Objects as files below a directory, in the very places where distribution's `filesystem` driver keeps them.
//!
//! A key is a path relative to the root. What is written stands under a name of its own (`<name>.<uuid>.tmp`, parts of
//! an upload in `<name>.<uuid>.part`) in the same directory until it is durable, and is then renamed or linked into
//! place: readers, crashes and other processes see whole objects only. Symbolic links, FIFOs and devices in the tree
//! are refused, never followed; only the root may be reached through a link. `delete` removes the directories that it
//! empties.
//!
//! Durable means `fsync` of the file and then of its directory, and of each directory that had to be made. A directory
//! that another process made a moment ago counts on the journal of the file system (ext4, XFS, Btrfs), which never
//! keeps an entry without the directory that it lies in.

use std::{
    fmt, fs, io,
    ops::Range,
    os::{
        fd::OwnedFd,
        unix::fs::{DirBuilderExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use rustix::{
    fs::{AtFlags, Stat, fsync, unlinkat},
    io::Errno,
};

use crate::store::{
    Distance, Limits, Listing, Meta, Multipart, Object, Page, Part, Parts, Pending, Precondition, Result, Slot, Store,
    Writers,
    error::{Kind, Operation},
    filesystem::{
        draft::Draft,
        failure::Failure,
        parts::Suspects,
        threads::Threads,
        tree::{Modes, Tree, split},
        write::Writing,
    },
    key::Key,
};

pub mod doctor;
mod draft;
mod failure;
mod list;
mod parts;
mod promote;
mod read;
mod threads;
mod tree;
mod write;

/// Most calls that wait for the disk at once, and the least that this may be set to (distribution's `maxthreads`).
const THREADS_MAX_DEFAULT: usize = 100;
const THREADS_MAX_MIN: usize = 25;

/// The object that [`Filesystem::open`] tries the root with.
const PROBE: &str = "probe";

/// A directory that holds objects.
#[derive(Clone)]
pub struct Filesystem {
    path: PathBuf,
    limits: Limits,
    threads: Threads,
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    tree: Tree,
    suspects: Suspects,
    writing: Writing,
}

impl Inner {
    fn new(tree: Tree) -> Self {
        Self { tree, suspects: Suspects::default(), writing: Writing::new(PageCache::KEEP) }
    }
}

/// How much of each file that is written in parts goes through the kernel's page cache and stays there.
///
/// What stays need not be read from the disk by whoever pulls next. The rest goes from our memory to the disk, or through
/// pages that are dropped once the disk has them: it pushes nothing out that others read, and takes no memory that the
/// kernel has to find, or that a virtual machine has to get back from its host.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PageCache {
    /// From the beginning of the file, in bytes.
    kept: u64,
}

impl PageCache {
    /// All of it stays.
    pub const KEEP: Self = Self::first(u64::MAX);

    /// Nothing does.
    pub const DROP: Self = Self::first(0);

    /// The first `kept` bytes stay.
    #[must_use]
    pub const fn first(kept: u64) -> Self {
        Self { kept }
    }

    /// Whether what is written there goes through the cache to stay.
    const fn keeps(self, offset: u64) -> bool {
        offset < self.kept
    }

    /// Where pages to be dropped begin, if those from `start` on need not stay.
    fn dropped_from(self, start: u64) -> u64 {
        start.max(self.kept)
    }
}

/// A directory cannot hold objects.
#[derive(Debug, thiserror::Error)]
#[error("the storage directory {path} cannot be used")]
pub struct OpenError {
    pub path: PathBuf,
    pub source: io::Error,
}

impl Filesystem {
    /// Opens a directory, which is made when missing, and tries whether it can be written to.
    ///
    /// # Errors
    /// When it cannot; the error names the path and has the cause as its source.
    pub fn open(root: &Path) -> Result<Self, OpenError> {
        Self::open_after(root, Modes::SHARED, || {
            fs::create_dir_all(root)?;
            try_to_write(root)
        })
    }

    /// The same for what nobody but this user may read: files and directories below the root are made so, and so is
    /// the root. One that others can enter is refused.
    ///
    /// # Errors
    /// As [`Filesystem::open`].
    pub fn open_private(root: &Path) -> Result<Self, OpenError> {
        Self::open_after(root, Modes::PRIVATE, || {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(root)?;
            let mode = fs::metadata(root)?.permissions().mode() & 0o777;
            if mode & 0o077 != 0 {
                let text = format!("it must be for its owner alone (mode 0700), and its mode is {mode:04o}");
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
            }
            try_to_write(root)
        })
    }

    /// Opens a directory that stands, without trying to write: it may lie on a read-only medium.
    ///
    /// # Errors
    /// As [`Filesystem::open`].
    pub fn open_to_read(root: &Path) -> Result<Self, OpenError> {
        Self::open_after(root, Modes::SHARED, || Ok(()))
    }

    fn open_after(root: &Path, modes: Modes, prepare: impl FnOnce() -> io::Result<()>) -> Result<Self, OpenError> {
        let tree = prepare().and_then(|()| Ok(Tree::open(root, modes)?));
        let tree = tree.map_err(|source| OpenError { path: root.to_owned(), source })?;
        Ok(Self {
            path: root.to_owned(),
            limits: Limits { parts: Parts::Appended, parts_max: u32::MAX, distance: Distance::Here },
            threads: Threads::new(THREADS_MAX_DEFAULT),
            inner: Arc::new(Inner::new(tree)),
        })
    }

    /// Bounds the calls that wait for the disk at once (distribution's `maxthreads`); less than 25 counts as 25.
    #[must_use]
    pub fn with_threads_max(self, max: usize) -> Self {
        Self { threads: Threads::new(max.max(THREADS_MAX_MIN)), ..self }
    }

    /// Says how much of what is written in parts stays in the page cache; all of it does unless this is called.
    ///
    /// # Panics
    /// When a clone of it was made before.
    #[must_use]
    pub fn with_page_cache(mut self, cache: PageCache) -> Self {
        Arc::get_mut(&mut self.inner).expect("a store is set up before it is shared").writing = Writing::new(cache);
        self
    }

    async fn run<T: Send + 'static>(
        &self,
        operation: Operation,
        key: &Key,
        act: impl FnOnce(&Inner) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T> {
        let inner = Arc::clone(&self.inner);
        self.threads.run(operation, key.as_str(), move || act(&inner)).await
    }

    /// A key's file, for reading: most are at hand, and those cost no thread.
    async fn object(&self, operation: Operation, key: &Key) -> Result<(OwnedFd, Stat)> {
        if let Some(opened) = self.inner.tree.object_at_hand(key) {
            return opened.map_err(|failure| failure.during(operation, key.as_str()));
        }
        let of = key.clone();
        self.run(operation, key, move |inner| inner.tree.object(&of)).await
    }
}

impl fmt::Debug for Filesystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filesystem").field("path", &self.path).finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for Filesystem {
    fn limits(&self) -> &Limits {
        &self.limits
    }

    async fn head(&self, key: &Key) -> Result<Meta> {
        let (_, stat) = self.object(Operation::Head, key).await?;
        tree::meta(&stat).map_err(|failure| failure.during(Operation::Head, key.as_str()))
    }

    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Object> {
        let (file, stat) = self.object(Operation::Get, key).await?;
        let (meta, range) = judge(&stat, range).map_err(|failure| failure.during(Operation::Get, key.as_str()))?;
        Ok(Object { meta, content: read::content(file, key.clone(), range, self.threads.clone()).boxed() })
    }

    async fn put(&self, key: &Key, content: Vec<Bytes>, precondition: Precondition) -> Result<()> {
        let at = key.clone();
        self.run(Operation::Put, key, move |inner| {
            let draft = Draft::create(&inner.tree, &at)?;
            draft.write(&content)?;
            draft.publish(precondition)
        })
        .await
    }

    async fn delete(&self, keys: &[Key]) -> Result<()> {
        for key in keys {
            let at = key.clone();
            self.run(Operation::Delete, key, move |inner| delete(&inner.tree, &at)).await?;
        }
        Ok(())
    }

    async fn list(&self, listing: &Listing) -> Result<Page> {
        let asked = listing.clone();
        self.run(Operation::List, &listing.prefix, move |inner| list::list(&inner.tree, &asked)).await
    }

    async fn begin(&self, key: &Key) -> Result<Multipart> {
        let at = key.clone();
        self.run(Operation::Begin, key, move |inner| parts::begin(&inner.tree, &at)).await
    }

    async fn put_part(&self, upload: &Multipart, slot: Slot, content: Vec<Bytes>) -> Result<Part> {
        let to = upload.clone();
        self.run(Operation::PutPart, &upload.key, move |inner| parts::put(inner, &to, slot, &content)).await
    }

    async fn flush(&self, upload: &Multipart) -> Result<()> {
        let of = upload.clone();
        self.run(Operation::Flush, &upload.key, move |inner| parts::flush(inner, &of)).await
    }

    async fn complete(&self, upload: &Multipart, parts: &[Part], writers: Writers) -> Result<()> {
        let (of, named) = (upload.clone(), parts.to_vec());
        self.run(Operation::Complete, &upload.key, move |inner| parts::complete(inner, &of, &named, writers)).await
    }

    async fn abort(&self, upload: &Multipart) -> Result<()> {
        let of = upload.clone();
        self.run(Operation::Abort, &upload.key, move |inner| parts::abort(inner, &of)).await
    }

    async fn pending(&self, prefix: &Key) -> Result<Vec<Pending>> {
        let below = prefix.clone();
        self.run(Operation::Pending, prefix, move |inner| list::pending(&inner.tree, &below)).await
    }

    async fn promote(&self, sources: &[Key], to: &Key) -> Result<()> {
        let (from, target) = (sources.to_vec(), to.clone());
        self.run(Operation::Promote, to, move |inner| promote::promote(&inner.tree, &from, &target)).await
    }
}

fn try_to_write(root: &Path) -> io::Result<()> {
    // Named like any temporary file, so that one left by a crash is hidden and reported as they are.
    let probe = root.join(draft::temporary(PROBE));
    fs::OpenOptions::new().write(true).create_new(true).open(&probe)?;
    fs::remove_file(&probe)
}

/// What is read of an object.
fn judge(stat: &Stat, range: Option<Range<u64>>) -> Result<(Meta, Range<u64>), Failure> {
    let meta = tree::meta(stat)?;
    let whole = 0..meta.size;
    match range {
        Some(range) if range.is_empty() || range.end > meta.size => Err(Kind::Range.into()),
        range => Ok((meta, range.unwrap_or(whole))),
    }
}

/// Removes an object and the directories that become empty with it. The name is durably gone before they go.
fn delete(tree: &Tree, key: &Key) -> Result<(), Failure> {
    let (parent, name) = split(key);
    let directory = match tree.directory(parent) {
        Err(failure) if failure.is_not_found() => return Ok(()),
        other => other?,
    };
    match unlinkat(&directory, name, AtFlags::empty()) {
        // No object: nothing, or a directory. An earlier call may have removed it and not come to the next line.
        Ok(()) | Err(Errno::NOENT | Errno::ISDIR) => fsync(&directory)?,
        Err(errno) => return Err(errno.into()),
    }
    tree.prune(parent);
    Ok(())
}
