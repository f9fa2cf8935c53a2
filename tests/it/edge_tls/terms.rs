//! Versions, cipher suites and groups, and the headers that go with TLS.

use rustls::{NamedGroup, SupportedProtocolVersion, crypto::CryptoProvider, version};

use crate::edge_tls::rig::{Authority, Edge, NAME, client, client_of, provider};

/// A client of one version, one suite of TLS 1.2 and one group; empty names mean all.
fn narrow(
    authority: &Authority,
    version: &'static SupportedProtocolVersion,
    suite: &str,
    group: Option<NamedGroup>,
) -> rustls::ClientConfig {
    let CryptoProvider { mut cipher_suites, mut kx_groups, .. } = provider();
    cipher_suites.retain(|offered| offered.tls13().is_some() || format!("{:?}", offered.suite()).contains(suite));
    kx_groups.retain(|offered| group.is_none_or(|group| group == offered.name()));
    client_of(CryptoProvider { cipher_suites, kx_groups, ..provider() }, &[version], authority)
}

/// The group that was agreed on, or why there was none.
async fn group(edge: &Edge, config: rustls::ClientConfig) -> Result<NamedGroup, String> {
    let stream = edge.greet(Some(NAME), config).await.map_err(|error| error.to_string())?;
    Ok(stream.get_ref().1.negotiated_key_exchange_group().unwrap().name())
}

#[tokio::test]
async fn by_default_the_hybrid_group_is_taken() {
    let (directory, authority) = (tempfile::tempdir().unwrap(), Authority::new("root"));
    let files = authority.serve(directory.path(), "a", &[NAME], 1);
    let edge = Edge::with(directory.path(), &[&files], "");
    assert_eq!(group(&edge, client(&authority)).await, Ok(NamedGroup::X25519MLKEM768));
    for (version, wanted) in [
        (&version::TLS13, NamedGroup::X25519MLKEM768),
        (&version::TLS13, NamedGroup::X25519),
        (&version::TLS13, NamedGroup::secp256r1),
        (&version::TLS13, NamedGroup::secp384r1),
        (&version::TLS12, NamedGroup::X25519),
        (&version::TLS12, NamedGroup::secp256r1),
    ] {
        assert_eq!(group(&edge, narrow(&authority, version, "", Some(wanted))).await, Ok(wanted), "{version:?}");
    }
}

#[tokio::test]
async fn terms_are_kept() {
    let (directory, authority) = (tempfile::tempdir().unwrap(), Authority::new("root"));
    let files = authority.serve(directory.path(), "a", &[NAME], 1);
    let keys =
        ", curves: [secp384r1, X25519], cipher_suites: [ECDHE-ECDSA-AES256-GCM-SHA384, DHE-RSA-AES128-GCM-SHA256]";
    let edge = Edge::with(directory.path(), &[&files], keys);
    assert!(edge.log().contains("DHE-RSA-AES128-GCM-SHA256 is too weak and is not offered"), "{}", edge.log());
    let (aes, chacha) = ("AES_256_GCM", "CHACHA20");
    for (version, suite, wanted, expected) in [
        (&version::TLS13, "", None, Ok(NamedGroup::X25519)),
        (&version::TLS13, "", Some(NamedGroup::secp384r1), Ok(NamedGroup::secp384r1)),
        (&version::TLS13, "", Some(NamedGroup::X25519MLKEM768), Err("HandshakeFailure")),
        (&version::TLS13, "", Some(NamedGroup::secp256r1), Err("HandshakeFailure")),
        (&version::TLS12, aes, None, Ok(NamedGroup::X25519)),
        (&version::TLS12, aes, Some(NamedGroup::secp256r1), Err("HandshakeFailure")),
        (&version::TLS12, chacha, None, Err("HandshakeFailure")),
    ] {
        let outcome = group(&edge, narrow(&authority, version, suite, wanted)).await;
        match expected {
            Ok(expected) => assert_eq!(outcome, Ok(expected), "{version:?} {suite} {wanted:?}"),
            Err(alert) => {
                assert!(
                    outcome.as_ref().is_err_and(|said| said.contains(alert)),
                    "{version:?} {wanted:?}: {outcome:?}"
                );
            }
        }
    }
}

#[tokio::test]
async fn the_oldest_version_is_kept() {
    let (directory, authority) = (tempfile::tempdir().unwrap(), Authority::new("root"));
    let files = authority.serve(directory.path(), "a", &[NAME], 1);
    let edge = Edge::with(directory.path(), &[&files], ", minimum_version: tls1.3");
    assert!(group(&edge, narrow(&authority, &version::TLS13, "", None)).await.is_ok());
    let refused = group(&edge, narrow(&authority, &version::TLS12, "", None)).await.unwrap_err();
    assert!(refused.contains("ProtocolVersion"), "{refused}");
}

#[tokio::test]
async fn headers_over_tls() {
    let (directory, authority) = (tempfile::tempdir().unwrap(), Authority::new("root"));
    let files = authority.serve(directory.path(), "a", &[NAME], 1);
    let nosniff = "x-content-type-options: nosniff";
    for (hsts, expected) in
        [("{}", None), ("{max_age: 63072000, include_subdomains: true}", Some("max-age=63072000; includesubdomains"))]
    {
        let served = tempfile::tempdir().unwrap();
        let edge = format!("  hsts: {hsts}\n  tls: {{certificates: [{}]}}\n", files.yaml());
        let edge = Edge::start(served.path(), "  headers: {X-Extra: [mine]}\n", &edge);
        for path in ["/", "/v2/", "/v2/a/manifests/b", "/nowhere"] {
            let head = edge.ask(path, client(&authority)).await.unwrap();
            let found = head.lines().find_map(|line| line.strip_prefix("strict-transport-security: "));
            assert_eq!(found, expected, "{path}: {head}");
            assert_eq!(head.matches(nosniff).count(), 1, "{path}: {head}");
            assert!(!head.lines().any(|line| line.starts_with("server:")), "{path}: {head}");
            assert_eq!(head.contains("x-extra: mine"), path.starts_with("/v2/"), "{path}: {head}");
        }
    }
}

#[tokio::test]
async fn in_plain_http_nothing_is_said_of_tls() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let directory = tempfile::tempdir().unwrap();
    let edge = Edge::start(directory.path(), "", "  hsts: {max_age: 63072000}\n");
    let mut stream = tokio::net::TcpStream::connect(edge.address).await.unwrap();
    stream.write_all(b"GET /v2/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200") && !answer.to_ascii_lowercase().contains("strict-transport"),
        "{answer}"
    );
}
