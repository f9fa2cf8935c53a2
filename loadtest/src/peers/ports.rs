//! Ports for servers that are told where to listen.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::atomic::{AtomicU32, Ordering},
};

/// Below those that Linux gives to connections (from 32,768 on): such a port can be taken before a server binds it.
const FIRST: u32 = 10_000;
const COUNT: u32 = 22_000;

/// An address of this machine where nobody listens, another one each time; none when all are taken.
pub(crate) fn free() -> Option<SocketAddr> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Two processes begin far from each other.
    let begin = std::process::id().wrapping_mul(7919);
    (0..COUNT).find_map(|_| {
        let offset = begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, u16::try_from(FIRST + offset).ok()?));
        TcpListener::bind(address).is_ok().then_some(address)
    })
}
