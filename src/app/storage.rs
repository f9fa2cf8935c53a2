//! Which store, and how it is watched.

use std::sync::Arc;

use anyhow::{Context, Result};

use crate::{
    clock::Clock,
    config::storage::{Driver, Storage},
    store::{
        Limits, Parts, Store,
        error::Operation,
        filesystem::Filesystem,
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
pub(super) fn open(storage: &Storage, clock: &Arc<dyn Clock>, metrics: &Arc<Metrics>) -> Result<Opened> {
    let store: Arc<dyn Store> = match &storage.driver {
        Driver::Filesystem { root, threads_max } => {
            let opened = Filesystem::open(root).context("storage.filesystem cannot be used")?;
            Arc::new(opened.with_threads_max(*threads_max))
        }
        Driver::S3(_) => anyhow::bail!("storage.s3 is not wired on this branch"),
        Driver::Memory => {
            let limits = Limits { parts: Parts::Appended, parts_max: u32::MAX };
            Arc::new(Memory::new(limits, Arc::clone(clock)))
        }
    };
    let store = Arc::new(Metered::new(store, timed(storage, metrics)));
    // Neither files nor memory can be reached by clients.
    Ok(Opened { store, locator: None })
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
