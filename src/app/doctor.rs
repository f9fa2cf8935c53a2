//! `check --storage`: tries the configured storage, call by call.

use std::{io::Write, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use uuid::Uuid;

use crate::{
    app::bucket,
    clock::{Clock, SystemClock},
    config::{
        Config,
        storage::{Driver, s3::S3},
    },
    registry::layout::Layout,
    store::{
        doctor::{Finding, Report, Verdict},
        filesystem, s3,
    },
};

/// How old an unfinished upload in parts must be where nothing purges them.
const PURGE_AGE_DEFAULT: Duration = Duration::from_hours(7 * 24);

/// Amazon's domains, whose stores know its policies word for word.
const AMAZON: &str = "amazonaws.";

/// Tries what a registry does with its storage and removes what that wrote; one line for each step goes to `out` as it
/// ends, then what they come to. Returns whether nothing failed.
///
/// # Errors
/// What keeps the storage from being tried at all.
pub fn examine(config: &Config, out: &mut (dyn Write + Send)) -> Result<bool> {
    crate::tls::install_provider();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let report = runtime.block_on(try_storage(config, out));
    // A blocking call that hangs, on a dead network file system say, must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    let report = report?;
    conclude(config, &report, out).context("cannot print what was found")?;
    Ok(report.is_sound())
}

async fn try_storage(config: &Config, out: &mut (dyn Write + Send)) -> Result<Report> {
    // That nobody reads it is no reason to leave things behind in a bucket.
    let mut tell = |finding: &Finding| drop(writeln!(out, "{finding}"));
    let scratch = Layout.probe(&Uuid::new_v4());
    let writing = !config.storage.read_only;
    match &config.storage.driver {
        Driver::S3(s3) => {
            let clock: Arc<dyn Clock> = Arc::new(SystemClock);
            let settings =
                bucket::settings(s3, config.storage.redirect, &config.edge.downloads, &config.health.authorities)?;
            let plan = s3::doctor::Plan {
                scratch,
                root: Layout.root(),
                writing,
                // What stands between sends clients elsewhere.
                redirecting: writing && config.storage.redirect.is_some() && config.middlewares.is_empty(),
                purge_age: config.storage.purging.map_or(PURGE_AGE_DEFAULT, |purging| purging.age),
            };
            s3::doctor::examine(&settings, &clock, &plan, &mut tell).await.context("storage.s3")
        }
        Driver::Filesystem { root, .. } => {
            let existing = vec![Layout.blobs(), Layout.repositories()];
            let plan = filesystem::doctor::Plan { scratch, existing, writing };
            Ok(filesystem::doctor::examine(root, &plan, &mut tell).await)
        }
        Driver::Memory | Driver::None => {
            let sentence = match &config.storage.driver {
                Driver::None => "nothing is stored here: edge.upstream answers the requests",
                _ => "the content is kept in memory and ends with the process: there is nothing to try",
            };
            let sentence = sentence.to_owned();
            let finding = Finding { step: "storage", verdict: Verdict::Fine, sentence };
            tell(&finding);
            Ok(Report { findings: vec![finding], policy: None })
        }
    }
}

fn conclude(config: &Config, report: &Report, out: &mut (dyn Write + Send)) -> std::io::Result<()> {
    let only_reads = if config.storage.read_only { " (maintenance.readonly: nothing was written)" } else { "" };
    writeln!(out, "\n{}{only_reads}", report.summary())?;
    let Some(policy) = &report.policy else { return Ok(()) };
    let elsewhere = match &config.storage.driver {
        Driver::S3(s3) if !is_amazon(s3) => ", in Amazon's words, which other stores may have others for",
        _ => "",
    };
    writeln!(out, "The smallest policy that allows what was refused{elsewhere}:\n{policy}")
}

fn is_amazon(s3: &S3) -> bool {
    s3.endpoint.uri.host().is_some_and(|host| host.contains(AMAZON))
}
