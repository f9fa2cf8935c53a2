//! What can go wrong in a registry, in the words of its domain.

use crate::{
    oci::{digest::Digest, name::RepositoryName, reference::Reference, tag::Tag},
    store,
};

/// How a registry operation failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("blob {0} is unknown to this repository")]
    BlobUnknown(Digest),
    #[error("manifest {0} is unknown to this repository")]
    ManifestUnknown(Reference),
    #[error("repository {0} is unknown")]
    RepositoryUnknown(RepositoryName),
    #[error("the manifest is not acceptable: {0}")]
    ManifestInvalid(ManifestFault),
    /// Content that the manifest names and this repository lacks, each once.
    #[error("the manifest names content that this repository lacks")]
    ManifestReferencesUnknown(Vec<Digest>),
    /// It was to be made, and names another manifest already.
    #[error("tag {0} is taken")]
    TagTaken(Tag),
    #[error("the content's digest is {actual}, not {expected}")]
    DigestMismatch { expected: Digest, actual: Digest },
    #[error(transparent)]
    Store(#[from] store::error::Error),
}

/// Why a manifest was refused, as a sentence for the one who pushed it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct ManifestFault(pub String);
