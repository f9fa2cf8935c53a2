//! Connecting to another server, and telling it for whom.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use bytes::BytesMut;
use ppp::{v1, v2};
use tokio::{
    net::{TcpStream, UnixStream},
    time::timeout,
};

use crate::server::socket::Socket;

/// Where another server listens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Target {
    /// A name is looked up anew for each connection.
    Tcp {
        host: String,
        port: u16,
    },
    Unix(PathBuf),
}

/// The header of the PROXY protocol that a connection to the other server begins with.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Announcement {
    #[default]
    None,
    /// The line of version 1.
    Line,
    /// The binary header of version 2.
    Binary,
}

/// Both ends of a client's connection, as far as they have addresses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    pub(super) client: Option<SocketAddr>,
    pub(super) here: Option<SocketAddr>,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("{0} does not accept: {1}")]
    Refused(Target, io::Error),
    #[error("{0} did not accept within {1:?}")]
    TimedOut(Target, Duration),
    /// What is sent there comes back, for ever.
    #[error("{0} is an address that is listened on here")]
    Loop(Target),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Target {
    /// Connects within `patience`. `listening` are the addresses that must not be at the other end.
    pub(super) async fn connect(&self, patience: Duration, listening: &[SocketAddr]) -> Result<Socket, Error> {
        let socket = match timeout(patience, self.open()).await {
            Ok(socket) => socket.map_err(|error| Error::Refused(self.clone(), error))?,
            Err(_) => return Err(Error::TimedOut(self.clone(), patience)),
        };
        match (socket.peer(), socket.local()) {
            (Some(there), Some(local)) if is_one_of(there, local.ip().to_canonical(), listening) => {
                // It has been accepted already: it must not wait for what never comes.
                socket.reset_on_close();
                Err(Error::Loop(self.clone()))
            }
            _ => Ok(socket),
        }
    }

    async fn open(&self) -> io::Result<Socket> {
        let socket = match self {
            Self::Tcp { host, port } => Socket::Tcp(TcpStream::connect((host.as_str(), *port)).await?),
            Self::Unix(path) => Socket::Unix(UnixStream::connect(path).await?),
        };
        socket.send_at_once();
        Ok(socket)
    }
}

/// Whether `there`, which sees us as `local`, is an address that is listened on: a connection to an address of one's own
/// machine begins at the same address, or at another one of the loopback.
fn is_one_of(there: SocketAddr, local: IpAddr, listening: &[SocketAddr]) -> bool {
    let own = there.ip() == local || there.ip().is_loopback();
    listening.iter().any(|listener| {
        let ip = listener.ip().to_canonical();
        listener.port() == there.port() && (ip == there.ip() || own && ip.is_unspecified())
    })
}

impl Announcement {
    /// The header for the server; empty where none is wanted.
    pub(super) fn header(self, ends: Ends) -> BytesMut {
        let pair = ends.pair();
        let bytes = match self {
            Self::None => Vec::new(),
            Self::Line => pair.map_or(v1::Addresses::Unknown, v1::Addresses::from).to_string().into_bytes(),
            Self::Binary => {
                let addresses = pair.map_or(v2::Addresses::Unspecified, v2::Addresses::from);
                let protocol = if pair.is_some() { v2::Protocol::Stream } else { v2::Protocol::Unspecified };
                let header = v2::Builder::with_addresses(v2::Version::Two | v2::Command::Proxy, protocol, addresses);
                header.build().expect("two addresses are shorter than the longest header")
            }
        };
        bytes.as_slice().into()
    }
}

impl Ends {
    /// Client and here, in one family; `None` if it is not known who the client is. Behind a balancer the client may have
    /// come to an address of another family than ours: then it is only said which port.
    fn pair(self) -> Option<(SocketAddr, SocketAddr)> {
        let client = self.client?;
        let here = self.here.map(|here| SocketAddr::new(here.ip().to_canonical(), here.port()));
        let nowhere = if client.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let here = match here {
            Some(here) if here.is_ipv4() == client.is_ipv4() => here,
            other => SocketAddr::new(nowhere, other.map_or(0, |other| other.port())),
        };
        Some((client, here))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(client: &str, here: &str) -> Ends {
        Ends { client: client.parse().ok(), here: here.parse().ok() }
    }

    #[test]
    fn lines() {
        let check = |client: &str, here: &str, expected: &str| {
            let header = Announcement::Line.header(ends(client, here));
            assert_eq!(std::str::from_utf8(&header).unwrap(), expected);
        };
        check("192.0.2.1:4711", "10.0.0.1:443", "PROXY TCP4 192.0.2.1 10.0.0.1 4711 443\r\n");
        check("192.0.2.1:4711", "[::ffff:10.0.0.1]:443", "PROXY TCP4 192.0.2.1 10.0.0.1 4711 443\r\n");
        check("[2001:db8::1]:4711", "[fd00::1]:443", "PROXY TCP6 2001:db8::1 fd00::1 4711 443\r\n");
        check("[2001:db8::1]:4711", "10.0.0.1:443", "PROXY TCP6 2001:db8::1 :: 4711 443\r\n");
        check("192.0.2.1:4711", "", "PROXY TCP4 192.0.2.1 0.0.0.0 4711 0\r\n");
        check("", "10.0.0.1:443", "PROXY UNKNOWN\r\n");
        assert!(Announcement::None.header(ends("192.0.2.1:1", "10.0.0.1:2")).is_empty());
    }

    #[test]
    fn binaries() {
        let check = |client: &str, here: &str, expected: &[u8]| {
            let header = Announcement::Binary.header(ends(client, here));
            assert_eq!(header, [b"\r\n\r\n\0\r\nQUIT\n", expected].concat());
        };
        let ipv4 = [0x21, 0x11, 0, 12, 192, 0, 2, 1, 10, 0, 0, 1, 0x12, 0x67, 1, 0xbb];
        check("192.0.2.1:4711", "10.0.0.1:443", &ipv4);
        let mut ipv6 = vec![0x21, 0x21, 0, 36];
        ipv6.extend("2001:db8::1".parse::<Ipv6Addr>().unwrap().octets());
        ipv6.extend([0; 16]);
        ipv6.extend([0x12, 0x67, 1, 0xbb]);
        check("[2001:db8::1]:4711", "10.0.0.1:443", &ipv6);
        check("", "10.0.0.1:443", &[0x21, 0x00, 0, 0]);
    }

    #[test]
    fn own_addresses_are_known() {
        let check = |there: &str, local: &str, listening: &str, expected: bool| {
            let listening = [listening.parse().unwrap()];
            let found = is_one_of(there.parse().unwrap(), local.parse().unwrap(), &listening);
            assert_eq!(found, expected, "{there} from {local}, {listening:?}");
        };
        check("127.0.0.1:443", "127.0.0.1", "0.0.0.0:443", true);
        check("127.0.0.2:443", "127.0.0.1", "[::]:443", true);
        check("127.0.0.1:443", "127.0.0.1", "127.0.0.1:443", true);
        check("127.0.0.1:444", "127.0.0.1", "[::]:443", false);
        check("127.0.0.2:443", "127.0.0.1", "127.0.0.1:443", false);
        check("10.0.0.5:443", "10.0.0.5", "[::]:443", true);
        check("10.0.0.6:443", "10.0.0.5", "[::]:443", false);
        check("10.0.0.6:443", "10.0.0.5", "10.0.0.5:443", false);
    }
}
