//! What is shown in handshakes: certificates of files and of an authority, its proofs, and names that are passed on.

use std::sync::{Arc, atomic::AtomicBool};

use anyhow::{Context, Result};

use crate::{
    acme::{Acme, renewal::Renewal},
    app::{
        acme,
        identity::{self, Identity},
        passthrough::{self, Passing},
    },
    clock::Clock,
    config::Config,
    server::challenges::Challenges,
    store::Store,
    telemetry::metrics::Metrics,
};

pub(super) struct Presented {
    /// `None` where no TLS is spoken.
    pub(super) identity: Option<Arc<Identity>>,
    /// Of certificates, where an authority issues them.
    pub(super) renewal: Option<Renewal>,
    pub(super) challenges: Option<Arc<dyn Challenges>>,
    /// `None` where nothing is passed on.
    pub(super) passing: Option<Passing>,
}

impl Presented {
    /// `storage` is the registry's own; nothing is written there while `read_only` is set.
    pub(super) async fn build(
        config: &Config,
        storage: Option<&Arc<dyn Store>>,
        read_only: &Arc<AtomicBool>,
        clock: &Arc<dyn Clock>,
        metrics: &Metrics,
    ) -> Result<Self> {
        let identity = identity::load(config, clock)?;
        acme::refuse_to_read_only(config)?;
        let acme = acme::open(config, storage, read_only, clock)?;
        let renewal = renewal(acme.as_ref(), identity.as_deref(), metrics).await?;
        let passing = passthrough::build(config, identity.as_ref().map(|identity| identity.certificates()));
        Ok(Self { challenges: acme.as_ref().map(acme::challenges), identity, renewal, passing })
    }
}

/// What keeps certificates from an authority fresh, where there are any.
async fn renewal(acme: Option<&Acme>, identity: Option<&Identity>, metrics: &Metrics) -> Result<Option<Renewal>> {
    let Some((acme, identity)) = acme.zip(identity) else { return Ok(None) };
    let figures = metrics.acme().context("the metrics cannot be set up")?;
    let renewal = acme.renewal(Arc::clone(identity.certificates()), Some(figures));
    renewal.prepare().await.context("edge.acme")?;
    Ok(Some(renewal))
}
