//! Manifests that name another as their subject (OCI distribution-spec 1.1, "Listing Referrers").
//!
//! A record is written with each manifest that has a subject; it counts only while the manifest's own link stands, so
//! a stray one does no harm. Manifests that an older registry stored have no record: clients listed those in an index
//! under a tag made from the subject's digest, and what stands in such an index and truly names the subject is
//! listed here too (ibid., "Enabling the Referrers API").

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::value::RawValue;

use crate::{
    oci::{
        descriptor::ReferrerDescriptor,
        digest::Digest,
        manifest::{self, Manifest},
        name::RepositoryName,
        reference::Reference,
        tag::Tag,
    },
    registry::{
        Registry, content,
        error::Error,
        page::{Page, Window},
        pages::Pages,
    },
    store::{self, Depth, Listing, Precondition, error::Kind},
};

/// The form of records that is written, and the only one that is read.
const VERSION: u32 = 1;

/// Most records looked up at once; few, because each can be as large as a manifest.
const LOOKUPS: usize = 4;

/// Most digests asked of the store at once.
const DIGESTS_MAX: usize = 256;

/// Bytes of descriptors past which a page ends, whatever its limit: annotations can be as large as manifests.
const PAGE_SIZE_MAX: usize = 4 * 1024 * 1024;

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

/// What lies at [`crate::registry::layout::Layout::referrer`].
#[derive(serde::Deserialize, serde::Serialize)]
struct Record {
    version: u32,
    descriptor: ReferrerDescriptor,
}

impl Referrers<'_> {
    /// Descriptors of the manifests whose subject this is, ordered by digest; the subject itself need not exist.
    ///
    /// A page may hold fewer than its limit although more follow, where descriptors are large.
    ///
    /// # Errors
    /// Only those of the store.
    pub async fn list(
        &self,
        subject: &Digest,
        artifact_type: Option<&str>,
        window: &Window,
    ) -> Result<Page<Referrer>, Error> {
        let mut candidates = self.candidates(subject, window.after.as_deref()).await?;
        let (mut items, mut size) = (Vec::new(), 0);
        loop {
            let batch = candidates.next(LOOKUPS).await?;
            if batch.is_empty() {
                return Ok(Page { items, more: false });
            }
            for descriptor in self.describe_all(subject, batch).await? {
                if artifact_type.is_some_and(|wanted| descriptor.artifact_type.as_deref() != Some(wanted)) {
                    continue;
                }
                if items.len() >= window.limit || size > PAGE_SIZE_MAX {
                    return Ok(Page { items, more: window.limit > 0 });
                }
                let referrer = Referrer::new(descriptor);
                size += referrer.descriptor.get().len();
                items.push(referrer);
            }
        }
    }

    /// Records that a manifest names its subject, if it has one.
    pub(in crate::registry) async fn record(&self, manifest: &Manifest) -> Result<(), store::error::Error> {
        let Some(subject) = manifest.subject() else { return Ok(()) };
        let key = self.registry.layout.referrer(self.repository, &subject.digest, manifest.digest());
        let record = Record { version: VERSION, descriptor: manifest.referrer_descriptor() };
        let text = serde_json::to_vec(&record).expect("strings and numbers always encode");
        self.registry.store.put(&key, vec![Bytes::from(text)], Precondition::Always).await
    }

    /// Everything that may refer to the subject, in the order of digests.
    async fn candidates(&self, subject: &Digest, after: Option<&str>) -> Result<Candidates<'_>, Error> {
        let mut tagged = self.tagged(subject).await?;
        tagged.retain(|digest| after.is_none_or(|after| digest.to_string().as_str() > after));
        let listing = Listing {
            prefix: self.registry.layout.referrers(self.repository, subject),
            depth: Depth::All,
            // The key of a record ends with the digest's two halves as segments.
            after: after.map(|after| after.replacen(':', "/", 1)),
            limit: DIGESTS_MAX,
        };
        Ok(Candidates { pages: self.registry.pages(listing), recorded: VecDeque::new(), more: true, tagged })
    }

    /// What the index under the subject's referrers tag points at.
    async fn tagged(&self, subject: &Digest) -> Result<BTreeSet<Digest>, Error> {
        let hex = &subject.hex()[..subject.hex().len().min(64)];
        let tag: Tag = format!("{}-{hex}", subject.algorithm()).parse().expect("an algorithm, a dash and hex digits");
        let stored = match self.registry.manifests(self.repository).get(&Reference::Tag(tag)).await {
            Ok(stored) => stored,
            Err(Error::ManifestUnknown(_) | Error::ManifestInvalid(_)) => return Ok(BTreeSet::new()),
            Err(Error::Store(error)) if error.kind == Kind::Corrupt => return Ok(BTreeSet::new()),
            Err(error) => return Err(error),
        };
        let index = Manifest::parse(None, stored.digest.algorithm(), stored.raw).ok();
        let children = index.iter().flat_map(Manifest::children);
        Ok(children.map(|child| child.digest.clone()).collect())
    }

    async fn describe_all(
        &self,
        subject: &Digest,
        digests: Vec<Digest>,
    ) -> Result<Vec<ReferrerDescriptor>, store::error::Error> {
        let lookups = digests.into_iter().map(|digest| async move { self.describe(subject, &digest).await });
        stream::iter(lookups).buffered(LOOKUPS).try_filter_map(|found| async { Ok(found) }).try_collect().await
    }

    /// The descriptor of a manifest of this repository that names the subject.
    async fn describe(
        &self,
        subject: &Digest,
        digest: &Digest,
    ) -> Result<Option<ReferrerDescriptor>, store::error::Error> {
        if !self.registry.revision(self.repository, digest).await? {
            return Ok(None);
        }
        if let Some(descriptor) = self.recorded(subject, digest).await? {
            return Ok(Some(descriptor));
        }
        // No record that we understand: the manifest itself says what it is.
        let raw = match self.registry.manifests(self.repository).read(digest).await {
            Ok(raw) => raw,
            Err(error) if error.kind == Kind::Corrupt => None,
            Err(error) => return Err(error),
        };
        let manifest = raw.and_then(|raw| Manifest::parse(None, digest.algorithm(), raw).ok());
        let manifest = manifest.filter(|manifest| manifest.subject().is_some_and(|named| named.digest == *subject));
        Ok(manifest.map(|manifest| manifest.referrer_descriptor()))
    }

    async fn recorded(
        &self,
        subject: &Digest,
        digest: &Digest,
    ) -> Result<Option<ReferrerDescriptor>, store::error::Error> {
        let key = self.registry.layout.referrer(self.repository, subject, digest);
        // The record holds little more than what the manifest holds.
        match content::read(&*self.registry.store, &key, 2 * manifest::SIZE_MAX as u64).await {
            Ok(text) => {
                let record = serde_json::from_slice::<Record>(&text).ok();
                let record = record.filter(|record| record.version == VERSION && record.descriptor.digest == *digest);
                Ok(record.map(|record| record.descriptor))
            }
            Err(error) if matches!(error.kind, Kind::NotFound | Kind::Corrupt) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Referrer {
    fn new(descriptor: ReferrerDescriptor) -> Self {
        let text = serde_json::value::to_raw_value(&descriptor).expect("strings and numbers always encode");
        Self { digest: descriptor.digest, descriptor: text }
    }
}

/// Two ordered sets of digests, merged: those with a record, a page at a time, and those under the referrers tag.
struct Candidates<'a> {
    pages: Pages<'a>,
    recorded: VecDeque<Digest>,
    more: bool,
    tagged: BTreeSet<Digest>,
}

impl Candidates<'_> {
    /// The next digests, each once; none at the end.
    async fn next(&mut self, limit: usize) -> Result<Vec<Digest>, store::error::Error> {
        let mut batch = Vec::new();
        while batch.len() < limit {
            while self.recorded.is_empty() && self.more {
                self.fetch().await?;
            }
            let recorded_first = match (self.recorded.front(), self.tagged.first()) {
                (None, None) => break,
                (Some(recorded), Some(tagged)) => recorded <= tagged,
                (recorded, None) => recorded.is_some(),
                (None, Some(_)) => false,
            };
            let next = if recorded_first { self.recorded.pop_front() } else { self.tagged.pop_first() };
            let Some(next) = next else { break };
            self.tagged.remove(&next);
            batch.push(next);
        }
        Ok(batch)
    }

    async fn fetch(&mut self) -> Result<(), store::error::Error> {
        match self.pages.next().await? {
            None => self.more = false,
            Some(page) => {
                let digests = page.iter().filter_map(|entry| entry.name().replacen('/', ":", 1).parse().ok());
                self.recorded.extend(digests);
            }
        }
        Ok(())
    }
}
