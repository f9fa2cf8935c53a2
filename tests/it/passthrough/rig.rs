//! The binary with an address for TLS, one for plain HTTP and one that redirects, and the means to talk to it.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use rustls::pki_types::ServerName;
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::support::{
    certificate::{Certificate, trusting, write_private},
    process::{Process, free_address},
    registry::{Program, spawn},
};

/// No test waits longer than this for anything.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Another server's name.
pub(super) const OTHER: &str = "gitlab.test";

/// The registry's own.
pub(super) const OWN: &str = "registry.test";

#[derive(Debug)]
pub(super) struct Edge {
    pub(super) tls: SocketAddr,
    pub(super) plain: SocketAddr,
    pub(super) redirect: SocketAddr,
    pub(super) process: Process,
    pub(super) certificate: Certificate,
    debug: SocketAddr,
    _directory: TempDir,
}

impl Edge {
    /// `rules` is the list of `edge.passthrough`, and `sections` are more of `edge`, both as YAML in one line.
    pub(super) fn start(rules: &str, sections: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let certificate = Certificate::create(directory.path());
        let [tls, plain, redirect, debug] = [(); 4].map(|()| free_address());
        let config = format!(
            "version: 0.1\nlog: {{level: debug}}\nstorage: {{inmemory: {{}}}}\nauth: none\n\
             http:\n  draintimeout: 30s\n  debug: {{addr: '{debug}', prometheus: {{enabled: true}}}}\n  \
             tls: {{certificate: {}, key: {}}}\n\
             edge:\n  external_url: https://{OWN}\n  \
             listen: ['{tls}', {{address: '{plain}', tls: off}}]\n  \
             redirect_http_to_https: {{address: '{redirect}'}}\n  passthrough: {rules}\n  {sections}\n",
            certificate.chain.display(),
            certificate.key.display(),
        );
        write_private(&directory.path().join("config.yml"), &config);
        let process = spawn(&Program::pierhead(), directory.path(), tls);
        Self { tls, plain, redirect, process, certificate, debug, _directory: directory }
    }

    /// With one rule: [`OTHER`] and all below `*.pages.test` go to this server, both ways.
    pub(super) fn before(server: SocketAddr, keys: &str) -> Self {
        let names = format!("names: [{OTHER}, '*.pages.test']");
        Self::start(&format!("[{{{names}, tls: '{server}', http: '{server}', {keys}}}]"), "")
    }

    /// Sends a plain request on a connection of its own, and returns everything until the end.
    pub(super) async fn say(&self, request: impl AsRef<[u8]>) -> String {
        let mut stream = connect(self.plain).await;
        stream.write_all(request.as_ref()).await.unwrap();
        everything(&mut stream).await
    }

    /// TLS under a name, with whom that authority trusts.
    pub(super) async fn secure(&self, name: &str, authority: &Path, protocol: Option<&str>) -> TlsStream<TcpStream> {
        let mut config = trusting(&[authority]);
        config.alpn_protocols = protocol.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let connected = TlsConnector::from(Arc::new(config)).connect(name, connect(self.tls).await);
        timeout(PATIENCE, connected).await.expect("no handshake").unwrap()
    }

    /// Waits until a line of the metrics is there.
    pub(super) async fn until_counted(&self, line: &str) {
        let counted = async {
            loop {
                let mut stream = connect(self.debug).await;
                stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
                let text = everything(&mut stream).await;
                if text.lines().any(|found| found.trim_end() == line) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(PATIENCE, counted).await.unwrap_or_else(|_| panic!("never counted: {line}"));
    }

    /// Waits until it has written this.
    pub(super) async fn until_logged(&self, text: &str) {
        let logged = async {
            while !self.process.log().contains(text) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, logged).await.unwrap_or_else(|_| panic!("never logged {text:?}:\n{}", self.process.log()));
    }
}

pub(super) async fn connect(address: SocketAddr) -> TcpStream {
    let stream = timeout(PATIENCE, TcpStream::connect(address)).await.expect("nobody accepts").unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// A server of the test; it accepts when it is told to.
pub(super) async fn server() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

pub(super) async fn accept(listener: &TcpListener) -> TcpStream {
    timeout(PATIENCE, listener.accept()).await.expect("nobody came").unwrap().0
}

/// Reads until the end, however it comes.
pub(super) async fn everything(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("it did not end");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads until the end, which must be an error or not, as it is `cut`.
pub(super) async fn ended(stream: &mut (impl AsyncRead + Unpin), cut: bool) {
    let read = timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await.expect("it did not end");
    assert_eq!(read.is_err(), cut, "{read:?}");
}

/// Reads until `needle` has come.
pub(super) async fn until(stream: &mut (impl AsyncRead + Unpin), needle: &str) -> String {
    let mut text = String::new();
    let read = async {
        let mut buffer = [0; 4096];
        while !text.contains(needle) {
            let count = stream.read(&mut buffer).await.unwrap();
            assert!(count > 0, "ended after {text:?}");
            text.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
    };
    timeout(PATIENCE, read).await.unwrap_or_else(|_| panic!("{needle:?} did not come"));
    text
}

/// Reads so many bytes.
pub(super) async fn exactly(stream: &mut (impl AsyncRead + Unpin), count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    timeout(PATIENCE, stream.read_exact(&mut bytes)).await.expect("they did not come").unwrap();
    bytes
}

pub(super) fn status(answer: &str) -> u16 {
    answer.get(9..12).and_then(|digits| digits.parse().ok()).unwrap_or_else(|| panic!("no status in {answer:?}"))
}
