//! What we show to those who connect over TLS.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result};

use crate::{
    clock::Clock,
    config::{
        Config,
        tls::{Clients, Demand, Identity, Tls, Version},
    },
    tls::{
        self,
        certificates::Certificates,
        client, development,
        pem::{self, Pair},
    },
};

/// The terms of every handshake, and what clients must trust when we made it ourselves.
#[derive(Default)]
pub(super) struct Shown {
    pub(super) tls: Option<Arc<rustls::ServerConfig>>,
    pub(super) certificates: Option<Arc<Certificates>>,
    pub(super) authority: Option<PathBuf>,
}

pub(super) fn load(config: &Config, clock: &dyn Clock) -> Result<Shown> {
    let Some(tls) = &config.http.tls else { return Ok(Shown::default()) };
    let (certificate, key, authority) = match &tls.identity {
        Identity::Files { certificate, key } => (certificate.clone(), key.clone(), None),
        Identity::Development { directory } => {
            let paths = development::ensure(directory, &[], clock)?;
            (paths.certificate, paths.key, Some(paths.authority))
        }
    };
    let pair = pair(config, &certificate, &key, clock)?;
    for warning in pair.warnings() {
        tracing::warn!("http.tls: {warning}");
    }
    let settings = settings(tls, config.http.http2);
    let certificates = Arc::new(Certificates::new(vec![pair]));
    Ok(Shown { tls: Some(terms(&settings, &certificates)?), certificates: Some(certificates), authority })
}

/// Reads what [`load`] would read and makes nothing; returns its warnings.
pub(super) fn check(config: &Config, clock: &dyn Clock) -> Result<Vec<String>> {
    let Some(tls) = &config.http.tls else { return Ok(Vec::new()) };
    let pairs = match &tls.identity {
        Identity::Files { certificate, key } => vec![pair(config, certificate, key, clock)?],
        Identity::Development { .. } => Vec::new(),
    };
    terms(&settings(tls, config.http.http2), &Arc::new(Certificates::new(pairs.clone())))?;
    Ok(pairs.iter().flat_map(Pair::warnings).map(|warning| format!("http.tls: {warning}")).collect())
}

fn pair(config: &Config, certificate: &Path, key: &Path, clock: &dyn Clock) -> Result<Pair> {
    let strictness = if config.edge.strict { pem::Strictness::Strict } else { pem::Strictness::Lenient };
    pem::load(certificate, key, strictness, clock.now()).context("http.tls")
}

fn terms(settings: &tls::Settings, certificates: &Arc<Certificates>) -> Result<Arc<rustls::ServerConfig>> {
    tls::server_config(settings, Arc::clone(certificates)).context("http.tls")
}

fn settings(tls: &Tls, http2: bool) -> tls::Settings {
    tls::Settings {
        minimum: match tls.version_min {
            Version::Tls12 => tls::Version::Tls12,
            Version::Tls13 => tls::Version::Tls13,
        },
        cipher_suites: tls.cipher_suites.iter().map(ToString::to_string).collect(),
        client: tls.clients.as_ref().map(client_settings),
        http2: if http2 { tls::Http2::Offered } else { tls::Http2::Disabled },
    }
}

fn client_settings(clients: &Clients) -> client::Settings {
    let mode = match clients.demand {
        Demand::Request => client::Mode::Request,
        Demand::RequireAny => client::Mode::RequireAny,
        Demand::VerifyIfGiven => client::Mode::VerifyIfGiven,
        Demand::RequireAndVerify => client::Mode::RequireAndVerify,
    };
    client::Settings { mode, authorities: clients.roots.clone() }
}
