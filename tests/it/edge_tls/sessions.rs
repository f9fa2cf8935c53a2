//! Sessions that are taken up again: with tickets and without, in both versions, and not for longer than they may be.

use std::{sync::Arc, time::Duration};

use rustls::{
    ClientConfig, HandshakeKind, SupportedProtocolVersion,
    client::{ClientSessionMemoryCache, Resumption, Tls12Resumption},
    version,
};

use crate::edge_tls::rig::{Authority, Edge, NAME, ask, client_of, provider};

/// A client that remembers sessions, and takes tickets of TLS 1.2 or not.
fn returning(
    authority: &Authority,
    version: &'static SupportedProtocolVersion,
    tickets: Tls12Resumption,
) -> ClientConfig {
    let mut config = client_of(provider(), &[version], authority);
    // It would send its request with the first packet if it might.
    config.enable_early_data = true;
    config.resumption = Resumption::store(Arc::new(ClientSessionMemoryCache::new(8))).tls12_resumption(tickets);
    config
}

/// How a handshake went; the answer is read to its end, so that what comes behind the handshake has come.
async fn kind(edge: &Edge, config: &ClientConfig) -> HandshakeKind {
    let mut stream = edge.greet(Some(NAME), config.clone()).await.unwrap();
    let head = ask(&mut stream, "/v2/").await.unwrap();
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert!(!stream.get_ref().1.is_early_data_accepted());
    stream.get_ref().1.handshake_kind().unwrap()
}

const WAYS: [(&SupportedProtocolVersion, Tls12Resumption); 3] = [
    (&version::TLS13, Tls12Resumption::SessionIdOrTickets),
    (&version::TLS12, Tls12Resumption::SessionIdOrTickets),
    (&version::TLS12, Tls12Resumption::SessionIdOnly),
];

#[tokio::test]
async fn sessions_are_taken_up_again() {
    let authority = Authority::new("root");
    for keys in ["", ", session_tickets: false"] {
        let directory = tempfile::tempdir().unwrap();
        let files = authority.serve(directory.path(), "a", &[NAME], 1);
        let mut edge = Edge::with(directory.path(), &[&files], keys);
        for (version, tickets) in WAYS {
            let config = returning(&authority, version, tickets);
            assert_ne!(kind(&edge, &config).await, HandshakeKind::Resumed);
            assert_eq!(kind(&edge, &config).await, HandshakeKind::Resumed, "{version:?} {tickets:?} {keys}");
            // Another process has other keys, and remembers nothing: what it is shown is nothing to it.
            edge.restart();
            assert_ne!(kind(&edge, &config).await, HandshakeKind::Resumed, "{version:?} {tickets:?} {keys}");
            assert_eq!(kind(&edge, &config).await, HandshakeKind::Resumed, "{version:?} {tickets:?} {keys}");
        }
    }
}

#[tokio::test]
async fn sessions_end() {
    let authority = Authority::new("root");
    for (keys, wait) in [
        (", session_timeout: 1s", Duration::from_millis(1600)),
        (", session_timeout: 1s, session_tickets: false", Duration::from_millis(1600)),
        (", session_timeout: 0", Duration::ZERO),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let files = authority.serve(directory.path(), "a", &[NAME], 1);
        let edge = Edge::with(directory.path(), &[&files], keys);
        for (version, tickets) in WAYS {
            let config = returning(&authority, version, tickets);
            kind(&edge, &config).await;
            tokio::time::sleep(wait).await;
            assert_ne!(kind(&edge, &config).await, HandshakeKind::Resumed, "{version:?} {tickets:?} {keys}");
        }
    }
}
