//! From an upload's segments and tails to a blob of the repository. Every step can be taken again, by anyone.

use bytes::Bytes;
use futures_util::TryStreamExt;

use crate::{
    oci::{
        digest::{Algorithm, Digest},
        hasher::Hasher,
        name::RepositoryName,
    },
    registry::{
        Registry,
        session::{
            attempt::Event,
            record::{Contents, Tail},
        },
        uploads::{budget::Slabs, journal::Journal},
    },
    store::{
        self, Precondition, Writers,
        error::{Error, Kind},
        key::Key,
    },
};

/// The number of the tail that all tails are joined into, above every number that a draft gives.
const JOINED: u32 = u32::MAX;

/// Makes each segment an object; reads everything back where the running hash is of another algorithm, or in a form
/// that this version does not know.
pub(super) async fn finish(journal: &Journal<'_>, contents: &Contents, digest: &Digest) -> store::Result<Event> {
    if let Err(error) = complete(journal, contents).await {
        return gone(error);
    }
    if contents.hash.algorithm() == Some(digest.algorithm()) && contents.digest().is_some() {
        return Ok(Event::Finished);
    }
    match read_back(journal, contents, digest.algorithm()).await.map(Hasher::finish) {
        Ok(actual) if actual == *digest => Ok(Event::Finished),
        Ok(actual) => Ok(Event::Mismatched { actual }),
        Err(error) => gone(error),
    }
}

/// Takes the running hash up where this version does not know the form that it was stored in, by reading everything
/// back. Parts of an upload cannot be read, so each segment becomes an object, and is closed: what follows goes into
/// one of its own.
pub(super) async fn rehash(
    journal: &Journal<'_>,
    contents: &mut Contents,
    algorithm: Algorithm,
) -> store::Result<Hasher> {
    tracing::info!(
        vars.name = %journal.repository, upload.id = %journal.id, upload.offset = contents.offset,
        "hashing an upload again: its hash was stored by another version"
    );
    let rehashed = async {
        complete(journal, contents).await?;
        read_back(journal, contents, algorithm).await
    };
    // Whoever finished or cancelled the upload meanwhile took its data away.
    let hasher = rehashed.await.map_err(|error| match error.kind {
        Kind::NotFound => Error { kind: Kind::UploadGone, ..error },
        _ => error,
    })?;
    for segment in &mut contents.segments {
        segment.closed = true;
    }
    Ok(hasher)
}

/// Makes each segment an object; one that is an object already stays as it is.
async fn complete(journal: &Journal<'_>, contents: &Contents) -> store::Result<()> {
    let writers = if contents.fenced { Writers::MayLinger } else { Writers::Sole };
    for segment in &contents.segments {
        let upload = journal.segment(segment.number, segment.id.clone());
        journal.registry.store.complete(&upload, &segment.parts, writers).await?;
    }
    Ok(())
}

/// Joins the objects at the blob's key, unless data of this size stands there.
pub(super) async fn promote(journal: &Journal<'_>, contents: &Contents, digest: &Digest) -> store::Result<Event> {
    let Registry { store, layout, .. } = journal.registry;
    let to = layout.blob_data(digest);
    if stands(journal.registry, &to, contents.offset).await? {
        return Ok(Event::Promoted);
    }
    let promoted = match sources(journal, contents).await {
        Ok(sources) if sources.is_empty() => store.put(&to, Vec::new(), Precondition::Always).await,
        Ok(sources) => store.promote(&sources, &to).await,
        Err(error) => Err(error),
    };
    promoted.map_or_else(gone, |()| Ok(Event::Promoted))
}

/// Makes the blob one of the repository's.
pub(super) async fn link(registry: &Registry, repository: &RepositoryName, digest: &Digest) -> store::Result<()> {
    registry.write_link(&registry.layout.layer_link(repository, digest), digest).await
}

/// Whether data of this size stands at a blob's key. Data of another size cannot be that blob: it is replaced.
pub(super) async fn stands(registry: &Registry, key: &Key, size: u64) -> store::Result<bool> {
    match registry.store.head(key).await {
        Ok(meta) if meta.size == size => Ok(true),
        Ok(meta) => {
            tracing::warn!(
                "blob.key" = %key, "blob.size" = meta.size, "upload.size" = size,
                "replacing blob data whose size cannot be right"
            );
            Ok(false)
        }
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(error),
    }
}

/// The objects that make up the content. Several tails are joined first: only the last source may be small.
async fn sources(journal: &Journal<'_>, contents: &Contents) -> store::Result<Vec<Key>> {
    let mut sources: Vec<Key> = contents.segments.iter().map(|s| journal.segment_key(s.number)).collect();
    match contents.tails.as_slice() {
        [] => {}
        [tail] => sources.push(journal.tail_key(tail)),
        [first, ..] => {
            let mut slabs = Slabs::default();
            journal.registry.budget.cover(&mut slabs, contents.tail_len()).await;
            let mut content: Vec<Bytes> = Vec::new();
            for tail in &contents.tails {
                let object = journal.registry.store.get(&journal.tail_key(tail), None).await?;
                content.extend(object.content.try_collect::<Vec<_>>().await?);
            }
            let joined = journal.tail_key(&Tail { seq: first.seq, number: JOINED, length: contents.tail_len() });
            journal.registry.store.put(&joined, content, Precondition::Always).await?;
            drop(slabs);
            sources.push(joined);
        }
    }
    Ok(sources)
}

/// Hashes the content of completed segments and tails.
async fn read_back(journal: &Journal<'_>, contents: &Contents, algorithm: Algorithm) -> store::Result<Hasher> {
    let mut hasher = Hasher::new(algorithm);
    let segments = contents.segments.iter().map(|segment| journal.segment_key(segment.number));
    for key in segments.chain(contents.tails.iter().map(|tail| journal.tail_key(tail))) {
        let mut object = journal.registry.store.get(&key, None).await?;
        while let Some(chunk) = object.content.try_next().await? {
            hasher.update(&chunk);
        }
    }
    Ok(hasher)
}

fn gone(error: Error) -> store::Result<Event> {
    match error.kind {
        Kind::NotFound | Kind::UploadGone => Ok(Event::Gone),
        _ => Err(error),
    }
}
