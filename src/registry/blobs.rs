//! Blobs of one repository: content that a link in the repository vouches for.

use std::ops::Range;

use crate::{
    oci::{digest::Digest, name::RepositoryName},
    registry::{Registry, error::Error},
    store::Object,
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
        let _ = (self.registry, self.repository, digest);
        todo!()
    }

    /// The content of a blob that [`Blobs::stat`] found; `range` lies within its size.
    ///
    /// # Errors
    /// `BlobUnknown` when its data went away meanwhile.
    pub async fn open(&self, blob: &Blob, range: Option<Range<u64>>) -> Result<Object, Error> {
        let _ = (blob, range);
        todo!()
    }

    /// Makes a blob of another repository a blob of this one: one link, no bytes.
    ///
    /// # Errors
    /// `BlobUnknown` unless `from` holds it.
    pub async fn mount(&self, digest: &Digest, from: &RepositoryName) -> Result<Blob, Error> {
        let _ = (digest, from);
        todo!()
    }

    /// Makes any stored blob a blob of this repository, whoever holds it: only for callers that may read everything.
    ///
    /// # Errors
    /// `BlobUnknown` unless its data stands.
    pub async fn adopt(&self, digest: &Digest) -> Result<Blob, Error> {
        let _ = digest;
        todo!()
    }

    /// Removes the link; the data stays for the others.
    ///
    /// # Errors
    /// `BlobUnknown` when there is no link.
    pub async fn delete(&self, digest: &Digest) -> Result<(), Error> {
        let _ = digest;
        todo!()
    }
}
