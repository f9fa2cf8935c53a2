//! Names in order, in pages.
//!
//! S3 orders whole keys. Among the children of a prefix that is nearly the order of their names, but a folded child is
//! ordered by its name with a slash: `1-rc/` and `1.0/` come before `1/`, since `-` and `.` are smaller than a slash.
//! A page must be ordered by names all the same, and hold every name up to its last. So whoever ends a page at
//! `1.0-rc/` must know whether `1/` and `1.0/` are still to come: they are asked for by name, and there are never more
//! of them than such characters in that one name.

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use http::{Method, Request};

use crate::store::{
    Depth, Entry, Listing, Meta, Multipart, Page, Pending, Result,
    error::Operation,
    key::Key,
    s3::{
        S3,
        failure::{Failure, Trouble},
        xml::{Objects, Unfinished},
    },
};

/// Most names that S3 gives at once.
const PAGE_MAX: usize = 1000;

/// Names asked for at once that a page may have passed over.
const LOOKUPS: usize = 8;

/// Where a page of the store's begins.
#[derive(Clone, Debug, Eq, PartialEq)]
enum From {
    /// Behind a name, or at the first.
    Name(Option<String>),
    /// Where the page before it ended, in the store's words.
    Token(String),
}

impl S3 {
    pub(super) async fn page(&self, listing: &Listing) -> Result<Page> {
        let mut entries = BTreeMap::new();
        let mut from = From::Name(listing.after.clone());
        loop {
            // One more, because the first may be what the page begins after: a folded name comes once more.
            let limit = (listing.limit - entries.len()).saturating_add(1);
            let (objects, last) = self.some(listing, &from, limit).await?;
            self.collect(listing, &objects, &mut entries);
            if !objects.is_truncated {
                let more = entries.len() > listing.limit;
                return Ok(Page { entries: entries.into_values().take(listing.limit).collect(), more });
            }
            if let Some(last) = &last {
                self.add_passed_over(listing, last, &mut entries).await?;
            }
            // Foreign objects without a name of ours can fill whole pages of the store's.
            if entries.len() >= listing.limit {
                let entries: Vec<Entry> = entries.into_values().take(listing.limit).collect();
                return Ok(Page { entries, more: true });
            }
            from = next(listing, &from, &objects, last)?;
        }
    }

    /// One page of the store's, and the last relative name in it.
    async fn some(&self, listing: &Listing, from: &From, limit: usize) -> Result<(Objects, Option<String>)> {
        let prefix = self.prefix(&listing.prefix);
        let start = match from {
            From::Name(name) => name.as_ref().map(|name| ("start-after", format!("{prefix}{name}"))),
            From::Token(token) => Some(("continuation-token", token.clone())),
        };
        let limit = limit.clamp(1, PAGE_MAX).to_string();
        let mut query = vec![("list-type", "2"), ("encoding-type", "url"), ("max-keys", limit.as_str())];
        query.push(("prefix", &prefix));
        if listing.depth == Depth::Children {
            query.push(("delimiter", "/"));
        }
        if let Some((name, value)) = &start {
            query.push((name, value));
        }
        let objects: Objects =
            self.ask(Request::get(self.bucket.bucket(&query)), Operation::List, &listing.prefix).await?;
        let last = {
            let keys = objects.contents.iter().map(|content| objects.name(&content.key));
            let folded = objects.common_prefixes.iter().map(|folded| objects.name(&folded.prefix));
            let last = keys.chain(folded).max();
            last.and_then(|last| last.strip_prefix(&prefix).map(str::to_owned))
        };
        Ok((objects, last))
    }

    /// Takes what has a name of ours. Whoever copies directories into buckets leaves empty objects whose keys end in a
    /// slash, and keys may have empty segments: those are nothing.
    fn collect(&self, listing: &Listing, objects: &Objects, entries: &mut BTreeMap<String, Entry>) {
        let prefix = self.prefix(&listing.prefix);
        let wanted =
            |name: &str| listing.prefix.join(name).is_ok() && listing.after.as_deref().is_none_or(|after| name > after);
        for folded in &objects.common_prefixes {
            let full = objects.name(&folded.prefix);
            let name = full.strip_prefix(&prefix).and_then(|name| name.strip_suffix('/'));
            if let Some(name) = name.filter(|name| wanted(name)) {
                entries.insert(name.to_owned(), Entry::Prefix { name: name.to_owned() });
            }
        }
        for content in &objects.contents {
            let full = objects.name(&content.key);
            if let Some(name) = full.strip_prefix(&prefix).filter(|name| wanted(name)) {
                let meta = Meta { size: content.size, modified: content.modified() };
                entries.insert(name.to_owned(), Entry::Object { name: name.to_owned(), meta });
            }
        }
    }

    /// Adds the folded children whose names come before `last` although their keys come after it.
    async fn add_passed_over(
        &self,
        listing: &Listing,
        last: &str,
        entries: &mut BTreeMap<String, Entry>,
    ) -> Result<()> {
        if listing.depth == Depth::All {
            return Ok(());
        }
        let name = last.strip_suffix('/').unwrap_or(last);
        let passed = passed_over(name).filter(|name| !entries.contains_key(*name));
        let passed = passed.filter(|name| listing.after.as_deref().is_none_or(|after| *name > after));
        let lookups = passed.map(|name| async move { Ok((name, self.holds(&listing.prefix, name).await?)) });
        let lookups: Vec<_> = lookups.collect();
        let found: Vec<(&str, bool)> = stream::iter(lookups).buffered(LOOKUPS).try_collect().await?;
        for (name, _) in found.into_iter().filter(|(_, holds)| *holds) {
            entries.insert(name.to_owned(), Entry::Prefix { name: name.to_owned() });
        }
        Ok(())
    }

    /// Whether anything lies below a child.
    async fn holds(&self, prefix: &Key, name: &str) -> Result<bool> {
        let Ok(child) = prefix.join(name) else { return Ok(false) };
        let below = self.prefix(&child);
        let query = [("list-type", "2"), ("encoding-type", "url"), ("max-keys", "1"), ("prefix", below.as_str())];
        let objects: Objects = self.ask(Request::get(self.bucket.bucket(&query)), Operation::List, prefix).await?;
        Ok(!objects.contents.is_empty())
    }

    pub(super) async fn unfinished(&self, prefix: &Key) -> Result<Vec<Pending>> {
        let full = self.prefix(prefix);
        let (mut found, mut markers) = (Vec::new(), None::<(String, Option<String>)>);
        loop {
            let mut query = vec![("uploads", ""), ("encoding-type", "url"), ("prefix", full.as_str())];
            if let Some((key, id)) = &markers {
                query.push(("key-marker", key));
                if let Some(id) = id {
                    query.push(("upload-id-marker", id));
                }
            }
            let page: Unfinished =
                self.ask(Request::get(self.bucket.bucket(&query)), Operation::Pending, prefix).await?;
            for upload in &page.uploads {
                let full = page.name(&upload.key);
                let key = self.bucket.relative(&full).and_then(|key| key.parse::<Key>().ok());
                // A store may take a prefix for a hint only.
                let Some(key) = key.filter(|_| full.starts_with(self.prefix(prefix).as_str())) else { continue };
                let upload_of = Multipart { key, id: upload.id.clone() };
                found.push(Pending { upload: upload_of, started: upload.initiated() });
            }
            let next = page.next_key_marker.as_deref().map(|key| page.name(key).into_owned());
            let id = page.next_upload_id_marker.clone().filter(|id| !id.is_empty());
            let next = next.map(|key| (key, id));
            if !page.is_truncated || next.is_none() || next == markers {
                return Ok(found);
            }
            markers = next;
        }
    }

    /// What full keys below a key begin with.
    fn prefix(&self, key: &Key) -> String {
        format!("{}/", self.bucket.full(key))
    }
}

/// Where the store's next page begins; every store says so, but for a few that want the last name again.
fn next(listing: &Listing, from: &From, objects: &Objects, last: Option<String>) -> Result<From> {
    let next = match (&objects.next_continuation_token, last) {
        (Some(token), _) if !token.is_empty() => From::Token(token.clone()),
        (_, last) => From::Name(last),
    };
    if next == *from || next == From::Name(None) {
        let trouble = Trouble::Nonsense("the listing goes on and does not say where".to_owned());
        return Err(Failure { method: Method::GET, trouble }.into_error(Operation::List, &listing.prefix));
    }
    Ok(next)
}

/// The beginnings of a name that come before it, and with a slash behind them after it.
fn passed_over(name: &str) -> impl Iterator<Item = &str> {
    name.char_indices().skip(1).filter(|(_, letter)| *letter < '/').map(|(at, _)| &name[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_a_page_passes_over() {
        let check = |name, expected: &[&str]| assert_eq!(passed_over(name).collect::<Vec<_>>(), expected, "{name}");
        check("latest", &[]);
        check("1", &[]);
        check("1-rc", &["1"]);
        check("v1.0.0-rc.1", &["v1", "v1.0", "v1.0.0", "v1.0.0-rc"]);
        check("-x", &[]);
    }
}
