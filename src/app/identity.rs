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
        tls::{Clients, Demand, Identity as Configured, Tls, Version},
    },
    tls::{
        self,
        certificates::{Certificates, Origin},
        client, development,
        pem::{self, Pair},
    },
};

/// The terms of every handshake, and the certificates, which are exchanged under a running server.
pub(super) struct Identity {
    files: (PathBuf, PathBuf),
    strictness: pem::Strictness,
    clock: Arc<dyn Clock>,
    certificates: Arc<Certificates>,
    tls: Arc<rustls::ServerConfig>,
    /// What clients must trust where we made the certificate ourselves.
    authority: Option<PathBuf>,
}

/// `None` where no TLS is spoken. Warnings go to the log.
pub(super) fn load(config: &Config, clock: &Arc<dyn Clock>) -> Result<Option<Arc<Identity>>> {
    let Some(tls) = &config.http.tls else { return Ok(None) };
    let (certificate, key, authority) = match &tls.identity {
        Configured::Files { certificate, key } => (certificate.clone(), key.clone(), None),
        Configured::Development { directory } => {
            let paths = development::ensure(directory, &[], clock.as_ref())?;
            (paths.certificate, paths.key, Some(paths.authority))
        }
    };
    let strictness = strictness(config);
    let pair = pem::load(&certificate, &key, strictness, clock.now()).context("http.tls")?;
    for warning in pair.warnings() {
        tracing::warn!("http.tls: {warning}");
    }
    let certificates = Arc::new(Certificates::new(vec![pair]));
    let tls = tls::server_config(&settings(tls, config.http.http2), Arc::clone(&certificates)).context("http.tls")?;
    let (files, clock) = ((certificate, key), Arc::clone(clock));
    Ok(Some(Arc::new(Identity { files, strictness, clock, certificates, tls, authority })))
}

impl Identity {
    pub(super) const fn tls(&self) -> &Arc<rustls::ServerConfig> {
        &self.tls
    }

    pub(super) const fn authority(&self) -> Option<&PathBuf> {
        self.authority.as_ref()
    }

    /// Reads the files again and shows what is in them from now on.
    ///
    /// # Errors
    /// What is wrong with them; then all stays as it was.
    pub(super) fn reload(&self) -> Result<Vec<String>> {
        let (certificate, key) = &self.files;
        let pair = pem::load(certificate, key, self.strictness, self.clock.now())?;
        let said = pair.warnings().iter().map(|warning| format!("http.tls: {warning}")).collect();
        self.certificates.replace(Origin::Files, vec![pair]);
        Ok(said)
    }
}

/// Reads what [`load`] would read and makes nothing; returns its warnings.
pub(super) fn check(config: &Config, clock: &dyn Clock) -> Result<Vec<String>> {
    let Some(tls) = &config.http.tls else { return Ok(Vec::new()) };
    let pairs = match &tls.identity {
        Configured::Files { certificate, key } => vec![pair(config, certificate, key, clock)?],
        Configured::Development { .. } => Vec::new(),
    };
    terms(&settings(tls, config.http.http2), &pairs)?;
    Ok(pairs.iter().flat_map(Pair::warnings).map(|warning| format!("http.tls: {warning}")).collect())
}

const fn strictness(config: &Config) -> pem::Strictness {
    if config.edge.strict { pem::Strictness::Strict } else { pem::Strictness::Lenient }
}

fn pair(config: &Config, certificate: &Path, key: &Path, clock: &dyn Clock) -> Result<Pair> {
    pem::load(certificate, key, strictness(config), clock.now()).context("http.tls")
}

fn terms(settings: &tls::Settings, pairs: &[Pair]) -> Result<Arc<rustls::ServerConfig>> {
    tls::server_config(settings, Arc::new(Certificates::new(pairs.to_vec()))).context("http.tls")
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
