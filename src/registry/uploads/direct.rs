//! A blob whose digest is known before its first byte: straight to its final key, no copy, no journal.

use uuid::Uuid;

use crate::{
    oci::{digest::Digest, hasher::Hasher},
    registry::{
        Registry,
        blobs::Blob,
        session::{draft::Draft, record::Contents},
        uploads::{
            Error, Incoming, Uploads, publish,
            receive::{Bounds, Cause, Received, Receiver, Target},
            unpublished::Pieces,
        },
    },
    store::{self, Parts, Precondition, Writers, key::Key},
};

/// Whether a body may go this way: a blob at its own key is one upload in parts, which holds only so many of them.
pub(super) fn takes(registry: &Registry, bounds: &Bounds) -> bool {
    bounds.announced.is_none_or(|announced| announced <= capacity(registry))
}

/// Streams a body that [`takes`] allows to the key of this digest; nothing is visible before length and digest are
/// right. A body that breaks off, whatever the reason, leaves nothing behind.
pub(super) async fn store(
    uploads: &Uploads<'_>,
    digest: &Digest,
    bounds: Bounds,
    body: &mut dyn Incoming,
) -> Result<Blob, Error> {
    let registry = uploads.registry;
    let key = registry.layout.blob_data(digest);
    let (contents, hasher) = (Contents::empty(digest.algorithm()), Hasher::new(digest.algorithm()));
    let draft = Draft::new(contents, hasher, 0, false, registry.store.limits().clone());
    let target = Target::Blob { key: &key, aside: uploads.journal(Uuid::now_v7()) };
    let size_max = bounds.blob_size_max.unwrap_or(u64::MAX).min(capacity(registry));
    let mut bounds = Bounds { blob_size_max: Some(size_max), ..bounds };
    let mut received = Receiver::new(registry, target, draft).run(body, &mut bounds).await?;
    if let Err(error) = verify(&received, digest) {
        received.blob.unpublished.discard().await;
        return Err(error);
    }
    place(registry, &key, &mut received.blob, &received.contents).await?;
    publish::link(registry, uploads.repository, digest).await?;
    received.blob.unpublished.discard().await;
    Ok(Blob { digest: digest.clone(), size: received.contents.offset })
}

/// What one upload in parts holds at most, in bytes.
fn capacity(registry: &Registry) -> u64 {
    let limits = registry.store.limits();
    match limits.parts {
        Parts::Appended => u64::MAX,
        Parts::Equal { size } => size.saturating_mul(limits.parts_max.into()),
    }
}

fn verify(received: &Received, digest: &Digest) -> Result<(), Error> {
    match received.cause {
        Some(Cause::Interrupted(interrupted)) => return Err(Error::Interrupted(interrupted)),
        Some(Cause::TooLarge { limit }) => return Err(Error::TooLarge { limit }),
        Some(Cause::Size) => return Err(Error::SizeMismatch),
        None => {}
    }
    match received.contents.digest() {
        Some(actual) if actual == *digest => Ok(()),
        Some(actual) => Err(Error::DigestMismatch { expected: digest.clone(), actual }),
        None => Err(Error::Unknown),
    }
}

/// Makes what was received visible, unless data of this size stands already.
async fn place(registry: &Registry, key: &Key, pieces: &mut Pieces, contents: &Contents) -> store::Result<()> {
    if publish::stands(registry, key, contents.offset).await? {
        return Ok(());
    }
    let Some(upload) = pieces.unpublished.upload() else {
        let (content, slabs) = (std::mem::take(&mut pieces.content), std::mem::take(&mut pieces.slabs));
        registry.store.put(key, content, Precondition::Always).await?;
        drop(slabs);
        return Ok(());
    };
    let parts = contents.segments.first().map_or(&[][..], |segment| &segment.parts);
    registry.store.complete(upload, parts, Writers::Sole).await?;
    pieces.unpublished.completed();
    Ok(())
}
