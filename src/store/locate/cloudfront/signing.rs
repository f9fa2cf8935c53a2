//! The key of a CloudFront key pair.

use std::{fmt, io};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls::{SignatureScheme, crypto::aws_lc_rs, sign::Signer};

/// What CloudFront verifies; of these a key has one.
const SCHEMES: [SignatureScheme; 2] = [SignatureScheme::RSA_PKCS1_SHA256, SignatureScheme::ECDSA_NISTP256_SHA256];

/// A private key that signs policies over SHA-256.
pub struct Signing(Box<dyn Signer>);

/// Why a text is no such key; nothing of it is shown.
#[derive(Debug, thiserror::Error)]
pub enum InvalidKey {
    #[error("not readable PEM: {0}")]
    Pem(io::Error),
    #[error("holds no private key in PKCS#1, PKCS#8 or SEC1 form")]
    Missing,
    #[error("the key cannot be used: {0}")]
    Unusable(rustls::Error),
    #[error("the key is neither RSA nor on the curve P-256, and CloudFront takes no other")]
    Kind,
}

/// Nothing was signed.
#[derive(Debug, thiserror::Error)]
#[error("the policy could not be signed: {0}")]
pub struct Failure(rustls::Error);

impl Signing {
    /// The first private key of a PEM text: RSA of 2048 bits or more, or P-256.
    ///
    /// # Errors
    /// When there is none that CloudFront could know.
    pub fn from_pem(mut text: &[u8]) -> Result<Self, InvalidKey> {
        let key = rustls_pemfile::private_key(&mut text).map_err(InvalidKey::Pem)?.ok_or(InvalidKey::Missing)?;
        let key = aws_lc_rs::default_provider().key_provider.load_private_key(key).map_err(InvalidKey::Unusable)?;
        key.choose_scheme(&SCHEMES).map(Self).ok_or(InvalidKey::Kind)
    }

    /// The signature in base64, with CloudFront's own replacements for what a query cannot hold.
    ///
    /// # Errors
    /// When no signature could be made.
    pub fn sign(&self, message: &[u8]) -> Result<String, Failure> {
        let signature = self.0.sign(message).map_err(Failure)?;
        Ok(STANDARD.encode(signature).replace('+', "-").replace('=', "_").replace('/', "~"))
    }
}

impl fmt::Debug for Signing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signing({:?})", self.0.scheme())
    }
}
