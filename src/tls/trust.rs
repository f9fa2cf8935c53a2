//! Whom we trust when we are the client: health checks over `https`, object storage.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};

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

/// Trusts the authorities in a PEM file. As platforms' bundles hold certificates that no longer parse, those are passed
/// over.
pub fn authorities(bundle: &Path) -> Result<Arc<ClientConfig>, Error> {
    let unreadable = |source| Error::Unreadable { path: bundle.to_owned(), source };
    let text = std::fs::read(bundle).map_err(unreadable)?;
    let certificates = rustls_pemfile::certs(&mut text.as_slice()).collect::<Result<Vec<_>, _>>();
    let mut roots = RootCertStore::empty();
    if roots.add_parsable_certificates(certificates.map_err(unreadable)?).0 == 0 {
        return Err(Error::Empty(bundle.to_owned()));
    }
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Trusts no authority at all: for connections that never speak TLS.
pub fn nobody() -> Result<Arc<ClientConfig>, Error> {
    let config = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    Ok(Arc::new(config.with_root_certificates(RootCertStore::empty()).with_no_client_auth()))
}

/// Trusts everybody: for operators who ask for it by name (`skipverify`). What is sent can be read and changed by
/// whoever stands in between.
pub fn everybody() -> Result<Arc<ClientConfig>, Error> {
    let provider = provider();
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// Asks for the proof of the key, and not for whose key it is.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_without_certificates_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let bundle = directory.path().join("ca.crt");
        assert!(matches!(authorities(&bundle), Err(Error::Unreadable { .. })));
        std::fs::write(&bundle, "nothing").unwrap();
        assert!(matches!(authorities(&bundle), Err(Error::Empty(_))));
    }
}
