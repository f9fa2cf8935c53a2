//! Manifests that name another as their subject (OCI distribution-spec 1.1, "Listing Referrers").

use serde_json::value::RawValue;

use crate::{
    oci::{digest::Digest, name::RepositoryName},
    registry::{
        Registry,
        error::Error,
        page::{Page, Window},
    },
};

/// The referrers of manifests in one repository.
#[derive(Clone, Copy, Debug)]
pub struct Referrers<'a> {
    pub(in crate::registry) registry: &'a Registry,
    pub(in crate::registry) repository: &'a RepositoryName,
}

/// One referrer: its digest orders the list, its descriptor is what clients see.
#[derive(Clone, Debug)]
pub struct Referrer {
    pub digest: Digest,
    pub descriptor: Box<RawValue>,
}

impl Referrers<'_> {
    /// Descriptors of the manifests whose subject this is, ordered by digest; the subject itself need not exist.
    ///
    /// # Errors
    /// Only those of the store.
    pub async fn list(
        &self,
        subject: &Digest,
        artifact_type: Option<&str>,
        window: &Window,
    ) -> Result<Page<Referrer>, Error> {
        let _ = (self.registry, self.repository, subject, artifact_type, window);
        todo!()
    }
}
