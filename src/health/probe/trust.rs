//! Whom `https` checks trust.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use tokio_rustls::TlsConnector;

/// Certificate authorities, read once; clones share them.
#[derive(Clone, Debug)]
pub struct Trust(Arc<ClientConfig>);

/// Why a bundle of authorities cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("certificate authorities {path}: {source}", path = path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("certificate authorities {path}: no certificate that can be used", path = .0.display())]
    Empty(PathBuf),
    #[error("TLS cannot be set up: {0}")]
    Rustls(#[from] rustls::Error),
}

impl Trust {
    /// Reads a PEM file. As platforms' bundles hold certificates that no longer parse, those are passed over.
    pub fn load(bundle: &Path) -> Result<Self, Error> {
        let unreadable = |source| Error::Unreadable { path: bundle.to_owned(), source };
        let text = std::fs::read(bundle).map_err(unreadable)?;
        let certificates = rustls_pemfile::certs(&mut text.as_slice()).collect::<Result<Vec<_>, _>>();
        let mut roots = RootCertStore::empty();
        if roots.add_parsable_certificates(certificates.map_err(unreadable)?).0 == 0 {
            return Err(Error::Empty(bundle.to_owned()));
        }
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(Arc::new(config)))
    }

    /// For other clients that trust the same authorities.
    #[must_use]
    pub fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.0)
    }

    pub(in crate::health::probe) fn connector(&self) -> TlsConnector {
        TlsConnector::from(Arc::clone(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_without_certificates_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let bundle = directory.path().join("ca.crt");
        assert!(matches!(Trust::load(&bundle), Err(Error::Unreadable { .. })));
        std::fs::write(&bundle, "nothing").unwrap();
        assert!(matches!(Trust::load(&bundle), Err(Error::Empty(_))));
    }
}
