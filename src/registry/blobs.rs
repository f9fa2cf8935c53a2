//! Blobs of one repository: content that a link in the repository vouches for.

use std::{net::IpAddr, ops::Range};

use http::Uri;

use crate::{
    oci::{
        digest::{Algorithm, Digest},
        name::RepositoryName,
    },
    registry::{Registry, error::Error},
    store::{
        self, Object,
        error::{Kind, Operation},
        locate::Visitor,
    },
};

/// The blobs of one repository.
#[derive(Clone, Copy, Debug)]
pub struct Blobs<'a> {
    pub(in crate::registry) registry: &'a Registry,
    pub(in crate::registry) repository: &'a RepositoryName,
}

/// A blob that exists here.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Blob {
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
}

impl Blobs<'_> {
    /// # Errors
    /// `BlobUnknown` unless this repository links it and its data stands.
    pub async fn stat(&self, digest: &Digest) -> Result<Blob, Error> {
        let target = self.target(digest).await?;
        let size = self.registry.content_size(&target).await?;
        let size = size.ok_or_else(|| Error::BlobUnknown(digest.clone()))?;
        Ok(Blob { digest: digest.clone(), size })
    }

    /// The content of a blob that [`Blobs::stat`] found; `range` lies within its size.
    ///
    /// # Errors
    /// `BlobUnknown` when its data went away meanwhile.
    pub async fn open(&self, blob: &Blob, range: Option<Range<u64>>) -> Result<Object, Error> {
        let target = self.found(blob).await?;
        let key = self.registry.layout.blob_data(&target);
        match self.registry.store.get(&key, range).await {
            Ok(object) if object.meta.size == blob.size => Ok(object),
            Ok(object) => {
                self.registry.forget_content(&target);
                let why = format!("{} bytes, not the {} of before", object.meta.size, blob.size);
                Err(store::error::Error::new(Operation::Get, &key, Kind::Corrupt).with_source(why).into())
            }
            Err(error) if error.is_not_found() => {
                self.registry.forget_content(&target);
                Err(Error::BlobUnknown(blob.digest.clone()))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Where a client at `address` can fetch a blob that [`Blobs::stat`] found; `None` when it has to be served from
    /// here. On a unix socket clients have no address.
    ///
    /// A size that is remembered does not vouch for data that another process may have collected: sent to where nothing
    /// is, a client would get the storage's own error, again and again. So the store must have said within a minute
    /// that the data stands, or is asked.
    ///
    /// # Errors
    /// `BlobUnknown` when its data went away meanwhile.
    pub async fn locate(&self, blob: &Blob, address: Option<IpAddr>) -> Result<Option<Uri>, Error> {
        let Some(locator) = &self.registry.locator else { return Ok(None) };
        let target = self.found(blob).await?;
        if !self.registry.stands_lately(&target).await? {
            return Err(Error::BlobUnknown(blob.digest.clone()));
        }
        Ok(locator.locate(&self.registry.layout.blob_data(&target), &Visitor { address }).await?)
    }

    /// Makes a blob of another repository a blob of this one: one link, no bytes.
    ///
    /// # Errors
    /// `BlobUnknown` unless `from` holds it.
    pub async fn mount(&self, digest: &Digest, from: &RepositoryName) -> Result<Blob, Error> {
        let target = Blobs { registry: self.registry, repository: from }.target(digest).await?;
        self.link(digest, &target).await
    }

    /// Makes any stored blob a blob of this repository, whoever holds it: only for callers that may read everything.
    ///
    /// # Errors
    /// `BlobUnknown` unless its data stands.
    pub async fn adopt(&self, digest: &Digest) -> Result<Blob, Error> {
        self.link(digest, digest).await
    }

    /// Removes the link; the data stays for the others.
    ///
    /// # Errors
    /// `BlobUnknown` when there is no link.
    pub async fn delete(&self, digest: &Digest) -> Result<(), Error> {
        let link = self.registry.layout.layer_link(self.repository, digest);
        // A damaged link can be removed too, so only its being there is asked for.
        if !self.registry.stands(&link).await? {
            return Err(Error::BlobUnknown(digest.clone()));
        }
        Ok(self.registry.store.delete(&[link]).await?)
    }

    /// The blob's size, from the store and not from memory; `None` unless this repository holds it.
    pub(in crate::registry) async fn size_now(&self, digest: &Digest) -> Result<Option<u64>, Error> {
        match self.target(digest).await {
            Ok(target) => Ok(self.registry.content_size_now(&target).await?),
            Err(Error::BlobUnknown(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Links content that stands, and was asked for under `digest`, into this repository.
    async fn link(&self, digest: &Digest, target: &Digest) -> Result<Blob, Error> {
        // A link to data that is gone would be a promise that the next pull breaks: the store is asked, not memory.
        let size = self.registry.content_size_now(target).await?;
        let size = size.ok_or_else(|| Error::BlobUnknown(digest.clone()))?;
        let link = self.registry.layout.layer_link(self.repository, digest);
        self.registry.write_link(&link, target).await?;
        Ok(Blob { digest: digest.clone(), size })
    }

    /// The digest under which the data of a blob lies that [`Blobs::stat`] found.
    async fn found(&self, blob: &Blob) -> Result<Digest, Error> {
        match blob.digest.algorithm() {
            Algorithm::Sha256 => Ok(blob.digest.clone()),
            Algorithm::Sha512 => self.target(&blob.digest).await,
        }
    }

    /// The digest under which the blob's data lies.
    ///
    /// Distribution keeps what is pushed as sha512 under its sha256, and links from the one to the other. Nothing
    /// links from a sha256 to elsewhere.
    async fn target(&self, digest: &Digest) -> Result<Digest, Error> {
        let link = self.registry.layout.layer_link(self.repository, digest);
        let target = self.registry.read_link(&link).await?;
        target
            .filter(|target| target == digest || digest.algorithm() != Algorithm::Sha256)
            .ok_or_else(|| Error::BlobUnknown(digest.clone()))
    }
}
