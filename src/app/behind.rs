//! What stands behind the rim: our own registry over its storage, or another registry.

use std::sync::Arc;

use anyhow::Result;

use crate::{
    app::{
        checks, delivery,
        live::{Answering, Locates},
        networks::Update,
        open_registry, storage, upstream,
    },
    clock::Clock,
    config::Config,
    health::{Check, Health},
    store::Store,
    telemetry::metrics::Metrics,
};

/// What answers, and what it needs beside it.
pub(super) struct Behind {
    pub(super) answering: Answering,
    pub(super) locates: Locates,
    /// `None` where another registry answers.
    pub(super) storage: Option<Arc<dyn Store>>,
    pub(super) updates: Vec<Update>,
    pub(super) checks: Vec<Check>,
}

impl Behind {
    pub(super) async fn build(
        config: &Config,
        health: &Health,
        clock: &Arc<dyn Clock>,
        metrics: &Arc<Metrics>,
    ) -> Result<Self> {
        let Some(upstream) = &config.edge.upstream else { return Self::registry(config, clock, metrics).await };
        let front = upstream::build(config, upstream, health, clock, metrics).await?;
        Ok(Self {
            answering: Answering::Front(Arc::new(front)),
            locates: Locates::No,
            storage: None,
            updates: Vec::new(),
            checks: checks::all(&config.health, &config.storage, None)?,
        })
    }

    /// Our own registry over the configured storage.
    async fn registry(config: &Config, clock: &Arc<dyn Clock>, metrics: &Arc<Metrics>) -> Result<Self> {
        let opened = storage::open(config, clock, metrics).await?;
        let storage = opened.store;
        let delivery = delivery::build(config, opened.locator, clock)?;
        for notice in &delivery.notices {
            tracing::warn!("{notice}");
        }
        let locates = if delivery.locator.is_some() { Locates::Yes } else { Locates::No };
        let registry = open_registry(config, &storage, clock).await?;
        let registry = Arc::new(match delivery.locator {
            Some(locator) => registry.with_locator(storage::watched(locator, &config.storage, metrics)),
            None => registry,
        });
        let checks = checks::all(&config.health, &config.storage, Some(&storage))?;
        let answering = Answering::Registry(registry);
        Ok(Self { answering, locates, storage: Some(storage), updates: delivery.updates, checks })
    }
}
