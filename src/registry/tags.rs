//! Tags of one repository.

use crate::{
    oci::{digest::Digest, name::RepositoryName, tag::Tag},
    registry::{
        Registry,
        error::Error,
        page::{Page, Window},
    },
};

/// The tags of one repository.
#[derive(Clone, Copy, Debug)]
pub struct Tags<'a> {
    pub(in crate::registry) registry: &'a Registry,
    pub(in crate::registry) repository: &'a RepositoryName,
}

impl Tags<'_> {
    /// # Errors
    /// `RepositoryUnknown` when nothing was ever pushed here.
    pub async fn list(&self, window: &Window) -> Result<Page<Tag>, Error> {
        let _ = (self.registry, self.repository, window);
        todo!()
    }

    /// The manifest that a tag names now.
    ///
    /// # Errors
    /// `ManifestUnknown`.
    pub async fn resolve(&self, tag: &Tag) -> Result<Digest, Error> {
        let _ = tag;
        todo!()
    }

    /// # Errors
    /// `ManifestUnknown` when there is no such tag.
    pub async fn delete(&self, tag: &Tag) -> Result<(), Error> {
        let _ = tag;
        todo!()
    }
}
