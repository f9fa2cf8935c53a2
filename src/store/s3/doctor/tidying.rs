//! Nothing of an examination stays, or it says what.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, timeout, timeout_at};

use crate::store::{
    Multipart, Store as _,
    doctor::Verdict,
    s3::doctor::{Examination, step::Step},
};

/// For a look at what is left, and for removing it.
const LOOK_MAX: Duration = Duration::from_secs(5);
const REMOVE_MAX: Duration = Duration::from_secs(10);

impl Examination<'_> {
    /// Takes away whatever was left, and says what it could not.
    pub(super) async fn tidy(&mut self) {
        let (store, uploads) = (Arc::clone(&self.store), self.uploads().await);
        let deadline = Instant::now() + REMOVE_MAX;
        let mut stayed = Vec::new();
        for upload in &uploads {
            if !matches!(timeout_at(deadline, store.abort(upload)).await, Ok(Ok(()))) {
                stayed.push(format!("the unfinished upload of {}", store.bucket.full(&upload.key)));
            }
        }
        for key in &self.left.keys {
            let removed = timeout_at(deadline, store.delete(std::slice::from_ref(key))).await;
            if !matches!(removed, Ok(Ok(()))) {
                stayed.push(store.bucket.full(key));
            }
        }
        if !stayed.is_empty() {
            let sentence = format!("could not be removed, and stays in the bucket: {}", stayed.join(", "));
            self.record.note(Step::CleanUp.name(), Verdict::Warning, sentence);
        }
    }

    /// What is known to be left, and what a step that failed did not tell.
    async fn uploads(&self) -> Vec<Multipart> {
        let found = timeout(LOOK_MAX, self.store.pending(&self.plan.scratch)).await;
        let found = found.ok().and_then(Result::ok).unwrap_or_default();
        let mut uploads = self.left.uploads.clone();
        for pending in found {
            if !uploads.contains(&pending.upload) {
                uploads.push(pending.upload);
            }
        }
        uploads
    }
}
