//! `x5c` (RFC 7515 section 4.1.6): a certificate chain in the token, which must lead to the bundle.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use time::OffsetDateTime;
use webpki::{EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeIdIter, anchor_from_trusted_cert};
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _, time::ASN1Time};

use crate::auth::{challenge::Reason, keys::PublicKey};

/// Most certificates in one chain.
pub(in crate::auth) const CHAIN_LEN_MAX: usize = 8;

/// A chain that was verified: the key of its leaf, good until the first certificate of the chain ends.
#[derive(Debug)]
pub(in crate::auth) struct Leaf {
    pub(in crate::auth) key: PublicKey,
    /// Seconds since the epoch.
    pub(in crate::auth) not_after: i64,
}

/// The leaf of `chain` (base64 DER, leaf first) if it leads to one of `roots` at the time `now`.
pub(in crate::auth) fn verify(
    chain: &[String],
    roots: &[CertificateDer<'_>],
    now: OffsetDateTime,
) -> Result<Leaf, Reason> {
    if chain.len() > CHAIN_LEN_MAX {
        return Err(untrusted(&format!("{} certificates, at most {CHAIN_LEN_MAX} are looked at", chain.len())));
    }
    let certificates = chain
        .iter()
        .map(|text| STANDARD.decode(text).map(CertificateDer::from))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| untrusted(&"a certificate that is not base64"))?;
    let (leaf, intermediates) = certificates.split_first().ok_or_else(|| untrusted(&"no certificate in x5c"))?;
    if roots.contains(leaf) {
        parse_valid(leaf, now)?;
    } else {
        build_path(leaf, intermediates, roots, now)?;
    }
    let key = PublicKey::from_spki(parse(leaf)?.public_key().raw).map_err(|error| untrusted(&error))?;
    let ends = certificates.iter().map(|certificate| Ok(parse(certificate)?.validity().not_after.timestamp()));
    let not_after = ends.collect::<Result<Vec<_>, Reason>>()?.into_iter().min().unwrap_or_default();
    Ok(Leaf { key, not_after })
}

/// Path building and checks of RFC 5280 section 6, within the library's own budget of signature checks.
fn build_path(
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    roots: &[CertificateDer<'_>],
    now: OffsetDateTime,
) -> Result<(), Reason> {
    let anchors: Vec<TrustAnchor<'_>> = roots
        .iter()
        .filter(|root| parse_valid(root, now).is_ok_and(|root| root.is_ca()))
        .filter_map(|root| anchor_from_trusted_cert(root).ok())
        .collect();
    let seconds = u64::try_from(now.unix_timestamp()).unwrap_or_default();
    let time = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.all;
    let leaf = EndEntityCert::try_from(leaf).map_err(|error| untrusted(&error))?;
    let path = leaf.verify_for_usage(algorithms, &anchors, intermediates, time, AnyUsage, None, None);
    path.map(drop).map_err(|error| untrusted(&error))
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, Reason> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|error| untrusted(&error))?;
    Ok(parsed)
}

fn parse_valid<'a>(certificate: &'a CertificateDer<'_>, now: OffsetDateTime) -> Result<X509Certificate<'a>, Reason> {
    let parsed = parse(certificate)?;
    if parsed.validity().is_valid_at(ASN1Time::from(now)) {
        Ok(parsed)
    } else {
        Err(untrusted(&"a certificate outside its validity period"))
    }
}

fn untrusted(reason: &dyn std::fmt::Display) -> Reason {
    Reason::UntrustedChain(reason.to_string())
}

/// Token signing has no key purpose of its own, so none is asked for.
struct AnyUsage;

impl ExtendedKeyUsageValidator for AnyUsage {
    fn validate(&self, _: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        Ok(())
    }
}
