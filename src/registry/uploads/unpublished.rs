//! What a push straight to its blob's key has in the store before the blob is visible.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    registry::uploads::{budget::Slabs, journal::Journal},
    store::{self, Multipart, Store, key::Key},
};

/// A whole blob, received and not yet visible: either parts of an upload in parts, or bytes that fit into one.
#[derive(Debug)]
pub(super) struct Pieces {
    pub(super) unpublished: Unpublished,
    /// Empty when an upload in parts was begun.
    pub(super) content: Vec<Bytes>,
    /// What the content weighs.
    pub(super) slabs: Slabs,
}

/// Things that nobody needs once the blob stands or was given up. They are removed when this is dropped, too, as when a
/// request is. What resists is found by the purge.
#[derive(Debug)]
pub(super) struct Unpublished {
    store: Arc<dyn Store>,
    /// An upload in parts at the blob's key.
    upload: Option<Multipart>,
    /// Tails, which are put aside below an upload of their own that has nothing else, behind its `startedat`.
    aside: Vec<Key>,
}

impl Unpublished {
    pub(super) const fn new(store: Arc<dyn Store>) -> Self {
        Self { store, upload: None, aside: Vec::new() }
    }

    pub(super) const fn upload(&self) -> Option<&Multipart> {
        self.upload.as_ref()
    }

    pub(super) fn began(&mut self, upload: Multipart) {
        self.upload = Some(upload);
    }

    /// The upload in parts became the blob.
    pub(super) fn completed(&mut self) {
        self.upload = None;
    }

    /// Takes account of a tail that is about to be written.
    pub(super) async fn put_aside(&mut self, journal: &Journal<'_>, tail: Key) -> store::Result<()> {
        if self.aside.is_empty() {
            self.aside.push(journal.started_at_key());
            journal.write_started_at().await?;
        }
        self.aside.push(tail);
        Ok(())
    }

    /// Removes everything.
    pub(super) async fn discard(&mut self) {
        remove(&*self.store, self.upload.as_ref(), &self.aside).await;
        (self.upload, self.aside) = (None, Vec::new());
    }
}

impl Drop for Unpublished {
    fn drop(&mut self) {
        let (upload, aside) = (self.upload.take(), std::mem::take(&mut self.aside));
        if upload.is_none() && aside.is_empty() {
            return;
        }
        // Without a runtime the process is ending.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let store = Arc::clone(&self.store);
        runtime.spawn(async move { remove(&*store, upload.as_ref(), &aside).await });
    }
}

async fn remove(store: &dyn Store, upload: Option<&Multipart>, aside: &[Key]) {
    // The purge goes by `startedat`, so that stays until the rest is gone.
    let aside: Vec<Key> = aside.iter().rev().cloned().collect();
    let aborted = match upload {
        Some(upload) => store.abort(upload).await,
        None => Ok(()),
    };
    let deleted = if aside.is_empty() { Ok(()) } else { store.delete(&aside).await };
    for error in [aborted, deleted].into_iter().filter_map(Result::err) {
        tracing::warn!(err.message = %error, "could not tidy up behind a push; the purge will");
    }
}
