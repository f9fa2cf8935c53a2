//! Proofs for certificate authorities: before the handler on each kind of listener, and in handshakes of their own.

use std::sync::{Arc, atomic::Ordering};

use async_trait::async_trait;
use pierhead::server::challenges::Challenges;
use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, ServerName},
};
use tokio::{io::AsyncWriteExt, net::TcpStream, time::sleep};
use tokio_rustls::TlsConnector;

use crate::wire::rig::{Plan, Rig, everything, status};

const PROTOCOL: &[u8] = b"acme-tls/1";

/// One token, and one name, which the development certificate is for as well.
#[derive(Debug)]
struct Pending;

#[async_trait]
impl Challenges for Pending {
    async fn key_authorization(&self, token: &str) -> Option<String> {
        (token == "known").then(|| "known.thumbprint".to_owned())
    }

    async fn proof(&self, name: &str) -> Option<Arc<ServerConfig>> {
        (name == "localhost").then(|| {
            let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
            let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
            let config = ServerConfig::builder().with_no_client_auth();
            let mut config = config.with_single_cert(vec![made.cert.der().clone()], key).unwrap();
            config.alpn_protocols = vec![PROTOCOL.to_vec()];
            Arc::new(config)
        })
    }
}

fn pending(plan: Plan) -> Rig {
    Rig::start(Plan { challenges: Some(Arc::new(Pending)), ..plan })
}

fn request(method: &str, token: &str) -> String {
    format!("{method} /.well-known/acme-challenge/{token} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
}

#[tokio::test]
async fn tokens_are_answered_before_the_handler() {
    let (plain, secure) = (pending(Plan::default()), pending(Plan::secure()));
    let over_tls = async |request: String| {
        let mut stream = secure.secure(secure.client()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        everything(&mut stream).await
    };
    for answer in [plain.say(request("GET", "known")).await, over_tls(request("GET", "known")).await] {
        assert_eq!(status(&answer), 200);
        assert!(answer.ends_with("\r\n\r\nknown.thumbprint") && answer.contains("no-store"), "{answer}");
    }
    let head = plain.say(request("HEAD", "known")).await;
    assert!(status(&head) == 200 && head.ends_with("\r\n\r\n"), "{head}");
    for token in ["", "unknown", "known/", "%6bnown", "known?a=b/../known"] {
        let expected = if token.starts_with("known?") { 200 } else { 404 };
        assert_eq!(status(&plain.say(request("GET", token)).await), expected, "{token}");
        assert_eq!(status(&over_tls(request("GET", token)).await), expected, "{token}");
    }
    assert_eq!(plain.probe.requests.load(Ordering::SeqCst), 0);
    plain.say(request("DELETE", "known")).await;
    plain.say(request("GET", "../acme-challenge-of-another-kind").replace("/../", "-")).await;
    assert_eq!(plain.probe.requests.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_handshake_proves_a_pending_name_and_nothing_else() {
    let rig = pending(Plan::secure());
    let offer = async |name: &'static str, protocols: &[&[u8]]| {
        let mut config = rig.client();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        let connector = TlsConnector::from(Arc::new(config));
        connector.connect(ServerName::try_from(name).unwrap(), rig.plain().await).await
    };
    // It is another certificate, signed by nobody: that is why the client stops.
    let proof = offer("localhost", &[PROTOCOL]).await.unwrap_err().to_string();
    assert!(proof.contains("invalid peer certificate"), "{proof}");
    let none = offer("other.test", &[PROTOCOL]).await.unwrap_err().to_string();
    assert!(none.contains("NoApplicationProtocol"), "{none}");
    let ordinary = offer("localhost", &[PROTOCOL, b"http/1.1"]).await.unwrap();
    assert_eq!(ordinary.get_ref().1.alpn_protocol(), Some(b"http/1.1".as_slice()));
}

/// A hello that comes byte by byte is the same hello (RUSTSEC-2024-0399).
#[tokio::test]
async fn a_hello_in_pieces_is_one() {
    let rig = pending(Plan::secure());
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = rustls::ClientConnection::new(Arc::new(rig.client()), name).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    let mut stream: TcpStream = rig.plain().await;
    for byte in &hello {
        stream.write_all(&[*byte]).await.unwrap();
        sleep(std::time::Duration::from_micros(100)).await;
    }
    let mut answer = [0; 5];
    tokio::io::AsyncReadExt::read_exact(&mut stream, &mut answer).await.unwrap();
    assert_eq!(answer[0], 22, "no handshake record: {answer:?}");
}
