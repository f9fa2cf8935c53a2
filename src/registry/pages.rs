//! One walk over everything that a listing shows, a page at a time.

use crate::{
    registry::Registry,
    store::{Depth, Entry, Listing, Result, Store, key::Key},
};

/// Names asked for at once, where all of them are wanted.
const PAGE_LEN: usize = 1000;

/// What lies below a prefix, in the order of its names.
pub(in crate::registry) struct Pages<'a> {
    store: &'a dyn Store,
    /// The next question; `None` once everything was shown.
    listing: Option<Listing>,
}

impl Pages<'_> {
    /// The next page; `None` behind the last one.
    pub(in crate::registry) async fn next(&mut self) -> Result<Option<Vec<Entry>>> {
        let Some(mut listing) = self.listing.take() else { return Ok(None) };
        let page = self.store.list(&listing).await?;
        listing.after = page.entries.last().map(|entry| entry.name().to_owned());
        // Without a last name there is none to go on from.
        self.listing = Some(listing).filter(|listing| page.more && listing.after.is_some());
        Ok(Some(page.entries))
    }
}

impl Registry {
    /// A walk that begins where `listing` begins and takes as much at once.
    pub(in crate::registry) fn pages(&self, listing: Listing) -> Pages<'_> {
        Pages { store: &*self.store, listing: Some(listing) }
    }

    /// A walk over everything below a prefix.
    pub(in crate::registry) fn all_pages(&self, prefix: Key, depth: Depth) -> Pages<'_> {
        self.pages(Listing { prefix, depth, after: None, limit: PAGE_LEN })
    }

    /// The names of all objects below a prefix.
    pub(in crate::registry) async fn objects(&self, prefix: Key, depth: Depth) -> Result<Vec<String>> {
        self.names(prefix, depth, |entry| match entry {
            Entry::Object { name, .. } => Some(name),
            Entry::Prefix { .. } => None,
        })
        .await
    }

    /// The names of all prefixes right below a prefix.
    pub(in crate::registry) async fn prefixes(&self, prefix: Key) -> Result<Vec<String>> {
        self.names(prefix, Depth::Children, |entry| match entry {
            Entry::Prefix { name } => Some(name),
            Entry::Object { .. } => None,
        })
        .await
    }

    async fn names(&self, prefix: Key, depth: Depth, select: fn(Entry) -> Option<String>) -> Result<Vec<String>> {
        let (mut pages, mut names) = (self.all_pages(prefix, depth), Vec::new());
        while let Some(page) = pages.next().await? {
            names.extend(page.into_iter().filter_map(select));
        }
        Ok(names)
    }
}
