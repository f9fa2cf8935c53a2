//! Whether what a manifest names is really there: nothing is served that cannot be pulled whole.

use std::collections::HashSet;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::{
    oci::{
        descriptor::Descriptor,
        digest::Digest,
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

/// Something that must be in the repository.
struct Needed {
    digest: Digest,
    /// As the manifest says, in bytes.
    size: u64,
    place: Place,
}

/// As what the repository must hold it.
#[derive(Clone, Copy)]
enum Place {
    Blob,
    Manifest,
    /// Children of an index that are no manifests by their type, as build caches name layers, may be blobs.
    Either,
}

impl Needed {
    fn new(descriptor: &Descriptor, place: Place) -> Self {
        Self { digest: descriptor.digest.clone(), size: descriptor.size, place }
    }

    fn child(descriptor: &Descriptor) -> Self {
        let is_manifest = Kind::of(&descriptor.media_type).is_some();
        Self::new(descriptor, if is_manifest { Place::Manifest } else { Place::Either })
    }
}

impl Manifests<'_> {
    /// Checks everything that the manifest names except its subject, which may come later or never.
    ///
    /// # Errors
    /// `ManifestInvalid` for a URL that is not permitted or a size that is not the content's,
    /// `ManifestReferencesUnknown` with all that is missing.
    pub(super) async fn check_references(&self, manifest: &Manifest) -> Result<(), Error> {
        let rules = match &self.registry.settings.validation {
            Validation::On(rules) => Some(rules),
            Validation::Off => None,
        };
        if let Some(rules) = rules {
            check_urls(manifest, rules)?;
        }
        let lookups = needed(manifest, rules).into_iter().map(|needed| async move {
            let size = self.size_of(&needed).await?;
            Ok::<_, Error>((needed, size))
        });
        let found: Vec<(Needed, Option<u64>)> = stream::iter(lookups).buffered(LOOKUPS).try_collect().await?;
        judge(found)
    }

    async fn size_of(&self, needed: &Needed) -> Result<Option<u64>, Error> {
        let may_be_manifest = !matches!(needed.place, Place::Blob);
        if may_be_manifest && self.registry.revision(self.repository, &needed.digest).await? {
            return Ok(self.registry.content_size_now(&needed.digest).await?);
        }
        match needed.place {
            Place::Manifest => Ok(None),
            Place::Blob | Place::Either => self.registry.blobs(self.repository).size_now(&needed.digest).await,
        }
    }
}

/// What must be in the repository, each once: all blobs but those that lie elsewhere, and the children of an index
/// for the platforms that matter.
fn needed(manifest: &Manifest, rules: Option<&Rules>) -> Vec<Needed> {
    let here = |blob: &&Descriptor| blob.urls.is_empty() || !is_foreign_layer(&blob.media_type);
    let must_exist = |child: &Descriptor| rules.is_some_and(|rules| rules.children.must_exist(child));
    let blobs = manifest.blobs().filter(here).map(|blob| Needed::new(blob, Place::Blob));
    let children = manifest.children().iter().filter(|child| must_exist(child)).map(Needed::child);
    let mut seen = HashSet::new();
    blobs.chain(children).filter(|needed| seen.insert((needed.digest.clone(), needed.size))).collect()
}

fn judge(found: Vec<(Needed, Option<u64>)>) -> Result<(), Error> {
    let mut missing = Vec::new();
    for (Needed { digest, size: claimed, .. }, size) in found {
        match size {
            None if missing.contains(&digest) => {}
            None => missing.push(digest),
            Some(size) if size != claimed => return Err(fault(format!("{digest} has {size} bytes, not {claimed}"))),
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
