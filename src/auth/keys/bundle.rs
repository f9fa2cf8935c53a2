//! `rootcertbundle`: a PEM file of certificates and public keys.

use std::path::{Path, PathBuf};

use rustls::pki_types::{
    CertificateDer,
    pem::{PemObject as _, SectionKind},
};
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

use crate::auth::keys::{PublicKey, TrustedKeys, UnsuitableKey, read};

/// Why a bundle cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidBundle {
    #[error("cannot read the certificate bundle {}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("the certificate bundle {} is not PEM: {reason}", path.display())]
    NotPem { path: PathBuf, reason: String },
    #[error("the certificate bundle {} holds neither a certificate nor a public key", path.display())]
    Empty { path: PathBuf },
    /// `number` counts the file's certificates and keys from 1.
    #[error("certificate {number} of the bundle {} is damaged: {reason}", path.display())]
    Certificate { path: PathBuf, number: usize, reason: String },
    #[error("the key of entry {number} of the bundle {} cannot be trusted: {source}", path.display())]
    Key { path: PathBuf, number: usize, source: UnsuitableKey },
}

/// Reads a bundle. Every certificate gives its key and is a root for `x5c` chains; a bare public key gives itself.
pub(in crate::auth) fn load(path: &Path) -> Result<TrustedKeys, InvalidBundle> {
    let content = read(path).map_err(|source| InvalidBundle::Read { path: path.into(), source })?;
    let mut trusted = TrustedKeys::default();
    let mut number = 0;
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(&content) {
        let (kind, der) =
            section.map_err(|error| InvalidBundle::NotPem { path: path.into(), reason: error.to_string() })?;
        if !matches!(kind, SectionKind::Certificate | SectionKind::PublicKey) {
            continue;
        }
        number += 1;
        let key = |der: &[u8]| {
            PublicKey::from_spki(der).map_err(|source| InvalidBundle::Key { path: path.into(), number, source })
        };
        if kind == SectionKind::PublicKey {
            trusted.add(key(&der)?);
            continue;
        }
        let damaged = |reason| InvalidBundle::Certificate { path: path.into(), number, reason };
        let (_, certificate) = X509Certificate::from_der(&der).map_err(|error| damaged(error.to_string()))?;
        trusted.add(key(certificate.public_key().raw)?);
        trusted.roots.push(CertificateDer::from(der));
    }
    if number == 0 {
        return Err(InvalidBundle::Empty { path: path.into() });
    }
    Ok(trusted)
}
