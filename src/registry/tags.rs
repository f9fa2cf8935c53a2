//! Tags of one repository.

use std::collections::HashSet;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::{
    oci::{digest::Digest, name::RepositoryName, reference::Reference, tag::Tag},
    registry::{
        Registry,
        error::Error,
        layout,
        page::{Page, Window},
    },
    store::{self, Depth, Distance, Entry, Listing, Precondition, error::Kind, key::Key},
};

/// Most names asked of the store at once.
const NAMES_MAX: usize = 1000;

/// Most tags looked up at once.
const LOOKUPS: usize = 16;

/// Most listings in the place of lookups: a page of tags takes three, unless histories are long.
const LISTINGS_MAX: u32 = 16;

/// The tags of one repository.
#[derive(Clone, Copy, Debug)]
pub struct Tags<'a> {
    pub(in crate::registry) registry: &'a Registry,
    pub(in crate::registry) repository: &'a RepositoryName,
}

impl Tags<'_> {
    /// Tags in the order of their bytes.
    ///
    /// # Errors
    /// `RepositoryUnknown` when nothing was ever pushed here.
    pub async fn list(&self, window: &Window) -> Result<Page<Tag>, Error> {
        let wanted = window.limit.saturating_add(1);
        let (mut found, mut after, mut more) = (Vec::new(), window.after.clone(), true);
        while more && found.len() < wanted {
            let names = self.names(&mut after, (wanted - found.len()).min(NAMES_MAX)).await?;
            more = after.is_some();
            found.extend(self.standing(names).await?);
        }
        if found.is_empty() && !self.registry.holds_manifests(self.repository).await? {
            return Err(Error::RepositoryUnknown(self.repository.clone()));
        }
        Ok(Page::cut(found, window.limit))
    }

    /// The manifest that a tag names now.
    ///
    /// # Errors
    /// `ManifestUnknown`.
    pub async fn resolve(&self, tag: &Tag) -> Result<Digest, Error> {
        let link = self.registry.layout.tag_current(self.repository, tag);
        let digest = self.registry.read_link(&link).await?;
        digest.ok_or_else(|| Error::ManifestUnknown(Reference::Tag(tag.clone())))
    }

    /// Removes a tag and its history; the manifests stay.
    ///
    /// # Errors
    /// `ManifestUnknown` when there is no such tag.
    pub async fn delete(&self, tag: &Tag) -> Result<(), Error> {
        let current = self.registry.layout.tag_current(self.repository, tag);
        // A damaged link can be removed too, so only its being there is asked for.
        if !self.registry.stands(&current).await? {
            return Err(Error::ManifestUnknown(Reference::Tag(tag.clone())));
        }
        Ok(self.remove(tag).await?)
    }

    /// Makes a tag name this manifest: its history first, as Distribution does.
    pub(in crate::registry) async fn set(&self, tag: &Tag, digest: &Digest) -> Result<(), store::error::Error> {
        let layout = &self.registry.layout;
        self.registry.write_link(&layout.tag_index(self.repository, tag, digest), digest).await?;
        self.registry.write_link(&layout.tag_current(self.repository, tag), digest).await
    }

    /// Makes a tag name this manifest unless it names another; whether it does now. Of several that make one tag at
    /// the same time, one wins.
    pub(in crate::registry) async fn set_once(&self, tag: &Tag, digest: &Digest) -> Result<bool, store::error::Error> {
        let current = self.registry.layout.tag_current(self.repository, tag);
        let content = vec![Bytes::from(digest.to_string())];
        match self.registry.store.put(&current, content, Precondition::Absent).await {
            Err(error) if error.kind == Kind::AlreadyExists => match self.registry.read_link(&current).await? {
                Some(standing) if standing != *digest => return Ok(false),
                // Written by an attempt whose answer was lost, or damaged: then it names nothing.
                _ => self.registry.write_link(&current, digest).await?,
            },
            written => written?,
        }
        // Its history last, so that one who loses leaves none.
        let index = self.registry.layout.tag_index(self.repository, tag, digest);
        self.registry.write_link(&index, digest).await?;
        Ok(true)
    }

    /// Removes every tag that names this manifest now; returns them.
    pub(in crate::registry) async fn delete_naming(&self, digest: &Digest) -> Result<Vec<Tag>, Error> {
        let (mut deleted, mut after, mut more) = (Vec::new(), None, true);
        while more {
            let names = self.names(&mut after, NAMES_MAX).await?;
            more = after.is_some();
            for tag in self.naming(names, digest).await? {
                // Since it was looked up with all the others a push may have moved it.
                if self.names_manifest(&tag, digest).await? {
                    self.remove(&tag).await?;
                    deleted.push(tag);
                }
            }
        }
        Ok(deleted)
    }

    /// One page of names that may be tags; `after` moves on, to `None` at the end.
    async fn names(&self, after: &mut Option<String>, limit: usize) -> Result<Vec<Tag>, store::error::Error> {
        let prefix = self.registry.layout.tags(self.repository);
        let listing = Listing { prefix, depth: Depth::Children, after: after.take(), limit };
        let page = self.registry.store.list(&listing).await?;
        if page.more {
            *after = page.entries.last().map(|entry| entry.name().to_owned());
        }
        let prefixes = page.entries.iter().filter(|entry| matches!(entry, Entry::Prefix { .. }));
        Ok(prefixes.filter_map(|entry| entry.name().parse().ok()).collect())
    }

    /// Those of these names that are tags: deleted ones leave empty directories behind, and a removal that stopped half
    /// way a history.
    async fn standing(&self, names: Vec<Tag>) -> Result<Vec<Tag>, store::error::Error> {
        let linked = match self.registry.store.limits().distance {
            Distance::Away if names.len() > LOOKUPS => self.linked_among(&names).await?,
            Distance::Away | Distance::Here => HashSet::new(),
        };
        let linked = &linked;
        let lookups = names.into_iter().map(|tag| async move {
            let current = self.registry.layout.tag_current(self.repository, &tag);
            let stands = linked.contains(tag.as_str()) || self.registry.stands(&current).await?;
            Ok(stands.then_some(tag))
        });
        let lookups: Vec<_> = lookups.collect();
        stream::iter(lookups).buffered(LOOKUPS).try_filter_map(|tag| async { Ok(tag) }).try_collect().await
    }

    /// The tags whose links a few listings show between the first and the last of these names, in the place of as many
    /// lookups as there are names. One that is not among them may be a tag all the same.
    async fn linked_among(&self, names: &[Tag]) -> Result<HashSet<String>, store::error::Error> {
        let (Some(first), Some(last)) = (names.first(), names.last()) else { return Ok(HashSet::new()) };
        let prefix = self.registry.layout.tags(self.repository);
        let after = Some(first.to_string());
        let mut listing = Listing { prefix, depth: Depth::All, after, limit: NAMES_MAX };
        let mut linked = HashSet::new();
        for _ in 0..LISTINGS_MAX {
            let page = self.registry.store.list(&listing).await?;
            let tags = page.entries.iter().filter_map(|entry| entry.name().strip_suffix(layout::TAG_CURRENT));
            linked.extend(tags.filter_map(|tag| tag.strip_suffix('/')).map(str::to_owned));
            let Some(end) = page.entries.last().filter(|_| page.more) else { break };
            let (tag, below) = end.name().split_once('/').unwrap_or_else(|| (end.name(), ""));
            if tag > last.as_str() {
                break;
            }
            // A tag that moved often has a long history, which need not be read: a slash is followed by a zero.
            let history = below.strip_prefix(layout::TAG_HISTORY).is_some_and(|rest| rest.starts_with('/'));
            let next = if history { format!("{tag}/{}0", layout::TAG_HISTORY) } else { end.name().to_owned() };
            listing.after = Some(next);
        }
        Ok(linked)
    }

    async fn naming(&self, names: Vec<Tag>, digest: &Digest) -> Result<Vec<Tag>, store::error::Error> {
        let lookups =
            names.into_iter().map(|tag| async move { Ok(self.names_manifest(&tag, digest).await?.then_some(tag)) });
        stream::iter(lookups).buffered(LOOKUPS).try_filter_map(|tag| async { Ok(tag) }).try_collect().await
    }

    async fn names_manifest(&self, tag: &Tag, digest: &Digest) -> Result<bool, store::error::Error> {
        let link = self.registry.layout.tag_current(self.repository, tag);
        Ok(self.registry.read_link(&link).await?.as_ref() == Some(digest))
    }

    /// Removes first what makes it a tag, so that a stop in between leaves no tag, then what it ever named.
    async fn remove(&self, tag: &Tag) -> Result<(), store::error::Error> {
        let root = self.registry.layout.tag(self.repository, tag);
        let current = self.registry.layout.tag_current(self.repository, tag);
        self.registry.store.delete(std::slice::from_ref(&current)).await?;
        let listing = Listing { prefix: root.clone(), depth: Depth::All, after: None, limit: NAMES_MAX };
        loop {
            let page = self.registry.store.list(&listing).await?;
            let keys: Vec<Key> = page.entries.iter().filter_map(|entry| root.join(entry.name()).ok()).collect();
            // It was pushed again: that tag, and its history, are no longer ours to remove.
            if keys.contains(&current) {
                return Ok(());
            }
            self.registry.store.delete(&keys).await?;
            // What cannot be deleted by its name is a stray object of somebody else's.
            if !page.more || keys.is_empty() {
                return Ok(());
            }
        }
    }
}
