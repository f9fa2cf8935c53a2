//! Reading small objects whole, and the links that give content to repositories.

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use time::Duration;

use crate::{
    oci::{digest::Digest, name::RepositoryName},
    registry::Registry,
    store::{
        Depth, Listing, Precondition, Store,
        error::{Error, Kind, Operation},
        key::Key,
    },
};

/// How long content is taken to stand since the store said so. An address that is handed out is good for longer than
/// that, so a shorter time would promise nothing more.
const LATELY: Duration = Duration::MINUTE;

/// Largest link that is read, in bytes; a true one has at most 135.
const LINK_SIZE_MAX: u64 = 256;

/// The bytes of an object that is small by right.
///
/// # Errors
/// Kind `Corrupt` when it is larger than `size_max` bytes or longer or shorter than the store said.
pub(in crate::registry) async fn read(store: &dyn Store, key: &Key, size_max: u64) -> Result<Bytes, Error> {
    let corrupt = |why: String| Error::new(Operation::Get, key, Kind::Corrupt).with_source(why);
    let mut object = store.get(key, None).await?;
    let size = object.meta.size;
    if size > size_max {
        return Err(corrupt(format!("{size} bytes where at most {size_max} can be")));
    }
    let first = object.content.try_next().await?.unwrap_or_default();
    if first.len() as u64 == size {
        return Ok(first);
    }
    let mut whole = first.to_vec();
    while let Some(chunk) = object.content.try_next().await? {
        if (whole.len() + chunk.len()) as u64 > size {
            return Err(corrupt(format!("more than the {size} bytes that were promised")));
        }
        whole.extend_from_slice(&chunk);
    }
    if (whole.len() as u64) < size {
        return Err(corrupt(format!("{} bytes instead of the {size} that were promised", whole.len())));
    }
    Ok(whole.into())
}

impl Registry {
    /// The digest that a link names; `None` when there is no link or its content is no digest.
    ///
    /// A damaged link means that the content is not there: the client can push it again, which mends the link.
    pub(in crate::registry) async fn read_link(&self, key: &Key) -> Result<Option<Digest>, Error> {
        let text = match read(&*self.store, key, LINK_SIZE_MAX).await {
            Ok(text) => text,
            Err(error) if error.kind == Kind::NotFound => return Ok(None),
            Err(error) if error.kind == Kind::Corrupt => Bytes::new(),
            Err(error) => return Err(error),
        };
        let digest = std::str::from_utf8(&text).ok().and_then(|text| text.trim_end().parse().ok());
        if digest.is_none() {
            tracing::warn!(storage.key = %key, "a damaged link counts as missing: it does not hold a digest");
        }
        Ok(digest)
    }

    /// Writes a link: exactly the digest, no line feed.
    pub(in crate::registry) async fn write_link(&self, key: &Key, digest: &Digest) -> Result<(), Error> {
        self.store.put(key, vec![Bytes::from(digest.to_string())], Precondition::Always).await
    }

    /// Whether an object has this key.
    pub(in crate::registry) async fn stands(&self, key: &Key) -> Result<bool, Error> {
        match self.store.head(key).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether the repository holds a manifest.
    pub(in crate::registry) async fn revision(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<bool, Error> {
        let target = self.read_link(&self.layout.manifest_revision(repository, digest)).await?;
        Ok(target.as_ref() == Some(digest))
    }

    /// Whether the repository holds a manifest or a tag; empty directories and stray objects do not count.
    pub(in crate::registry) async fn holds_manifests(&self, repository: &RepositoryName) -> Result<bool, Error> {
        Ok(self.links_below(self.layout.revisions(repository)).await?
            || self.links_below(self.layout.tags(repository)).await?)
    }

    async fn links_below(&self, prefix: Key) -> Result<bool, Error> {
        let mut pages = self.pages(Listing { prefix, depth: Depth::All, after: None, limit: 16 });
        while let Some(page) = pages.next().await? {
            if page.iter().any(|entry| entry.name().ends_with("/link")) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The size of content, remembered or looked up; `None` when it is not there.
    ///
    /// What is remembered may have been collected meanwhile by another process: good enough to describe content,
    /// never to vouch for it.
    pub(in crate::registry) async fn content_size(&self, digest: &Digest) -> Result<Option<u64>, Error> {
        match self.descriptors.get(digest) {
            Some(size) => Ok(Some(size)),
            None => self.content_size_now(digest).await,
        }
    }

    /// The size of content as the store says it now; `None` when it is not there.
    pub(in crate::registry) async fn content_size_now(&self, digest: &Digest) -> Result<Option<u64>, Error> {
        match self.store.head(&self.layout.blob_data(digest)).await {
            Ok(meta) => {
                self.descriptors.insert(digest.clone(), meta.size, 1);
                self.stood.insert(digest.clone(), self.clock.now(), 1);
                Ok(Some(meta.size))
            }
            Err(error) if error.is_not_found() => {
                self.forget_content(digest);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether the store has said of content within [`LATELY`], or says now, that it stands.
    pub(in crate::registry) async fn stands_lately(&self, digest: &Digest) -> Result<bool, Error> {
        let age = self.stood.find(digest).map(|stood| self.clock.now() - stood);
        // Less than nothing when the clock was set back.
        let lately = age.is_some_and(|age| (Duration::ZERO..=LATELY).contains(&age));
        Ok(lately || self.content_size_now(digest).await?.is_some())
    }

    /// What was remembered of content turned out to be wrong.
    pub(in crate::registry) fn forget_content(&self, digest: &Digest) {
        self.descriptors.remove(digest);
        self.stood.remove(digest);
    }
}
