//! Certificates that clients show: the four modes of Go's `tls.ClientAuthType` that configurations name.

use std::{io, path::PathBuf, sync::Arc};

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, RootCertStore, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, UnixTime},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use webpki::{EndEntityCert, KeyUsage, VerifiedPath};

/// What is asked of clients.
#[derive(Clone, Debug)]
pub struct Settings {
    pub mode: Mode,
    /// PEM files with the authorities that verified certificates must lead to.
    pub authorities: Vec<PathBuf>,
    /// Most certificates between a verified one and its authority (nginx's `ssl_verify_depth`). Without it the bound is
    /// that of the verifier, which is six.
    pub depth_max: Option<usize>,
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
    authorities: &[Vec<CertificateDer<'static>>],
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, Error> {
    let unverified =
        |presence| -> Arc<dyn ClientCertVerifier> { Arc::new(Unverified { presence, provider: Arc::clone(provider) }) };
    let verified = |presence| -> Result<Arc<dyn ClientCertVerifier>, Error> {
        let roots = Arc::new(roots(&settings.authorities, authorities)?);
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(provider));
        let verifier = match presence {
            Presence::Optional => builder.allow_unauthenticated().build()?,
            Presence::Required => builder.build()?,
        };
        Ok(match settings.depth_max {
            None => verifier,
            Some(depth_max) => Arc::new(Shallow { verifier, roots, depth_max, provider: Arc::clone(provider) }),
        })
    };
    match settings.mode {
        Mode::Request => Ok(unverified(Presence::Optional)),
        Mode::RequireAny => Ok(unverified(Presence::Required)),
        Mode::VerifyIfGiven => verified(Presence::Optional),
        Mode::RequireAndVerify => verified(Presence::Required),
    }
}

/// The certificates in the files of authorities, one list for each file.
pub fn authorities(paths: &[PathBuf]) -> Result<Vec<Vec<CertificateDer<'static>>>, Error> {
    let read = |path: &PathBuf| {
        let unreadable = |source| Error::Unreadable { path: path.clone(), source };
        let text = std::fs::read(path).map_err(unreadable)?;
        rustls_pemfile::certs(&mut text.as_slice()).collect::<Result<Vec<_>, _>>().map_err(unreadable)
    };
    paths.iter().map(read).collect()
}

fn roots(paths: &[PathBuf], authorities: &[Vec<CertificateDer<'static>>]) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for (path, certificates) in paths.iter().zip(authorities) {
        if roots.add_parsable_certificates(certificates.iter().cloned()).0 == 0 {
            return Err(Error::Empty(path.clone()));
        }
    }
    Ok(roots)
}

/// Verifies, and then looks for a way to an authority that is short enough.
#[derive(Debug)]
struct Shallow {
    verifier: Arc<dyn ClientCertVerifier>,
    roots: Arc<RootCertStore>,
    depth_max: usize,
    provider: Arc<CryptoProvider>,
}

#[derive(Debug, thiserror::Error)]
#[error("no way to an authority with at most {0} certificates in between")]
struct TooDeep(usize);

impl Shallow {
    fn verify_depth(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), webpki::Error> {
        let is_short = |path: &VerifiedPath<'_>| {
            let deep = path.intermediate_certificates().count() > self.depth_max;
            if deep { Err(webpki::Error::MaximumPathDepthExceeded) } else { Ok(()) }
        };
        let algorithms = self.provider.signature_verification_algorithms.all;
        let usage = KeyUsage::client_auth();
        EndEntityCert::try_from(end_entity)?
            .verify_for_usage(algorithms, &self.roots.roots, intermediates, now, usage, None, Some(&is_short))
            .map(drop)
    }
}

impl ClientCertVerifier for Shallow {
    fn client_auth_mandatory(&self) -> bool {
        self.verifier.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.verifier.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.verifier.verify_client_cert(end_entity, intermediates, now)?;
        match self.verify_depth(end_entity, intermediates, now) {
            Ok(()) => Ok(verified),
            Err(_) => Err(CertificateError::Other(OtherError(Arc::new(TooDeep(self.depth_max)))).into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
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
