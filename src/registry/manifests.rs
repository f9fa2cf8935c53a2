//! Manifests of one repository.

use bytes::Bytes;

use crate::{
    oci::{digest::Digest, name::RepositoryName, reference::Reference, tag::Tag},
    registry::{Registry, error::Error},
};

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

/// What a manifest must satisfy before it is stored (`validation` in the configuration).
#[derive(Clone, Debug)]
pub struct Validation {}

impl Manifests<'_> {
    /// # Errors
    /// `ManifestUnknown` unless this repository has it; never bytes that do not hash to the digest.
    pub async fn get(&self, reference: &Reference) -> Result<Stored, Error> {
        let _ = (self.registry, self.repository, reference);
        todo!()
    }

    /// Checks and stores a manifest, then moves its tags.
    ///
    /// # Errors
    /// `ManifestInvalid`, `ManifestReferencesUnknown`, `DigestMismatch`.
    pub async fn put(&self, incoming: Incoming) -> Result<Accepted, Error> {
        let _ = incoming;
        todo!()
    }

    /// Removes a manifest and every tag that names it; returns those tags.
    ///
    /// # Errors
    /// `ManifestUnknown`.
    pub async fn delete(&self, digest: &Digest) -> Result<Vec<Tag>, Error> {
        let _ = digest;
        todo!()
    }
}
