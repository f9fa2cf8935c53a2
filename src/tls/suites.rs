//! Cipher suites by the names that Go's crypto/tls gives them, as configurations of the registry spell them.

use rustls::{CipherSuite, SupportedCipherSuite};
use tracing::warn;

use crate::tls::Error;

/// Names that Go knows and rustls does not implement, for good reasons: no forward secrecy, CBC, RC4 or 3DES.
const UNSAFE: &[&str] = &[
    "TLS_RSA_WITH_RC4_128_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
];

/// Leaves in `suites` what `names` allow. An empty list changes nothing.
pub(super) fn restrict(suites: &mut Vec<SupportedCipherSuite>, names: &[String]) -> Result<(), Error> {
    if names.is_empty() {
        return Ok(());
    }
    let mut wanted = Vec::new();
    for name in names {
        match suite(name) {
            Some(suite) => wanted.push(suite),
            None if UNSAFE.contains(&name.as_str()) => {
                warn!(cipher.suite = %name, "a configured cipher suite is unsafe and is not offered");
            }
            None => return Err(Error::UnknownCipherSuite(name.clone())),
        }
    }
    if wanted.is_empty() {
        return Err(Error::NoCipherSuite);
    }
    suites.retain(|suite| suite.tls13().is_some() || wanted.contains(&suite.suite()));
    Ok(())
}

fn suite(name: &str) -> Option<CipherSuite> {
    Some(match name {
        "TLS_AES_128_GCM_SHA256" => CipherSuite::TLS13_AES_128_GCM_SHA256,
        "TLS_AES_256_GCM_SHA384" => CipherSuite::TLS13_AES_256_GCM_SHA384,
        "TLS_CHACHA20_POLY1305_SHA256" => CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256" => CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384" => CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256" => CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384" => CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305" | "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256" => {
            CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
        }
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305" | "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256" => {
            CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use rustls::crypto::aws_lc_rs;

    use super::*;

    #[test]
    fn names_restrict_tls12_only() {
        let check = |names: &[&str], expected: Result<usize, &str>| {
            let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
            let mut suites = aws_lc_rs::default_provider().cipher_suites;
            let outcome = restrict(&mut suites, &names);
            let left = outcome.map(|()| suites.iter().filter(|suite| suite.tls13().is_none()).count());
            assert_eq!(left.map_err(|error| error.to_string()), expected.map_err(str::to_owned), "{names:?}");
            assert_eq!(suites.iter().filter(|suite| suite.tls13().is_some()).count(), 3);
        };
        check(&[], Ok(6));
        check(&["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"], Ok(1));
        check(&["TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"], Ok(1));
        check(&["TLS_AES_128_GCM_SHA256"], Ok(0));
        let none = "none of the configured cipher suites is safe enough to be offered";
        check(&["TLS_RSA_WITH_RC4_128_SHA"], Err(none));
        check(&["TLS_MAGIC"], Err("cipher suite \"TLS_MAGIC\" is not known"));
    }
}
