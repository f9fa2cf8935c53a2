//! Where to listen.

use std::{
    fmt, io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs},
    path::PathBuf,
};

/// An address to listen on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Address {
    Tcp(TcpAddress),
    /// A socket in the file system, with the permissions that it gets.
    Unix {
        path: PathBuf,
        mode: u32,
    },
    /// Sockets that somebody else has bound, under the name that they were passed with.
    Inherited {
        name: String,
    },
}

/// Host and port; without a host, every address of the machine, of both families. `::` is all of IPv6 alone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TcpAddress {
    host: Option<String>,
    port: u16,
}

#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not an address: host:port, :port or [ipv6]:port is expected")]
pub struct AddressError(String);

impl Address {
    /// `127.0.0.1:5050`, `localhost:5000`, `:5000` or `[::1]:5000`.
    pub fn tcp(text: &str) -> Result<Self, AddressError> {
        let error = || AddressError(text.to_owned());
        let (host, port) = text.rsplit_once(':').ok_or_else(error)?;
        let port = port.parse().map_err(|_| error())?;
        let host = match host.strip_prefix('[').map(|inner| inner.strip_suffix(']')) {
            Some(Some(inner)) if inner.parse::<Ipv6Addr>().is_ok() => inner,
            Some(_) => return Err(error()),
            None if host.contains([':', '/', ' ']) => return Err(error()),
            None => host,
        };
        Ok(Self::Tcp(TcpAddress { host: (!host.is_empty()).then(|| host.to_owned()), port }))
    }
}

impl Address {
    /// Of one that is bound to an IP address.
    pub(super) fn socket(&self) -> Option<SocketAddr> {
        let Self::Tcp(TcpAddress { host, port }) = self else { return None };
        Some(SocketAddr::new(host.as_deref()?.parse().ok()?, *port))
    }
}

/// What a socket for IPv6 takes beside it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Families {
    /// Nothing.
    One,
    /// IPv4 as well.
    Both,
}

impl TcpAddress {
    /// The socket addresses to try, best first. Without a host that is `[::]` for both families, and `0.0.0.0` for
    /// machines that have no IPv6. Of a name's addresses those of IPv4 come first, as with the registry that we replace:
    /// who is told to talk to `localhost` mostly means that one.
    pub(super) fn resolve(&self) -> io::Result<Vec<(SocketAddr, Families)>> {
        let Some(host) = &self.host else {
            return Ok(vec![
                ((Ipv6Addr::UNSPECIFIED, self.port).into(), Families::Both),
                ((Ipv4Addr::UNSPECIFIED, self.port).into(), Families::One),
            ]);
        };
        let mut addresses: Vec<_> = (host.as_str(), self.port).to_socket_addrs()?.collect();
        addresses.sort_by_key(SocketAddr::is_ipv6);
        Ok(addresses.into_iter().map(|address| (address, Families::One)).collect())
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(TcpAddress { host: Some(address.ip().to_string()), port: address.port() })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(TcpAddress { host: Some(host), port }) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(TcpAddress { host, port }) => write!(f, "{}:{port}", host.as_deref().unwrap_or_default()),
            Self::Unix { path, .. } => write!(f, "unix:{}", path.display()),
            Self::Inherited { name } => write!(f, "systemd:{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_round_trip() {
        let check = |text: &str| assert_eq!(Address::tcp(text).unwrap().to_string(), text);
        check("127.0.0.1:5050");
        check(":5000");
        check("[::1]:0");
        check("registry.example.com:443");
    }

    #[test]
    fn others_are_refused() {
        for text in ["", "5000", "host", "host:", "host:70000", "::1:5000", "[::1:5000", "[x]:1", "a/b:1"] {
            assert!(Address::tcp(text).is_err(), "{text}");
        }
    }
}
