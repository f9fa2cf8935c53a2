//! Ports for servers that are told where to listen.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    sync::atomic::{AtomicU32, Ordering},
};

/// Below those that Linux gives to connections (from 32,768 on): such a port can be taken before a server binds it.
const FIRST: u32 = 10_000;
const COUNT: u32 = 22_000;

/// An address of this machine with a port that nobody listens on, whatever the address, and that this process was not
/// given before; none when all are taken.
pub(crate) fn free() -> Option<SocketAddr> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Two processes begin far from each other.
    let begin = std::process::id().wrapping_mul(7919);
    (0..COUNT).find_map(|_| {
        let offset = begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let port = u16::try_from(FIRST + offset).ok()?;
        let everywhere =
            [SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)), SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))];
        // A system without IPv6 has nobody there.
        let is_taken =
            |address| matches!(TcpListener::bind(address), Err(error) if error.kind() == io::ErrorKind::AddrInUse);
        (!everywhere.into_iter().any(is_taken)).then(|| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    })
}
