//! Whether what a manifest names is really there: nothing is served that cannot be pulled whole.

use std::collections::HashSet;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::{
    oci::{
        descriptor::Descriptor,
        manifest::Manifest,
        media_type::{Kind, is_foreign_layer},
    },
    registry::{
        error::{Error, ManifestFault},
        manifests::{
            Manifests,
            validation::{Rules, Validation},
        },
    },
};

/// Most references looked up at once.
const LOOKUPS: usize = 16;

/// How a lookup went: the stored size, if the content is there.
struct Found<'a> {
    reference: &'a Descriptor,
    size: Option<u64>,
}

impl Manifests<'_> {
    /// Checks everything that the manifest names except its subject, which may come later or never.
    ///
    /// # Errors
    /// `ManifestInvalid` for a URL that is not permitted or a size that is not the content's,
    /// `ManifestReferencesUnknown` with all that is missing.
    pub(super) async fn check_references(&self, manifest: &Manifest) -> Result<(), Error> {
        let Validation::On(rules) = &self.registry.settings.validation else { return Ok(()) };
        check_urls(manifest, rules)?;
        let mut seen = HashSet::new();
        let needed = manifest.blobs().filter(|blob| blob.urls.is_empty() || !is_foreign_layer(&blob.media_type));
        let children = manifest.children().iter().filter(|child| rules.children.must_exist(child));
        let needed: Vec<&Descriptor> =
            needed.chain(children).filter(|reference| seen.insert((&reference.digest, reference.size))).collect();

        let is_index = matches!(manifest.kind(), Kind::DockerList | Kind::OciIndex);
        let lookups = needed.into_iter().map(|reference| async move {
            let size = if is_index { self.child_size(reference).await? } else { self.blob_size(reference).await? };
            Ok::<_, Error>(Found { reference, size })
        });
        let found: Vec<Found<'_>> = stream::iter(lookups).buffered(LOOKUPS).try_collect().await?;
        judge(&found)
    }

    async fn blob_size(&self, reference: &Descriptor) -> Result<Option<u64>, Error> {
        self.registry.blobs(self.repository).size_now(&reference.digest).await
    }

    /// Children are manifests; of other types (build caches name layers in an index) they may be blobs.
    async fn child_size(&self, reference: &Descriptor) -> Result<Option<u64>, Error> {
        if self.registry.revision(self.repository, &reference.digest).await? {
            return Ok(self.registry.content_size_now(&reference.digest).await?);
        }
        match Kind::of(&reference.media_type) {
            Some(_) => Ok(None),
            None => self.blob_size(reference).await,
        }
    }
}

fn judge(found: &[Found<'_>]) -> Result<(), Error> {
    let mut missing = Vec::new();
    for Found { reference, size } in found {
        match size {
            None if missing.contains(&reference.digest) => {}
            None => missing.push(reference.digest.clone()),
            Some(size) if *size != reference.size => {
                let (digest, claimed) = (&reference.digest, reference.size);
                return Err(fault(format!("{digest} has {size} bytes, not {claimed}")));
            }
            Some(_) => {}
        }
    }
    if missing.is_empty() { Ok(()) } else { Err(Error::ManifestReferencesUnknown(missing)) }
}

/// Clients fetch from these URLs, with whatever they have access to (CVE-2020-15157); this registry never does.
fn check_urls(manifest: &Manifest, rules: &Rules) -> Result<(), Error> {
    let oci = manifest.kind().is_oci();
    let permitted = |url: &str| if oci { rules.urls.permit_standard(url) } else { rules.urls.permit(url) };
    let mut descriptors = manifest.blobs().chain(manifest.children());
    match descriptors.find(|descriptor| !descriptor.urls.iter().all(|url| permitted(url))) {
        Some(descriptor) => Err(fault(format!("{} names a URL that is not permitted here", descriptor.digest))),
        None => Ok(()),
    }
}

fn fault(sentence: String) -> Error {
    Error::ManifestInvalid(ManifestFault(sentence))
}
