//! Cipher suites by the names that Go's crypto/tls gives them, as configurations of the registry spell them.

use rustls::{CipherSuite, SupportedCipherSuite};

use crate::tls::Error;

/// Leaves in `suites` what `names` allow. An empty list changes nothing.
pub(super) fn restrict(suites: &mut Vec<SupportedCipherSuite>, names: &[String]) -> Result<(), Error> {
    if names.is_empty() {
        return Ok(());
    }
    let known = |name: &String| suite(name).ok_or_else(|| Error::UnknownCipherSuite(name.clone()));
    let wanted = names.iter().map(known).collect::<Result<Vec<_>, _>>()?;
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
        check(&["TLS_AES_128_GCM_SHA256"], Ok(0));
        // Nobody can get a weak suite by its name: rustls has none.
        check(&["TLS_RSA_WITH_RC4_128_SHA"], Err("cipher suite \"TLS_RSA_WITH_RC4_128_SHA\" is not known"));
        check(&["TLS_MAGIC"], Err("cipher suite \"TLS_MAGIC\" is not known"));
    }
}
