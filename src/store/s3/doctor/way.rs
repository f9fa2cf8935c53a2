//! The way to the store, before anything is asked of it: its name, a connection, TLS, an answer of any kind.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, Uri, header};
use object_store::client::HttpRequestBody;
use rustls::{CertificateError, ClientConfig, pki_types::ServerName};
use time::{OffsetDateTime, format_description::well_known::Rfc2822};
use tokio::{
    net::{TcpStream, lookup_host},
    time::{Instant, timeout, timeout_at},
};
use tokio_rustls::TlsConnector;

use crate::store::s3::{
    S3,
    failure::{Answer, BODY_MAX, Failure, Trouble},
    wire::{Wire, beginning},
};

/// For one connection, and for a handshake on it.
const PATIENCE: Duration = Duration::from_secs(5);

/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;

/// Where connections go.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Host {
    /// An IPv6 address without its brackets.
    pub(super) name: String,
    pub(super) port: u16,
    pub(super) secure: bool,
}

/// What an answer says about its server, whatever it was the answer to.
#[derive(Debug)]
pub(super) struct Greeting {
    pub(super) status: u16,
    pub(super) date: Option<OffsetDateTime>,
    pub(super) region: Option<String>,
    /// Whether it has a header that every S3 sends.
    pub(super) is_s3: bool,
    pub(super) server: Option<String>,
}

impl Host {
    pub(super) fn of(uri: &Uri) -> Self {
        let secure = uri.scheme_str() != Some("http");
        let name = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
        Self { name, port: uri.port_u16().unwrap_or(if secure { 443 } else { 80 }), secure }
    }

    /// Its addresses; a literal one is its own.
    pub(super) async fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        let found = timeout(PATIENCE, lookup_host((self.name.as_str(), self.port))).await;
        let found = found.map_err(|_| io::Error::other(format!("no answer within {} s", PATIENCE.as_secs())))??;
        Ok(found.take(ADDRESSES_MAX).collect())
    }

    /// The first that accepts; else why the last does not.
    pub(super) async fn connect(&self, addresses: &[SocketAddr]) -> Result<(SocketAddr, TcpStream), String> {
        let mut refusal = "it has no address".to_owned();
        // All of them together: a name can have many.
        let deadline = Instant::now() + 2 * PATIENCE;
        for address in addresses {
            let until = deadline.min(Instant::now() + PATIENCE);
            match timeout_at(until, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok((*address, stream)),
                Ok(Err(error)) => refusal = format!("{address}: {error}"),
                Err(_) => refusal = format!("{address}: no answer in time"),
            }
        }
        Err(refusal)
    }

    /// The version that was agreed on.
    pub(super) async fn secure(&self, stream: TcpStream, tls: &Arc<ClientConfig>) -> Result<String, io::Error> {
        let name = ServerName::try_from(self.name.clone()).map_err(io::Error::other)?;
        let shaken = timeout(PATIENCE, TlsConnector::from(Arc::clone(tls)).connect(name, stream)).await;
        let stream = shaken.map_err(|_| io::Error::other("no answer to the handshake"))??;
        let version = stream.get_ref().1.protocol_version();
        Ok(version.and_then(|version| version.as_str()).unwrap_or("TLS").to_owned())
    }

    /// Whether TLS is spoken there, whoever vouches for it.
    pub(super) async fn speaks_tls(&self, tls: &Arc<ClientConfig>) -> bool {
        let Ok(addresses) = self.addresses().await else { return false };
        let Ok((_, stream)) = self.connect(&addresses).await else { return false };
        match self.secure(stream, tls).await {
            Ok(_) => true,
            Err(error) => {
                matches!(inner(&error), Some(rustls::Error::InvalidCertificate(_) | rustls::Error::AlertReceived(_)))
            }
        }
    }
}

/// Asks for the bucket's head without saying who we are: any answer will do.
pub(super) async fn greet(wire: &Wire, store: &S3) -> Result<Greeting, Failure> {
    let request = Request::head(store.bucket.bucket(&[])).body(HttpRequestBody::from(Bytes::new()));
    let failed = |trouble| Failure { method: http::Method::HEAD, trouble };
    let request = request.map_err(|error| failed(Trouble::Nonsense(error.to_string())))?;
    let answer = wire.exchange(request).await.map_err(failed)?;
    let text = |name: &str| text(answer.headers(), name);
    Ok(Greeting {
        status: answer.status().as_u16(),
        date: text(header::DATE.as_str()).and_then(|date| date_of(&date)),
        region: text("x-amz-bucket-region"),
        is_s3: text("x-amz-request-id").is_some(),
        server: text(header::SERVER.as_str()),
    })
}

/// Fetches an address as a client does that knows nothing else.
pub(super) async fn fetch(wire: &Wire, address: Uri) -> Result<Vec<u8>, Failure> {
    let failed = |trouble| Failure { method: http::Method::GET, trouble };
    let request = Request::get(address).body(HttpRequestBody::from(Bytes::new()));
    let request = request.map_err(|error| failed(Trouble::Nonsense(error.to_string())))?;
    let (head, body) = wire.exchange(request).await.map_err(failed)?.into_parts();
    let body = beginning(body, BODY_MAX).await.map_err(|error| failed(Trouble::Transport(error.to_string())))?;
    if head.status.is_success() {
        return Ok(body);
    }
    Err(failed(Trouble::Answer(Answer::read(head.status, &head.headers, &body))))
}

pub(super) fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

fn date_of(text: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(&text.replace("GMT", "+0000"), &Rfc2822).ok()
}

/// Why a handshake failed, and which setting matters.
pub(super) fn handshake(error: &io::Error, host: &str, bucket_in_host: bool) -> String {
    let trust = "name a file with its authority in AWS_CA_BUNDLE (or SSL_CERT_FILE)";
    match inner(error) {
        Some(rustls::Error::InvalidCertificate(error)) => match error {
            // An authority of the same name and another key is unknown, too.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => format!(
                "nobody who is trusted here vouches for the certificate of {host}: {trust}; skipverify: true would trust \
                 anybody"
            ),
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } if bucket_in_host => {
                format!(
                    "the certificate is not for {host}, which has the bucket in it: write forcepathstyle: true, or have a \
                 certificate made that covers it"
                )
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                format!("the certificate is not for {host}: write the name that it is for in regionendpoint ({error})")
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                format!("the certificate of {host} has ended, or this machine's clock is wrong: have it renewed")
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                format!("the certificate of {host} is not valid yet: is this machine's clock right (NTP)?")
            }
            CertificateError::Other(error) if error.to_string().contains("CaUsedAsEndEntity") => format!(
                "the certificate of {host} is one of an authority, which no server may have: have a server's certificate \
                 made, and {trust}; skipverify: true would trust anybody"
            ),
            error => {
                format!("the certificate of {host} is not accepted ({error}); skipverify: true would trust anybody")
            }
        },
        Some(rustls::Error::InvalidMessage(_)) => format!(
            "{host} answers, but not in TLS: write http:// in regionendpoint (or secure: false without a scheme)"
        ),
        Some(rustls::Error::AlertReceived(alert)) => {
            format!("{host} ended the handshake ({alert:?}): does it speak TLS 1.2 or 1.3, and know this name?")
        }
        _ if error.kind() == io::ErrorKind::UnexpectedEof || error.kind() == io::ErrorKind::ConnectionReset => format!(
            "{host} ended the connection instead of a handshake: does it speak TLS at all (else http:// in \
             regionendpoint)?"
        ),
        _ => format!("no handshake with {host}: {error}"),
    }
}

fn inner(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref::<rustls::Error>()
}

#[cfg(test)]
mod tests {
    use rustls::InvalidMessage;

    use super::*;

    #[test]
    fn hosts_of_addresses() {
        let check = |uri: &str, name: &str, port, secure| {
            let expected = Host { name: name.to_owned(), port, secure };
            assert_eq!(Host::of(&uri.parse().unwrap()), expected, "{uri}");
        };
        check("https://images.s3.eu-west-1.amazonaws.com", "images.s3.eu-west-1.amazonaws.com", 443, true);
        check("http://[::1]:9000/images", "::1", 9000, false);
        check("http://store/images", "store", 80, false);
    }

    #[test]
    fn each_certificate_problem_names_its_setting() {
        let check = |error: rustls::Error, bucket_in_host, expected: &str| {
            let sentence = handshake(&io::Error::new(io::ErrorKind::InvalidData, error), "store", bucket_in_host);
            assert!(sentence.contains(expected), "{sentence}");
        };
        let certificate = rustls::Error::InvalidCertificate;
        check(certificate(CertificateError::UnknownIssuer), false, "AWS_CA_BUNDLE");
        check(certificate(CertificateError::BadSignature), false, "skipverify: true");
        check(certificate(CertificateError::NotValidForName), true, "forcepathstyle: true");
        check(certificate(CertificateError::NotValidForName), false, "regionendpoint");
        check(certificate(CertificateError::Expired), false, "renewed");
        check(certificate(CertificateError::NotValidYet), false, "clock");
        check(certificate(CertificateError::Revoked), false, "not accepted");
        check(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType), false, "http:// in regionendpoint");
        check(rustls::Error::AlertReceived(rustls::AlertDescription::ProtocolVersion), false, "TLS 1.2 or 1.3");
    }
}
