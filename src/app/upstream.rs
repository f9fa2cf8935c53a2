//! Another registry answers: the way to it, who is let through, and the shadow beside it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use anyhow::{Context, Result};
use async_trait::async_trait;

use crate::{
    api::{
        self, Scheme,
        gate::Gate,
        gateway::{self, Gateway},
    },
    app::{edge, open_registry, policy, storage, trust},
    auth::authority::Authority,
    clock::Clock,
    config::{
        Config,
        auth::Auth,
        edge::upstream::{Balance, Server, Upstream},
    },
    health::Health,
    server,
    store::{Store, readonly::ReadOnly},
    telemetry::metrics::Metrics,
    tls,
    upstream::{
        self, Probing, Proxy,
        endpoint::Endpoint,
        shadow::{self, Shadow},
    },
};

/// What stands between the rim and the other registry.
pub(super) struct Front {
    proxy: Arc<Proxy>,
    /// Where tokens are verified first.
    gate: Option<Gate>,
    shadow: Option<Arc<Shadow>>,
    /// Of every answer, whoever gave it.
    settings: api::settings::Settings,
    unhealthy: Arc<AtomicBool>,
}

#[async_trait]
impl server::Handler for Front {
    async fn handle(&self, request: api::Request) -> api::Reply {
        if self.unhealthy.load(Ordering::Relaxed) {
            return upstream::unhealthy();
        }
        let subject = match &self.gate {
            None => None,
            Some(gate) => match gate.admit(request.head()).await {
                Ok(log) => log.subject,
                Err(refusal) => return refusal,
            },
        };
        let question = match &self.shadow {
            None => None,
            Some(shadow) => shadow.question(request.head()).await.map(|question| (shadow, question)),
        };
        let scheme = request.connection.scheme;
        let mut reply = self.proxy.handle(request).await;
        reply.log.subject = subject;
        gateway::dress(&mut reply.headers, &self.settings, scheme);
        match question {
            None => reply,
            Some((shadow, question)) => shadow.behind(question, reply),
        }
    }
}

pub(super) async fn build(
    config: &Config,
    upstream: &Upstream,
    health: &Health,
    clock: &Arc<dyn Clock>,
    metrics: &Arc<Metrics>,
) -> Result<Front> {
    let counted = Arc::new(metrics.upstream().context("the metrics cannot be set up")?);
    let proxy = Arc::new(Proxy::new(settings(config, upstream)?, &counted));
    health.consist_of(Arc::clone(&proxy) as _);
    let gate =
        || -> Result<Gate> { Ok(Gate::new(Arc::new(trust::authority(&config.auth, clock)?), policy::api(config)?)) };
    let shadow = match &config.edge.shadow {
        None => None,
        Some(configured) => {
            let settings = shadow::Settings {
                sample: configured.sample,
                concurrency: configured.concurrency.get(),
                prefix: config.http.prefix.clone(),
            };
            let compared = !upstream.verify_tokens && !matches!(config.auth, Auth::Open);
            let gate = compared.then(gate).transpose()?;
            let ours = own(config, clock, metrics).await?;
            Some(Arc::new(Shadow::new(settings, Arc::clone(&proxy), ours, gate, counted)))
        }
    };
    let gate = upstream.verify_tokens.then(gate).transpose()?;
    Ok(Front { proxy, gate, shadow, settings: policy::api(config)?, unhealthy: health.unhealthy() })
}

/// Reads what [`build`] would read and makes nothing.
pub(super) fn check(config: &Config) -> Result<()> {
    config.edge.upstream.as_ref().map_or(Ok(()), |upstream| settings(config, upstream).map(drop))
}

/// Our own gateway over the configured storage, which it cannot change. Whom to let in was decided before.
async fn own(config: &Config, clock: &Arc<dyn Clock>, metrics: &Arc<Metrics>) -> Result<Gateway> {
    let mut config = config.clone();
    config.storage.read_only = true;
    // What is redirected to cannot be compared.
    config.storage.redirect = None;
    let store: Arc<dyn Store> = Arc::new(ReadOnly::new(storage::open(&config, clock, metrics).await?.store));
    let registry = open_registry(&config, &store, clock).await?;
    let settings = policy::api(&config)?;
    Ok(Gateway::new(Arc::new(registry), Arc::new(Authority::Open), settings, Arc::default(), Arc::default()))
}

fn settings(config: &Config, upstream: &Upstream) -> Result<upstream::Settings> {
    let scheme = config.http.external_url.as_ref().map(|url| match url.uri().scheme_str() {
        Some("https") => Scheme::Https,
        _ => Scheme::Http,
    });
    let probing = upstream.health.as_ref().map(|health| Probing {
        path: health.path.clone(),
        interval: health.schedule.interval,
        threshold: u32::try_from(health.schedule.threshold).unwrap_or(u32::MAX),
    });
    Ok(upstream::Settings {
        endpoints: endpoints(config, upstream).context("edge.upstream")?,
        balance: match upstream.balance {
            Balance::RoundRobin => upstream::Balance::RoundRobin,
            Balance::LeastConnections => upstream::Balance::LeastConnections,
        },
        host: upstream.host.clone(),
        scheme,
        prefix: config.http.prefix.clone(),
        connections_max: edge::share(config).upstream,
        connect_timeout: upstream.connect_timeout,
        read_timeout: upstream.read_timeout,
        probing,
    })
}

fn endpoints(config: &Config, upstream: &Upstream) -> Result<Vec<Endpoint>> {
    let secure = upstream.servers.iter().any(|server| matches!(server, Server::Https(_)));
    let trust = if secure {
        tls::trust::authorities(upstream.authorities.as_ref().unwrap_or(&config.health.authorities))?
    } else {
        tls::trust::nobody()?
    };
    let endpoint = |server: &Server| match server {
        Server::Http(authority) => Ok(Endpoint::plain(authority)),
        Server::Https(authority) => Ok(Endpoint::secure(authority, Arc::clone(&trust))?),
        Server::Unix(path) => Ok(Endpoint::unix(path.clone())),
    };
    upstream.servers.iter().map(endpoint).collect()
}
