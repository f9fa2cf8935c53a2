//! A store that fails when it is told to: what a crash, a lost request or a lost answer looks like from above.

use std::{
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;

use crate::store::{
    Limits, Listing, Meta, Multipart, Object, Page, Part, Pending, Precondition, Result, Slot, Store, Writers,
    error::{Error, Kind, Operation},
    key::Key,
};

/// Which call fails, and how.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Plan {
    /// From 1, over all operations in the order in which they were called; 0 lets every call through.
    pub call: u64,
    pub when: When,
    pub kind: Kind,
}

/// On which side of its effect a call fails.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum When {
    /// The request was lost: nothing happened.
    Before,
    /// The answer was lost: it happened all the same.
    After,
}

/// Passes calls on to another store, except for one.
#[derive(Debug)]
pub struct Faulty<S: ?Sized> {
    inner: Arc<S>,
    plan: Plan,
    /// Operation and key of every call so far.
    calls: Mutex<Vec<(Operation, String)>>,
}

impl<S: Store + ?Sized> Faulty<S> {
    pub const fn new(inner: Arc<S>, plan: Plan) -> Self {
        Self { inner, plan, calls: Mutex::new(Vec::new()) }
    }

    /// The operations called so far, in order, with their keys.
    pub fn operations(&self) -> Vec<(Operation, String)> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many operations were called so far.
    pub fn calls(&self) -> u64 {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).len() as u64
    }

    async fn pass<T>(&self, operation: Operation, key: &str, call: impl Future<Output = Result<T>>) -> Result<T> {
        let number = {
            let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
            calls.push((operation, key.to_owned()));
            calls.len() as u64
        };
        if number != self.plan.call {
            return call.await;
        }
        if self.plan.when == When::After {
            // Its outcome is what the caller never learns.
            let _lost = call.await;
        }
        Err(Error::new(operation, key, self.plan.kind).with_source("an injected fault"))
    }
}

#[async_trait]
impl<S: Store + ?Sized> Store for Faulty<S> {
    fn limits(&self) -> &Limits {
        self.inner.limits()
    }

    async fn head(&self, key: &Key) -> Result<Meta> {
        self.pass(Operation::Head, key.as_str(), self.inner.head(key)).await
    }

    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Object> {
        self.pass(Operation::Get, key.as_str(), self.inner.get(key, range)).await
    }

    async fn put(&self, key: &Key, content: Vec<Bytes>, precondition: Precondition) -> Result<()> {
        self.pass(Operation::Put, key.as_str(), self.inner.put(key, content, precondition)).await
    }

    async fn delete(&self, keys: &[Key]) -> Result<()> {
        let first = keys.first().map_or("", Key::as_str);
        self.pass(Operation::Delete, first, self.inner.delete(keys)).await
    }

    async fn list(&self, listing: &Listing) -> Result<Page> {
        self.pass(Operation::List, listing.prefix.as_str(), self.inner.list(listing)).await
    }

    async fn begin(&self, key: &Key) -> Result<Multipart> {
        self.pass(Operation::Begin, key.as_str(), self.inner.begin(key)).await
    }

    async fn put_part(&self, upload: &Multipart, slot: Slot, content: Vec<Bytes>) -> Result<Part> {
        self.pass(Operation::PutPart, upload.key.as_str(), self.inner.put_part(upload, slot, content)).await
    }

    async fn flush(&self, upload: &Multipart) -> Result<()> {
        self.pass(Operation::Flush, upload.key.as_str(), self.inner.flush(upload)).await
    }

    async fn complete(&self, upload: &Multipart, parts: &[Part], writers: Writers) -> Result<()> {
        self.pass(Operation::Complete, upload.key.as_str(), self.inner.complete(upload, parts, writers)).await
    }

    async fn abort(&self, upload: &Multipart) -> Result<()> {
        self.pass(Operation::Abort, upload.key.as_str(), self.inner.abort(upload)).await
    }

    async fn pending(&self, prefix: &Key) -> Result<Vec<Pending>> {
        self.pass(Operation::Pending, prefix.as_str(), self.inner.pending(prefix)).await
    }

    async fn promote(&self, sources: &[Key], to: &Key) -> Result<()> {
        self.pass(Operation::Promote, to.as_str(), self.inner.promote(sources, to)).await
    }
}
