//! What the edge presents: certificates, their keys, and the terms of a handshake.
//!
//! `pem` reads a pair of files, with `blocks` for what is no PEM, `key` for keys and `judge` for chains; `development`
//! makes a pair where none is configured. [`Certificates`] holds the pairs by name, [`server_config`] turns [`Settings`]
//! into the configuration of a handshake, and [`Terms`] holds both and is exchanged while connections run. `sessions`
//! are taken up again; early data (0-RTT) is never accepted. `trust` is the other side: whom we believe when we are the
//! client.
//!
//! This module never reads the configuration file, never listens and never decides when to load again.

pub mod blocks;
pub mod certificates;
pub mod client;
pub mod development;
pub mod groups;
pub mod judge;
pub mod pem;
pub mod sessions;
pub mod trust;

mod key;
mod suites;

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig, SupportedProtocolVersion,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::CertificateDer,
};

use crate::tls::{certificates::Certificates, groups::Group};

/// The terms of every handshake.
#[derive(Clone, Debug)]
pub struct Settings {
    pub minimum: Version,
    /// Cipher suites by the names that Go gives them; empty means every suite that rustls has. As in Go they restrict
    /// TLS 1.2 only: the three suites of TLS 1.3 are always offered.
    pub cipher_suites: Vec<String>,
    /// Of the key exchange; empty means all, the post-quantum hybrid among them.
    pub groups: Vec<Group>,
    /// `None`: clients are not asked for a certificate.
    pub client: Option<client::Settings>,
    /// Whether `h2` is offered beside `http/1.1`.
    pub http2: Http2,
    pub sessions: sessions::Settings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            minimum: Version::Tls12,
            cipher_suites: Vec::new(),
            groups: Vec::new(),
            client: None,
            http2: Http2::Offered,
            sessions: sessions::Settings::default(),
        }
    }
}

/// The oldest protocol version that is spoken; rustls has none older than 1.2.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Version {
    Tls12,
    Tls13,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Http2 {
    Offered,
    Disabled,
}

/// Why settings make no server configuration.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cipher suite {0:?} is not known")]
    UnknownCipherSuite(String),
    #[error(transparent)]
    Client(#[from] client::Error),
    #[error("TLS cannot be set up: {0}")]
    Rustls(#[from] rustls::Error),
}

/// Makes our provider the process's default. It has to be called before anything else touches TLS: the first provider
/// installed stays, and the engine below `server` would install one without post-quantum key exchange.
pub fn install_provider() {
    // A second call finds the provider of the first, which is the same.
    let _ = provider().install_default();
}

/// With the post-quantum hybrid, and that first.
fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups.sort_by_key(|group| group.name() != rustls::NamedGroup::X25519MLKEM768);
    provider
}

/// The configuration for every connection; certificates are looked up in `certificates` at each handshake. `authorities`
/// are those of clients as [`client::authorities`] reads them.
pub fn server_config(
    settings: &Settings,
    authorities: &[Vec<CertificateDer<'static>>],
    certificates: Arc<Certificates>,
) -> Result<Arc<ServerConfig>, Error> {
    let mut provider = provider();
    suites::restrict(&mut provider.cipher_suites, &settings.cipher_suites)?;
    groups::restrict(&mut provider.kx_groups, &settings.groups);
    let provider = Arc::new(provider);
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&protocol_versions(settings.minimum))?;
    let builder = match &settings.client {
        None => builder.with_no_client_auth(),
        Some(client) => builder.with_client_cert_verifier(client::verifier(client, authorities, &provider)?),
    };
    let mut config = builder.with_cert_resolver(certificates);
    sessions::set_up(&mut config, settings.sessions)?;
    config.alpn_protocols = match settings.http2 {
        Http2::Offered => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        Http2::Disabled => vec![b"http/1.1".to_vec()],
    };
    Ok(Arc::new(config))
}

/// The terms in force, with the certificates that they look up.
#[derive(Debug)]
pub struct Terms {
    config: ArcSwap<ServerConfig>,
    certificates: Arc<Certificates>,
}

/// Terms that can be put in force.
#[derive(Debug)]
pub struct Prepared(Arc<ServerConfig>);

impl Terms {
    pub fn new(
        settings: &Settings,
        authorities: &[Vec<CertificateDer<'static>>],
        certificates: Arc<Certificates>,
    ) -> Result<Self, Error> {
        let config = server_config(settings, authorities, Arc::clone(&certificates))?;
        Ok(Self { config: ArcSwap::new(config), certificates })
    }

    /// Other terms for the same certificates, which are not in force before [`Terms::take`].
    pub fn prepare(
        &self,
        settings: &Settings,
        authorities: &[Vec<CertificateDer<'static>>],
    ) -> Result<Prepared, Error> {
        server_config(settings, authorities, Arc::clone(&self.certificates)).map(Prepared)
    }

    /// From now on handshakes follow these, and no session from before is taken up again: who was trusted then may not
    /// be any more.
    pub fn take(&self, prepared: Prepared) {
        self.config.store(prepared.0);
    }

    /// For a client that asks for this name; `None` where it has to hear that nobody of that name is here.
    #[must_use]
    pub fn for_name(&self, name: Option<&str>) -> Option<Arc<ServerConfig>> {
        self.certificates.answers(name).then(|| self.config.load_full())
    }
}

fn protocol_versions(minimum: Version) -> Vec<&'static SupportedProtocolVersion> {
    let mut versions = vec![&rustls::version::TLS13];
    if minimum == Version::Tls12 {
        versions.push(&rustls::version::TLS12);
    }
    versions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hybrid_group_is_offered_first() {
        assert_eq!(provider().kx_groups[0].name(), rustls::NamedGroup::X25519MLKEM768);
    }

    #[test]
    fn protocols_and_early_data() {
        let check = |http2, expected: &[&[u8]]| {
            let settings = Settings { http2, ..Settings::default() };
            let config = server_config(&settings, &[], Arc::new(Certificates::default())).unwrap();
            assert_eq!(config.alpn_protocols, expected);
            assert_eq!(config.max_early_data_size, 0);
        };
        check(Http2::Offered, &[b"h2", b"http/1.1"]);
        check(Http2::Disabled, &[b"http/1.1"]);
    }
}
