//! `catalog` and `tags`: how long a page may be.

use anyhow::Result;

use crate::config::{
    schema::{Key, value},
    section::Section,
};

pub(in crate::config) const CATALOG_KEYS: &[Key] = &[value("maxentries").or("1000")];
pub(in crate::config) const TAGS_KEYS: &[Key] = &[value("maxtags")];

/// Entries of a page of the catalog where `maxentries` is not above zero.
const ENTRIES_DEFAULT: u64 = 1000;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Catalog {
    /// Most repositories in one page.
    pub entries_max: u64,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Tags {
    /// Most tags in one page, where that is limited by the operator.
    pub page_max: Option<u64>,
}

impl Catalog {
    pub(in crate::config) fn read(catalog: &Section<'_>) -> Result<Self> {
        let entries = catalog.need("maxentries")?.integer()?;
        Ok(Self { entries_max: u64::try_from(entries).ok().filter(|entries| *entries > 0).unwrap_or(ENTRIES_DEFAULT) })
    }
}

impl Tags {
    pub(in crate::config) fn read(tags: &Section<'_>) -> Result<Self> {
        let page_max = tags.find("maxtags").map(|field| field.count()).transpose()?;
        Ok(Self { page_max: page_max.filter(|page| *page > 0) })
    }
}
