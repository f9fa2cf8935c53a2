//! Proofs for certificate authorities: before the handler on each kind of listener, and in handshakes of their own.

use std::{
    num::NonZeroU64,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use async_trait::async_trait;
use pierhead::{
    admission::{
        self, Admission, Rates,
        access::{Access, Places},
        rate::Rate,
    },
    server::{challenges::Challenges, proxies::Proxies},
};
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

/// Authorities come from anywhere, and nobody can hammer us in their name.
#[tokio::test]
async fn tokens_are_for_everybody_and_not_for_free() {
    let number = |number| NonZeroU64::new(number).unwrap();
    let few = Rate::new(number(1), Duration::from_hours(1), number(3));
    let settings = admission::Settings {
        access: Access { deny: Places::new(&["192.0.2.0/24".parse().unwrap()]), ..Access::default() },
        requests: Rates { per_address: Some(few), per_subject: None },
        ..admission::Settings::default()
    };
    let rig = pending(Plan {
        admission: Arc::new(Admission::new(settings, 100)),
        proxies: Proxies { networks: vec!["127.0.0.0/8".parse().unwrap()], ..Proxies::default() },
        ..Plan::default()
    });
    let ask = async |path: &str, client: &str| {
        let lines = format!("Host: a\r\nX-Forwarded-For: {client}\r\nConnection: close");
        rig.say(format!("GET {path} HTTP/1.1\r\n{lines}\r\n\r\n")).await
    };
    let known = "/.well-known/acme-challenge/known";
    assert_eq!(status(&ask("/", "192.0.2.1").await), 403);
    for expected in [200, 200, 200, 429, 429] {
        assert_eq!(status(&ask(known, "192.0.2.1").await), expected);
    }
    let early = ask("/.well-known/acme-challenge/unknown", "192.0.2.1").await;
    assert!(status(&early) == 429 && early.to_ascii_lowercase().contains("\r\nretry-after: "), "{early}");
    for (path, expected) in [(known, 200), ("/.well-known/acme-challenge/", 404), ("/", 200), (known, 429)] {
        assert_eq!(status(&ask(path, "198.51.100.1").await), expected, "{path}");
    }
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
        sleep(Duration::from_micros(100)).await;
    }
    let mut answer = [0; 5];
    tokio::io::AsyncReadExt::read_exact(&mut stream, &mut answer).await.unwrap();
    assert_eq!(answer[0], 22, "no handshake record: {answer:?}");
}
