//! What a running server goes by, made of a configuration: all that can change without a restart, as one value.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use anyhow::Result;
use async_trait::async_trait;

use crate::{
    admission::Admission,
    api::{self, gateway::Gateway, settings::Mode},
    app::{edge, listeners, policy, upstream::Front},
    auth::authority::Authority,
    config::{Config, storage::Driver},
    health::Health,
    registry::Registry,
    server::{self, control::Rules, descriptors::Share},
};

/// What stays the same as long as the process lives.
pub(super) struct Fixed {
    answering: Answering,
    admission: Arc<Admission>,
    pub(super) health: Health,
    pub(super) demoted: Arc<AtomicBool>,
    /// Whether the configuration in force refuses writes; for those who write without being asked to.
    pub(super) read_only: Arc<AtomicBool>,
    writes: Writes,
    share: Share,
    /// Whether the registry knows addresses to redirect to.
    pub(super) locates: Locates,
}

/// Who knows the answers.
pub(super) enum Answering {
    Registry(Arc<Registry>),
    /// Another registry, and what stands before it.
    Front(Arc<Front>),
}

impl Answering {
    pub(super) const fn registry(&self) -> Option<&Arc<Registry>> {
        match self {
            Self::Registry(registry) => Some(registry),
            Self::Front(_) => None,
        }
    }
}

/// Whether it is known that the storage takes writes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Writes {
    Tried,
    /// The process was started to read only, and what a bucket can do is found out by writing to it.
    Untried,
}

/// Whether clients could be redirected.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Locates {
    Yes,
    No,
}

impl Fixed {
    /// `config` is that of the start.
    pub(super) fn new(
        config: &Config,
        answering: Answering,
        admission: Arc<Admission>,
        health: Health,
        demoted: Arc<AtomicBool>,
        locates: Locates,
    ) -> Self {
        let untried = config.storage.read_only && matches!(config.storage.driver, Driver::S3(_));
        let writes = if untried { Writes::Untried } else { Writes::Tried };
        let read_only = Arc::new(AtomicBool::new(config.storage.read_only));
        Self { answering, admission, health, demoted, read_only, writes, share: edge::share(config), locates }
    }

    /// Changes nothing.
    pub(super) fn rules(&self, config: &Config, authority: Authority) -> Result<Rules> {
        let mut settings = policy::api(config)?;
        if self.must_stay_read_only(config) {
            settings.mode = Mode::ReadOnly;
        }
        let handler: Arc<dyn server::Handler> = match &self.answering {
            Answering::Front(front) => Arc::clone(front) as _,
            Answering::Registry(registry) => {
                let (registry, authority) = (Arc::clone(registry), Arc::new(authority));
                let (unhealthy, demoted) = (self.health.unhealthy(), Arc::clone(&self.demoted));
                let gateway = Gateway::new(registry, authority, settings, unhealthy, demoted);
                Arc::new(Rim(gateway.limited_by(Arc::clone(&self.admission))))
            }
        };
        let (limits, deadlines) = edge::bounds(&config.edge.limits, self.share);
        let proxies = listeners::proxies(&config.edge.proxies);
        Ok(Rules { handler, limits, deadlines, proxies })
    }

    /// Puts in force what is beside the rules who may come in, and at which rate.
    pub(super) fn admit(&self, config: &Config) {
        self.admission.replace(edge::settings(&config.edge));
        edge::complain(&config.edge, self.share);
    }

    /// That those rules are in force.
    pub(super) fn note(&self, config: &Config) {
        let read_only = config.storage.read_only || self.must_stay_read_only(config);
        self.read_only.store(read_only, Ordering::Relaxed);
    }

    /// What a configuration asks for in vain before a restart, beyond what single keys say.
    pub(super) fn in_vain(&self, config: &Config) -> Vec<&'static str> {
        let mut said = Vec::new();
        if self.must_stay_read_only(config) {
            said.push(
                "storage.maintenance.readonly.enabled: what the bucket can do was not tried at the start: writes begin \
                 with a restart or an upgrade",
            );
        }
        if self.locates == Locates::No && config.storage.redirect.is_some() && could_locate(config) {
            said.push("storage.redirect.disable: redirects begin with a restart or an upgrade");
        }
        said
    }

    fn must_stay_read_only(&self, config: &Config) -> bool {
        self.writes == Writes::Untried && !config.storage.read_only
    }
}

fn could_locate(config: &Config) -> bool {
    matches!(config.storage.driver, Driver::S3(_)) || !config.middlewares.is_empty()
}

/// The gateway, as the server sees it.
struct Rim(Gateway);

#[async_trait]
impl server::Handler for Rim {
    async fn handle(&self, request: api::Request) -> api::Reply {
        self.0.handle(request).await
    }
}
