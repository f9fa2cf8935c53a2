//! Finds uploads that nobody finished: ours and those of Distribution, by their `startedat`.

use std::time::Duration;

use uuid::Uuid;

use crate::{
    oci::name::RepositoryName,
    registry::{
        Registry, layout,
        session::record::Phase,
        uploads::{finished::KEPT, journal::Journal},
    },
    store::{self, error::Kind, key::Key},
};

/// What one purge found.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Purged {
    /// Uploads that were too old.
    pub abandoned: usize,
    /// Last records of uploads that came to their end.
    pub finished: usize,
    /// Writes that were never completed and belong to no upload.
    pub unfinished_writes: usize,
    /// Uploads that could not be looked at or removed.
    pub failed: usize,
}

/// Whether a purge removes what it finds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    Remove,
    /// Only count.
    Report,
}

impl Registry {
    /// Walks all uploads and removes those that were started more than `age` ago, or finished a while ago.
    ///
    /// # Errors
    /// When the repositories cannot be listed; a single upload that resists is counted and passed over.
    pub async fn purge_uploads(&self, age: Duration, mode: Mode) -> store::Result<Purged> {
        let mut purged = Purged::default();
        let mut pending: Vec<String> = self.children(&self.layout.repositories(), "").await?;
        while let Some(path) = pending.pop() {
            for child in self.children(&self.layout.repositories(), &path).await? {
                match child.rsplit('/').next() {
                    Some(layout::UPLOADS) => self.purge_repository(&path, age, mode, &mut purged).await?,
                    Some(name) if name.starts_with('_') => {}
                    _ => pending.push(child),
                }
            }
        }
        self.purge_pending(&self.layout.blobs(), age, mode, &mut purged).await?;
        // Nothing below the repositories is older than its upload, so what is left is nobody's.
        self.purge_pending(&self.layout.repositories(), age, mode, &mut purged).await?;
        Ok(purged)
    }

    async fn purge_repository(&self, name: &str, age: Duration, mode: Mode, purged: &mut Purged) -> store::Result<()> {
        let Ok(repository) = name.parse::<RepositoryName>() else { return Ok(()) };
        for id in self.children(&self.layout.uploads(&repository), "").await? {
            let Ok(id) = id.parse::<Uuid>() else { continue };
            let journal = Journal { registry: self, repository: &repository, id };
            let count = match self.verdict(&journal, age).await {
                Ok(Verdict::Keep) => continue,
                Ok(Verdict::Abandoned) => &mut purged.abandoned,
                Ok(Verdict::Finished) => &mut purged.finished,
                Err(error) => {
                    tracing::warn!(vars.name = %repository, upload.id = %id, err.message = %error, "could not look at an upload");
                    purged.failed += 1;
                    continue;
                }
            };
            *count += 1;
            if mode == Mode::Remove
                && let Err(error) = remove(&journal).await
            {
                tracing::warn!(vars.name = %repository, upload.id = %id, err.message = %error, "could not remove an upload");
                purged.failed += 1;
            }
        }
        Ok(())
    }

    async fn verdict(&self, journal: &Journal<'_>, age: Duration) -> store::Result<Verdict> {
        let now = self.clock.now();
        // A time that has not come yet was not written by a clock.
        let started = match journal.started_at().await?.filter(|started| *started <= now) {
            Some(started) => started,
            // What a writer that outlived its upload's removal left behind.
            None => match journal.last_write().await? {
                Some(written) => written,
                None => return Ok(Verdict::Keep),
            },
        };
        if now - started > age {
            return Ok(Verdict::Abandoned);
        }
        let ended = journal
            .latest()
            .await?
            .is_some_and(|latest| matches!(latest.record.phase, Phase::Done { .. } | Phase::Cancelled));
        let Some(modified) = journal.modified().await?.filter(|_| ended) else { return Ok(Verdict::Keep) };
        Ok(if now - modified > KEPT { Verdict::Finished } else { Verdict::Keep })
    }

    /// Removes writes that broke off.
    async fn purge_pending(&self, below: &Key, age: Duration, mode: Mode, purged: &mut Purged) -> store::Result<()> {
        let now = self.clock.now();
        for pending in self.store.pending(below).await? {
            if now - pending.started <= age {
                continue;
            }
            if mode == Mode::Remove
                && let Err(error) = self.store.abort(&pending.upload).await
            {
                tracing::warn!(storage.key = %pending.upload.key, err.message = %error, "could not remove an unfinished write");
                purged.failed += 1;
                continue;
            }
            purged.unfinished_writes += 1;
        }
        Ok(())
    }

    /// The names of the prefixes right below `<root>/<path>`, relative to the root.
    async fn children(&self, root: &Key, path: &str) -> store::Result<Vec<String>> {
        if path.is_empty() {
            return self.prefixes(root.clone()).await;
        }
        let Ok(prefix) = root.join(path) else { return Ok(Vec::new()) };
        let names = self.prefixes(prefix).await?;
        Ok(names.into_iter().map(|name| format!("{path}/{name}")).collect())
    }
}

/// Removes an upload, also what only its journal knows of.
async fn remove(journal: &Journal<'_>) -> store::Result<()> {
    match journal.latest().await {
        Ok(Some(latest)) if !matches!(latest.record.phase, Phase::Done { .. }) => {
            journal.abort(&latest.record.contents).await?;
        }
        Ok(_) => {}
        // A record that cannot be read must not keep the rest.
        Err(error) if error.kind == Kind::Corrupt => {}
        Err(error) => return Err(error),
    }
    journal.erase().await
}

/// What becomes of an upload.
enum Verdict {
    Keep,
    Abandoned,
    Finished,
}
