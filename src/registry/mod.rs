//! What a registry means: blobs that belong to repositories, manifests, tags, uploads.
//!
//! A [`Registry`] is one store seen as the layout of CNCF Distribution. Its parts are views of one repository
//! ([`Registry::blobs`], [`Registry::manifests`], ...) that are made for one request and hold nothing of their own.
//! Nothing here knows HTTP, tokens or who is asking: callers have shown a grant before they come here.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use time::OffsetDateTime;
use tokio::sync::Semaphore;

pub mod blobs;
mod cache;
pub mod catalog;
mod content;
pub mod error;
pub mod format;
pub mod layout;
pub mod manifests;
pub mod page;
mod pages;
pub mod referrers;
pub mod session;
pub mod tags;
pub mod uploads;

use crate::{
    clock::Clock,
    oci::{digest::Digest, name::RepositoryName},
    registry::{
        blobs::Blobs,
        cache::Cache,
        catalog::Catalog,
        format::{OpenError, Signing},
        layout::Layout,
        manifests::{Manifests, validation::Validation},
        referrers::Referrers,
        tags::Tags,
        uploads::{Uploads, budget::Budget, finished::Finished, slab::Stock},
    },
    secret::Secret,
    store::{Store, locate::Locate},
};

/// What the manifests kept in memory may weigh together, in bytes.
const VERIFIED_MAX: usize = 16 * 1024 * 1024;

/// How many digests of content that was seen to stand are kept in memory; each takes about 200 bytes.
const STOOD_MAX: usize = 10_000;

/// One store, seen as a registry.
#[derive(Debug)]
pub struct Registry {
    store: Arc<dyn Store>,
    /// Knows where clients can fetch content by themselves, if they can.
    locator: Option<Arc<dyn Locate>>,
    clock: Arc<dyn Clock>,
    layout: Layout,
    settings: Settings,
    /// Signs upload states; the same on every replica.
    secret: Secret<Vec<u8>>,
    /// Sizes of content.
    descriptors: Cache<Digest, u64>,
    /// When the store last said that content stands.
    stood: Cache<Digest, OffsetDateTime>,
    /// Manifests whose bytes were seen to hash to their digest, which stays true whatever becomes of the store.
    verified: Cache<Digest, Bytes>,
    budget: Budget,
    stock: Stock,
    /// Places for bodies that are streaming in; `None` without a limit.
    bodies: Option<Semaphore>,
    finished: Finished,
}

/// How a registry behaves; every duration and size has its unit in its type or name.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What manifests must satisfy before they are stored.
    pub validation: Validation,
    /// Entries of the blob descriptor cache; `None` turns it off.
    pub descriptor_cache: Option<usize>,
    /// Age past which an unfinished upload is unknown.
    pub upload_lifetime: Duration,
    /// Bytes of memory that all uploads together may hold on their way to the store.
    pub upload_memory: u64,
    /// Bytes of one body after which what came is committed, although more is coming.
    pub upload_checkpoint: u64,
    /// Largest blob, in bytes.
    pub upload_size_max: Option<u64>,
    /// Most bodies that stream in at once.
    pub upload_bodies_max: Option<usize>,
    /// What signs upload states.
    pub signing: Signing,
}

/// How often the blob descriptor cache was asked since the start, and how often it knew.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CacheCounts {
    pub looks: u64,
    /// At most `looks`.
    pub hits: u64,
}

impl Registry {
    /// Takes a store up, or makes an empty one a registry.
    ///
    /// # Errors
    /// When the store belongs to a newer version of us or to GitLab's metadata database, or cannot be read.
    pub async fn open(store: Arc<dyn Store>, clock: Arc<dyn Clock>, settings: Settings) -> Result<Self, OpenError> {
        let layout = Layout;
        format::refuse_database(&*store, &layout).await?;
        format::check(&*store, &layout).await?;
        let secret = format::secret(&*store, &layout, &settings.signing).await?;
        Ok(Self {
            secret,
            descriptors: Cache::new(settings.descriptor_cache.unwrap_or(0)),
            stood: Cache::new(STOOD_MAX),
            verified: Cache::new(VERIFIED_MAX),
            budget: Budget::new(settings.upload_memory),
            stock: Stock::default(),
            bodies: settings.upload_bodies_max.map(|most| Semaphore::new(most.min(Semaphore::MAX_PERMITS))),
            finished: Finished::default(),
            store,
            locator: None,
            clock,
            layout,
            settings,
        })
    }

    /// Clients may be sent where this says. It names every object by the key that the store knows.
    #[must_use]
    pub fn with_locator(self, locator: Arc<dyn Locate>) -> Self {
        Self { locator: Some(locator), ..self }
    }

    /// Whether this version may still write here: asked every minute, because a newer replica may have come.
    ///
    /// # Errors
    /// As [`Registry::open`]; with `NewerWriter` or `NewerLayout` this process must write no more.
    pub async fn recheck(&self) -> Result<(), OpenError> {
        format::check(&*self.store, &self.layout).await
    }

    /// What the blob descriptor cache was good for.
    #[must_use]
    pub fn cache_counts(&self) -> CacheCounts {
        self.descriptors.counts()
    }

    /// Bytes of memory that uploads hold now.
    #[must_use]
    pub fn upload_memory_taken(&self) -> u64 {
        self.budget.taken()
    }

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
