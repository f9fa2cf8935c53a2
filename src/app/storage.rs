//! Which store, and how it is watched.

use std::sync::Arc;

use anyhow::{Context, Result, bail};

use crate::{
    app::bucket,
    clock::Clock,
    config::{
        Config,
        storage::{Driver, Storage},
    },
    store::{
        Distance, Limits, Parts, Store,
        error::Operation,
        filesystem::{Filesystem, PageCache},
        locate::Locate,
        memory::Memory,
        metered::{Metered, Observation},
    },
    telemetry::metrics::Metrics,
};

/// A store, and what it knows of where clients can fetch its objects by themselves.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) store: Arc<dyn Store>,
    pub(super) locator: Option<Arc<dyn Locate>>,
}

/// Opens the configured store; every call to it is timed.
pub(super) async fn open(config: &Config, clock: &Arc<dyn Clock>, metrics: &Arc<Metrics>) -> Result<Opened> {
    let opened = match &config.storage.driver {
        Driver::Filesystem { root, threads_max } => {
            let opened = if config.storage.read_only { Filesystem::open_to_read(root) } else { Filesystem::open(root) };
            let opened = opened.context("storage.filesystem cannot be used")?;
            let cache = PageCache::first(config.edge.uploads.pages_kept);
            let opened = opened.with_threads_max(*threads_max).with_page_cache(cache);
            Opened { store: Arc::new(opened), locator: None }
        }
        Driver::S3(s3) => {
            let bucket = Arc::new(bucket::open(config, s3, clock).await?);
            Opened { store: Arc::clone(&bucket) as _, locator: config.storage.redirect.map(|_| bucket as _) }
        }
        Driver::Memory => {
            let limits = Limits { parts: Parts::Appended, parts_max: u32::MAX, distance: Distance::Here };
            Opened { store: Arc::new(Memory::new(limits, Arc::clone(clock))), locator: None }
        }
        Driver::None => bail!("there is no storage"),
    };
    let store = Metered::new(opened.store, timed(&config.storage, metrics));
    Ok(Opened { store: Arc::new(store), ..opened })
}

/// Times what is asked about addresses, whoever knows them.
pub(super) fn watched(locator: Arc<dyn Locate>, storage: &Storage, metrics: &Arc<Metrics>) -> Arc<dyn Locate> {
    Arc::new(Metered::new(locator, timed(storage, metrics)))
}

fn timed(storage: &Storage, metrics: &Arc<Metrics>) -> impl Fn(Observation) + Send + Sync + use<> {
    let (metrics, driver) = (Arc::clone(metrics), name(storage));
    move |observation| metrics.storage_action(driver, action(observation.operation), observation.duration)
}

/// The driver's name in the configuration.
pub(super) const fn name(storage: &Storage) -> &'static str {
    match storage.driver {
        Driver::Filesystem { .. } => "filesystem",
        Driver::Memory => "inmemory",
        Driver::S3(_) => "s3aws",
        Driver::None => "none",
    }
}

/// The names that dashboards of CNCF Distribution know, where it has them.
const fn action(operation: Operation) -> &'static str {
    match operation {
        Operation::Head => "Stat",
        Operation::Get => "GetContent",
        Operation::Put => "PutContent",
        Operation::Delete => "Delete",
        Operation::List => "List",
        Operation::Promote => "Move",
        Operation::Locate => "RedirectURL",
        Operation::Begin => "Begin",
        Operation::PutPart => "PutPart",
        Operation::Flush => "Flush",
        Operation::Complete => "Complete",
        Operation::Abort => "Abort",
        Operation::Pending => "Pending",
    }
}
