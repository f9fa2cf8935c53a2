//! An upload's records in the store.

use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use uuid::Uuid;

use crate::{
    oci::name::RepositoryName,
    registry::{
        Registry, content,
        session::record::{Contents, Entry, Record, Tail},
    },
    store::{
        Depth, Entry as Listed, Multipart, Precondition, Result,
        error::{Error, Kind, Operation},
        key::Key,
    },
};

/// Most records that vanish one after the other before the store counts as failing.
const LOOKS_MAX: u32 = 100;

/// Largest record that is read, in bytes: one for a full segment of parts, many times over.
const RECORD_SIZE_MAX: u64 = 16 << 20;

/// Largest `startedat` that is read, in bytes.
const STARTED_AT_SIZE_MAX: u64 = 64;

/// Where the journal and the data of one upload lie.
#[derive(Clone, Copy, Debug)]
pub(in crate::registry) struct Journal<'a> {
    pub(in crate::registry) registry: &'a Registry,
    pub(in crate::registry) repository: &'a RepositoryName,
    pub(in crate::registry) id: Uuid,
}

impl Journal<'_> {
    /// The highest record.
    pub(in crate::registry) async fn latest(&self) -> Result<Option<Entry>> {
        self.latest_of(self.sequences().await?.into_iter().max()).await
    }

    /// The record that a listing showed as the highest. One that a sweep took away before it could be read is looked
    /// for again.
    pub(in crate::registry) async fn latest_of(&self, mut highest: Option<u64>) -> Result<Option<Entry>> {
        let mut round = 0;
        while let Some(seq) = highest {
            round += 1;
            match self.read(seq).await {
                Err(error) if error.is_not_found() && round < LOOKS_MAX => {}
                entry => return entry.map(Some),
            }
            highest = self.sequences().await?.into_iter().max();
        }
        Ok(None)
    }

    /// Writes a record where none stands; whether it was written.
    pub(in crate::registry) async fn write(&self, entry: &Entry) -> Result<bool> {
        if entry.seq == 1 {
            self.write_started_at().await?;
        }
        let key = self.registry.layout.upload_record(self.repository, &self.id, entry.seq);
        let content = vec![entry.record.to_bytes().into()];
        match self.registry.store.put(&key, content, Precondition::Absent).await {
            Err(error) if error.kind == Kind::AlreadyExists => Ok(false),
            written => written.map(|()| true),
        }
    }

    /// Deletes those of these records that stand before a number, and tails that went into parts.
    pub(in crate::registry) async fn sweep(&self, sequences: &[u64], before: u64, gathered: &[Tail]) -> Result<()> {
        let mut old: Vec<u64> = sequences.iter().copied().filter(|seq| *seq < before).collect();
        old.sort_unstable();
        let layout = &self.registry.layout;
        let records = old.into_iter().map(|seq| layout.upload_record(self.repository, &self.id, seq));
        let keys: Vec<Key> = records.chain(gathered.iter().map(|tail| self.tail_key(tail))).collect();
        if keys.is_empty() { Ok(()) } else { self.registry.store.delete(&keys).await }
    }

    /// Deletes everything but `startedat` and the record of this number.
    pub(in crate::registry) async fn discard(&self, keep: u64) -> Result<()> {
        let record = self.registry.layout.upload_record(self.repository, &self.id, keep);
        let kept = [record, self.started_at_key()];
        self.remove(|key| kept.contains(key)).await
    }

    /// Deletes everything.
    pub(in crate::registry) async fn erase(&self) -> Result<()> {
        self.remove(|_| false).await
    }

    /// Drops the uploads in parts that a record names. Not every store finds them by a listing of what lies below a
    /// prefix: some list unfinished uploads by whole names only.
    pub(in crate::registry) async fn abort(&self, contents: &Contents) -> Result<()> {
        for segment in contents.segments.iter().filter(|segment| !segment.closed) {
            self.registry.store.abort(&self.segment(segment.number, segment.id.clone())).await?;
        }
        Ok(())
    }

    /// The bytes of one segment, as the store's upload in parts.
    pub(in crate::registry) fn segment(&self, number: u64, id: String) -> Multipart {
        Multipart { key: self.segment_key(number), id }
    }

    pub(in crate::registry) fn segment_key(&self, number: u64) -> Key {
        self.registry.layout.upload_segment(self.repository, &self.id, number)
    }

    pub(in crate::registry) fn tail_key(&self, tail: &Tail) -> Key {
        self.registry.layout.upload_tail(self.repository, &self.id, tail.seq, tail.number.into())
    }

    pub(in crate::registry) fn started_at_key(&self) -> Key {
        self.registry.layout.upload_started_at(self.repository, &self.id)
    }

    /// When the upload began, if that can be told.
    pub(in crate::registry) async fn started_at(&self) -> Result<Option<OffsetDateTime>> {
        let key = self.started_at_key();
        match content::read(&*self.registry.store, &key, STARTED_AT_SIZE_MAX).await {
            Err(error) if matches!(error.kind, Kind::NotFound | Kind::Corrupt) => Ok(None),
            Err(error) => Err(error),
            Ok(bytes) => {
                let text = std::str::from_utf8(&bytes).unwrap_or_default();
                Ok(OffsetDateTime::parse(text.trim(), &Rfc3339).ok())
            }
        }
    }

    /// When anything of it was written last: for uploads without a `startedat`.
    pub(in crate::registry) async fn last_write(&self) -> Result<Option<OffsetDateTime>> {
        let prefix = self.registry.layout.upload(self.repository, &self.id);
        let (mut pages, mut last) = (self.registry.all_pages(prefix.clone(), Depth::All), None);
        while let Some(page) = pages.next().await? {
            let written = page.iter().filter_map(|entry| match entry {
                Listed::Object { meta, .. } => Some(meta.modified),
                Listed::Prefix { .. } => None,
            });
            last = last.max(written.max());
        }
        let pending = self.registry.store.pending(&prefix).await?;
        Ok(last.max(pending.into_iter().map(|pending| pending.started).max()))
    }

    /// When the highest record was written.
    pub(in crate::registry) async fn modified(&self) -> Result<Option<OffsetDateTime>> {
        let Some(seq) = self.sequences().await?.into_iter().max() else { return Ok(None) };
        let key = self.registry.layout.upload_record(self.repository, &self.id, seq);
        match self.registry.store.head(&key).await {
            Ok(meta) => Ok(Some(meta.modified)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What the purge of Distribution goes by, so it stands before anything else does.
    pub(in crate::registry) async fn write_started_at(&self) -> Result<()> {
        let key = self.started_at_key();
        let now = self.registry.clock.now().replace_nanosecond(0).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let text = now.format(&Rfc3339).unwrap_or_default();
        match self.registry.store.put(&key, vec![text.into()], Precondition::Absent).await {
            Err(error) if error.kind == Kind::AlreadyExists => Ok(()),
            written => written,
        }
    }

    async fn remove(&self, keep: impl Fn(&Key) -> bool + Send) -> Result<()> {
        let prefix = self.registry.layout.upload(self.repository, &self.id);
        for pending in self.registry.store.pending(&prefix).await? {
            self.registry.store.abort(&pending.upload).await?;
        }
        let names = self.registry.objects(prefix.clone(), Depth::All).await?;
        let all = names.iter().filter_map(|name| prefix.join(name).ok());
        let mut keys: Vec<Key> = all.filter(|key| !keep(key)).collect();
        // A purge goes by `startedat`: whoever is stopped in between leaves it to find the rest again.
        let started_at = self.started_at_key();
        keys.sort_by_key(|key| *key == started_at);
        self.registry.store.delete(&keys).await
    }

    pub(in crate::registry) async fn sequences(&self) -> Result<Vec<u64>> {
        let prefix = self.registry.layout.upload_journal(self.repository, &self.id);
        let names = self.registry.objects(prefix, Depth::Children).await?;
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }

    async fn read(&self, seq: u64) -> Result<Entry> {
        let key = self.registry.layout.upload_record(self.repository, &self.id, seq);
        let bytes = content::read(&*self.registry.store, &key, RECORD_SIZE_MAX).await?;
        let record = Record::from_bytes(&bytes)
            .map_err(|unreadable| Error::new(Operation::Get, &key, Kind::Corrupt).with_source(unreadable))?;
        Ok(Entry { seq, record })
    }
}
