//! A store, or what knows addresses of its objects, that tells how long each call took and how it ended.

use std::{
    fmt,
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use http::Uri;

use crate::store::{
    Limits, Listing, Meta, Multipart, Object, Page, Part, Pending, Precondition, Result, Slot, Store, Writers,
    error::{Kind, Operation},
    key::Key,
    locate::{Locate, Visitor},
};

/// One finished call.
#[derive(Clone, Copy, Debug)]
pub struct Observation {
    pub operation: Operation,
    /// Until the answer: of [`Store::get`], until the content begins.
    pub duration: Duration,
    pub outcome: Result<(), Kind>,
}

/// Passes calls on to a [`Store`] or a [`Locate`] and observes them.
pub struct Metered<T: ?Sized> {
    inner: Arc<T>,
    observe: Box<dyn Fn(Observation) + Send + Sync>,
}

impl<T: ?Sized> Metered<T> {
    pub fn new(inner: Arc<T>, observe: impl Fn(Observation) + Send + Sync + 'static) -> Self {
        Self { inner, observe: Box::new(observe) }
    }

    async fn time<O>(&self, operation: Operation, call: impl Future<Output = Result<O>>) -> Result<O> {
        let start = Instant::now();
        let result = call.await;
        let outcome = result.as_ref().map(|_| ()).map_err(|error| error.kind);
        (self.observe)(Observation { operation, duration: start.elapsed(), outcome });
        result
    }
}

impl<T: fmt::Debug + ?Sized> fmt::Debug for Metered<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metered").field("inner", &self.inner).finish_non_exhaustive()
    }
}

#[async_trait]
impl<L: Locate + ?Sized> Locate for Metered<L> {
    async fn locate(&self, key: &Key, visitor: &Visitor) -> Result<Option<Uri>> {
        self.time(Operation::Locate, self.inner.locate(key, visitor)).await
    }
}

#[async_trait]
impl<S: Store + ?Sized> Store for Metered<S> {
    fn limits(&self) -> &Limits {
        self.inner.limits()
    }

    async fn head(&self, key: &Key) -> Result<Meta> {
        self.time(Operation::Head, self.inner.head(key)).await
    }

    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Object> {
        self.time(Operation::Get, self.inner.get(key, range)).await
    }

    async fn put(&self, key: &Key, content: Vec<Bytes>, precondition: Precondition) -> Result<()> {
        self.time(Operation::Put, self.inner.put(key, content, precondition)).await
    }

    async fn delete(&self, keys: &[Key]) -> Result<()> {
        self.time(Operation::Delete, self.inner.delete(keys)).await
    }

    async fn list(&self, listing: &Listing) -> Result<Page> {
        self.time(Operation::List, self.inner.list(listing)).await
    }

    async fn begin(&self, key: &Key) -> Result<Multipart> {
        self.time(Operation::Begin, self.inner.begin(key)).await
    }

    async fn put_part(&self, upload: &Multipart, slot: Slot, content: Vec<Bytes>) -> Result<Part> {
        self.time(Operation::PutPart, self.inner.put_part(upload, slot, content)).await
    }

    async fn flush(&self, upload: &Multipart) -> Result<()> {
        self.time(Operation::Flush, self.inner.flush(upload)).await
    }

    async fn complete(&self, upload: &Multipart, parts: &[Part], writers: Writers) -> Result<()> {
        self.time(Operation::Complete, self.inner.complete(upload, parts, writers)).await
    }

    async fn abort(&self, upload: &Multipart) -> Result<()> {
        self.time(Operation::Abort, self.inner.abort(upload)).await
    }

    async fn pending(&self, prefix: &Key) -> Result<Vec<Pending>> {
        self.time(Operation::Pending, self.inner.pending(prefix)).await
    }

    async fn promote(&self, sources: &[Key], to: &Key) -> Result<()> {
        self.time(Operation::Promote, self.inner.promote(sources, to)).await
    }
}
