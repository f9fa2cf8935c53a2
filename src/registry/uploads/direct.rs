//! A blob whose digest is known before its first byte: straight to its final key, no copy, no journal.

use crate::{
    oci::digest::Digest,
    registry::{
        blobs::Blob,
        session::{draft::Draft, record::Contents},
        uploads::{
            Error, Incoming, Uploads,
            journal::Journal,
            publish,
            receive::{Bounds, Cause, Received, Receiver, Target, only_segment},
        },
    },
    store::{self, Precondition, Writers, key::Key},
};

/// Streams a body to the key of this digest; nothing is visible before length and digest are right.
pub(super) async fn store(
    uploads: &Uploads<'_>,
    digest: &Digest,
    bounds: &mut Bounds,
    body: &mut dyn Incoming,
) -> Result<Blob, Error> {
    let registry = uploads.registry;
    let key = registry.layout.blob_data(digest);
    let contents = Contents::empty(digest.algorithm());
    let draft = Draft::new(contents, 0, false, registry.store.limits().clone()).ok_or(Error::Unknown)?;
    let received = Receiver::new(registry, Target::Blob(&key), draft).run(body, bounds).await?;
    let verified = verify(&received, digest);
    if verified.is_err() {
        withdraw(uploads, &key, &received.contents).await?;
    }
    let size = verified?;
    place(uploads, &key, &received.contents).await?;
    let journal = Journal { registry, repository: uploads.repository, id: uuid::Uuid::nil() };
    publish::link(&journal, digest).await?;
    Ok(Blob { digest: digest.clone(), size })
}

fn verify(received: &Received, digest: &Digest) -> Result<u64, Error> {
    match received.cause {
        Some(Cause::Interrupted(interrupted)) => return Err(Error::Interrupted(interrupted)),
        Some(Cause::TooLarge { limit }) => return Err(Error::TooLarge { limit }),
        Some(Cause::Size) => return Err(Error::SizeMismatch),
        None => {}
    }
    match received.contents.digest() {
        Some(actual) if actual == *digest => Ok(received.contents.offset),
        Some(actual) => Err(Error::DigestMismatch { expected: digest.clone(), actual }),
        None => Err(Error::Unknown),
    }
}

/// Makes what was received visible, unless data of this size stands already.
async fn place(uploads: &Uploads<'_>, key: &Key, contents: &Contents) -> store::Result<()> {
    let store = &uploads.registry.store;
    if publish::stands(uploads.registry, key, contents.offset).await? {
        return withdraw(uploads, key, contents).await;
    }
    match only_segment(contents, key) {
        Some((upload, parts)) => store.complete(&upload, parts, Writers::Sole).await,
        None => store.put(key, Vec::new(), Precondition::Always).await,
    }
}

async fn withdraw(uploads: &Uploads<'_>, key: &Key, contents: &Contents) -> store::Result<()> {
    match only_segment(contents, key) {
        Some((upload, _)) => uploads.registry.store.abort(&upload).await,
        None => Ok(()),
    }
}
