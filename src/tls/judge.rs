//! What is wrong with a chain, and yet better served than nothing; and what is never served.

use std::path::PathBuf;

use time::OffsetDateTime;
use x509_parser::{
    certificate::X509Certificate,
    extensions::{GeneralName, ParsedExtension},
    prelude::FromDer,
    public_key::PublicKey,
};

use crate::tls::pem::Problem;

/// A usable RSA key has at least this many bits (NIST SP 800-57, and what browsers demand).
pub(super) const RSA_BITS_MIN: usize = 2048;

/// Object identifiers of the signatures with SHA-1: sha1WithRSAEncryption and ecdsa-with-SHA1.
const SHA1_SIGNATURES: [&str; 2] = ["1.2.840.113549.1.1.5", "1.2.840.10045.4.1"];

/// Object identifier of keys on elliptic curves, and those of P-256, P-384 and P-521: no client takes another one.
const EC_KEY: &str = "1.2.840.10045.2.1";
const CURVES: [&str; 3] = ["1.2.840.10045.3.1.7", "1.3.132.0.34", "1.3.132.0.35"];

/// What an operator has to be told although the pair is served.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Warning {
    #[error("the certificate expired at {0}")]
    Expired(OffsetDateTime),
    #[error("the certificate is not valid before {0}")]
    NotYetValid(OffsetDateTime),
    #[error("the key {path} can be read by others than its owner (mode {mode:04o})", path = path.display())]
    ReadableKey { path: PathBuf, mode: u32 },
    #[error("the certificate has no subject alternative name, and clients do not look for names elsewhere")]
    NoNames,
    #[error("the certificate's extended key usage is without serverAuth, and clients refuse it")]
    NotForServers,
    /// Places count from 1, where the certificate itself is.
    #[error(
        "the chain is out of order: certificate {place} of the file is {subject:?}, but the one before it was issued by \
         {issuer:?}"
    )]
    Disordered { place: usize, subject: String, issuer: String },
    #[error("certificate {place} of the file, {subject:?}, expired at {end}")]
    IssuerExpired { place: usize, subject: String, end: OffsetDateTime },
    #[error("certificate {place} of the file, {subject:?}, is signed with SHA-1")]
    IssuerSha1 { place: usize, subject: String },
}

impl Warning {
    /// Whether a pair of the same name that is within its dates should be shown in place of this one.
    pub(super) const fn is_about_dates(&self) -> bool {
        matches!(self, Self::Expired(_) | Self::NotYetValid(_))
    }
}

/// What a certificate says of itself, and what is to be said of its chain.
pub(super) struct Judgement {
    pub(super) names: Vec<String>,
    pub(super) begins: OffsetDateTime,
    pub(super) expires: OffsetDateTime,
    /// As openssl prints it: hexadecimal, in capitals.
    pub(super) serial: String,
    pub(super) warnings: Vec<Warning>,
}

/// Judges certificates in DER, the server's first.
pub(super) fn judge<'a>(chain: impl Iterator<Item = &'a [u8]>, now: OffsetDateTime) -> Result<Judgement, Problem> {
    let decode = |(index, der)| match X509Certificate::from_der(der) {
        Ok((_, certificate)) => Ok(certificate),
        Err(error) => Err(Problem::Certificate { place: index + 1, reason: error.to_string() }),
    };
    let chain = chain.enumerate().map(decode).collect::<Result<Vec<_>, _>>()?;
    let certificate = &chain[0];
    refuse_weak(certificate)?;
    let names = names(certificate);
    let (begins, expires) =
        (certificate.validity().not_before.to_datetime(), certificate.validity().not_after.to_datetime());
    let mut warnings = Vec::new();
    if expires < now {
        warnings.push(Warning::Expired(expires));
    } else if now < begins {
        warnings.push(Warning::NotYetValid(begins));
    }
    if names.is_empty() {
        warnings.push(Warning::NoNames);
    }
    if !serves(certificate) {
        warnings.push(Warning::NotForServers);
    }
    for (index, pair) in chain.windows(2).enumerate() {
        warnings.extend(suspicion(index + 2, &pair[0], &pair[1], now));
    }
    let serial = certificate.raw_serial().iter().skip_while(|byte| **byte == 0).map(|byte| format!("{byte:02X}"));
    Ok(Judgement { serial: serial.collect(), names, begins, expires, warnings })
}

/// What is wrong with the certificate at `place`, which should be the issuer of the one before.
fn suspicion(
    place: usize,
    below: &X509Certificate<'_>,
    issuer: &X509Certificate<'_>,
    now: OffsetDateTime,
) -> Option<Warning> {
    let subject = issuer.subject().to_string();
    let end = issuer.validity().not_after.to_datetime();
    if below.issuer().as_raw() != issuer.subject().as_raw() || keys_differ(below, issuer) {
        return Some(Warning::Disordered { place, subject, issuer: below.issuer().to_string() });
    }
    if end < now {
        return Some(Warning::IssuerExpired { place, subject, end });
    }
    // Nobody looks at a root's signature of itself.
    let is_root = issuer.issuer().as_raw() == issuer.subject().as_raw();
    (!is_root && is_sha1(issuer)).then_some(Warning::IssuerSha1 { place, subject })
}

/// Whether an authority's key was replaced by another one under the same name (RFC 5280 section 4.2.1.1).
fn keys_differ(below: &X509Certificate<'_>, issuer: &X509Certificate<'_>) -> bool {
    let wanted = below.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(identifier) => identifier.key_identifier.as_ref(),
        _ => None,
    });
    let found = issuer.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(identifier) => Some(identifier),
        _ => None,
    });
    wanted.zip(found).is_some_and(|(wanted, found)| wanted != found)
}

fn serves(certificate: &X509Certificate<'_>) -> bool {
    match certificate.extended_key_usage() {
        Ok(Some(usage)) => usage.value.any || usage.value.server_auth,
        _ => true,
    }
}

fn refuse_weak(certificate: &X509Certificate<'_>) -> Result<(), Problem> {
    if let Ok(PublicKey::RSA(key)) = certificate.public_key().parsed()
        && key.key_size() < RSA_BITS_MIN
    {
        return Err(Problem::WeakRsa { bits: key.key_size() });
    }
    let key = &certificate.public_key().algorithm;
    if key.algorithm.to_id_string() == EC_KEY {
        let curve = key.parameters.as_ref().and_then(|any| any.as_oid().ok()).map(|oid| oid.to_id_string());
        let curve = curve.unwrap_or_default();
        if !CURVES.contains(&curve.as_str()) {
            return Err(Problem::Curve(if curve == "1.3.132.0.33" { "P-224".to_owned() } else { curve }));
        }
    }
    if is_sha1(certificate) { Err(Problem::Sha1) } else { Ok(()) }
}

fn is_sha1(certificate: &X509Certificate<'_>) -> bool {
    SHA1_SIGNATURES.contains(&certificate.signature_algorithm.algorithm.to_id_string().as_str())
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(alternatives)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    alternatives
        .value
        .general_names
        .iter()
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            GeneralName::IPAddress(bytes) => address(bytes),
            _ => None,
        })
        .collect()
}

fn address(bytes: &[u8]) -> Option<String> {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        return Some(std::net::Ipv4Addr::from(octets).to_string());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|octets| std::net::Ipv6Addr::from(octets).to_string())
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    };
    use time::Duration;

    use super::*;
    use crate::tls::pem::parse;

    fn named() -> CertificateParams {
        CertificateParams::new(vec!["a.test".to_owned()]).unwrap()
    }

    /// An authority of this name, valid for so many days from yesterday.
    fn authority(
        name: &str,
        days: i64,
        parent: Option<&Issuer<'static, KeyPair>>,
    ) -> (Certificate, Issuer<'static, KeyPair>) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_before = OffsetDateTime::now_utc() - Duration::days(30);
        params.not_after = OffsetDateTime::now_utc() + Duration::days(days);
        let certificate = match parent {
            Some(parent) => params.signed_by(&key, parent).unwrap(),
            None => params.self_signed(&key).unwrap(),
        };
        (certificate, Issuer::new(params, key))
    }

    #[test]
    fn chains_are_kept_in_order_and_judged() {
        let now = OffsetDateTime::now_utc();
        let (root, root_issuer) = authority("root", 9, None);
        let (inner, inner_issuer) = authority("inner", 9, Some(&root_issuer));
        let (stale, stale_issuer) = authority("stale", -1, Some(&root_issuer));
        let (rekeyed, _) = authority("inner", 9, Some(&root_issuer));
        let key = KeyPair::generate().unwrap();
        let mut params = named();
        params.use_authority_key_identifier_extension = true;
        let leaf = params.signed_by(&key, &inner_issuer).unwrap();
        let old = params.signed_by(&key, &stale_issuer).unwrap();
        let read = |chain: &[&Certificate]| {
            let text: String = chain.iter().map(|certificate| certificate.pem()).collect();
            parse(text.as_bytes(), key.serialize_pem().as_bytes(), now)
        };
        let check = |chain: &[&Certificate], expected: Option<&str>| {
            let pair = read(chain).unwrap();
            let ders: Vec<_> = chain.iter().map(|certificate| certificate.der().clone()).collect();
            assert_eq!(pair.certified().cert, ders);
            let warnings: Vec<_> = pair.warnings().iter().map(ToString::to_string).collect();
            match expected {
                None => assert!(warnings.is_empty(), "{warnings:?}"),
                Some(text) => assert!(warnings.len() == 1 && warnings[0].contains(text), "{warnings:?}"),
            }
        };
        check(&[&leaf], None);
        check(&[&leaf, &inner], None);
        check(&[&leaf, &inner, &root], None);
        check(&[&leaf, &root], Some("certificate 2 of the file is \"CN=root\", but the one before it was issued by"));
        check(&[&leaf, &rekeyed], Some("out of order"));
        check(&[&old, &stale], Some("certificate 2 of the file, \"CN=stale\", expired at"));
        let reversed = read(&[&root, &inner, &leaf]).unwrap_err().to_string();
        assert_eq!(reversed, "the key belongs to certificate 3 of the file; the server's own must come first");
    }

    #[test]
    fn what_clients_would_refuse_is_warned_about() {
        let check = |params: &CertificateParams, expected: &str| {
            let key = KeyPair::generate().unwrap();
            let certificate = params.self_signed(&key).unwrap().pem();
            let now = OffsetDateTime::now_utc();
            let pair = parse(certificate.as_bytes(), key.serialize_pem().as_bytes(), now).unwrap();
            assert!(pair.warnings()[0].to_string().contains(expected), "{:?}", pair.warnings());
        };
        check(&CertificateParams::default(), "no subject alternative name");
        let mut params = named();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        check(&params, "without serverAuth");
    }
}
