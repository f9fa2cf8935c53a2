//! Which store, and how it is watched.

use std::sync::Arc;

use anyhow::{Context, Result};
use uuid::Uuid;

use crate::{
    app::bucket,
    clock::Clock,
    config::{
        Config,
        storage::{Driver, Storage, s3::S3 as Bucket},
    },
    registry::layout::Layout,
    store::{
        Limits, Parts, Store,
        error::Operation,
        filesystem::Filesystem,
        locate::Locate,
        memory::Memory,
        metered::Metered,
        s3::{S3, probe::Creating},
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
            Opened { store: Arc::new(opened.with_threads_max(*threads_max)), locator: None }
        }
        Driver::S3(s3) => {
            let bucket = Arc::new(open_bucket(config, s3, clock).await?);
            Opened { store: Arc::clone(&bucket) as _, locator: config.storage.redirect.map(|_| bucket as _) }
        }
        Driver::Memory => {
            let limits = Limits { parts: Parts::Appended, parts_max: u32::MAX };
            Opened { store: Arc::new(Memory::new(limits, Arc::clone(clock))), locator: None }
        }
    };
    let (metrics, driver) = (Arc::clone(metrics), name(&config.storage));
    let store = Metered::new(opened.store, move |observation| {
        metrics.storage_action(driver, action(observation.operation), observation.duration);
    });
    Ok(Opened { store: Arc::new(store), ..opened })
}

/// Finds out what the bucket can do before anything depends on it.
async fn open_bucket(config: &Config, s3: &Bucket, clock: &Arc<dyn Clock>) -> Result<S3> {
    let mut store = bucket(config, s3, clock)?;
    let place = || {
        format!(
            "storage.s3: the bucket {} at {} cannot be used (`pierhead check --storage` tries each call by itself)",
            s3.bucket, s3.endpoint.uri
        )
    };
    let scratch = Layout.probe(&Uuid::new_v4());
    if config.storage.read_only {
        store.reach(&scratch).await.with_context(place)?;
        tracing::info!("storage.s3: the bucket {} can be listed; it is not written to", s3.bucket);
        return Ok(store);
    }
    let found = store.probe(&scratch).await.with_context(place)?;
    match found.creating {
        Creating::Exclusive => tracing::info!(
            "storage.s3: the bucket {} lists, reads, writes, refuses a second writer and takes uploads in parts",
            s3.bucket
        ),
        Creating::Ignored => tracing::warn!(
            "storage.s3: the store does not honour If-None-Match: run one replica only, as two could both believe that \
             they go on with an upload"
        ),
    }
    if !found.deletes {
        tracing::warn!("storage.s3: objects cannot be deleted (s3:DeleteObject): what uploads leave behind will stay");
    }
    Ok(store)
}

/// Sends nothing yet.
pub(super) fn bucket(config: &Config, s3: &Bucket, clock: &Arc<dyn Clock>) -> Result<S3> {
    let settings = bucket::settings(s3, config.storage.redirect, &config.edge.downloads)?;
    S3::open(settings, Arc::clone(clock)).context("storage.s3")
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
