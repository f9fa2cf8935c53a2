//! All repositories of a registry.

use std::collections::VecDeque;

use crate::{
    oci::name::{LEN_MAX, RepositoryName},
    registry::{
        Registry,
        error::Error,
        page::{Page, Window},
    },
    store::{Depth, Entry, Listing, key::Key},
};

/// Most names asked of the store at once.
const NAMES_MAX: usize = 256;

/// The repositories of a registry.
#[derive(Clone, Copy, Debug)]
pub struct Catalog<'a> {
    pub(in crate::registry) registry: &'a Registry,
}

impl Catalog<'_> {
    /// Repositories that hold manifests, in path-component order: a repository, those below it, then its neighbours.
    ///
    /// # Errors
    /// Only those of the store.
    pub async fn list(&self, window: &Window) -> Result<Page<RepositoryName>, Error> {
        let wanted = window.limit.saturating_add(1);
        let mut walk = Walk::after(self.registry, window.after.as_deref());
        let mut found = Vec::new();
        while found.len() < wanted {
            let Some(path) = walk.next().await? else { break };
            // A host's name with its port is a directory, but no repository by itself.
            let Ok(repository) = path.parse::<RepositoryName>() else { continue };
            if self.registry.holds_manifests(&repository).await? {
                found.push(repository);
            }
        }
        Ok(Page::cut(found, window.limit))
    }
}

/// A walk down the tree of repositories that holds one page of names for each level that it is on.
struct Walk<'a> {
    registry: &'a Registry,
    levels: Vec<Level>,
}

/// A directory whose children are being visited.
struct Level {
    directory: Key,
    /// Relative to the root of all repositories, empty for that root itself.
    path: String,
    names: VecDeque<String>,
    /// Where the next page of names begins, once `names` is used up.
    after: Option<String>,
    more: bool,
}

impl Level {
    const fn new(directory: Key, path: String, after: Option<String>) -> Self {
        Self { directory, path, names: VecDeque::new(), after, more: true }
    }

    fn child(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}/{name}", self.path) }
    }
}

impl<'a> Walk<'a> {
    /// Continues behind a path, which need not exist nor be a legal name.
    fn after(registry: &'a Registry, path: Option<&str>) -> Self {
        let mut level = Level::new(registry.layout.repositories(), String::new(), None);
        let mut levels = Vec::new();
        for component in path.into_iter().flat_map(|path| path.split('/')).take(LEN_MAX) {
            level.after = Some(component.to_owned());
            let below = (level.directory.join(component), level.child(component));
            levels.push(level);
            // Nothing lies below what cannot be a directory.
            let (Ok(directory), path) = below else { return Self { registry, levels } };
            level = Level::new(directory, path, None);
        }
        levels.push(level);
        Self { registry, levels }
    }

    /// The next directory that may be a repository.
    async fn next(&mut self) -> Result<Option<String>, Error> {
        while let Some(level) = self.levels.last_mut() {
            if let Some(name) = level.names.pop_front() {
                let path = level.child(&name);
                let Ok(directory) = level.directory.join(&name) else { continue };
                if path.len() > LEN_MAX {
                    continue;
                }
                self.levels.push(Level::new(directory, path.clone(), None));
                return Ok(Some(path));
            }
            if !level.more {
                self.levels.pop();
                continue;
            }
            fetch(self.registry, level).await?;
        }
        Ok(None)
    }
}

/// Fetches the next page of a level's names. What begins with an underscore belongs to the repository itself.
async fn fetch(registry: &Registry, level: &mut Level) -> Result<(), Error> {
    let prefix = level.directory.clone();
    let listing = Listing { prefix, depth: Depth::Children, after: level.after.take(), limit: NAMES_MAX };
    let page = registry.store.list(&listing).await?;
    level.after = page.entries.last().map(|entry| entry.name().to_owned());
    level.more = page.more && level.after.is_some();
    let directories = page.entries.into_iter().filter_map(|entry| match entry {
        Entry::Prefix { name } => Some(name).filter(|name| !name.starts_with('_')),
        Entry::Object { .. } => None,
    });
    level.names.extend(directories);
    Ok(())
}
