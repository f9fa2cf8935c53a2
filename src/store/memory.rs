//! Objects in memory: a true implementation, for tests and for `storage: inmemory`.
//!
//! It can play any backend ([`Limits`]), and is as strict as the strictest of that kind: with equal parts, the numbers
//! must be consecutive, the tags those of the last write, and every part but the last of exactly the size that was
//! announced to whoever began the upload.

use std::{
    collections::BTreeMap,
    fmt,
    ops::{Bound, Range},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    clock::Clock,
    store::{
        Depth, Entry, Limits, Listing, Meta, Multipart, Object, Page, Part, Parts, Pending, Precondition, Result, Slot,
        Store, Writers,
        error::{Error, Kind, Operation},
        key::Key,
    },
};

/// Objects that live as long as the process.
pub struct Memory {
    limits: Limits,
    clock: Arc<dyn Clock>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Stored>,
    uploads: BTreeMap<(String, String), Upload>,
    /// Of parts written ever: their tags are never equal.
    written: u64,
}

#[derive(Clone)]
struct Stored {
    /// Shared with whoever reads or wrote it, never copied.
    content: Vec<Bytes>,
    meta: Meta,
}

struct Upload {
    started: OffsetDateTime,
    parts: Parts,
    /// By number where parts are equal, by offset where they are appended.
    slots: BTreeMap<u64, Filled>,
}

struct Filled {
    offset: u64,
    content: Vec<Bytes>,
    tag: String,
}

impl Memory {
    #[must_use]
    pub fn new(limits: Limits, clock: Arc<dyn Clock>) -> Self {
        Self { limits, clock, state: Arc::default() }
    }

    /// The same objects as they show themselves to a replica that is configured otherwise.
    #[must_use]
    pub fn with_limits(&self, limits: Limits) -> Self {
        Self { limits, clock: Arc::clone(&self.clock), state: Arc::clone(&self.state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stored(&self, content: Vec<Bytes>) -> Stored {
        let meta = Meta { size: length(&content), modified: self.clock.now() };
        Stored { content, meta }
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("limits", &self.limits).finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for Memory {
    fn limits(&self) -> &Limits {
        &self.limits
    }

    async fn head(&self, key: &Key) -> Result<Meta> {
        match self.state().objects.get(key.as_str()) {
            Some(stored) => Ok(stored.meta.clone()),
            None => Err(Error::new(Operation::Head, key, Kind::NotFound)),
        }
    }

    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Object> {
        let Some(Stored { content, meta }) = self.state().objects.get(key.as_str()).cloned() else {
            return Err(Error::new(Operation::Get, key, Kind::NotFound));
        };
        let content = match range {
            Some(range) if range.is_empty() || range.end > meta.size => {
                return Err(Error::new(Operation::Get, key, Kind::Range));
            }
            Some(range) => cut(&content, range),
            None => content,
        };
        Ok(Object { meta, content: stream::iter(content.into_iter().map(Ok)).boxed() })
    }

    async fn put(&self, key: &Key, content: Vec<Bytes>, precondition: Precondition) -> Result<()> {
        let stored = self.stored(content);
        let mut state = self.state();
        if precondition == Precondition::Absent && state.objects.contains_key(key.as_str()) {
            return Err(Error::new(Operation::Put, key, Kind::AlreadyExists));
        }
        state.objects.insert(key.to_string(), stored);
        Ok(())
    }

    async fn delete(&self, keys: &[Key]) -> Result<()> {
        for key in keys {
            self.state().objects.remove(key.as_str());
        }
        Ok(())
    }

    async fn list(&self, listing: &Listing) -> Result<Page> {
        Ok(match listing.depth {
            Depth::Children => self.state().children(listing),
            Depth::All => self.state().all(listing),
        })
    }

    async fn begin(&self, key: &Key) -> Result<Multipart> {
        let upload = Multipart { key: key.clone(), id: Uuid::new_v4().to_string() };
        let begun = Upload { started: self.clock.now(), parts: self.limits.parts, slots: BTreeMap::new() };
        self.state().uploads.insert(name(&upload), begun);
        Ok(upload)
    }

    async fn put_part(&self, upload: &Multipart, slot: Slot, content: Vec<Bytes>) -> Result<Part> {
        let fail = |kind| Error::new(Operation::PutPart, &upload.key, kind);
        if slot.number == 0 || slot.number > self.limits.parts_max {
            return Err(fail(Kind::Corrupt).with_source("no part may have this number"));
        }
        let place = match self.limits.parts {
            Parts::Appended => slot.offset,
            Parts::Equal { .. } => slot.number.into(),
        };
        let mut state = self.state();
        state.written += 1;
        let tag = state.written.to_string();
        let begun = state.uploads.get_mut(&name(upload)).ok_or_else(|| fail(Kind::UploadGone))?;
        let part = Part { number: slot.number, tag: tag.clone(), length: length(&content) };
        begun.slots.insert(place, Filled { offset: slot.offset, content, tag });
        Ok(part)
    }

    async fn flush(&self, upload: &Multipart) -> Result<()> {
        if self.state().uploads.contains_key(&name(upload)) {
            return Ok(());
        }
        Err(Error::new(Operation::Flush, &upload.key, Kind::UploadGone))
    }

    /// Whether another writer lingers makes no difference here: what is not named is not taken.
    async fn complete(&self, upload: &Multipart, parts: &[Part], _: Writers) -> Result<()> {
        let fail = |kind| Error::new(Operation::Complete, &upload.key, kind);
        let mut state = self.state();
        let Some(begun) = state.uploads.get(&name(upload)) else {
            let total = parts.iter().try_fold(0_u64, |sum, part| sum.checked_add(part.length));
            let standing = state.objects.get(upload.key.as_str()).map(|stored| stored.meta.size);
            return if standing.is_some() && standing == total { Ok(()) } else { Err(fail(Kind::UploadGone)) };
        };
        let content = begun.assembled(parts).map_err(|what| fail(Kind::Corrupt).with_source(what))?;
        state.objects.insert(upload.key.to_string(), self.stored(content));
        state.uploads.remove(&name(upload));
        Ok(())
    }

    async fn abort(&self, upload: &Multipart) -> Result<()> {
        self.state().uploads.remove(&name(upload));
        Ok(())
    }

    async fn pending(&self, prefix: &Key) -> Result<Vec<Pending>> {
        let below = format!("{prefix}/");
        let state = self.state();
        let uploads = state.uploads.iter().filter(|((key, _), _)| key.starts_with(&below));
        let pending = uploads.map(|((key, id), begun)| {
            let key =
                key.parse().map_err(|error| Error::new(Operation::Pending, key, Kind::Corrupt).with_source(error));
            Ok(Pending { upload: Multipart { key: key?, id: id.clone() }, started: begun.started })
        });
        pending.collect()
    }

    async fn promote(&self, sources: &[Key], to: &Key) -> Result<()> {
        let mut state = self.state();
        let mut content = Vec::new();
        for source in sources {
            let stored = state.objects.get(source.as_str());
            let stored = stored.ok_or_else(|| Error::new(Operation::Promote, source, Kind::NotFound))?;
            content.extend_from_slice(&stored.content);
        }
        state.objects.insert(to.to_string(), self.stored(content));
        Ok(())
    }
}

impl State {
    fn all(&self, listing: &Listing) -> Page {
        let below = format!("{}/", listing.prefix);
        let after = format!("{below}{}", listing.after.as_deref().unwrap_or(""));
        let objects = self.objects.range((Bound::Excluded(after), Bound::Unbounded));
        let mut named = objects.map_while(|(key, stored)| Some((key.strip_prefix(&below)?, stored)));
        let taken = named.by_ref().take(listing.limit);
        let entries = taken.map(|(name, stored)| Entry::Object { name: name.to_owned(), meta: stored.meta.clone() });
        Page { entries: entries.collect(), more: named.next().is_some() }
    }

    fn children(&self, listing: &Listing) -> Page {
        let below = format!("{}/", listing.prefix);
        // Folded names are not in the order of the keys: `a-b` stands before `a/b`, but after `a`.
        let mut folded = BTreeMap::new();
        for (key, stored) in self.objects.range(below.clone()..) {
            let Some(name) = key.strip_prefix(&below) else { break };
            let entry = match name.split_once('/') {
                Some((name, _)) => Entry::Prefix { name: name.to_owned() },
                None => Entry::Object { name: name.to_owned(), meta: stored.meta.clone() },
            };
            folded.insert(entry.name().to_owned(), entry);
        }
        let after = listing.after.clone().unwrap_or_default();
        let mut following = folded.range((Bound::Excluded(after), Bound::Unbounded)).map(|(_, entry)| entry.clone());
        let entries = following.by_ref().take(listing.limit).collect();
        Page { entries, more: following.next().is_some() }
    }
}

impl Upload {
    fn assembled(&self, parts: &[Part]) -> Result<Vec<Bytes>, &'static str> {
        match self.parts {
            Parts::Appended => self.appended(parts),
            Parts::Equal { size } => self.equal(parts, size),
        }
    }

    /// The first bytes of what a file would hold, as many as the parts named have.
    fn appended(&self, parts: &[Part]) -> Result<Vec<Bytes>, &'static str> {
        let total = parts.iter().try_fold(0_u64, |sum, part| sum.checked_add(part.length)).ok_or("endless parts")?;
        let mut slots: Vec<_> = self.slots.values().collect();
        slots.sort_by_key(|filled| filled.offset);
        let (mut content, mut position) = (Vec::new(), 0);
        for filled in slots {
            let end = (filled.offset + length(&filled.content)).min(total);
            if filled.offset <= position && end > position {
                content.extend(cut(&filled.content, position - filled.offset..end - filled.offset));
                position = end;
            }
        }
        if position == total { Ok(content) } else { Err("the upload is shorter than its parts") }
    }

    fn equal(&self, parts: &[Part], size: u64) -> Result<Vec<Bytes>, &'static str> {
        let mut content = Vec::new();
        for (number, part) in (1..).zip(parts) {
            let filled = self.slots.get(&part.number.into()).ok_or("a part was never written")?;
            let is_last = parts.len() == number as usize;
            if part.number != number {
                return Err("the numbers of the parts are not consecutive from 1");
            }
            if part.tag != filled.tag || part.length != length(&filled.content) {
                return Err("a part was written again since");
            }
            if part.length > size || (part.length < size && !is_last) {
                return Err("a part does not have the size that all but the last must have");
            }
            content.extend_from_slice(&filled.content);
        }
        Ok(content)
    }
}

fn name(upload: &Multipart) -> (String, String) {
    (upload.key.to_string(), upload.id.clone())
}

fn length(content: &[Bytes]) -> u64 {
    content.iter().map(|chunk| chunk.len() as u64).sum()
}

/// A range of bytes of what chunks hold together; it must lie within them.
fn cut(content: &[Bytes], range: Range<u64>) -> Vec<Bytes> {
    let mut start = 0;
    let mut pieces = Vec::new();
    for chunk in content {
        let end = start + chunk.len() as u64;
        let (from, to) = (range.start.clamp(start, end) - start, range.end.clamp(start, end) - start);
        if let (Ok(from), Ok(to)) = (usize::try_from(from), usize::try_from(to))
            && from < to
        {
            pieces.push(chunk.slice(from..to));
        }
        start = end;
    }
    pieces
}
