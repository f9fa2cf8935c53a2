//! `edge.acme` and Distribution's `letsencrypt`.

use super::*;
use crate::config::{
    edge::acme::{Acme, Challenge, KeyType, State},
    tls::Identity,
};

const LEAST: &str = "enabled: true, names: [a.test], state: /s";

fn acme(keys: &str) -> Acme {
    let loaded =
        parse(&with(&format!("edge: {{acme: {{{keys}}}}}"))).unwrap_or_else(|error| panic!("{keys}: {error:#}"));
    loaded.config.http.acme.unwrap()
}

#[track_caller]
fn refused_with(keys: &str, expected: &str) {
    refused(&format!("edge: {{acme: {{{LEAST}, {keys}}}}}"), expected);
}

#[track_caller]
fn warned_with(keys: &str, key: &str, text: &str) {
    warned(&format!("edge: {{acme: {{{LEAST}, {keys}}}}}"), &format!("edge.acme.{key}"), text);
}

#[test]
fn the_least_that_is_needed() {
    let least = acme(LEAST);
    assert_eq!(least.names, ["a.test"]);
    assert_eq!(least.directory, "https://acme-v02.api.letsencrypt.org/directory");
    assert!(matches!(least.challenge, Challenge::TlsAlpn) && matches!(least.state, State::Directory(_)));
    assert_eq!((least.key_type, least.poll_interval), (KeyType::EcdsaP256, Duration::from_secs(30)));
    check(
        &format!("edge: {{acme: {{{LEAST}}}}}"),
        |c| c.http.tls.as_ref().map(|tls| tls.identity.clone()),
        Some(Identity::Issued),
    );
    // The host of what clients see.
    let named = parse(&with("edge: {external_url: 'https://R.test:5050', acme: {enabled: true, state: /s}}")).unwrap();
    assert_eq!(named.config.http.acme.unwrap().names, ["r.test"]);
    refused("edge: {acme: {enabled: true, state: /s}}", "edge.acme needs names");
    refused("edge: {acme: {enabled: true, names: [a.test]}}", "edge.acme needs state");
    check("edge: {tls: {development: true}, acme: {enabled: false}}", |c| c.http.acme.is_none(), true);
    warned("edge: {acme: {names: [a.test]}}", "edge.acme.names", "no effect");
    refused(
        &format!("edge: {{tls: {{development: true}}, acme: {{{LEAST}}}}}"),
        "edge.tls.development contradicts edge.acme",
    );
}

#[test]
fn names_are_names() {
    for name in ["x--y.test", "'*.test'", "192.0.2.1", "'2001:db8::1'", "XN--A.test", "localhost"] {
        let challenge = if name.contains('*') { ", challenge: dns-01, dns_hook: [/h]" } else { "" };
        let name = name.to_owned();
        assert_eq!(acme(&format!("enabled: true, state: /s, names: [{name}]{challenge}")).names.len(), 1, "{name}");
    }
    for name in
        ["''", "a..test", "-a.test", "a_b.test", "a.*.test", "'*'", "a/b", "ä.test", "a.test.", "'a b'", "https://a"]
    {
        refused(
            &format!("edge: {{acme: {{enabled: true, state: /s, names: [{name}]}}}}"),
            "f.yml:4: edge.acme.names.0 is",
        );
    }
    refused("edge: {acme: {enabled: true, state: /s, names: [a.test, A.test]}}", "is a.test, which is there already");
}

#[test]
fn who_is_asked_and_how() {
    assert!(acme(&format!("{LEAST}, directory: letsencrypt-staging")).directory.contains("staging"));
    refused_with(
        "directory: 'http://ca.test/dir'",
        "edge.acme.directory must be letsencrypt, letsencrypt-staging or a URL",
    );
    refused_with("emails: [nobody]", "edge.acme.emails.0 must be an address");
    refused_with("emails: ['mailto:a@b']", "edge.acme.emails.0 must be an address");
    refused_with("eab: {kid: k}", "edge.acme.eab needs both kid and key");
    for (keys, expected) in [
        ("key_type: rsa", KeyType::Rsa2048),
        ("key_type: rsa, key_size: 4096", KeyType::Rsa4096),
        ("ec_curve: secp384r1", KeyType::EcdsaP384),
        ("key_type: ec, ec_curve: p256", KeyType::EcdsaP256),
    ] {
        assert_eq!(acme(&format!("{LEAST}, {keys}")).key_type, expected, "{keys}");
    }
    refused_with("key_type: rsa, key_size: 1024", "edge.acme.key_size is 1024; it must be 2048, 3072 or 4096");
    refused_with("key_size: 2048", "edge.acme.key_size is for keys of key_type rsa");
    refused_with("ec_curve: secp521r1", "edge.acme.ec_curve is \"secp521r1\"");
    refused_with("challenge: dns-01", "needs edge.acme.dns_hook");
    refused_with("challenge: magic", "edge.acme.challenge is \"magic\"");
    refused(
        "edge: {acme: {enabled: true, state: /s, names: ['*.a.test']}}",
        "must be dns-01, because *.a.test is a wildcard",
    );
    refused(
        "edge: {acme: {enabled: true, state: /s, names: [192.0.2.1], challenge: dns-01, dns_hook: [h]}}",
        "is an address",
    );
    refused_with("poll_interval: 1ms", "edge.acme.poll_interval must be from 100ms to 24h");
    refused_with("unknown: 1", "edge.acme.unknown: there is no such key");
    warned_with("webroot: /w", "webroot", "unless edge.acme.challenge is http-01");
    warned_with("challenge: http-01", "challenge", "set http_address, webroot or edge.redirect_http_to_https");
    warned_with("secret: x", "secret", "has no effect");
    let guarded = |more: &str| format!("edge: {{access: {{allow: [10.0.0.0/8]}}, acme: {{{LEAST}{more}}}}}");
    warned(&guarded(""), "edge.access.allow", "shuts out the authority");
    warned(&guarded(""), "edge.access.allow", "(f.yml:");
    let elsewhere = parse(&with(&guarded(", challenge: http-01, http_address: ':80'"))).unwrap();
    assert_eq!(elsewhere.warnings, []);
}

#[test]
fn what_lies_in_the_storage_is_encrypted() {
    refused("edge: {acme: {enabled: true, names: [a.test], state: storage}}", "needs edge.acme.secret");
    refused("edge: {acme: {enabled: true, names: [a.test], state: storage, secret: canary}}", "at least 32 characters");
    let secret = "canary canary canary canary canary";
    let keys = format!(
        "enabled: true, names: [a.test], state: storage, secret: {secret}, challenge: dns-01, \
                        dns_hook: [/h, canary], eab: {{kid: k, key: canary}}"
    );
    let loaded = parse(&with(&format!("edge: {{acme: {{{keys}}}}}"))).unwrap();
    assert!(!loaded.redacted().contains("canary"), "{}", loaded.redacted());
    assert!(!format!("{:?}", loaded.config).contains("canary"));
    assert!(matches!(loaded.config.http.acme.unwrap().state, State::Storage { .. }));
}

#[test]
fn distributions_section_means_the_same() {
    let section = |keys: &str| format!("edge: {{}}\nhttp: {{tls: {{{keys}}}}}");
    let keys = "letsencrypt: {cachefile: /c, email: a@b, hosts: [a.test], directoryurl: 'https://ca.test/dir'}";
    let acme = parse(&with(&section(keys))).unwrap().config.http.acme.unwrap();
    assert_eq!(
        (acme.names, acme.emails, acme.directory.as_str()),
        (vec!["a.test".to_owned()], vec!["a@b".to_owned()], "https://ca.test/dir")
    );
    assert!(matches!(acme.challenge, Challenge::TlsAlpn) && matches!(acme.state, State::Directory(_)));
    refused(&section("letsencrypt: {email: a@b}"), "http.tls.letsencrypt has no effect without a cachefile");
    refused(&section("letsencrypt: {cachefile: /c}"), "http.tls.letsencrypt needs hosts");
    refused(&section("letsencrypt: {cachefile: /c, hosts: ['*.a.test']}"), "needs edge.acme with challenge: dns-01");
    refused(
        &section("certificate: c, key: k, letsencrypt: {cachefile: /c, hosts: [a.test]}"),
        "contradicts http.tls.certificate",
    );
    warned(
        &section("certificate: c, key: k, letsencrypt: {email: a@b}"),
        "http.tls.letsencrypt",
        "without a cachefile",
    );
    let both =
        format!("edge: {{acme: {{{LEAST}}}}}\nhttp: {{tls: {{letsencrypt: {{cachefile: /c, hosts: [a.test]}}}}}}");
    refused(&both, "edge.acme.enabled contradicts http.tls.letsencrypt");
}
