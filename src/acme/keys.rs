//! Keys that are made here, and what is signed with them: requests for certificates, the certificate that proves a
//! name, and the one that is shown while there is no other.

use std::{fmt, net::IpAddr, str::FromStr, sync::Arc};

use rcgen::{CertificateParams, CustomExtension, DistinguishedName, DnType, KeyPair, RsaKeySize};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer, pem::PemObject as _},
    sign::{CertifiedKey, SingleCertAndKey},
};
use sha2::{Digest as _, Sha256};
use time::{Duration, OffsetDateTime};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use crate::{
    acme::{
        schedule::{Life, Place},
        vault::records::KeyText,
    },
    tls::pem::{self, Pair},
};

/// How long the certificate that is shown meanwhile is good for: nobody should trust it anyhow.
const MEANWHILE: Duration = Duration::days(30);

/// The protocol of TLS-ALPN-01 (RFC 8737 section 4).
const PROTOCOL: &[u8] = b"acme-tls/1";

/// Of certificates.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyType {
    EcdsaP256,
    EcdsaP384,
    Rsa2048,
    Rsa3072,
    Rsa4096,
}

const KEY_TYPES: [(KeyType, &str); 5] = [
    (KeyType::EcdsaP256, "ecdsa-p256"),
    (KeyType::EcdsaP384, "ecdsa-p384"),
    (KeyType::Rsa2048, "rsa-2048"),
    (KeyType::Rsa3072, "rsa-3072"),
    (KeyType::Rsa4096, "rsa-4096"),
];

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = KEY_TYPES.iter().find(|(it, _)| it == self).map(|(_, name)| *name);
        f.write_str(name.unwrap_or_default())
    }
}

impl FromStr for KeyType {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        KEY_TYPES.iter().find(|(_, name)| *name == text).map(|(it, _)| *it).ok_or(())
    }
}

impl KeyType {
    /// A new key. RSA takes seconds of processor time: call it where that may block.
    pub(super) fn generate(self) -> Result<KeyText, rcgen::Error> {
        let key = match self {
            Self::EcdsaP256 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
            Self::EcdsaP384 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
            Self::Rsa2048 => KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048),
            Self::Rsa3072 => KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_3072),
            Self::Rsa4096 => KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_4096),
        };
        key.map(|key| KeyText::new(key.serialize_pem()))
    }
}

/// A request for a certificate (PKCS#10, DER) for these names and addresses, and nothing else.
pub(super) fn request(names: &[String], key: &KeyText) -> Result<Vec<u8>, rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = DistinguishedName::new();
    Ok(params.serialize_request(&KeyPair::from_pem(key.expose())?)?.der().to_vec())
}

/// What is shown until there is a certificate of the authority: nobody trusts it, but handshakes can be made.
pub(super) fn meanwhile(names: &[String], now: OffsetDateTime) -> Result<Pair, Unmade> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Pierhead, until a certificate is issued");
    params.not_before = now - Duration::HOUR;
    params.not_after = now + MEANWHILE;
    let certificate = params.self_signed(&key)?;
    Ok(pem::parse(certificate.pem().as_bytes(), key.serialize_pem().as_bytes(), now)?)
}

/// What the first certificate of a chain says about itself.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub(super) life: Life,
    /// Its serial number, in hexadecimal.
    pub(super) serial: String,
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// Reads the first certificate of a chain in PEM.
pub(super) fn said(chain: &str) -> Option<Said> {
    let der = CertificateDer::from_pem_slice(chain.as_bytes()).ok()?;
    let (_, certificate) = X509Certificate::from_der(&der).ok()?;
    let validity = certificate.validity();
    let (begins, expires) = (validity.not_before.to_datetime(), validity.not_after.to_datetime());
    let serial = certificate.raw_serial();
    let life = Life { begins, expires, place: Place::of(serial) };
    Some(Said { life, serial: hexadecimal(serial) })
}

/// The terms of the handshake that proves a name (RFC 8737 section 3).
pub(super) fn proof(name: &str, key_authorization: &str) -> Result<Arc<ServerConfig>, Unmade> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(vec![name.to_owned()])?;
    params.distinguished_name = DistinguishedName::new();
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(&Sha256::digest(key_authorization))];
    let certificate = CertificateDer::from(params.self_signed(&key)?.der().to_vec());
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    // Not compared with its key: whoever reads it for that stumbles over the extension, which must be critical.
    let certified = CertifiedKey::new(vec![certificate], provider.key_provider.load_private_key(key.into())?);
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok(Arc::new(config))
}

/// What a client that proves a name asks for: the name itself, or an address as a name (RFC 8738 section 6).
pub(super) fn asked_for(name: &str) -> String {
    match name.parse() {
        Ok(IpAddr::V4(address)) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        Ok(IpAddr::V6(address)) => {
            let nibbles = address.octets().into_iter().rev().flat_map(|byte| [byte & 0xf, byte >> 4]);
            nibbles.fold(String::new(), |text, nibble| text + &format!("{nibble:x}.")) + "ip6.arpa"
        }
        Err(_) => name.to_owned(),
    }
}

/// Why a certificate of our own was not made.
#[derive(Debug, thiserror::Error)]
pub enum Unmade {
    #[error(transparent)]
    Certificate(#[from] rcgen::Error),
    #[error(transparent)]
    Pair(#[from] pem::Problem),
    #[error(transparent)]
    Tls(#[from] rustls::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_types_have_names() {
        for (key_type, name) in KEY_TYPES {
            assert_eq!(key_type.to_string(), name);
            assert_eq!(name.parse(), Ok(key_type));
        }
        assert_eq!("rsa-1024".parse::<KeyType>(), Err(()));
    }

    #[test]
    fn requests_are_made_with_each_kind_of_key() {
        for key_type in [KeyType::EcdsaP256, KeyType::EcdsaP384, KeyType::Rsa2048] {
            let key = key_type.generate().unwrap();
            assert!(format!("{key:?}").contains("redacted"));
            let names = ["a.test".to_owned(), "*.a.test".to_owned(), "192.0.2.1".to_owned()];
            assert!(!request(&names, &key).unwrap().is_empty(), "{key_type}");
        }
    }

    #[test]
    fn what_is_shown_meanwhile_is_for_the_names() {
        let names = ["a.test".to_owned(), "*.b.test".to_owned()];
        let pair = meanwhile(&names, OffsetDateTime::now_utc()).unwrap();
        assert_eq!(pair.names(), names);
        assert_eq!(pair.warnings(), []);
    }

    #[test]
    fn a_proof_can_be_made() {
        for name in ["a.test", "192.0.2.1"] {
            assert_eq!(proof(name, "token.thumbprint").unwrap().alpn_protocols, [PROTOCOL]);
        }
    }

    #[test]
    fn addresses_are_asked_for_as_names() {
        assert_eq!(asked_for("a.test"), "a.test");
        assert_eq!(asked_for("192.0.2.7"), "7.2.0.192.in-addr.arpa");
        let long = asked_for("2001:db8::1");
        assert!(long.starts_with("1.0.0.0.") && long.ends_with("8.b.d.0.1.0.0.2.ip6.arpa"), "{long}");
    }
}
