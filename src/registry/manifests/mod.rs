//! Manifests of one repository.
//!
//! A manifest is read only if a link in the repository vouches for it and its bytes hash to its digest. It is written
//! in the order that lets every reader see a whole one at any moment: content, link, referrer record, tags.

use bytes::Bytes;

use crate::{
    oci::{
        digest::{Algorithm, Digest},
        hasher::Hasher,
        manifest::{self, InvalidManifest, Manifest},
        name::RepositoryName,
        reference::Reference,
        tag::Tag,
    },
    registry::{
        Registry, content,
        error::{Error, ManifestFault},
    },
    store::{
        self, Precondition,
        error::{Kind, Operation},
        key::Key,
    },
};

mod references;
pub mod validation;

/// The manifests of one repository.
#[derive(Clone, Copy, Debug)]
pub struct Manifests<'a> {
    pub(in crate::registry) registry: &'a Registry,
    pub(in crate::registry) repository: &'a RepositoryName,
}

/// A stored manifest; its bytes hash to its digest.
#[derive(Clone, Debug)]
pub struct Stored {
    pub digest: Digest,
    /// As it was pushed or as the content says, for `Content-Type`.
    pub media_type: String,
    pub raw: Bytes,
}

/// A manifest on its way in.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// Under which it was pushed.
    pub reference: Reference,
    /// Further tags to set (`?tag=`, OCI distribution-spec after 1.1).
    pub tags: Vec<Tag>,
    /// Those of all its tags that may not be moved from another manifest.
    pub immutable: Vec<Tag>,
    /// The request's `Content-Type`, if any.
    pub content_type: Option<String>,
    pub raw: Bytes,
}

/// A manifest that was stored.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Accepted {
    pub digest: Digest,
    pub media_type: String,
    /// In bytes.
    pub size: u64,
    /// Every tag that now names it, in the order asked for.
    pub tags: Vec<Tag>,
    pub subject: Option<Digest>,
}

impl Manifests<'_> {
    /// # Errors
    /// `ManifestUnknown` unless this repository has it; never bytes that do not hash to the digest. `ManifestInvalid`
    /// for an old manifest of a kind that is no longer served.
    pub async fn get(&self, reference: &Reference) -> Result<Stored, Error> {
        let digest = match reference {
            Reference::Digest(digest) => digest.clone(),
            Reference::Tag(tag) => self.registry.tags(self.repository).resolve(tag).await?,
        };
        let raw = self.read(&digest).await?.ok_or_else(|| Error::ManifestUnknown(reference.clone()))?;
        let kind = manifest::stored_kind(&raw).map_err(|error| invalid(&error))?;
        Ok(Stored { digest, media_type: kind.media_type().to_owned(), raw })
    }

    /// Checks and stores a manifest, then moves its tags.
    ///
    /// # Errors
    /// `ManifestInvalid`, `ManifestReferencesUnknown`, `DigestMismatch`, and `TagTaken` for an immutable tag: then the
    /// manifest is stored, and the tags before that one are set.
    pub async fn put(&self, incoming: Incoming) -> Result<Accepted, Error> {
        let (expected, tag) = match incoming.reference {
            Reference::Digest(digest) => (Some(digest), None),
            Reference::Tag(tag) => (None, Some(tag)),
        };
        let algorithm = expected.as_ref().map_or(Algorithm::Sha256, Digest::algorithm);
        let manifest = Manifest::parse(incoming.content_type.as_deref(), algorithm, incoming.raw)
            .map_err(|error| invalid(&error))?;
        if let Some(expected) = expected.filter(|expected| expected != manifest.digest()) {
            return Err(Error::DigestMismatch { expected, actual: manifest.digest().clone() });
        }
        self.check_references(&manifest).await?;

        let mut tags: Vec<Tag> = Vec::new();
        for tag in tag.into_iter().chain(incoming.tags) {
            if !tags.contains(&tag) {
                tags.push(tag);
            }
        }
        self.store(&manifest, &tags, &incoming.immutable).await?;
        Ok(Accepted {
            digest: manifest.digest().clone(),
            media_type: manifest.media_type().to_owned(),
            size: manifest.raw().len() as u64,
            tags,
            subject: manifest.subject().map(|subject| subject.digest.clone()),
        })
    }

    /// Removes a manifest and every tag that names it; returns those tags.
    ///
    /// The link goes last: whoever is stopped in between can delete again.
    ///
    /// # Errors
    /// `ManifestUnknown`.
    pub async fn delete(&self, digest: &Digest) -> Result<Vec<Tag>, Error> {
        let link = self.registry.layout.manifest_revision(self.repository, digest);
        // A damaged link can be removed too, so only its being there is asked for.
        if !self.registry.stands(&link).await? {
            return Err(Error::ManifestUnknown(Reference::Digest(digest.clone())));
        }
        let subject = self.subject_of(digest).await?;
        let referrer = subject.map(|subject| self.registry.layout.referrer(self.repository, &subject, digest));
        // Nothing between the last tag and the link: a push of the same manifest that comes in there keeps its tag and
        // loses its link.
        let tags = self.registry.tags(self.repository).delete_naming(digest).await?;
        let keys: Vec<Key> = referrer.into_iter().chain([link]).collect();
        self.registry.store.delete(&keys).await?;
        Ok(tags)
    }

    /// A manifest of this repository whose bytes hash to its digest; `None` when the repository has none.
    ///
    /// # Errors
    /// Kind `Corrupt` when the bytes hash to something else.
    pub(in crate::registry) async fn read(&self, digest: &Digest) -> Result<Option<Bytes>, store::error::Error> {
        if !self.registry.revision(self.repository, digest).await? {
            return Ok(None);
        }
        if let Some(raw) = self.registry.verified.get(digest) {
            return Ok(Some(raw));
        }
        let key = self.registry.layout.blob_data(digest);
        let raw = match content::read(&*self.registry.store, &key, manifest::SIZE_MAX as u64).await {
            Ok(raw) => raw,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        };
        let actual = Hasher::digest(digest.algorithm(), &raw);
        if actual != *digest {
            let error = store::error::Error::new(Operation::Get, &key, Kind::Corrupt);
            return Err(error.with_source(format!("the content's digest is {actual}")));
        }
        self.registry.verified.insert(digest.clone(), raw.clone(), raw.len());
        Ok(Some(raw))
    }

    /// A manifest that cannot be read any more has no subject that could be known.
    async fn subject_of(&self, digest: &Digest) -> Result<Option<Digest>, Error> {
        let raw = match self.read(digest).await {
            Ok(raw) => raw,
            Err(error) if error.kind == Kind::Corrupt => None,
            Err(error) => return Err(error.into()),
        };
        let manifest = raw.and_then(|raw| Manifest::parse(None, digest.algorithm(), raw).ok());
        Ok(manifest.and_then(|manifest| manifest.subject().map(|subject| subject.digest.clone())))
    }

    async fn store(&self, manifest: &Manifest, tags: &[Tag], immutable: &[Tag]) -> Result<(), Error> {
        let (layout, digest) = (&self.registry.layout, manifest.digest());
        self.store_content(&layout.blob_data(digest), manifest).await?;
        self.registry.write_link(&layout.manifest_revision(self.repository, digest), digest).await?;
        self.registry.referrers(self.repository).record(manifest).await?;
        let names = self.registry.tags(self.repository);
        for tag in tags {
            if !immutable.contains(tag) {
                names.set(tag, digest).await?;
            } else if !names.set_once(tag, digest).await? {
                return Err(Error::TagTaken(tag.clone()));
            }
        }
        Ok(())
    }

    /// Writes the content unless exactly it stands there already: pushing again mends what the medium damaged.
    async fn store_content(&self, key: &Key, manifest: &Manifest) -> Result<(), store::error::Error> {
        let store = &self.registry.store;
        let raw = manifest.raw();
        match store.put(key, vec![raw.clone()], Precondition::Absent).await {
            Err(error) if error.kind == Kind::AlreadyExists => {}
            result => return result,
        }
        match content::read(&**store, key, manifest::SIZE_MAX as u64).await {
            Ok(standing) if standing == *raw => return Ok(()),
            Ok(_) => {}
            Err(error) if matches!(error.kind, Kind::NotFound | Kind::Corrupt) => {}
            Err(error) => return Err(error),
        }
        tracing::warn!(storage.key = %key, "stored content did not match its digest and was replaced by a push of it");
        store.put(key, vec![raw.clone()], Precondition::Always).await
    }
}

fn invalid(error: &InvalidManifest) -> Error {
    Error::ManifestInvalid(ManifestFault(error.to_string()))
}
