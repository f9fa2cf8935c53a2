//! Who asks for what is not pending, or for what is no token.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use crate::{
    acme::rig::{Client, NAME, Plan, Server},
    support::{
        pebble::{self, Pebble},
        process::free_address,
        tools,
    },
};

/// Says it in HTTP/1.1; the whole answer.
fn say(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    // A reset is an end as well.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// Takes any certificate: a challenge's is signed by nobody.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// How a handshake with these protocols ends.
fn offer(address: SocketAddr, name: &str, protocols: &[&[u8]]) -> Result<Option<Vec<u8>>, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let connection = ClientConnection::new(Arc::new(config), ServerName::try_from(name.to_owned()).unwrap()).unwrap();
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut stream = StreamOwned::new(connection, socket);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock).map_err(|error| error.to_string())?;
    }
    Ok(stream.conn.alpn_protocol().map(<[u8]>::to_vec))
}

#[test]
fn questions_that_nobody_should_ask() {
    if !tools::present(pebble::PROGRAMS) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    let http = free_address();
    let acme = format!("names: [{NAME}]\nchallenge: tls-alpn-01\nhttp_address: {http}");
    let plan = Plan::new(here, &acme);
    let pebble = Pebble::start(&here.join("pebble"), pebble::Plan::new(http, plan.address));
    let server = Server::start(here, &pebble, &plan);
    let client = Client::of(&pebble);
    client.until_trusted(server.address);

    let place = "/.well-known/acme-challenge/";
    let unknown = "a".repeat(43);
    let tokens = [
        unknown.as_str(),
        "",
        "short",
        "../../../../etc/passwd",
        "..%2f..%2f..%2fetc%2fpasswd-and-some-more",
        "%2e%2e/%2e%2e/state/acme/accounts/aaaaaaaa",
        "%00aaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/../../v2/",
        "aaaaaaaaaaaaaaaaaaaaaaaa;aaaaaaaaaaaa?x=y",
        &"b".repeat(4000),
    ];
    for token in tokens {
        let answer = say(http, &format!("GET {place}{token} HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n"));
        let status = answer.get(9..12).unwrap_or_default();
        assert!(["404", "400"].contains(&status), "{token:.60}: {answer:.200}");
        assert!(!answer.contains("root:") && !answer.contains("PRIVATE"), "{answer:.200}");
    }
    // This listener is for nothing else.
    for request in ["GET /v2/ HTTP/1.1", "GET / HTTP/1.1", &format!("POST {place}{unknown} HTTP/1.1")] {
        let answer = say(http, &format!("{request}\r\nHost: {NAME}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"));
        assert!(answer.starts_with("HTTP/1.1 404"), "{request}: {answer:.200}");
    }

    let check = |name: &str, protocols: &[&[u8]], expected: Result<Option<&[u8]>, &str>| {
        let outcome = offer(server.address, name, protocols);
        match expected {
            Ok(protocol) => assert_eq!(outcome.as_ref().map(Option::as_deref), Ok(protocol), "{protocols:?}"),
            Err(text) => assert!(outcome.as_ref().is_err_and(|error| error.contains(text)), "{name}: {outcome:?}"),
        }
    };
    for name in [NAME, "other.test"] {
        check(name, &[b"acme-tls/1"], Err("NoApplicationProtocol"));
    }
    check(NAME, &[b"h2", b"acme-tls/1"], Ok(Some(b"h2")));
    check(NAME, &[b"acme-tls/1", b"http/1.1"], Ok(Some(b"http/1.1")));
    check(NAME, &[], Ok(None));
    // It goes on.
    assert!(client.look(server.address, NAME).is_ok());
}
