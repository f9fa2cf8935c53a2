//! Which certificate a client gets: by the name that it asks for, and by the signatures that it knows.

use rcgen::KeyPair;
use rustls::{SignatureScheme, version};

use crate::edge_tls::rig::{Authority, Edge, NAME, chain, onlooker, serial, server};

const ALL: &[SignatureScheme] = &[
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::RSA_PKCS1_SHA256,
    SignatureScheme::ECDSA_NISTP256_SHA256,
    SignatureScheme::ED25519,
];

#[tokio::test]
async fn the_name_decides() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new("root");
    let at = |stem: &str, names: &[&str], serial| authority.serve(directory.path(), stem, names, serial);
    let first = at("first", &[NAME], 1);
    let wildcard = at("wildcard", &["*.a.test"], 2);
    let exact = at("exact", &["x.a.test", "other.test"], 3);
    for (keys, unknown) in [("", Ok(1)), (", unknown_names: refuse", Err("UnrecognisedName"))] {
        let served = tempfile::tempdir().unwrap();
        let edge = Edge::with(served.path(), &[&first, &wildcard, &exact], keys);
        for (name, expected) in [
            (Some(NAME), Ok(1)),
            (None, Ok(1)),
            (Some("x.a.test"), Ok(3)),
            (Some("X.A.TEST"), Ok(3)),
            (Some("other.test"), Ok(3)),
            (Some("y.a.test"), Ok(2)),
            (Some("a.test"), unknown),
            (Some("z.y.a.test"), unknown),
            (Some("unknown.test"), unknown),
        ] {
            for version in [&version::TLS12, &version::TLS13] {
                let seen = edge.greet(name, onlooker(version, ALL)).await;
                let seen = seen.map(|stream| serial(&stream)).map_err(|error| error.to_string());
                match expected {
                    Ok(serial) => assert_eq!(seen, Ok(serial), "{name:?} {keys}"),
                    Err(alert) => assert!(seen.as_ref().is_err_and(|said| said.contains(alert)), "{name:?}: {seen:?}"),
                }
            }
        }
    }
}

#[tokio::test]
async fn the_first_certificate_is_that_of_http_tls() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new("root");
    let (first, second) = (
        authority.serve(directory.path(), "a", &["a.test"], 1),
        authority.serve(directory.path(), "b", &["b.test"], 2),
    );
    let http = format!("  tls: {}\n", first.yaml());
    let edge = Edge::start(directory.path(), &http, &format!("  tls: {{certificates: [{}]}}\n", second.yaml()));
    for (name, expected) in [(None, 1), (Some("a.test"), 1), (Some("b.test"), 2)] {
        let stream = edge.greet(name, onlooker(&version::TLS13, ALL)).await.unwrap();
        assert_eq!(serial(&stream), expected, "{name:?}");
    }
}

#[tokio::test]
async fn a_directory_has_them_by_host() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new("root");
    authority.serve(directory.path(), NAME, &[NAME], 7);
    let edge = format!(
        "  external_url: https://{NAME}:5050\n  tls: {{certificate_directory: {}}}\n",
        directory.path().display()
    );
    let edge = Edge::start(directory.path(), "", &edge);
    assert_eq!(serial(&edge.greet(Some(NAME), onlooker(&version::TLS13, ALL)).await.unwrap()), 7);
    assert!(!edge.log().contains("no certificate is for"), "{}", edge.log());
}

#[tokio::test]
async fn a_chain_is_sent_whole_and_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let root = Authority::new("root");
    let outer = root.below("outer");
    let inner = outer.below("inner");
    let key = KeyPair::generate().unwrap();
    let leaf = inner.sign(&server(&[NAME], 1), &key);
    let sent = [&leaf, &inner.certificate, &outer.certificate, &root.certificate];
    let text: String = sent.iter().map(|certificate| certificate.pem()).collect();
    let files = crate::edge_tls::rig::Files::write(directory.path(), "chain", &text, &key.serialize_pem());
    let edge = Edge::with(directory.path(), &[&files], "");
    for version in [&version::TLS12, &version::TLS13] {
        let seen = chain(&edge.greet(Some(NAME), onlooker(version, ALL)).await.unwrap());
        assert_eq!(seen, sent.map(|certificate| certificate.der().clone()));
    }
}

#[tokio::test]
async fn clients_get_a_key_that_they_can_verify() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new("root");
    let rsa = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let slow = authority.serve_with(directory.path(), "rsa", &server(&[NAME], 1), &rsa);
    let fast = authority.serve(directory.path(), "ecdsa", &[NAME], 2);
    let edge = Edge::with(directory.path(), &[&slow, &fast], "");
    let rsa_only = &[SignatureScheme::RSA_PSS_SHA256, SignatureScheme::RSA_PKCS1_SHA256][..];
    let curves_only = &[SignatureScheme::ECDSA_NISTP256_SHA256][..];
    for version in [&version::TLS12, &version::TLS13] {
        for (schemes, expected) in [(ALL, 2), (rsa_only, 1), (curves_only, 2)] {
            let stream = edge.greet(Some(NAME), onlooker(version, schemes)).await.unwrap();
            assert_eq!(serial(&stream), expected, "{version:?} {schemes:?}");
        }
        let nothing = edge.greet(Some(NAME), onlooker(version, &[SignatureScheme::ED25519])).await;
        assert!(nothing.is_err(), "no key of that kind is here");
    }
}
