//! A HEAD request whose answer's status is looked at.

use std::{fmt, sync::Arc, time::Duration};

use http::{HeaderMap, Uri, uri::PathAndQuery};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;

use crate::health::probe::connect;

/// Enough for a status line; the rest of an answer is not read.
const STATUS_BYTES: usize = 12;

/// A HEAD request over HTTP/1.1.
#[derive(Clone)]
pub struct HttpProbe {
    /// Absolute.
    pub uri: Uri,
    pub transport: Transport,
    pub headers: HeaderMap,
    /// The only status that counts as healthy; distribution's default is 200.
    pub status: u16,
    /// For everything from the connection to the status; zero is 5 s.
    pub timeout: Duration,
}

impl fmt::Debug for HttpProbe {
    /// Neither path nor headers: they may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpProbe").field("host", &self.uri.host()).finish_non_exhaustive()
    }
}

#[derive(Clone, Debug)]
pub enum Transport {
    /// `http`, port 80 unless the URI has one.
    Plain,
    /// `https`, port 443 unless the URI has one, and whom it trusts.
    Tls(Arc<ClientConfig>),
}

impl HttpProbe {
    pub(in crate::health::probe) async fn head(&self) -> Result<(), String> {
        let host = self.uri.host().ok_or("the uri has no host")?;
        let port = self.uri.port_u16();
        match &self.transport {
            Transport::Plain => {
                let stream = connect(&format!("{host}:{}", port.unwrap_or(80))).await?;
                self.exchange(stream, host).await
            }
            Transport::Tls(trust) => {
                // An IPv6 address stands in brackets in a URI, and without them in a certificate.
                let bare = host.trim_start_matches('[').trim_end_matches(']');
                let name = ServerName::try_from(bare.to_owned()).map_err(|why| why.to_string())?;
                let stream = connect(&format!("{host}:{}", port.unwrap_or(443))).await?;
                let stream =
                    TlsConnector::from(Arc::clone(trust)).connect(name, stream).await.map_err(|why| why.to_string())?;
                self.exchange(stream, host).await
            }
        }
    }

    async fn exchange(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin, host: &str) -> Result<(), String> {
        stream.write_all(&self.request(host)).await.map_err(|why| why.to_string())?;
        stream.flush().await.map_err(|why| why.to_string())?;
        let mut line = [0; STATUS_BYTES];
        stream.read_exact(&mut line).await.map_err(|why| why.to_string())?;
        match status(&line) {
            Some(status) if status == self.status => Ok(()),
            Some(status) => Err(format!("expected status {}, got {status}", self.status)),
            None => Err("the answer is not HTTP/1".to_owned()),
        }
    }

    fn request(&self, host: &str) -> Vec<u8> {
        let authority = self.uri.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let path = self.uri.path_and_query().map_or("/", PathAndQuery::as_str);
        let mut out = format!("HEAD {path} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n").into_bytes();
        for (name, value) in &self.headers {
            out.extend_from_slice(name.as_str().as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
        out
    }
}

/// Of the beginning of a status line (RFC 9112, section 4).
fn status(line: &[u8]) -> Option<u16> {
    let (version, code) = std::str::from_utf8(line).ok()?.split_once(' ')?;
    matches!(version, "HTTP/1.0" | "HTTP/1.1").then(|| code.parse().ok())?
}

#[cfg(test)]
mod tests {
    use std::{path::Path, sync::Arc};

    use rustls::{ServerConfig, pki_types::PrivateKeyDer};
    use tokio::{net::TcpListener, task::JoinHandle};
    use tokio_rustls::TlsAcceptor;

    use super::*;

    #[test]
    fn a_status_line_begins_with_a_version() {
        let check = |line: &str, expected| assert_eq!(status(line.as_bytes()), expected, "{line}");
        check("HTTP/1.1 200", Some(200));
        check("HTTP/1.0 503", Some(503));
        check("HTTP/2.0 200", None);
        check("HTTP/1.1 abc", None);
        check("SSH-2.0-Open", None);
    }

    /// Answers 503, and returns what it read.
    async fn answer(mut peer: impl AsyncRead + AsyncWrite + Unpin) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(peer.read_u8().await.unwrap());
        }
        peer.write_all(b"HTTP/1.1 503 no\r\n\r\n").await.unwrap();
        peer.flush().await.unwrap();
        String::from_utf8(head).unwrap()
    }

    fn probe(uri: &str, transport: Transport, status: u16) -> HttpProbe {
        let headers = HeaderMap::from_iter([(http::header::ACCEPT, "*/*".parse().unwrap())]);
        HttpProbe { uri: uri.parse().unwrap(), transport, headers, status, timeout: Duration::ZERO }
    }

    #[tokio::test]
    async fn a_status_is_asked_for_in_plain() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}/x?y", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            answer(listener.accept().await.unwrap().0).await;
            answer(listener.accept().await.unwrap().0).await
        });
        assert_eq!(probe(&uri, Transport::Plain, 503).head().await, Ok(()));
        let refused = probe(&uri, Transport::Plain, 200).head().await;
        assert_eq!(refused, Err("expected status 200, got 503".to_owned()));
        let asked = server.await.unwrap();
        assert!(asked.starts_with("HEAD /x?y HTTP/1.1\r\nhost: 127.0.0.1:") && asked.contains("\r\naccept: */*\r\n"));
    }

    /// A server with a certificate for 127.0.0.1 that stands for itself, written to `bundle`.
    async fn secure(bundle: &Path) -> (u16, JoinHandle<()>) {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        std::fs::write(bundle, made.cert.pem()).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let server = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                // A client that trusts nobody here breaks the handshake off.
                if let Ok(stream) = acceptor.accept(stream).await {
                    answer(stream).await;
                }
            }
        });
        (port, server)
    }

    fn trusting(bundle: &Path) -> Arc<ClientConfig> {
        let mut roots = rustls::RootCertStore::empty();
        let text = std::fs::read(bundle).unwrap();
        roots.add_parsable_certificates(rustls_pemfile::certs(&mut text.as_slice()).map(Result::unwrap));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
    }

    #[tokio::test]
    async fn tls_needs_a_name_and_an_authority_that_are_right() {
        let directory = tempfile::tempdir().unwrap();
        let (bundle, other) = (directory.path().join("ca.crt"), directory.path().join("other.crt"));
        let (port, server) = secure(&bundle).await;
        let stranger = rcgen::generate_simple_self_signed(["stranger".to_owned()]).unwrap();
        std::fs::write(&other, stranger.cert.pem()).unwrap();
        let check = async |host: &str, bundle: &Path, expected: Option<&str>| {
            let trust = Transport::Tls(trusting(bundle));
            let outcome = probe(&format!("https://{host}:{port}/"), trust, 503).head().await;
            match expected {
                None => assert_eq!(outcome, Ok(())),
                Some(why) => assert!(outcome.clone().unwrap_err().contains(why), "{outcome:?}"),
            }
        };
        check("127.0.0.1", &bundle, None).await;
        check("localhost", &bundle, Some("not valid for name")).await;
        check("127.0.0.1", &other, Some("invalid peer certificate")).await;
        server.abort();
    }
}
