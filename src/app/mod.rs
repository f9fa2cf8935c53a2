//! The composition root: a configuration becomes a running registry. Nothing else wires.
//!
//! The order of starting is that of failing early: what can be wrong with the configuration is found before a port is
//! bound, and everything is bound before anything is served.

use std::{
    io::{self, Write as _},
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use anyhow::{Context, Result};
use arc_swap::ArcSwap;
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use crate::{
    acme::renewal::Renewal,
    app::{
        behind::Behind,
        lifecycle::Lifecycle,
        live::Fixed,
        logs::Logs,
        manager::Manager,
        presented::Presented,
        reload::Reloader,
        signals::Signals,
        upgrade::{Estate, Invocation},
    },
    clock::{Clock, SystemClock},
    config::{Config, Loaded, environment::Environment, storage::Driver},
    health::{Health, probe::Probe, readiness::Readiness},
    registry::{Registry, format::Signing},
    secret::Secret,
    server::{
        self, Server,
        debug::{Debug, Pages},
        inherited::Inherited,
    },
    store::Store,
    telemetry::metrics::Metrics,
};

mod access;
pub mod acme;
mod behind;
mod bucket;
mod certificates;
mod checks;
mod delivery;
pub mod doctor;
mod edge;
mod identity;
pub mod import;
pub mod keys;
mod lifecycle;
mod listeners;
mod live;
mod logs;
mod manager;
mod networks;
mod observe;
mod passthrough;
mod policy;
mod presented;
mod reload;
mod signals;
mod storage;
mod tasks;
mod trust;
pub mod upgrade;
mod upstream;

/// How long a stop waits for a last write about certificates.
const LETTING_GO: Duration = Duration::from_secs(5);

/// What a process was started with: it is read again by a reload, and started again by an upgrade.
#[derive(Debug)]
pub struct Origin {
    /// The file.
    pub configuration: PathBuf,
    pub environment: Environment,
    pub invocation: Invocation,
}

/// Serves until the process is told to stop, or another one serves in its place.
///
/// # Errors
/// What keeps it from starting.
pub fn serve(origin: Origin) -> Result<()> {
    crate::tls::install_provider();
    let loaded = Config::load(&origin.configuration, &origin.environment)?;
    // Before anything else opens a descriptor, or a thread could look at the environment.
    let mut inherited = listeners::inherited(&loaded.config.passed)?;
    let (logs, _ending) = Logs::start(&loaded.config)?;
    for warning in &loaded.warnings {
        tracing::warn!("configuration: {warning}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no threads")?;
    let served = runtime.block_on(async { App::build(origin, loaded, logs, &mut inherited).await?.run().await });
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
    upstream::check(config)?;
    let mut notices = identity::check(config, clock.as_ref())?;
    acme::check(config)?;
    notices.extend(delivery::check(config)?);
    notices.extend(trust::check(&config.auth, &clock)?);
    Ok(notices)
}

/// Everything that serves, bound and ready.
struct App {
    server: Server,
    handler: Arc<dyn server::Handler>,
    observer: Arc<observe::Requests>,
    debug: Option<(Debug, Pages)>,
    tasks: tasks::Tasks,
    /// Of certificates.
    renewal: Option<Renewal>,
    health: Health,
    checks: Vec<crate::health::Check>,
    banner: Vec<String>,
    manager: Arc<Manager>,
    lifecycle: Lifecycle,
}

impl App {
    async fn build(origin: Origin, loaded: Loaded, logs: Logs, inherited: &mut Inherited) -> Result<Self> {
        let signals = Signals::listen()?;
        let config = &loaded.config;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let metrics = Arc::new(Metrics::new().context("the metrics cannot be set up")?);
        let health = Health::default();
        let demoted = Arc::new(AtomicBool::new(false));
        let Behind { answering, locates, storage, updates, checks } =
            Behind::build(config, &health, &clock, &metrics).await?;
        let registry = answering.registry().cloned();
        let admission = edge::admission(config);
        edge::complain(&config.edge, edge::share(config));
        let fixed =
            Fixed::new(config, answering, Arc::clone(&admission), health.clone(), Arc::clone(&demoted), locates);
        let handler = fixed.rules(config, trust::authority(&config.auth, &clock)?)?.handler;
        let presented = Presented::build(config, storage.as_ref(), &fixed.read_only, &clock, &metrics).await?;
        let server = listeners::bind(config, &presented, Arc::clone(&admission), inherited)?;
        let Presented { identity, renewal, passing, .. } = presented;
        let debug = listeners::bind_debug(config, inherited).await?;
        listeners::close_unused(config.passed.by, inherited);
        listeners::report(&server, debug.as_ref());
        let estate = estate(config, &server, debug.as_ref())?;
        let readiness = readiness(config, &health, storage.as_ref());
        let debug = debug.map(|debug| (debug, pages(config, &health, &readiness, &metrics)));
        let access = Arc::clone(logs.access());
        let observer = Arc::new(observe::Requests::new(Arc::clone(&metrics), access, Arc::clone(&clock)));
        let watch = |identity| certificates::Watch { identity, metrics: Arc::clone(&metrics) };
        let tasks = tasks::Tasks {
            registry,
            admission,
            certificates: identity.clone().map(watch),
            metrics: Arc::clone(&metrics),
            losses: logs.losses().clone(),
            updates,
            purging: config.storage.purging,
            demoted,
            read_only: Arc::clone(&fixed.read_only),
        };
        let banner = listeners::banner(&server, identity.as_ref().and_then(|identity| identity.authority()));
        let manager = Arc::new(Manager::new(&config.manager));
        let (origin, loaded, control) = (Arc::new(origin), Arc::new(loaded), server.control());
        metrics.reloads.started(clock.now());
        let reloader = Arc::new(Reloader {
            origin: Arc::clone(&origin),
            first: Arc::clone(&loaded),
            current: ArcSwap::new(loaded),
            fixed,
            identity,
            own_names: passing.map(|passing| passing.own),
            control: control.clone(),
            logs: Arc::new(logs),
            metrics,
            clock,
        });
        let (manager_of, predecessor) = (Arc::clone(&manager), inherited.predecessor());
        let lifecycle =
            Lifecycle { origin, signals, control, readiness, reloader, manager: manager_of, estate, predecessor };
        Ok(Self { server, handler, observer, debug, tasks, renewal, health, checks, banner, manager, lifecycle })
    }

    async fn run(self) -> Result<()> {
        let _checks = self.health.watch(self.checks);
        let (stop, mut stopping) = watch::channel(false);
        let stopped = async move {
            // A sender that is gone has stopped, too.
            let _ = stopping.wait_for(|stopping| *stopping).await;
        };
        let tasks = tokio::spawn(self.tasks.run());
        let renewal = self.renewal.map(|renewal| tokio::spawn(renewal.run(stopped)));
        let manager = self.manager;
        let watchdog = tokio::spawn(async move { manager.live().await });
        // Until the end: who asks whether this process is ready has to hear that it is not. Where another one has taken
        // its place, that one is asked.
        let replaced = Arc::new(Notify::new());
        let asked = Arc::clone(&replaced);
        let debug =
            self.debug.map(|(debug, pages)| tokio::spawn(debug.run(pages, async move { asked.notified().await })));
        for line in &self.banner {
            say(line);
        }
        let lifecycle = self.lifecycle.run(move || replaced.notify_one());
        let lifecycle = async move {
            lifecycle.await;
            stop.send_replace(true);
        };
        self.server.run(self.handler, self.observer, lifecycle).await.context("the server cannot run")?;
        tasks.abort();
        if let Some(renewal) = renewal {
            // It gives up the right to order certificates, so that others need not wait for its end.
            let _ = tokio::time::timeout(LETTING_GO, renewal).await;
        }
        watchdog.abort();
        if let Some(debug) = debug {
            debug.abort();
        }
        tracing::info!("stopped");
        Ok(())
    }
}

/// All that is handed to a process which replaces this one.
fn estate(config: &Config, server: &Server, debug: Option<&Debug>) -> Result<Estate> {
    let mut estate = Estate::new(server.sockets().context("too many open descriptors")?);
    if let (Some(debug), Some(configured)) = (debug, &config.http.debug) {
        estate.add(listeners::operators(configured), debug)?;
    }
    Ok(estate)
}

/// Where another registry answers, its servers are among the checks of health, and there is nothing else to ask.
fn readiness(config: &Config, health: &Health, storage: Option<&Arc<dyn Store>>) -> Readiness {
    let name = checks::storage_name(&config.storage);
    let probe = storage.map_or_else(|| Probe::call(|| async { Ok(()) }), checks::storage_probe);
    Readiness::new(health.clone(), name, probe)
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

fn pages(config: &Config, health: &Health, readiness: &Readiness, metrics: &Arc<Metrics>) -> Pages {
    Pages {
        health: health.clone(),
        readiness: readiness.clone(),
        metrics: Arc::clone(metrics),
        metrics_path: config.http.debug.as_ref().and_then(|debug| debug.metrics_path.clone()),
        started: Instant::now(),
    }
}

/// For whoever started us by hand; that nobody reads it is no reason to end.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}
