//! A store on which somebody else is at work, too: something happens before calls or after them.

use std::{fmt, ops::Range, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use pierhead::store::{
    Limits, Listing, Meta, Multipart, Object, Page, Part, Pending, Precondition, Result, Slot, Store, Writers,
    error::Operation, faulty::When, key::Key,
};

/// What happens around a call on a key; an error is the call's.
type Act = dyn Fn(When, Operation, &str) -> BoxFuture<'static, Result<()>> + Send + Sync;

/// Looks at a part before it is written.
type Look = dyn Fn(Slot, &[Bytes]) + Send + Sync;

/// Passes calls on to another store.
pub(crate) struct Meddling {
    inner: Arc<dyn Store>,
    limits: Limits,
    act: Box<Act>,
    look: Box<Look>,
}

impl Meddling {
    pub(crate) fn new(
        inner: &Arc<dyn Store>,
        act: impl Fn(When, Operation, &str) -> BoxFuture<'static, Result<()>> + Send + Sync + 'static,
    ) -> Self {
        Self { inner: Arc::clone(inner), limits: inner.limits().clone(), act: Box::new(act), look: Box::new(|_, _| {}) }
    }

    /// Shows every part before it is written.
    pub(crate) fn showing(self, look: impl Fn(Slot, &[Bytes]) + Send + Sync + 'static) -> Self {
        Self { look: Box::new(look), ..self }
    }

    async fn around<T>(&self, operation: Operation, key: &str, call: impl Future<Output = Result<T>>) -> Result<T> {
        (self.act)(When::Before, operation, key).await?;
        let outcome = call.await;
        (self.act)(When::After, operation, key).await?;
        outcome
    }
}

impl fmt::Debug for Meddling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meddling").field("inner", &self.inner).finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for Meddling {
    fn limits(&self) -> &Limits {
        &self.limits
    }

    async fn head(&self, key: &Key) -> Result<Meta> {
        self.around(Operation::Head, key.as_str(), self.inner.head(key)).await
    }

    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Object> {
        self.around(Operation::Get, key.as_str(), self.inner.get(key, range)).await
    }

    async fn put(&self, key: &Key, content: Vec<Bytes>, precondition: Precondition) -> Result<()> {
        self.around(Operation::Put, key.as_str(), self.inner.put(key, content, precondition)).await
    }

    async fn delete(&self, keys: &[Key]) -> Result<()> {
        let first = keys.first().map_or("", Key::as_str);
        self.around(Operation::Delete, first, self.inner.delete(keys)).await
    }

    async fn list(&self, listing: &Listing) -> Result<Page> {
        self.around(Operation::List, listing.prefix.as_str(), self.inner.list(listing)).await
    }

    async fn begin(&self, key: &Key) -> Result<Multipart> {
        self.around(Operation::Begin, key.as_str(), self.inner.begin(key)).await
    }

    async fn put_part(&self, upload: &Multipart, slot: Slot, content: Vec<Bytes>) -> Result<Part> {
        (self.look)(slot, &content);
        self.around(Operation::PutPart, upload.key.as_str(), self.inner.put_part(upload, slot, content)).await
    }

    async fn flush(&self, upload: &Multipart) -> Result<()> {
        self.around(Operation::Flush, upload.key.as_str(), self.inner.flush(upload)).await
    }

    async fn complete(&self, upload: &Multipart, parts: &[Part], writers: Writers) -> Result<()> {
        self.around(Operation::Complete, upload.key.as_str(), self.inner.complete(upload, parts, writers)).await
    }

    async fn abort(&self, upload: &Multipart) -> Result<()> {
        self.around(Operation::Abort, upload.key.as_str(), self.inner.abort(upload)).await
    }

    async fn pending(&self, prefix: &Key) -> Result<Vec<Pending>> {
        self.around(Operation::Pending, prefix.as_str(), self.inner.pending(prefix)).await
    }

    async fn promote(&self, sources: &[Key], to: &Key) -> Result<()> {
        self.around(Operation::Promote, to.as_str(), self.inner.promote(sources, to)).await
    }
}
