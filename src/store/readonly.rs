//! A store that is only read, ever or for a while: whatever would change it is refused before it gets there.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;

use crate::store::{
    Limits, Listing, Meta, Multipart, Object, Page, Part, Pending, Precondition, Result, Slot, Store, Writers,
    error::{Error, Kind, Operation},
    key::Key,
};

/// Passes reads on to another store. Writes fail as on a read-only medium.
#[derive(Debug)]
pub struct ReadOnly {
    inner: Arc<dyn Store>,
    locked: Arc<AtomicBool>,
}

impl ReadOnly {
    #[must_use]
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self::while_set(inner, Arc::new(AtomicBool::new(true)))
    }

    /// Only as long as this is set; otherwise writes are passed on, too.
    #[must_use]
    pub const fn while_set(inner: Arc<dyn Store>, locked: Arc<AtomicBool>) -> Self {
        Self { inner, locked }
    }

    /// The store, where it may be written.
    fn writable(&self, operation: Operation, key: &Key) -> Result<&dyn Store> {
        if self.locked.load(Ordering::Relaxed) {
            return Err(Error::new(operation, key, Kind::Denied));
        }
        Ok(self.inner.as_ref())
    }
}

#[async_trait]
impl Store for ReadOnly {
    fn limits(&self) -> &Limits {
        self.inner.limits()
    }

    async fn head(&self, key: &Key) -> Result<Meta> {
        self.inner.head(key).await
    }

    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Object> {
        self.inner.get(key, range).await
    }

    async fn put(&self, key: &Key, content: Vec<Bytes>, precondition: Precondition) -> Result<()> {
        self.writable(Operation::Put, key)?.put(key, content, precondition).await
    }

    async fn delete(&self, keys: &[Key]) -> Result<()> {
        let Some(first) = keys.first() else { return Ok(()) };
        self.writable(Operation::Delete, first)?.delete(keys).await
    }

    async fn list(&self, listing: &Listing) -> Result<Page> {
        self.inner.list(listing).await
    }

    async fn begin(&self, key: &Key) -> Result<Multipart> {
        self.writable(Operation::Begin, key)?.begin(key).await
    }

    async fn put_part(&self, upload: &Multipart, slot: Slot, content: Vec<Bytes>) -> Result<Part> {
        self.writable(Operation::PutPart, &upload.key)?.put_part(upload, slot, content).await
    }

    async fn flush(&self, upload: &Multipart) -> Result<()> {
        self.writable(Operation::Flush, &upload.key)?.flush(upload).await
    }

    async fn complete(&self, upload: &Multipart, parts: &[Part], writers: Writers) -> Result<()> {
        self.writable(Operation::Complete, &upload.key)?.complete(upload, parts, writers).await
    }

    async fn abort(&self, upload: &Multipart) -> Result<()> {
        self.writable(Operation::Abort, &upload.key)?.abort(upload).await
    }

    async fn pending(&self, prefix: &Key) -> Result<Vec<Pending>> {
        self.inner.pending(prefix).await
    }

    async fn promote(&self, sources: &[Key], to: &Key) -> Result<()> {
        self.writable(Operation::Promote, to)?.promote(sources, to).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::SystemClock,
        store::{Depth, Distance, Parts, memory::Memory},
    };

    #[tokio::test]
    async fn nothing_is_written() {
        let limits = Limits { parts: Parts::Appended, parts_max: 9, distance: Distance::Here };
        let inner: Arc<dyn Store> = Arc::new(Memory::new(limits, Arc::new(SystemClock)));
        let key: Key = "a/b".parse().unwrap();
        let content = vec![Bytes::from_static(b"content")];
        inner.put(&key, content.clone(), Precondition::Always).await.unwrap();
        let upload = inner.begin(&key).await.unwrap();

        let store = ReadOnly::new(Arc::clone(&inner));
        assert_eq!(store.head(&key).await.unwrap().size, 7);
        let page = Listing { prefix: "a".parse().unwrap(), depth: Depth::All, after: None, limit: 9 };
        assert_eq!(store.list(&page).await.unwrap().entries.len(), 1);
        assert_eq!(store.pending(&"a".parse().unwrap()).await.unwrap().len(), 1);

        let slot = Slot { number: 1, offset: 0 };
        let refusals = [
            store.put(&key, content.clone(), Precondition::Always).await,
            store.delete(std::slice::from_ref(&key)).await,
            store.begin(&key).await.map(drop),
            store.put_part(&upload, slot, content).await.map(drop),
            store.flush(&upload).await,
            store.complete(&upload, &[], Writers::Sole).await,
            store.abort(&upload).await,
            store.promote(std::slice::from_ref(&key), &key).await,
        ];
        assert!(refusals.iter().all(|it| it.as_ref().is_err_and(|error| error.kind == Kind::Denied)), "{refusals:?}");
        assert_eq!(inner.pending(&"a".parse().unwrap()).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn for_a_while() {
        let limits = Limits { parts: Parts::Appended, parts_max: 9, distance: Distance::Here };
        let inner: Arc<dyn Store> = Arc::new(Memory::new(limits, Arc::new(SystemClock)));
        let locked = Arc::new(AtomicBool::new(false));
        let store = ReadOnly::while_set(inner, Arc::clone(&locked));
        let key: Key = "a/b".parse().unwrap();
        let put = async || store.put(&key, vec![Bytes::from_static(b"content")], Precondition::Always).await;
        put().await.unwrap();
        locked.store(true, Ordering::Relaxed);
        assert!(put().await.is_err() && store.delete(std::slice::from_ref(&key)).await.is_err());
        assert_eq!(store.head(&key).await.unwrap().size, 7);
        locked.store(false, Ordering::Relaxed);
        store.delete(std::slice::from_ref(&key)).await.unwrap();
        assert!(store.head(&key).await.is_err());
    }
}
