//! What `http.tls`, `edge.tls` and `edge.hsts` come to.

use super::*;
use crate::config::{
    edge::tls::{Curve, Pair, Sessions, UnknownNames},
    tls::{Demand, Identity, Version},
};

fn pair(certificate: &str, key: &str) -> Pair {
    Pair { certificate: certificate.into(), key: key.into() }
}

#[test]
fn tls_of_the_registry() {
    let files = "certificate: c, key: k";
    let tls = |rest: &str| format!("edge: {{}}\nhttp: {{tls: {{{files}{rest}}}}}");
    let files = Identity::Files(vec![pair("c", "k")]);
    check(
        &tls(""),
        |c| c.http.tls.as_ref().map(|t| (t.identity.clone(), t.version_min)),
        Some((files, Version::Tls12)),
    );
    let made = Identity::Development { directory: "certs/dev".into() };
    check("http: {}", |c| c.http.tls.as_ref().map(|t| t.identity.clone()), Some(made));
    check(&tls(", minimumtls: tls1.3"), |c| c.http.tls.as_ref().map(|t| t.version_min), Some(Version::Tls13));
    check(
        &tls(", clientcas: [a], clientauth: request-client-cert"),
        |c| c.http.tls.as_ref().and_then(|t| t.clients.as_ref().map(|c| c.demand)),
        Some(Demand::Request),
    );
    let chacha = "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305";
    check(
        &tls(&format!(", ciphersuites: [{chacha}]")),
        |c| c.http.tls.as_ref().map(|t| t.cipher_suites.clone()),
        Some(vec!["TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"]),
    );
    check(
        &tls(", ciphersuites: [TLS_AES_128_GCM_SHA256]"),
        |c| c.http.tls.as_ref().map(|t| t.version_min),
        Some(Version::Tls13),
    );
    refused("edge: {}\nhttp: {tls: {certificate: c}}", "http.tls.certificate is set without http.tls.key");
    refused("edge: {}\nhttp: {tls: {key: c}}", "http.tls.key is set without http.tls.certificate");
    refused("edge: {}\nhttp: {tls: {clientcas: [a]}}", "http.tls.clientcas is set, but without a certificate");
    refused(
        "edge: {}\nhttp: {tls: {letsencrypt: {email: a@b}}}",
        "http.tls.letsencrypt has no effect without a cachefile",
    );
    refused("http: {tls: {certificate: c, key: k}}", "edge.tls.development contradicts http.tls.certificate");
    refused(&tls(", minimumtls: ssl3"), "http.tls.minimumtls is \"ssl3\"; it must be tls1.2 or tls1.3");
    refused(&tls(", ciphersuites: [NULL_NULL]"), "it must be one of TLS_AES_128_GCM_SHA256, ");
    refused(&tls(", ciphersuites: [TLS_RSA_WITH_AES_128_CBC_SHA]"), "leaves no cipher suite");
    refused(&tls(", clientauth: maybe"), "http.tls.clientauth is \"maybe\"");
    warned(&tls(", minimumtls: tls1.0"), "http.tls.minimumtls", "tls1.2 at least");
    warned(&tls(", letsencrypt: {email: a@b}"), "http.tls.letsencrypt", "has no effect without a cachefile");
}

#[test]
fn tls_of_the_edge() {
    let named = "http: {tls: {certificate: c, key: k}}";
    let tls = |keys: &str| format!("edge: {{tls: {{{keys}}}, external_url: 'https://r.test:5050'}}\n{named}");
    let alone = |keys: &str| format!("edge: {{tls: {{{keys}}}, external_url: 'https://r.test:5050'}}");
    let identity = |c: &Config| c.http.tls.as_ref().map(|t| t.identity.clone());
    let more = "certificates: [{certificate: d, key: l}, {certificate: e, key: m}]";
    let (c, d, e) = (pair("c", "k"), pair("d", "l"), pair("e", "m"));
    check(&tls(more), identity, Some(Identity::Files(vec![c.clone(), d.clone(), e.clone()])));
    check(&alone(more), identity, Some(Identity::Files(vec![d, e])));
    let by_host = pair("/s/r.test.crt", "/s/r.test.key");
    check(&alone("certificate_directory: /s"), identity, Some(Identity::Files(vec![by_host])));
    check(&tls("certificate_directory: /s"), identity, Some(Identity::Files(vec![c])));
    check(&alone("certificate_directory: ''"), identity, None);
    let terms = |c: &Config| c.http.tls.clone().unwrap();
    check(&tls(""), |c| terms(c).unknown_names, UnknownNames::Default);
    check(&tls("unknown_names: Refuse"), |c| terms(c).unknown_names, UnknownNames::Refuse);
    check(&tls("password_file: p"), |c| terms(c).passwords, Some("p".into()));
    check(&tls("minimum_version: tls1.3"), |c| terms(c).version_min, Version::Tls13);
    let hours = |hours| Duration::from_hours(hours);
    check(&tls(""), |c| terms(c).sessions, Sessions { tickets: true, timeout: hours(6) });
    let sessions = "session_tickets: false, session_timeout: 24h";
    check(&tls(sessions), |c| terms(c).sessions, Sessions { tickets: false, timeout: hours(24) });
    check(
        &tls("curves: [secp384r1, x25519mlkem768, P-384]"),
        |c| terms(c).curves,
        vec![Curve::P384, Curve::X25519MlKem768],
    );
    let suites = "cipher_suites: [ECDHE-RSA-AES128-GCM-SHA256, DHE-RSA-AES256-GCM-SHA384]";
    check(&tls(suites), |c| terms(c).cipher_suites, vec!["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"]);
    warned(&tls(suites), "edge.tls.cipher_suites.1", "DHE-RSA-AES256-GCM-SHA384 is too weak");
    let clients = "edge: {tls: {client: {verify_depth: 1}}}\nhttp: {tls: {certificate: c, key: k, clientcas: [a]}}";
    check(clients, |c| terms(c).clients.and_then(|clients| clients.depth_max), Some(1));
    for (text, expected) in [
        (alone("certificates: [{certificate: d}]"), "edge.tls.certificates.0.key is required"),
        (
            alone("certificates: [{certificate: d, key: k, kee: l}]"),
            "edge.tls.certificates.0.kee: there is no such key",
        ),
        (
            alone("development: true, certificates: [{certificate: d, key: k}]"),
            "contradicts the other keys of edge.tls",
        ),
        (alone("development: true, certificate_directory: /s"), "contradicts the other keys of edge.tls"),
        (
            "edge: {tls: {certificate_directory: /s}}".to_owned(),
            "edge.tls.certificate_directory needs edge.external_url",
        ),
        (tls("unknown_names: ignore"), "it must be one of default, refuse"),
        (tls("curves: [P-521]"), "leaves no group"),
        (tls("curves: [X25519, brainpool]"), "edge.tls.curves.1 is \"brainpool\""),
        (tls("session_timeout: 25h"), "must be 0 or between 1s and 24h"),
        (tls("session_timeout: 300"), "must be 0 or between 1s and 24h"),
        (tls("client: {verify_depth: -1}"), "must not be negative"),
        (tls("minimum_version: tls1.4"), "edge.tls.minimum_version is \"tls1.4\""),
        (
            "edge: {tls: {minimum_version: tls1.3}}\nhttp: {tls: {certificate: c, key: k, minimumtls: tls1.2}}"
                .to_owned(),
            "edge.tls.minimum_version contradicts http.tls.minimumtls",
        ),
        (
            "edge: {tls: {cipher_suites: [TLS_AES_128_GCM_SHA256]}}\nhttp: {tls: {certificate: c, key: k, \
             ciphersuites: [TLS_AES_128_GCM_SHA256]}}"
                .to_owned(),
            "edge.tls.cipher_suites.0 stands beside http.tls.ciphersuites",
        ),
    ] {
        refused(&text, expected);
    }
    warned(&tls("certificate_directory: /s"), "edge.tls.certificate_directory", "no effect");
    warned(&tls("client: {verify_depth: 1}"), "edge.tls.client.verify_depth", "no effect");
    warned(&tls("curves: [X25519, secp521r1]"), "edge.tls.curves.1", "secp521r1 is not offered");
}

#[test]
fn hsts() {
    let hsts = |c: &Config| c.edge.hsts.as_ref().map(|value| value.to_str().unwrap().to_owned());
    check("edge: {}", hsts, None);
    check("edge: {hsts: {max_age: 63072000}}", hsts, Some("max-age=63072000".to_owned()));
    let all = "edge: {hsts: {max_age: 63072000, include_subdomains: true, preload: true}}";
    check(all, hsts, Some("max-age=63072000; includeSubDomains; preload".to_owned()));
    refused("edge: {hsts: {max_age: 63072000, preload: true}}", "edge.hsts.preload needs include_subdomains");
    refused("edge: {hsts: {max_age: 2y}}", "edge.hsts.max_age must be an integer");
}
