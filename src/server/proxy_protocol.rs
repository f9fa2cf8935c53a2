//! The PROXY protocol, versions 1 and 2: a balancer that passes bytes on says first who the client is
//! (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>).
//!
//! Nothing is guessed: where the header is required, a connection that does not begin with one is dropped, as is one from
//! somebody who may not speak for others. So that this cannot be used to hold connections, the header has a bound and,
//! where it is read, a deadline.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use ppp::{v1, v2};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Whether connections begin with the header.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ProxyProtocol {
    #[default]
    Off,
    Required,
}

/// The longest line of version 1, with its end, in bytes (section 2.1).
const LINE_MAX: usize = 107;

/// The fixed beginning of version 2, in bytes (section 2.2).
const PREFIX: usize = 16;

/// Most bytes behind it that are taken: addresses, and what balancers add about TLS and themselves.
const REST_MAX: usize = 4 << 10;

/// Of whom a header speaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Named {
    /// This client.
    Client(SocketAddr),
    /// A client that the balancer cannot name.
    Unknown,
    /// The balancer itself, which looks whether we are there. Only version 2 can say so.
    Local,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("the connection does not begin with a PROXY header")]
    Missing,
    #[error("the PROXY header is malformed")]
    Malformed,
    #[error("the PROXY header is too long")]
    TooLong,
    #[error("the PROXY header did not come: {0}")]
    Io(#[from] io::Error),
}

/// Reads the header and not a byte more.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Named, Error> {
    let first = stream.read_u8().await?;
    if first == v1::PROTOCOL_PREFIX.as_bytes()[0] {
        line(stream, first).await
    } else if first == v2::PROTOCOL_PREFIX[0] {
        binary(stream, first).await
    } else {
        Err(Error::Missing)
    }
}

async fn line(stream: &mut (impl AsyncRead + Unpin), first: u8) -> Result<Named, Error> {
    let mut line = Vec::with_capacity(LINE_MAX);
    line.push(first);
    while line.last() != Some(&b'\n') {
        if line.len() == LINE_MAX {
            return Err(Error::TooLong);
        }
        line.push(stream.read_u8().await?);
        let known = line.len().min(v1::PROTOCOL_PREFIX.len());
        if line[..known] != v1::PROTOCOL_PREFIX.as_bytes()[..known] {
            return Err(Error::Missing);
        }
    }
    // Where numbers are read a sign is read, too, which the protocol does not know; and the line has one end.
    if line.contains(&b'+') || !line.ends_with(b"\r\n") {
        return Err(Error::Malformed);
    }
    let header = v1::Header::try_from(line.as_slice()).map_err(|_| Error::Malformed)?;
    if header.header.len() != line.len() {
        return Err(Error::Malformed);
    }
    Ok(match header.addresses {
        v1::Addresses::Unknown => Named::Unknown,
        v1::Addresses::Tcp4(pair) => client(pair.source_address, pair.source_port),
        v1::Addresses::Tcp6(pair) => client(pair.source_address, pair.source_port),
    })
}

async fn binary(stream: &mut (impl AsyncRead + Unpin), first: u8) -> Result<Named, Error> {
    let mut header = vec![0; PREFIX];
    header[0] = first;
    stream.read_exact(&mut header[1..]).await?;
    if !header.starts_with(v2::PROTOCOL_PREFIX) {
        return Err(Error::Missing);
    }
    let length = usize::from(u16::from_be_bytes([header[PREFIX - 2], header[PREFIX - 1]]));
    if length > REST_MAX {
        return Err(Error::TooLong);
    }
    header.resize(PREFIX + length, 0);
    stream.read_exact(&mut header[PREFIX..]).await?;
    let header = v2::Header::try_from(header.as_slice()).map_err(|_| Error::Malformed)?;
    match (header.command, header.protocol, header.addresses) {
        (v2::Command::Proxy, v2::Protocol::Datagram, _) => Err(Error::Malformed),
        (v2::Command::Proxy, _, v2::Addresses::IPv4(pair)) => Ok(client(pair.source_address, pair.source_port)),
        (v2::Command::Proxy, _, v2::Addresses::IPv6(pair)) => Ok(client(pair.source_address, pair.source_port)),
        // Whatever addresses a balancer gives when it speaks for itself are to be passed over (section 2.2).
        (v2::Command::Local, _, _) => Ok(Named::Local),
        (v2::Command::Proxy, _, v2::Addresses::Unspecified | v2::Addresses::Unix(_)) => Ok(Named::Unknown),
    }
}

fn client(address: impl Into<IpAddr>, port: u16) -> Named {
    Named::Client(SocketAddr::new(address.into().to_canonical(), port))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncWriteExt;

    use super::*;

    const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[command, family], &length, rest].concat()
    }

    const IPV4: [u8; 12] = [192, 0, 2, 1, 10, 0, 0, 1, 0x12, 0x67, 1, 0xbb];

    fn ipv6() -> Vec<u8> {
        let (client, here) = ("2001:db8::1".parse::<std::net::Ipv6Addr>(), "fd00::1".parse::<std::net::Ipv6Addr>());
        [&client.unwrap().octets()[..], &here.unwrap().octets(), &[0x12, 0x67, 1, 0xbb]].concat()
    }

    /// Reads what arrives in two pieces, cut at `cut`, followed by a request.
    async fn read_cut(header: &[u8], cut: usize) -> Result<Named, String> {
        const REQUEST: &[u8] = b"GET / HTTP/1.1\r\n\r\n";
        let (mut client, mut server) = tokio::io::duplex(64 << 10);
        let (before, behind) = (header[..cut].to_vec(), [&header[cut..], REQUEST].concat());
        let writing = tokio::spawn(async move {
            client.write_all(&before).await.unwrap();
            tokio::task::yield_now().await;
            client.write_all(&behind).await.unwrap();
        });
        let named = tokio::time::timeout(Duration::from_secs(20), read(&mut server)).await.unwrap();
        writing.await.unwrap();
        if named.is_ok() {
            let mut rest = Vec::new();
            server.read_to_end(&mut rest).await.unwrap();
            assert_eq!(rest, REQUEST, "not a byte more, not a byte less");
        }
        named.map_err(|error| error.to_string())
    }

    async fn check(header: &[u8], expected: Result<&str, &str>) {
        let named = |name| match name {
            "unknown" => Named::Unknown,
            "local" => Named::Local,
            client => Named::Client(client.parse().unwrap()),
        };
        let expected = expected.map(named).map_err(str::to_owned);
        for cut in 0..=header.len().min(300) {
            assert_eq!(read_cut(header, cut).await, expected, "{:?} cut at {cut}", String::from_utf8_lossy(header));
        }
    }

    #[tokio::test]
    async fn lines() {
        check(b"PROXY TCP4 192.0.2.1 10.0.0.1 4711 443\r\n", Ok("192.0.2.1:4711")).await;
        check(b"PROXY TCP6 2001:db8::1 fd00::1 4711 443\r\n", Ok("[2001:db8::1]:4711")).await;
        check(b"PROXY TCP6 ::ffff:192.0.2.1 ::1 0 443\r\n", Ok("192.0.2.1:0")).await;
        check(b"PROXY UNKNOWN\r\n", Ok("unknown")).await;
        check(b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", Ok("unknown")).await;
    }

    #[tokio::test]
    async fn hostile_lines() {
        let (missing, malformed) =
            (Err("the connection does not begin with a PROXY header"), Err("the PROXY header is malformed"));
        check(b"GET /v2/ HTTP/1.1\r\n", missing).await;
        check(b"\x16\x03\x01\x02\x00\x01\x00", missing).await;
        check(b"POST /v2/ HTTP/1.1\r\n", missing).await;
        check(b"PROXYTCP4 192.0.2.1 10.0.0.1 4711 443\r\n", malformed).await;
        check(b"PROXY TCP4 192.0.2.1 10.0.0.1 4711 443\n", malformed).await;
        check(b"PROXY TCP4 192.0.2.1 10.0.0.1 4711\r 443\r\n", malformed).await;
        check(b"PROXY TCP4 192.0.2.1 10.0.0.1 4711 65536\r\n", malformed).await;
        check(b"PROXY TCP4 192.0.2.1 10.0.0.1 +4711 443\r\n", malformed).await;
        check(b"PROXY TCP4 192.0.2.1 10.0.0.1 04711 443\r\n", malformed).await;
        check(b"PROXY TCP4 192.0.2.1 10.0.0.1 -1 443\r\n", malformed).await;
        check(b"PROXY TCP4 2001:db8::1 fd00::1 4711 443\r\n", malformed).await;
        check(b"PROXY TCP4 192.0.2.1  10.0.0.1 4711 443\r\n", malformed).await;
        check(b"PROXY TCP4 192.0.2.1 10.0.0.1 4711 443 \r\n", malformed).await;
        check(b"PROXY TCP4\r\n", malformed).await;
        check(b"PROXY UDP4 192.0.2.1 10.0.0.1 4711 443\r\n", malformed).await;
        check(b"PROXY \xff\xfe\r\n", malformed).await;
        check(&[b"PROXY UNKNOWN ", [b'x'; 200].as_slice(), b"\r\n"].concat(), Err("the PROXY header is too long"))
            .await;
    }

    #[tokio::test]
    async fn binaries() {
        check(&v2(0x21, 0x11, &IPV4), Ok("192.0.2.1:4711")).await;
        check(&v2(0x21, 0x21, &ipv6()), Ok("[2001:db8::1]:4711")).await;
        // What follows the addresses is skipped: a NOOP, and what no registered type is.
        check(&v2(0x21, 0x11, &[&IPV4[..], &[4, 0, 2, 0, 0, 0xee, 0, 1, 7]].concat()), Ok("192.0.2.1:4711")).await;
        check(&v2(0x20, 0x00, &[]), Ok("local")).await;
        check(&v2(0x20, 0x11, &IPV4), Ok("local")).await;
        check(&v2(0x21, 0x00, &[]), Ok("unknown")).await;
        check(&v2(0x21, 0x31, &[0; 216]), Ok("unknown")).await;
        check(&v2(0x21, 0x11, &[&IPV4[..], &[0; REST_MAX - 12]].concat()), Ok("192.0.2.1:4711")).await;
    }

    #[tokio::test]
    async fn hostile_binaries() {
        let malformed = Err("the PROXY header is malformed");
        check(b"\r\n\r\n\0\r\nQUIT\r0123456789", Err("the connection does not begin with a PROXY header")).await;
        check(&v2(0x11, 0x11, &IPV4), malformed).await;
        check(&v2(0x22, 0x11, &IPV4), malformed).await;
        check(&v2(0x21, 0x41, &IPV4), malformed).await;
        check(&v2(0x21, 0x13, &IPV4), malformed).await;
        check(&v2(0x21, 0x12, &IPV4), malformed).await;
        check(&v2(0x21, 0x11, &IPV4[..11]), malformed).await;
        check(&v2(0x21, 0x21, &IPV4), malformed).await;
        check(&v2(0x21, 0x31, &[0; 215]), malformed).await;
        check(&v2(0x21, 0x11, &[0; REST_MAX + 1]), Err("the PROXY header is too long")).await;
    }

    #[tokio::test]
    async fn a_header_that_breaks_off_is_none() {
        for whole in [b"PROXY TCP4 192.0.2.1 10.0.0.1 4711 443\r\n".to_vec(), v2(0x21, 0x11, &IPV4)] {
            for cut in 0..whole.len() {
                let mut stream = &whole[..cut];
                assert!(matches!(read(&mut stream).await, Err(Error::Io(_))), "cut at {cut}");
            }
        }
    }
}
