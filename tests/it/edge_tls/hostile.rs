//! Clients that speak what nobody should: versions of another age, suites without authentication, no TLS at all.

use std::{io::Write as _, process::Stdio};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    edge_tls::rig::{Authority, Edge, NAME, PATIENCE, client},
    support::{command::command, tools},
};

const HANDSHAKE_FAILURE: u8 = 40;
const PROTOCOL_VERSION: u8 = 70;

/// A `ClientHello` of this version (RFC 5246 section 7.4.1.2), with an extension for signatures and one for groups.
fn hello(version: u16, suites: &[u16]) -> Vec<u8> {
    let pairs = |values: &[u16]| values.iter().flat_map(|value| value.to_be_bytes()).collect::<Vec<_>>();
    let sized = |bytes: Vec<u8>| [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], &bytes].concat();
    let extension = |kind: u16, values: &[u16]| [&kind.to_be_bytes()[..], &sized(sized(pairs(values)))].concat();
    let mut body = version.to_be_bytes().to_vec();
    body.extend([7; 32]);
    body.push(0);
    body.extend(sized(pairs(suites)));
    body.extend([1, 0]);
    // signature_algorithms: ECDSA and RSA with SHA-256 and SHA-1; supported_groups: X25519 and P-256.
    let signatures = extension(13, &[0x0403, 0x0401, 0x0203, 0x0201]);
    body.extend(sized([signatures, extension(10, &[29, 23])].concat()));
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    let message = [&[1][..], &length[1..], &body].concat();
    [&[22, 3, 1][..], &sized(message)].concat()
}

/// A `CLIENT-HELLO` of `SSLv2` that would go on with a later version, as clients once sent it (RFC 5246 appendix E.2).
fn ancient_hello() -> Vec<u8> {
    let mut body = vec![1, 3, 1, 0, 3, 0, 0, 0, 16, 0, 0, 0x2f];
    body.extend([7; 16]);
    [&[0x80, u8::try_from(body.len()).unwrap()][..], &body].concat()
}

async fn say(edge: &Edge, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(edge.address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    // A reset is an end as well.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("the server did not close");
    answer
}

/// The description of a fatal alert, which is all of the answer.
fn alert(answer: &[u8]) -> Option<u8> {
    match answer {
        [21, 3, _, 0, 2, 2, description] => Some(*description),
        _ => None,
    }
}

#[tokio::test]
async fn what_is_too_old_or_too_weak_hears_an_alert() {
    let (directory, authority) = (tempfile::tempdir().unwrap(), Authority::new("root"));
    let files = authority.serve(directory.path(), "a", &[NAME], 1);
    let edge = Edge::with(directory.path(), &[&files], "");
    // With the suite that everything above TLS 1.2 could take.
    let good = 0xc02b;
    for version in [0x0300, 0x0301, 0x0302] {
        assert_eq!(alert(&say(&edge, &hello(version, &[good, 0xc009])).await), Some(PROTOCOL_VERSION), "{version:x}");
    }
    assert!(say(&edge, &hello(0x0303, &[good])).await.starts_with(&[22, 3, 3]), "the hello itself is good");
    // CBC, RC4, 3DES, without forward secrecy, plain Diffie-Hellman, without any encryption, anonymous.
    for suite in [0xc009, 0xc013, 0xc007, 0xc008, 0x002f, 0x009c, 0x009e, 0x0033, 0xc006, 0xc018, 0x0000] {
        assert_eq!(alert(&say(&edge, &hello(0x0303, &[suite])).await), Some(HANDSHAKE_FAILURE), "{suite:x}");
    }
    let ancient = say(&edge, &ancient_hello()).await;
    assert!(ancient.is_empty() || alert(&ancient).is_some(), "{ancient:?}");
    let plain = say(&edge, b"GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(plain.is_empty() || alert(&plain).is_some(), "{plain:?}");
    let endless = say(&edge, &[&[22, 3, 1, 0xff, 0xff][..], &vec![0; 1 << 16]].concat()).await;
    assert!(endless.is_empty() || alert(&endless).is_some(), "{endless:?}");
    assert!(edge.ask("/v2/", client(&authority)).await.is_ok());
    assert!(!edge.log().contains("panicked"), "{}", edge.log());
}

#[tokio::test]
async fn a_protocol_that_nobody_speaks_hears_an_alert() {
    let (directory, authority) = (tempfile::tempdir().unwrap(), Authority::new("root"));
    let files = authority.serve(directory.path(), "a", &[NAME], 1);
    let edge = Edge::with(directory.path(), &[&files], "");
    for protocol in ["acme-tls/1", "smtp"] {
        let mut config = client(&authority);
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let refused = edge.greet(Some(NAME), config).await.unwrap_err().to_string();
        assert!(refused.contains("NoApplicationProtocol"), "{protocol}: {refused}");
    }
}

/// A hello that comes byte by byte, each in a packet of its own.
#[tokio::test]
async fn a_hello_in_pieces_is_answered() {
    let (directory, authority) = (tempfile::tempdir().unwrap(), Authority::new("root"));
    let files = authority.serve(directory.path(), "a", &[NAME], 1);
    let edge = Edge::with(directory.path(), &[&files], ", unknown_names: refuse");
    let mut stream = TcpStream::connect(edge.address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for byte in hello(0x0303, &[0xc02b]) {
        stream.write_all(&[byte]).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    let mut answer = [0; 3];
    timeout(PATIENCE, stream.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer, [22, 3, 3]);
}

#[tokio::test]
async fn nobody_renegotiates() {
    if !tools::present(&["openssl"]) {
        return;
    }
    let (directory, authority) = (tempfile::tempdir().unwrap(), Authority::new("root"));
    let files = authority.serve(directory.path(), "a", &[NAME], 1);
    let edge = format!("  limits: {{idle_timeout: 2s}}\n  tls: {{certificates: [{}]}}\n", files.yaml());
    let edge = Edge::start(directory.path(), "", &edge);
    let mut running = command("openssl", ["s_client", "-tls1_2", "-servername", NAME, "-connect"])
        .arg(edge.address.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // `R` asks for a new handshake on the connection that stands. Nobody answers, and the connection counts as idle.
    let mut input = running.stdin.take().unwrap();
    input.write_all(b"R\n").unwrap();
    let output = tokio::task::spawn_blocking(move || running.wait_with_output()).await.unwrap().unwrap();
    drop(input);
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let ended = said.split_once("RENEGOTIATING").map(|(_, after)| after);
    assert!(ended.is_some_and(|after| after.contains("error") && !after.contains("Cipher")), "{said}");
    assert!(edge.ask("/v2/", client(&authority)).await.is_ok());
}
