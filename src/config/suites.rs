//! Cipher suites by the names that configurations use for them: Go's, which are IANA's, and OpenSSL's.

use anyhow::Result;

use crate::config::{Warning, section::Field};

/// TLS 1.2 suites that are offered, by their IANA names.
pub(in crate::config) const OFFERED: &[&str] = &[
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
];

/// TLS 1.3 suites, which are always offered.
const OFFERED_13: &[&str] = &["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"];

/// OpenSSL's names of the suites that are offered.
const OPENSSL: &[(&str, &str)] = &[
    ("ECDHE-ECDSA-AES128-GCM-SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
    ("ECDHE-ECDSA-AES256-GCM-SHA384", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"),
    ("ECDHE-ECDSA-CHACHA20-POLY1305", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"),
    ("ECDHE-RSA-AES128-GCM-SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
    ("ECDHE-RSA-AES256-GCM-SHA384", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"),
    ("ECDHE-RSA-CHACHA20-POLY1305", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"),
];

/// Suites that Go or OpenSSL know by name and that are not offered: without forward secrecy, not authenticated
/// encryption, or with a key exchange over plain Diffie-Hellman groups. A name of OpenSSL's ends here with all that it
/// ends with there.
const ABSENT: &[&str] = &[
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
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
    "DHE-RSA-AES128-GCM-SHA256",
    "DHE-RSA-AES256-GCM-SHA384",
    "DHE-RSA-CHACHA20-POLY1305",
    "DHE-RSA-AES128-SHA256",
    "DHE-RSA-AES256-SHA256",
    "DHE-RSA-AES128-SHA",
    "DHE-RSA-AES256-SHA",
    "ECDHE-ECDSA-AES128-SHA256",
    "ECDHE-ECDSA-AES256-SHA384",
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-ECDSA-AES256-SHA",
    "ECDHE-RSA-AES128-SHA256",
    "ECDHE-RSA-AES256-SHA384",
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-RSA-AES256-SHA",
    "AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-SHA256",
    "AES256-SHA256",
    "AES128-SHA",
    "AES256-SHA",
    "DES-CBC3-SHA",
];

/// The TLS 1.2 suites that a list leaves; all of them where there is no list.
pub(in crate::config) fn read(listed: &[Field<'_>], warnings: &mut Vec<Warning>) -> Result<Vec<&'static str>> {
    let mut suites = Vec::new();
    let mut absent = None;
    for field in listed {
        let name = field.text()?;
        if let Some(suite) = offered(name) {
            suites.push(suite);
        } else if ABSENT.contains(&name) {
            warnings.push(Warning::of(field, format!("{name} is too weak and is not offered")));
            absent = Some(field);
        } else if !OFFERED_13.contains(&name) {
            let allowed = [OFFERED_13, OFFERED].concat().join(", ");
            return Err(field.fail(format_args!("is {name:?}; it must be one of {allowed}")));
        }
    }
    match absent {
        Some(field) if suites.is_empty() => Err(field.fail("leaves no cipher suite that is offered")),
        _ if listed.is_empty() => Ok(OFFERED.to_vec()),
        _ => Ok(suites),
    }
}

fn offered(name: &str) -> Option<&'static str> {
    // Go knows these two by shorter names as well.
    let whole = if name.ends_with("_CHACHA20_POLY1305") { format!("{name}_SHA256") } else { name.to_owned() };
    let openssl = || OPENSSL.iter().find(|(openssl, _)| *openssl == name).map(|(_, suite)| *suite);
    OFFERED.iter().find(|suite| **suite == whole).copied().or_else(openssl)
}
