//! Handshakes: versions, groups, resumption, certificates that change, clients that show theirs.

use std::sync::Arc;

use pierhead::tls::{self, Http2, Version, certificates::Origin, client};
use rustls::{
    ClientConfig, HandshakeKind, NamedGroup,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use tokio::io::AsyncWriteExt;

use crate::wire::rig::{Plan, Rig, development_pair, everything, hasty, status};

const REQUEST: &[u8] = b"GET /ok HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

/// The status of a request over TLS, or why there was none.
async fn ask(rig: &Rig, config: ClientConfig) -> Result<u16, String> {
    let mut stream = rig.secure(config).await.map_err(|error| error.to_string())?;
    // In TLS 1.3 a client learns only after its handshake that its certificate was refused.
    stream.write_all(REQUEST).await.map_err(|error| error.to_string())?;
    match everything(&mut stream).await {
        answer if answer.is_empty() => Err("closed".to_owned()),
        answer => Ok(status(&answer)),
    }
}

#[tokio::test]
async fn the_hybrid_group_is_negotiated_and_sessions_resume() {
    let rig = Rig::start(Plan::secure());
    let config = Arc::new(rig.client());
    let mut kinds = Vec::new();
    for _ in 0..2 {
        let mut stream = rig.secure((*config).clone()).await.unwrap();
        stream.write_all(REQUEST).await.unwrap();
        assert_eq!(status(&everything(&mut stream).await), 200);
        let connection = stream.get_ref().1;
        if let Some(group) = connection.negotiated_key_exchange_group() {
            assert_eq!(group.name(), NamedGroup::X25519MLKEM768);
        }
        kinds.push(connection.handshake_kind().unwrap());
    }
    assert_eq!(kinds[1], HandshakeKind::Resumed, "{kinds:?}");
}

#[tokio::test]
async fn versions_below_the_minimum_are_refused() {
    let check = async |minimum, version: &'static rustls::SupportedProtocolVersion, expected: bool| {
        let settings = tls::Settings { minimum, ..tls::Settings::default() };
        let rig = Rig::start(Plan { tls: Some(settings), ..Plan::default() });
        let mut config = rig.client();
        config = ClientConfig::builder_with_provider(Arc::clone(config.crypto_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(development_pair(rig.directory.path()).1)
            .with_no_client_auth();
        assert_eq!(ask(&rig, config).await.is_ok(), expected, "{minimum:?} {version:?}");
    };
    check(Version::Tls12, &rustls::version::TLS12, true).await;
    check(Version::Tls13, &rustls::version::TLS12, false).await;
    check(Version::Tls13, &rustls::version::TLS13, true).await;
}

#[tokio::test]
async fn http2_can_be_switched_off() {
    let check = async |http2, expected: Option<&[u8]>| {
        let settings = tls::Settings { http2, ..tls::Settings::default() };
        let rig = Rig::start(Plan { tls: Some(settings), ..Plan::default() });
        let mut config = rig.client();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let stream = rig.secure(config).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), expected);
    };
    check(Http2::Offered, Some(b"h2")).await;
    check(Http2::Disabled, Some(b"http/1.1")).await;
}

#[tokio::test]
async fn certificates_change_under_a_running_server() {
    let rig = Rig::start(Plan::secure());
    assert_eq!(ask(&rig, rig.client()).await, Ok(200));
    let elsewhere = tempfile::tempdir().unwrap();
    let (pair, roots) = development_pair(elsewhere.path());
    let mut open = rig.secure(rig.client()).await.unwrap();
    rig.certificates.replace(Origin::Files, vec![pair]);
    assert!(ask(&rig, rig.client()).await.is_err());
    let new = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    assert_eq!(ask(&rig, new).await, Ok(200));
    open.write_all(REQUEST).await.unwrap();
    assert_eq!(status(&everything(&mut open).await), 200);
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// An authority's PEM, and a client certificate that it signed.
fn identity() -> (String, Identity) {
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = params.self_signed(&authority_key).unwrap();
    let issuer = rcgen::Issuer::new(params, authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["client.test".to_owned()]).unwrap();
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let certificate = params.signed_by(&key, &issuer).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    (authority.pem(), (vec![certificate.der().clone()], key))
}

#[tokio::test]
async fn clients_show_certificates_in_four_modes() {
    let (authority, trusted) = identity();
    let (_, stranger) = identity();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("clients.pem");
    std::fs::write(&path, authority).unwrap();
    let check = async |mode, identity: Option<&Identity>, expected: bool| {
        let client = Some(client::Settings { mode, authorities: vec![path.clone()], depth_max: None });
        let rig =
            Rig::start(Plan { tls: Some(tls::Settings { client, ..tls::Settings::default() }), ..Plan::default() });
        let builder = ClientConfig::builder().with_root_certificates(development_pair(rig.directory.path()).1);
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => builder.with_client_auth_cert(chain.clone(), key.clone_key()).unwrap(),
        };
        let answer = ask(&rig, config).await;
        assert_eq!(answer.is_ok(), expected, "{mode:?} with {}: {answer:?}", identity.is_some());
    };
    for (mode, none, unknown) in [
        (client::Mode::Request, true, true),
        (client::Mode::RequireAny, false, true),
        (client::Mode::VerifyIfGiven, true, false),
        (client::Mode::RequireAndVerify, false, false),
    ] {
        check(mode, None, none).await;
        check(mode, Some(&stranger), unknown).await;
        check(mode, Some(&trusted), true).await;
    }
}

#[tokio::test]
async fn what_is_no_handshake_is_closed() {
    let rig = Rig::start(Plan { deadlines: hasty(), ..Plan::secure() });
    assert!(!rig.say(REQUEST).await.contains("HTTP"));
    assert_eq!(rig.say("").await, "");
    assert_eq!(ask(&rig, rig.client()).await, Ok(200));
}
