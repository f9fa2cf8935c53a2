//! Where a server is, and how a connection to it comes about.

use std::{fmt, io, net::SocketAddr, path::PathBuf, sync::Arc};

use http::{HeaderValue, uri::Authority};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream, lookup_host},
};
use tokio_rustls::TlsConnector;

use crate::upstream::failure::is_ours;

/// Anything that bytes go through both ways.
pub(in crate::upstream) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// The address of one server.
#[derive(Clone)]
pub struct Endpoint {
    place: Place,
    /// As the operator wrote it; the label of its metrics.
    name: String,
    /// What it is called where a request brings no `Host`.
    host: HeaderValue,
}

#[derive(Clone)]
enum Place {
    Tcp { address: String, tls: Option<(Arc<ClientConfig>, ServerName<'static>)> },
    Unix(PathBuf),
}

/// A host that no certificate can be for.
#[derive(Debug, thiserror::Error)]
#[error("{0} is neither a host name nor an address")]
pub struct NoName(String);

impl Endpoint {
    /// `http://authority`; the port is 80 unless it is written.
    #[must_use]
    pub fn plain(authority: &Authority) -> Self {
        Self {
            place: Place::Tcp { address: address(authority, 80), tls: None },
            name: format!("http://{authority}"),
            host: host(authority),
        }
    }

    /// `https://authority`; the port is 443 unless it is written, and `trust` is whose certificates are believed.
    pub fn secure(authority: &Authority, trust: Arc<ClientConfig>) -> Result<Self, NoName> {
        // An IPv6 address stands in brackets in a URI, and without them in a certificate.
        let bare = authority.host().trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(bare.to_owned()).map_err(|_| NoName(bare.to_owned()))?;
        Ok(Self {
            place: Place::Tcp { address: address(authority, 443), tls: Some((trust, name)) },
            name: format!("https://{authority}"),
            host: host(authority),
        })
    }

    /// A socket in the file system, in plain HTTP.
    #[must_use]
    pub fn unix(path: PathBuf) -> Self {
        let name = format!("unix:{}", path.display());
        Self { place: Place::Unix(path), name, host: HeaderValue::from_static("localhost") }
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(in crate::upstream) const fn host(&self) -> &HeaderValue {
        &self.host
    }

    /// A new connection, after the TLS handshake where there is one. A name is looked up each time.
    pub(in crate::upstream) async fn connect(&self) -> io::Result<Box<dyn Duplex>> {
        match &self.place {
            Place::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?)),
            Place::Tcp { address, tls } => {
                let stream = dial(address).await?;
                // Without it a small request waits for the acknowledgement of the one before.
                stream.set_nodelay(true)?;
                match tls {
                    None => Ok(Box::new(stream)),
                    Some((trust, name)) => {
                        let connector = TlsConnector::from(Arc::clone(trust));
                        Ok(Box::new(connector.connect(name.clone(), stream).await?))
                    }
                }
            }
        }
    }
}

/// To the first address of a name that answers. Where none does, an error of the server says more than one of ours.
async fn dial(name: &str) -> io::Result<TcpStream> {
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let mut theirs = false;
    for address in lookup_host(name).await? {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) if theirs && is_ours(&error) => {}
            Err(error) => {
                let error = without_family(address, error);
                theirs |= !is_ours(&error);
                failure = error;
            }
        }
    }
    Err(failure)
}

/// Where IPv6 is switched off, none of its addresses can ever be reached, which is not for want of ports.
fn without_family(address: SocketAddr, error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::AddrNotAvailable if address.is_ipv6() => io::Error::new(error.kind(), error.to_string()),
        _ => error,
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({})", self.name)
    }
}

fn address(authority: &Authority, implied: u16) -> String {
    format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(implied))
}

fn host(authority: &Authority) -> HeaderValue {
    HeaderValue::from_str(authority.as_str()).expect("an authority is visible ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_that_is_missing_is_no_want_of_ports() {
        let check = |address: &str, expected: bool| {
            let error = without_family(address.parse().unwrap(), io::Error::from(rustix::io::Errno::ADDRNOTAVAIL));
            assert_eq!(is_ours(&error), expected, "{address}");
        };
        check("127.0.0.1:1", true);
        check("[::1]:1", false);
    }

    #[tokio::test]
    async fn nobody_listens() {
        // A port that was free a moment ago.
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = dial(&address.to_string()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn ports_are_implied_by_the_scheme() {
        let check = |authority: &str, implied: u16, expected: &str| {
            assert_eq!(address(&authority.parse().unwrap(), implied), expected);
        };
        check("registry", 80, "registry:80");
        check("127.0.0.1:5000", 80, "127.0.0.1:5000");
        check("[::1]", 443, "[::1]:443");
    }
}
