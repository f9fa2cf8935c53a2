//! What a registry means: blobs that belong to repositories, manifests, tags, uploads.
//!
//! A [`Registry`] is one store seen as the layout of CNCF Distribution. Its parts are views of one repository
//! ([`Registry::blobs`], [`Registry::manifests`], ...) that are made for one request and hold nothing of their own.
//! Nothing here knows HTTP, tokens or who is asking: callers have shown a grant before they come here.

use std::{sync::Arc, time::Duration};

pub mod blobs;
pub mod catalog;
pub mod error;
pub mod layout;
pub mod manifests;
pub mod page;
pub mod referrers;
pub mod session;
pub mod tags;
pub mod uploads;

use crate::{
    clock::Clock,
    oci::name::RepositoryName,
    registry::{
        blobs::Blobs,
        catalog::Catalog,
        layout::Layout,
        manifests::Manifests,
        referrers::Referrers,
        tags::Tags,
        uploads::{Uploads, budget::Budget, finished::Finished},
    },
    secret::Secret,
    store::Store,
};
use tokio::sync::Semaphore;

/// One store, seen as a registry.
#[derive(Debug)]
pub struct Registry {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    layout: Layout,
    settings: Settings,
    /// Signs upload states; the same in all replicas.
    secret: Secret<Vec<u8>>,
    budget: Budget,
    /// Places for bodies that are streaming in; `None` without a limit.
    bodies: Option<Semaphore>,
    finished: Finished,
}

/// How a registry behaves; every duration and size has its unit in its type or name.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What manifests must satisfy before they are stored.
    pub validation: manifests::Validation,
    /// Entries of the blob descriptor cache; `None` turns it off.
    pub descriptor_cache: Option<usize>,
    /// Age past which an unfinished upload is unknown.
    pub upload_lifetime: Duration,
    /// Bytes of memory that all uploads together may hold on their way to the store.
    pub upload_memory: u64,
    /// Largest blob, in bytes.
    pub upload_size_max: Option<u64>,
    /// Most bodies that stream in at once.
    pub upload_bodies_max: Option<usize>,
}

impl Registry {
    #[must_use]
    pub fn blobs<'a>(&'a self, repository: &'a RepositoryName) -> Blobs<'a> {
        Blobs { registry: self, repository }
    }

    #[must_use]
    pub fn manifests<'a>(&'a self, repository: &'a RepositoryName) -> Manifests<'a> {
        Manifests { registry: self, repository }
    }

    #[must_use]
    pub fn tags<'a>(&'a self, repository: &'a RepositoryName) -> Tags<'a> {
        Tags { registry: self, repository }
    }

    #[must_use]
    pub fn referrers<'a>(&'a self, repository: &'a RepositoryName) -> Referrers<'a> {
        Referrers { registry: self, repository }
    }

    #[must_use]
    pub fn uploads<'a>(&'a self, repository: &'a RepositoryName) -> Uploads<'a> {
        Uploads { registry: self, repository }
    }

    #[must_use]
    pub fn catalog(&self) -> Catalog<'_> {
        Catalog { registry: self }
    }
}
