//! A store that is only ever read: whatever would change it is refused before it gets there.

use std::{ops::Range, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;

use crate::store::{
    Limits, Listing, Meta, Multipart, Object, Page, Part, Pending, Precondition, Result, Slot, Store, Writers,
    error::{Error, Kind, Operation},
    key::Key,
};

/// Passes reads on to another store. Writes fail as on a read-only medium.
#[derive(Debug)]
pub struct ReadOnly(Arc<dyn Store>);

impl ReadOnly {
    #[must_use]
    pub const fn new(inner: Arc<dyn Store>) -> Self {
        Self(inner)
    }
}

fn refused<T>(operation: Operation, key: &Key) -> Result<T> {
    Err(Error::new(operation, key, Kind::Denied))
}

#[async_trait]
impl Store for ReadOnly {
    fn limits(&self) -> &Limits {
        self.0.limits()
    }

    async fn head(&self, key: &Key) -> Result<Meta> {
        self.0.head(key).await
    }

    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Object> {
        self.0.get(key, range).await
    }

    async fn put(&self, key: &Key, _content: Vec<Bytes>, _precondition: Precondition) -> Result<()> {
        refused(Operation::Put, key)
    }

    async fn delete(&self, keys: &[Key]) -> Result<()> {
        keys.first().map_or(Ok(()), |key| refused(Operation::Delete, key))
    }

    async fn list(&self, listing: &Listing) -> Result<Page> {
        self.0.list(listing).await
    }

    async fn begin(&self, key: &Key) -> Result<Multipart> {
        refused(Operation::Begin, key)
    }

    async fn put_part(&self, upload: &Multipart, _slot: Slot, _content: Vec<Bytes>) -> Result<Part> {
        refused(Operation::PutPart, &upload.key)
    }

    async fn flush(&self, upload: &Multipart) -> Result<()> {
        refused(Operation::Flush, &upload.key)
    }

    async fn complete(&self, upload: &Multipart, _parts: &[Part], _writers: Writers) -> Result<()> {
        refused(Operation::Complete, &upload.key)
    }

    async fn abort(&self, upload: &Multipart) -> Result<()> {
        refused(Operation::Abort, &upload.key)
    }

    async fn pending(&self, prefix: &Key) -> Result<Vec<Pending>> {
        self.0.pending(prefix).await
    }

    async fn promote(&self, _sources: &[Key], to: &Key) -> Result<()> {
        refused(Operation::Promote, to)
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
}
