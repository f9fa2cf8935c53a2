//! Certificates that clients show: the four modes of Go's `tls.ClientAuthType` that configurations name.

use std::{io, path::PathBuf, sync::Arc};

use rustls::{
    DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, UnixTime},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};

/// What is asked of clients.
#[derive(Clone, Debug)]
pub struct Settings {
    pub mode: Mode,
    /// PEM files with the authorities that verified certificates must lead to.
    pub authorities: Vec<PathBuf>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// Asked for, and neither needed nor verified.
    Request,
    /// Some certificate is needed; who signed it does not matter.
    RequireAny,
    VerifyIfGiven,
    RequireAndVerify,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("client authorities {path}: {source}", path = path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("client authorities {path}: no certificate that can be used", path = .0.display())]
    Empty(PathBuf),
    #[error("client certificates cannot be verified: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

pub(super) fn verifier(
    settings: &Settings,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, Error> {
    let unverified =
        |presence| -> Arc<dyn ClientCertVerifier> { Arc::new(Unverified { presence, provider: Arc::clone(provider) }) };
    let verified = || -> Result<_, Error> {
        let roots = Arc::new(roots(&settings.authorities)?);
        Ok(WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider)))
    };
    Ok(match settings.mode {
        Mode::Request => unverified(Presence::Optional),
        Mode::RequireAny => unverified(Presence::Required),
        Mode::VerifyIfGiven => verified()?.allow_unauthenticated().build()?,
        Mode::RequireAndVerify => verified()?.build()?,
    })
}

fn roots(paths: &[PathBuf]) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for path in paths {
        let unreadable = |source| Error::Unreadable { path: path.clone(), source };
        let text = std::fs::read(path).map_err(unreadable)?;
        let certificates =
            rustls_pemfile::certs(&mut text.as_slice()).collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
        if roots.add_parsable_certificates(certificates).0 == 0 {
            return Err(Error::Empty(path.clone()));
        }
    }
    Ok(roots)
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Presence {
    Optional,
    Required,
}

/// Takes any certificate, and still proves that the client holds its key.
#[derive(Debug)]
struct Unverified {
    presence: Presence,
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for Unverified {
    fn client_auth_mandatory(&self) -> bool {
        self.presence == Presence::Required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
