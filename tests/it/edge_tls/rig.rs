//! Authorities that sign what a test wants, the binary that serves it, and clients that say what they saw.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::{
    ClientConfig, DigitallySignedStruct, NamedGroup, RootCertStore, SignatureScheme, SupportedProtocolVersion,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use time::OffsetDateTime;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::support::{
    certificate::write_private,
    process::{Process, free_address},
    registry::{Program, spawn},
};

/// No test waits longer than this for one answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// The name that the first certificate of most tests is for.
pub(super) const NAME: &str = "registry.test";

/// An authority, and the certificates that lead from it to its root.
pub(super) struct Authority {
    pub(super) certificate: rcgen::Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(super) fn new(name: &str) -> Self {
        Self::made(name, None)
    }

    pub(super) fn below(&self, name: &str) -> Self {
        Self::made(name, Some(self))
    }

    fn made(name: &str, parent: Option<&Self>) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = match parent {
            Some(parent) => params.signed_by(&key, &parent.issuer).unwrap(),
            None => params.self_signed(&key).unwrap(),
        };
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    pub(super) fn sign(&self, params: &CertificateParams, key: &KeyPair) -> rcgen::Certificate {
        params.signed_by(key, &self.issuer).unwrap()
    }

    pub(super) fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone()).unwrap();
        roots
    }

    /// Writes `<stem>.crt` and `<stem>.key` for a server of these names, with a new key.
    pub(super) fn serve(&self, directory: &Path, stem: &str, names: &[&str], serial: u8) -> Files {
        self.serve_with(directory, stem, &server(names, serial), &KeyPair::generate().unwrap())
    }

    pub(super) fn serve_with(&self, directory: &Path, stem: &str, params: &CertificateParams, key: &KeyPair) -> Files {
        Files::write(directory, stem, &self.sign(params, key).pem(), &key.serialize_pem())
    }
}

/// What a server's certificate says.
pub(super) fn server(names: &[&str], serial: u8) -> CertificateParams {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.serial_number = Some(vec![serial].into());
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    params.not_before = OffsetDateTime::now_utc() - time::Duration::days(1);
    params.not_after = OffsetDateTime::now_utc() + time::Duration::days(90);
    params
}

/// Two files in PEM.
#[derive(Clone, Debug)]
pub(super) struct Files {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

impl Files {
    pub(super) fn write(directory: &Path, stem: &str, certificate: &str, key: &str) -> Self {
        let at = |kind: &str| directory.join(format!("{stem}.{kind}"));
        fs::write(at("crt"), certificate).unwrap();
        let _ = fs::remove_file(at("key"));
        write_private(&at("key"), key);
        Self { certificate: at("crt"), key: at("key") }
    }

    /// As a map in a configuration.
    pub(super) fn yaml(&self) -> String {
        format!("{{certificate: {}, key: {}}}", self.certificate.display(), self.key.display())
    }

    /// As keys in one.
    pub(super) fn keys(&self) -> String {
        format!("certificate: {}, key: {}", self.certificate.display(), self.key.display())
    }
}

/// The binary, serving an empty registry.
pub(super) struct Edge {
    pub(super) address: SocketAddr,
    directory: PathBuf,
    process: Process,
}

impl Edge {
    /// `http` and `edge` are what stands in these sections, each line indented by two.
    pub(super) fn start(directory: &Path, http: &str, edge: &str) -> Self {
        let address = free_address();
        let config = configuration(&format!("  addr: {address}\n{http}"), edge);
        write_private(&directory.join("config.yml"), &config);
        let process = spawn(&Program::pierhead(), directory, address);
        Self { address, directory: directory.to_owned(), process }
    }

    /// With these certificates, the first the default, and more keys of `edge.tls`.
    pub(super) fn with(directory: &Path, files: &[&Files], keys: &str) -> Self {
        let listed: Vec<_> = files.iter().map(|files| files.yaml()).collect();
        Self::start(directory, "", &format!("  tls: {{certificates: [{}]{keys}}}\n", listed.join(", ")))
    }

    pub(super) fn log(&self) -> String {
        self.process.log()
    }

    pub(super) fn wait_for_log(&mut self, text: &str) {
        let log = self.directory.join("log");
        let said = || fs::read_to_string(&log).is_ok_and(|log| log.contains(text));
        self.process.wait_until(&format!("it logs {text:?}"), said);
    }

    /// Ends it at once and starts it again.
    pub(super) fn restart(&mut self) {
        self.process.kill();
        self.process = spawn(&Program::pierhead(), &self.directory, self.address);
    }

    /// A handshake as a client that asks for `name`, or that connects to the address where it is `None`.
    pub(super) async fn greet(&self, name: Option<&str>, config: ClientConfig) -> io::Result<TlsStream<TcpStream>> {
        let name = match name {
            Some(name) => ServerName::try_from(name.to_owned()).unwrap(),
            None => ServerName::from(self.address.ip()),
        };
        let stream = TcpStream::connect(self.address).await?;
        timeout(PATIENCE, TlsConnector::from(Arc::new(config)).connect(name, stream))
            .await
            .expect("no handshake in time")
    }

    /// The head of the answer to a request over TLS, or why there was none.
    pub(super) async fn ask(&self, path: &str, config: ClientConfig) -> Result<String, String> {
        let mut stream = self.greet(Some(NAME), config).await.map_err(|error| error.to_string())?;
        ask(&mut stream, path).await
    }
}

/// The same on a connection that stands; it is over then.
pub(super) async fn ask(stream: &mut TlsStream<TcpStream>, path: &str) -> Result<String, String> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n");
    let mut answer = Vec::new();
    let exchange = async {
        stream.write_all(request.as_bytes()).await?;
        stream.read_to_end(&mut answer).await
    };
    let outcome = timeout(PATIENCE, exchange).await.expect("no answer in time");
    let text = String::from_utf8_lossy(&answer).to_ascii_lowercase();
    match (text.split_once("\r\n\r\n"), outcome) {
        (Some((head, _)), _) => Ok(head.to_owned()),
        (None, Err(error)) => Err(error.to_string()),
        (None, Ok(_)) => Err("closed".to_owned()),
    }
}

pub(super) fn configuration(http: &str, edge: &str) -> String {
    format!(
        "version: 0.1\nlog: {{accesslog: {{disabled: true}}}}\nstorage: {{inmemory: {{}}}}\nauth: none\n\
         http:\n{http}edge:\n{edge}"
    )
}

/// A client that trusts this authority, takes up no session again, and speaks these versions.
pub(super) fn client(authority: &Authority) -> ClientConfig {
    client_of(provider(), rustls::ALL_VERSIONS, authority)
}

pub(super) fn client_of(
    provider: CryptoProvider,
    versions: &[&'static SupportedProtocolVersion],
    authority: &Authority,
) -> ClientConfig {
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(authority.roots())
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    config
}

/// With the hybrid first among its groups, as in today's browsers and in Go.
pub(super) fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups.sort_by_key(|group| group.name() != NamedGroup::X25519MLKEM768);
    provider
}

/// A client that takes any certificate, to look at it, and that knows these signatures alone.
pub(super) fn onlooker(version: &'static SupportedProtocolVersion, schemes: &[SignatureScheme]) -> ClientConfig {
    let provider = Arc::new(provider());
    let verifier = Arc::new(Onlooker { provider: Arc::clone(&provider), schemes: schemes.to_vec() });
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
    let mut config = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    config.resumption = Resumption::disabled();
    config
}

#[derive(Debug)]
struct Onlooker {
    provider: Arc<CryptoProvider>,
    schemes: Vec<SignatureScheme>,
}

impl ServerCertVerifier for Onlooker {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}

/// The chain that the server showed.
pub(super) fn chain(stream: &TlsStream<TcpStream>) -> Vec<CertificateDer<'static>> {
    stream.get_ref().1.peer_certificates().unwrap().to_vec()
}

/// The serial number of the certificate that it showed.
pub(super) fn serial(stream: &TlsStream<TcpStream>) -> u8 {
    use x509_parser::prelude::FromDer as _;
    let chain = chain(stream);
    let (_, certificate) = x509_parser::certificate::X509Certificate::from_der(&chain[0]).unwrap();
    *certificate.raw_serial().last().unwrap()
}
