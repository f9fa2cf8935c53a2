//! Reading the configuration again under a running server.
//!
//! Everything is read and made before anything is changed, so that a configuration with a fault leaves all as it was.
//! Then what requests go by is exchanged as one value.

use std::sync::Arc;

use anyhow::{Error, Result};
use arc_swap::ArcSwap;

use crate::{
    app::{Origin, identity::Identity, live::Fixed, logs::Logs, passthrough::Own, trust},
    clock::Clock,
    config::{Config, Loaded, Warning},
    server::control::Control,
    telemetry::metrics::Metrics,
};

pub(super) struct Reloader {
    pub(super) origin: Arc<Origin>,
    /// The configuration of the start: what takes a restart is as it says.
    pub(super) first: Arc<Loaded>,
    /// The configuration in force.
    pub(super) current: ArcSwap<Loaded>,
    pub(super) fixed: Fixed,
    pub(super) identity: Option<Arc<Identity>>,
    /// Where names are passed on.
    pub(super) own_names: Option<Arc<Own>>,
    pub(super) control: Control,
    pub(super) logs: Arc<Logs>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) clock: Arc<dyn Clock>,
}

impl Reloader {
    /// Reads the configuration again and puts it in force, or nothing of it. Says in the log what came of it; the error
    /// is for others who want to know. Blocks on files.
    ///
    /// # Errors
    /// Why all is as it was.
    pub(super) fn reload(&self) -> Result<()> {
        match self.attempt() {
            Ok(awaiting) => {
                self.metrics.reloads.succeeded(self.clock.now(), awaiting);
                let generation = self.metrics.reloads.generation();
                tracing::info!(config.generation = generation, "the configuration was read again and is in force");
                Ok(())
            }
            Err(error) => {
                self.metrics.reloads.failed(self.clock.now());
                tracing::error!("the configuration was read again and refused; the one of before stays: {error:#}");
                Err(error)
            }
        }
    }

    /// The number of keys that are not in force before a restart.
    fn attempt(&self) -> Result<usize> {
        let loaded = Config::load(&self.origin.configuration, &self.origin.environment)?;
        let authority = trust::authority_again(&loaded.config.auth, &self.clock)?;
        let rules = self.fixed.rules(&loaded.config, authority)?;
        let access = self.logs.access().prepare(&loaded.config)?;
        // Whole or not at all: with one bad certificate the good ones are not taken either. What was read is what is
        // taken, whatever becomes of the files meanwhile.
        let identity = self.identity.as_deref();
        let shown = identity.map(|identity| Ok::<_, Error>((identity, identity.prepare()?))).transpose()?;
        // Nothing below can fail.
        self.control.replace(rules);
        self.fixed.admit(&loaded.config);
        self.fixed.note(&loaded.config);
        if let Some(own) = &self.own_names {
            own.follow(&loaded.config);
        }
        self.logs.configure(&loaded.config);
        self.logs.access().take(access);
        self.logs.access().reopen();
        if let Some((identity, prepared)) = shown {
            identity.take(prepared).iter().for_each(|line| tracing::info!("{line}"));
        }
        let awaiting = self.first.needs_restart(&loaded);
        self.warn(&loaded, &awaiting);
        self.current.store(Arc::new(loaded));
        Ok(awaiting.len())
    }

    /// Warnings that the configuration of before did not have, and what is not in force.
    fn warn(&self, loaded: &Loaded, awaiting: &[Warning]) {
        let before = self.current.load();
        let known = |warning: &Warning| before.warnings.iter().any(|old| old.key == warning.key);
        for warning in loaded.warnings.iter().filter(|warning| !known(warning)).chain(awaiting) {
            tracing::warn!("configuration: {warning}");
        }
        for line in self.fixed.in_vain(&loaded.config) {
            tracing::warn!("configuration: {line}");
        }
        if self.first.config.http.redirect.as_ref().map(|redirect| &redirect.authority)
            != loaded.config.http.redirect.as_ref().map(|redirect| &redirect.authority)
        {
            tracing::warn!(
                "configuration: edge.redirect_http_to_https: clients are sent to the external URL of the start until a \
                 restart or an upgrade"
            );
        }
    }
}
