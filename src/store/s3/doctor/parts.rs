//! Uploads in parts: finished, copied, found while they are under way, and given up.

use std::sync::Arc;

use bytes::Bytes;

use crate::store::{
    Multipart, Part, Slot, Store as _, Writers,
    s3::{
        S3,
        doctor::{
            Examination, Said,
            advice::Access,
            failed,
            objects::{content, content_len},
            step::Step,
        },
        failure::Failure,
    },
};

const JOINED: &str = "joined";
const PIECED: &str = "pieced";
const GIVEN_UP: &str = "given-up";

/// Least size of a part that others follow: the first is as large as that, so that a store that wants more says so.
const PART_LEN: u64 = 5 << 20;

/// Said of steps that need an upload.
const NOT_BEGUN: &str = "no upload in parts could be begun";

impl Examination<'_> {
    pub(super) async fn parts(&mut self) {
        match self.begin(JOINED).await {
            Ok(upload) => self.finish(upload).await,
            Err(failure) => {
                self.judge(Step::Begin, Err(failure));
                self.skip(Step::Part, NOT_BEGUN);
                self.skip(Step::Complete, NOT_BEGUN);
            }
        }
        self.copy_part().await;
        self.give_up().await;
    }

    async fn begin(&mut self, name: &str) -> Result<Multipart, Failure> {
        let (store, key) = (Arc::clone(&self.store), self.key(name));
        let begun = self.timed(async { store.begin(&key).await.map_err(|error| failed(&error)) }).await;
        self.left.uploads.extend(begun.as_ref().ok().cloned());
        begun
    }

    async fn finish(&mut self, upload: Multipart) {
        self.judge(Step::Begin, Ok(Said::fine("an upload in parts is begun")));
        let store = Arc::clone(&self.store);
        let written = self.timed(put_parts(&store, &upload)).await;
        let parts = match written {
            Ok(parts) => {
                self.judge(Step::Part, Ok(Said::fine("5 MiB, and a rest behind it")));
                parts
            }
            Err(failure) => {
                self.judge(Step::Part, Err(failure));
                return self.skip(Step::Complete, "its parts could not be written");
            }
        };
        let completed =
            self.timed(async { store.complete(&upload, &parts, Writers::Sole).await.map_err(|error| failed(&error)) });
        let completed = completed.await;
        self.wrote(&upload.key, &completed);
        if completed.is_ok() {
            self.left.uploads.retain(|left| *left != upload);
        }
        self.judge(Step::Complete, completed.map(|()| Said::fine("the parts become an object")));
    }

    /// As large blobs are copied to where they belong.
    async fn copy_part(&mut self) {
        if self.seen.put != Access::Granted {
            return self.skip(Step::PartCopy, "there is no object to copy");
        }
        let (store, from, to) = (Arc::clone(&self.store), self.first(), self.key(PIECED));
        let copied = self.timed(async {
            let sources = [from];
            store.copy_parts(&sources, &[content_len()], &to).await.map_err(|error| failed(&error))
        });
        let copied = copied.await;
        self.wrote(&to, &copied);
        self.judge(Step::PartCopy, copied.map(|()| Said::fine("an object is copied as a part of another")));
    }

    /// What the purge of abandoned uploads does.
    async fn give_up(&mut self) {
        let upload = self.begin(GIVEN_UP).await.ok();
        let (store, scratch) = (Arc::clone(&self.store), self.plan.scratch.clone());
        let work = async {
            let pending = store.pending(&scratch).await.map_err(|error| failed(&error))?;
            let is_found = |upload: &Multipart| pending.iter().any(|pending| pending.upload == *upload);
            Ok(match &upload {
                None => Said::fine("unfinished uploads can be listed"),
                Some(upload) if is_found(upload) => Said::fine("an unfinished upload is found"),
                Some(_) => Said::warning(
                    "an unfinished upload is not found: what is abandoned stays, unless the bucket has a lifecycle rule \
                     AbortIncompleteMultipartUpload",
                ),
            })
        };
        self.attempt(Step::Uploads, work).await;
        let Some(upload) = upload else { return self.skip(Step::Abort, NOT_BEGUN) };
        let work = async { store.abort(&upload).await.map_err(|error| failed(&error)) };
        let aborted = self.timed(work).await;
        if aborted.is_ok() {
            self.left.uploads.retain(|left| *left != upload);
        }
        self.judge(Step::Abort, aborted.map(|()| Said::fine("an upload is given up")));
    }
}

async fn put_parts(store: &S3, upload: &Multipart) -> Result<Vec<Part>, Failure> {
    let full = Bytes::from(vec![0; usize::try_from(PART_LEN).unwrap_or_default()]);
    let slot = |number, offset| Slot { number, offset };
    let first = store.put_part(upload, slot(1, 0), vec![full]).await.map_err(|error| failed(&error))?;
    let rest = store.put_part(upload, slot(2, PART_LEN), content()).await.map_err(|error| failed(&error))?;
    Ok(vec![first, rest])
}
