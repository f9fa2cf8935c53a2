//! Clients that show certificates: whose, how deep, for what, and authorities that change under a running server.

use std::{fs, sync::Arc, time::Instant};

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair};
use rustls::{
    ClientConfig, HandshakeKind,
    client::{ClientSessionMemoryCache, Resumption},
    pki_types::{CertificateDer, PrivateKeyDer},
    version,
};

use crate::edge_tls::rig::{Authority, Edge, NAME, PATIENCE, ask, client};

/// What a client shows.
struct Shown {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Clone for Shown {
    fn clone(&self) -> Self {
        Self { chain: self.chain.clone(), key: self.key.clone_key() }
    }
}

fn params() -> CertificateParams {
    let mut params = CertificateParams::new(vec!["client.test".to_owned()]).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

fn shown(authority: &Authority, params: &CertificateParams, between: &[&Authority]) -> Shown {
    let key = KeyPair::generate().unwrap();
    let mut chain = vec![authority.sign(params, &key).der().clone()];
    chain.extend(between.iter().map(|authority| authority.certificate.der().clone()));
    Shown { chain, key: PrivateKeyDer::try_from(key.serialize_der()).unwrap() }
}

/// A client of the server's authority that shows this.
fn visitor(
    server: &Authority,
    shown: Option<&Shown>,
    version: &'static rustls::SupportedProtocolVersion,
) -> ClientConfig {
    let provider = Arc::clone(client(server).crypto_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(server.roots());
    let mut config = match shown {
        None => builder.with_no_client_auth(),
        Some(shown) => {
            let Shown { chain, key } = shown.clone();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    config.resumption = Resumption::disabled();
    config
}

/// `http.tls` with certificates of clients from this file.
fn http(directory: &std::path::Path, server: &Authority, clients: &str, mode: &str) -> String {
    let files = server.serve(directory, "server", &[NAME], 1);
    let authorities = directory.join("clients.pem");
    fs::write(&authorities, clients).unwrap();
    format!("  tls: {{{}, clientcas: [{}], clientauth: {mode}}}\n", files.keys(), authorities.display())
}

#[tokio::test]
async fn whoever_is_not_trusted_is_refused() {
    let (server, root) = (Authority::new("server root"), Authority::new("client root"));
    let inner = root.below("inner");
    let innermost = inner.below("innermost");
    let now = time::OffsetDateTime::now_utc();
    let changed = |change: &dyn Fn(&mut CertificateParams)| {
        let mut params = params();
        change(&mut params);
        shown(&root, &params, &[])
    };
    let mut deep: Vec<Authority> = vec![root.below("1")];
    while deep.len() < 100 {
        let next = deep[deep.len() - 1].below(&deep.len().to_string());
        deep.push(next);
    }
    let between: Vec<_> = deep.iter().rev().collect();
    let cases = [
        ("good", Some(shown(&root, &params(), &[])), true),
        ("good, by an intermediate", Some(shown(&inner, &params(), &[&inner])), true),
        ("good, by two", Some(shown(&innermost, &params(), &[&innermost, &inner])), true),
        ("none", None, false),
        ("without its intermediate", Some(shown(&inner, &params(), &[])), false),
        ("expired", Some(changed(&|params| params.not_after = now - time::Duration::days(1))), false),
        ("not yet valid", Some(changed(&|params| params.not_before = now + time::Duration::days(1))), false),
        (
            "for servers",
            Some(changed(&|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth])),
            false,
        ),
        ("another authority", Some(shown(&Authority::new("client root"), &params(), &[])), false),
        ("a hundred deep", Some(shown(between[0], &params(), &between)), false),
    ];
    for (mode, optional) in [("require-and-verify-client-cert", false), ("verify-client-cert-if-given", true)] {
        let directory = tempfile::tempdir().unwrap();
        let http = http(directory.path(), &server, &root.certificate.pem(), mode);
        let edge = Edge::start(directory.path(), &http, "  strict: true\n");
        for version in [&version::TLS12, &version::TLS13] {
            for (what, shown, expected) in &cases {
                let answer = edge.ask("/v2/", visitor(&server, shown.as_ref(), version)).await;
                let expected = *expected || (optional && shown.is_none());
                assert_eq!(answer.is_ok(), expected, "{mode}, {what}, {version:?}: {answer:?}");
                // An alert says so; nobody is simply cut off.
                assert!(expected || answer.as_ref().is_err_and(|said| said.contains("alert")), "{what}: {answer:?}");
            }
        }
        assert!(!edge.log().contains("panicked"), "{}", edge.log());
    }
}

#[tokio::test]
async fn the_depth_is_bounded() {
    let (server, root) = (Authority::new("server root"), Authority::new("client root"));
    let inner = root.below("inner");
    let innermost = inner.below("innermost");
    let by_depth = [
        shown(&root, &params(), &[]),
        shown(&inner, &params(), &[&inner]),
        shown(&innermost, &params(), &[&innermost, &inner]),
    ];
    for depth in 0..=2 {
        let directory = tempfile::tempdir().unwrap();
        let http = http(directory.path(), &server, &root.certificate.pem(), "require-and-verify-client-cert");
        let edge = Edge::start(directory.path(), &http, &format!("  tls: {{client: {{verify_depth: {depth}}}}}\n"));
        for (between, shown) in by_depth.iter().enumerate() {
            let answer = edge.ask("/v2/", visitor(&server, Some(shown), &version::TLS13)).await;
            assert_eq!(answer.is_ok(), between <= depth, "{between} between, {depth} allowed: {answer:?}");
        }
        assert!(edge.ask("/v2/", visitor(&server, None, &version::TLS13)).await.is_err());
    }
}

#[tokio::test]
async fn authorities_change_under_a_running_server() {
    let (server, old, new) = (Authority::new("server root"), Authority::new("old"), Authority::new("new"));
    let directory = tempfile::tempdir().unwrap();
    let http = http(directory.path(), &server, &old.certificate.pem(), "require-and-verify-client-cert");
    let edge = Edge::start(directory.path(), &http, "  strict: true\n");
    let (before, after) = (shown(&old, &params(), &[]), shown(&new, &params(), &[]));
    // One that would come back without showing its certificate again.
    let mut returning = visitor(&server, Some(&before), &version::TLS13);
    returning.resumption = Resumption::store(Arc::new(ClientSessionMemoryCache::new(8)));
    for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
        let mut stream = edge.greet(Some(NAME), returning.clone()).await.unwrap();
        assert!(ask(&mut stream, "/v2/").await.is_ok());
        assert_eq!(
            stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed),
            expected == HandshakeKind::Resumed
        );
    }
    assert!(edge.ask("/v2/", visitor(&server, Some(&after), &version::TLS13)).await.is_err());
    fs::write(directory.path().join("clients.pem"), new.certificate.pem()).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while edge.ask("/v2/", visitor(&server, Some(&after), &version::TLS13)).await.is_err() {
        assert!(Instant::now() < deadline, "{}", edge.log());
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert!(edge.ask("/v2/", visitor(&server, Some(&before), &version::TLS13)).await.is_err());
    assert!(edge.ask("/v2/", returning).await.is_err(), "a session outlived the trust that it stood on");
    // What is no authority changes nothing.
    fs::write(directory.path().join("clients.pem"), "junk").unwrap();
    let deadline = Instant::now() + PATIENCE;
    while !edge.log().contains("no certificate that can be used") {
        assert!(Instant::now() < deadline, "{}", edge.log());
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert!(edge.ask("/v2/", visitor(&server, Some(&after), &version::TLS13)).await.is_ok());
}
