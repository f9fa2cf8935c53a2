//! The composition root: a configuration becomes a running registry. Nothing else wires.
//!
//! The order of starting is that of failing early: what can be wrong with the configuration is found before a port is
//! bound, and everything is bound before anything is served.

use std::{
    io::{self, Write as _},
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use anyhow::{Context, Result};
use async_trait::async_trait;
use tokio::time::Instant;

use crate::{
    api::{self, gateway::Gateway},
    auth::authority::Authority,
    clock::{Clock, SystemClock},
    config::{Config, Loaded, storage::Driver},
    health::Health,
    registry::{Registry, format::Signing},
    secret::Secret,
    server::{
        self, Server,
        debug::{Debug, Pages},
        inherited::Inherited,
    },
    store::Store,
    telemetry::{metrics::Metrics, writer::Writer},
};

mod bucket;
mod checks;
mod delivery;
pub mod doctor;
mod edge;
mod identity;
mod listeners;
mod networks;
mod observe;
mod policy;
mod storage;
mod tasks;
mod trust;

/// Serves until the process is told to stop.
///
/// # Errors
/// What keeps it from starting.
pub fn serve(loaded: &Loaded) -> Result<()> {
    crate::tls::install_provider();
    // Before anything else opens a descriptor, or a thread could look at the environment.
    let mut inherited = Inherited::of_process(&loaded.config.passed)?;
    let log = Log::start(&loaded.config)?;
    for warning in &loaded.warnings {
        tracing::warn!("configuration: {warning}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no threads")?;
    let served =
        runtime.block_on(async { App::build(&loaded.config, log.writers(), &mut inherited).await?.run().await });
    // A blocking call that hangs, on a dead network file system say, must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(5));
    served
}

/// Reads every file that a configuration names, as [`serve`] would, and makes none; returns what an operator should hear.
///
/// # Errors
/// What would keep [`serve`] from starting, as far as that can be told without binding or writing anything.
pub fn check(config: &Config) -> Result<Vec<String>> {
    crate::tls::install_provider();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    policy::api(config)?;
    policy::registry(config, Signing::Shared)?;
    checks::verify(&config.health)?;
    if let Driver::S3(s3) = &config.storage.driver {
        bucket::unasked(config, s3, &clock)?;
    }
    let mut notices = identity::check(config, clock.as_ref())?;
    notices.extend(delivery::check(config)?);
    notices.extend(trust::check(&config.auth, &clock)?);
    Ok(notices)
}

/// The two outputs; what is still queued is written when this is dropped.
struct Log {
    lines: (Writer, crate::telemetry::writer::FlushGuard),
    access: Option<(Writer, crate::telemetry::writer::FlushGuard)>,
}

/// Where lines go: the log's, and the access log's unless it is off.
struct Writers {
    lines: Writer,
    access: Option<Writer>,
}

impl Log {
    fn start(config: &Config) -> Result<Self> {
        let lines = Writer::start(io::stderr()).context("cannot start the log")?;
        crate::telemetry::log::init(&observe::log_settings(&config.log), lines.0.clone())
            .context("cannot start the log")?;
        let access = config.log.access_log.then(|| Writer::start(io::stdout())).transpose();
        Ok(Self { lines, access: access.context("cannot start the access log")? })
    }

    fn writers(&self) -> Writers {
        Writers { lines: self.lines.0.clone(), access: self.access.as_ref().map(|(writer, _)| writer.clone()) }
    }
}

/// Everything that serves, bound and ready.
struct App {
    server: Server,
    handler: Arc<Rim>,
    observer: Arc<observe::Requests>,
    debug: Option<(Debug, Pages)>,
    tasks: tasks::Tasks,
    health: Health,
    checks: Vec<crate::health::Check>,
    banner: Vec<String>,
}

impl App {
    async fn build(config: &Config, writers: Writers, inherited: &mut Inherited) -> Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let metrics = Arc::new(Metrics::new().context("the metrics cannot be set up")?);
        let health = Health::default();
        let opened = storage::open(config, &clock, &metrics).await?;
        let storage = opened.store;
        let delivery = delivery::build(config, opened.locator, &clock)?;
        for notice in &delivery.notices {
            tracing::warn!("{notice}");
        }
        let registry = open_registry(config, &storage, &clock).await?;
        let registry = Arc::new(match delivery.locator {
            Some(locator) => registry.with_locator(storage::watched(locator, &config.storage, &metrics)),
            None => registry,
        });
        let authority = Arc::new(trust::authority(&config.auth, &clock)?);
        let identity = identity::load(config, clock.as_ref())?;
        let edge = edge::Edge::new(config);
        let server = listeners::bind(config, &edge, identity.tls.as_ref(), inherited)?;
        let debug = listeners::bind_debug(config).await?;
        listeners::report(&server, debug.as_ref());
        let debug = debug.map(|debug| (debug, pages(config, &health, &metrics)));
        let demoted = Arc::new(AtomicBool::new(false));
        let handler = Arc::new(Rim(
            gateway(config, &registry, authority, &health, &demoted)?.limited_by(Arc::clone(&edge.admission))
        ));
        let observer = Arc::new(observe::Requests::new(Arc::clone(&metrics), writers.access, Arc::clone(&clock)));
        let checks = checks::all(&config.health, &config.storage, &storage)?;
        let tasks = tasks::Tasks {
            registry,
            metrics,
            admission: edge.admission,
            lines: writers.lines,
            updates: delivery.updates,
            purging: config.storage.purging.filter(|_| !config.storage.read_only),
            demoted,
        };
        let banner = listeners::banner(&server, identity.authority.as_ref());
        Ok(Self { server, handler, observer, debug, tasks, health, checks, banner })
    }

    async fn run(self) -> Result<()> {
        let (stop, stopping) = tokio::sync::watch::channel(false);
        let stopped = || {
            let mut stopping = stopping.clone();
            async move {
                // A sender that is gone has stopped, too.
                let _ = stopping.wait_for(|stopping| *stopping).await;
            }
        };
        let _checks = self.health.watch(self.checks);
        let tasks = tokio::spawn(self.tasks.run(stopped()));
        let debug = self.debug.map(|(debug, pages)| tokio::spawn(debug.run(pages, stopped())));
        for line in &self.banner {
            say(line);
        }
        tokio::spawn(async move {
            signalled().await;
            stop.send_replace(true);
        });
        self.server.run(self.handler, self.observer, stopped()).await.context("the server cannot run")?;
        tasks.abort();
        if let Some(debug) = debug {
            debug.abort();
        }
        tracing::info!("stopped");
        Ok(())
    }
}

/// The gateway, as the server sees it.
struct Rim(Gateway);

#[async_trait]
impl server::Handler for Rim {
    async fn handle(&self, request: api::Request) -> api::Reply {
        self.0.handle(request).await
    }
}

async fn open_registry(config: &Config, store: &Arc<dyn Store>, clock: &Arc<dyn Clock>) -> Result<Registry> {
    let signing = config
        .http
        .secret
        .as_ref()
        .map_or(Signing::Shared, |secret| Signing::Configured(Secret::new(secret.expose().clone().into_bytes())));
    let settings = policy::registry(config, signing)?;
    Registry::open(Arc::clone(store), Arc::clone(clock), settings).await.context("the storage cannot be used")
}

fn gateway(
    config: &Config,
    registry: &Arc<Registry>,
    authority: Arc<Authority>,
    health: &Health,
    demoted: &Arc<AtomicBool>,
) -> Result<Gateway> {
    let settings = policy::api(config)?;
    Ok(Gateway::new(Arc::clone(registry), authority, settings, health.unhealthy(), Arc::clone(demoted)))
}

fn pages(config: &Config, health: &Health, metrics: &Arc<Metrics>) -> Pages {
    Pages {
        health: health.clone(),
        metrics: Arc::clone(metrics),
        metrics_path: config.http.debug.as_ref().and_then(|debug| debug.metrics_path.clone()),
        started: Instant::now(),
    }
}

/// For whoever started us by hand; that nobody reads it is no reason to end.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// SIGTERM or SIGINT.
async fn signalled() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    let name = tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    };
    tracing::info!("stopping: {name}");
}
