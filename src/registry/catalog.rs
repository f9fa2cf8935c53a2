//! All repositories of a registry.

use std::collections::VecDeque;

use crate::{
    oci::name::{LEN_MAX, RepositoryName},
    registry::{
        Registry,
        error::Error,
        page::{Page, Window},
        pages::Pages,
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
    levels: Vec<Level<'a>>,
}

/// A directory whose children are being visited.
struct Level<'a> {
    directory: Key,
    /// Relative to the root of all repositories, empty for that root itself.
    path: String,
    names: VecDeque<String>,
    /// What comes once `names` is used up.
    pages: Pages<'a>,
}

impl<'a> Level<'a> {
    /// The children behind `after`.
    fn new(registry: &'a Registry, directory: Key, path: String, after: Option<String>) -> Self {
        let prefix = directory.clone();
        let pages = registry.pages(Listing { prefix, depth: Depth::Children, after, limit: NAMES_MAX });
        Self { directory, path, names: VecDeque::new(), pages }
    }

    fn child(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}/{name}", self.path) }
    }

    /// Takes the next page of names; whether there was one. What begins with an underscore belongs to the repository
    /// itself.
    async fn fetch(&mut self) -> Result<bool, Error> {
        let Some(page) = self.pages.next().await? else { return Ok(false) };
        let directories = page.into_iter().filter_map(|entry| match entry {
            Entry::Prefix { name } => Some(name).filter(|name| !name.starts_with('_')),
            Entry::Object { .. } => None,
        });
        self.names.extend(directories);
        Ok(true)
    }
}

impl<'a> Walk<'a> {
    /// Continues behind a path, which need not exist nor be a legal name.
    fn after(registry: &'a Registry, path: Option<&str>) -> Self {
        let (mut directory, mut path_so_far) = (registry.layout.repositories(), String::new());
        let mut levels = Vec::new();
        for component in path.into_iter().flat_map(|path| path.split('/')).take(LEN_MAX) {
            let level = Level::new(registry, directory, path_so_far, Some(component.to_owned()));
            let below = (level.directory.join(component), level.child(component));
            levels.push(level);
            // Nothing lies below what cannot be a directory.
            let (Ok(child), path) = below else { return Self { registry, levels } };
            (directory, path_so_far) = (child, path);
        }
        levels.push(Level::new(registry, directory, path_so_far, None));
        Self { registry, levels }
    }

    /// The next directory that may be a repository.
    async fn next(&mut self) -> Result<Option<String>, Error> {
        while let Some(level) = self.levels.last_mut() {
            let Some(name) = level.names.pop_front() else {
                if !level.fetch().await? {
                    self.levels.pop();
                }
                continue;
            };
            let path = level.child(&name);
            let Ok(directory) = level.directory.join(&name) else { continue };
            if path.len() > LEN_MAX {
                continue;
            }
            self.levels.push(Level::new(self.registry, directory, path.clone(), None));
            return Ok(Some(path));
        }
        Ok(None)
    }
}
