//! All repositories of a registry.

use crate::{
    oci::name::RepositoryName,
    registry::{
        Registry,
        error::Error,
        page::{Page, Window},
    },
};

/// The repositories of a registry.
#[derive(Clone, Copy, Debug)]
pub struct Catalog<'a> {
    pub(in crate::registry) registry: &'a Registry,
}

impl Catalog<'_> {
    /// Repositories that hold manifests, in path-component order.
    ///
    /// # Errors
    /// Only those of the store.
    pub async fn list(&self, window: &Window) -> Result<Page<RepositoryName>, Error> {
        let _ = (self.registry, window);
        todo!()
    }
}
