//! A round-robin balancer: each connection goes to the next backend, or to another one when that does not answer. It
//! looks at no byte of it, and may say first who the client is.

use std::{
    io::{self, Write as _},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// A running balancer; its thread lives as long as the test binary.
#[derive(Debug)]
pub(crate) struct Balancer {
    pub address: SocketAddr,
    served: Arc<Vec<AtomicUsize>>,
    clients: Arc<Mutex<Vec<SocketAddr>>>,
}

/// What each connection to a backend begins with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Announce {
    Nothing,
    /// A PROXY header of version 2 with the client's address.
    Client,
}

impl Balancer {
    pub(crate) fn start(backends: Vec<SocketAddr>) -> Self {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into(), backends, Announce::Nothing)
    }

    pub(crate) fn start_at(address: SocketAddr, backends: Vec<SocketAddr>, announce: Announce) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let served: Arc<Vec<AtomicUsize>> = Arc::new(backends.iter().map(|_| AtomicUsize::new(0)).collect());
        let clients: Arc<Mutex<Vec<SocketAddr>>> = Arc::default();
        let (counts, seen) = (Arc::clone(&served), Arc::clone(&clients));
        thread::spawn(move || {
            for (turn, client) in listener.incoming().flatten().enumerate() {
                let order = (0..backends.len()).map(|step| (turn + step) % backends.len());
                let found = order.into_iter().find_map(|at| TcpStream::connect(backends[at]).ok().map(|b| (at, b)));
                // Without any backend the client sees its connection closed, as it does when one side is gone already.
                let (Some((at, mut backend)), Ok(peer)) = (found, client.peer_addr()) else { continue };
                counts[at].fetch_add(1, Ordering::Relaxed);
                seen.lock().unwrap().push(peer);
                if announce == Announce::Nothing || backend.write_all(&proxy_header(peer, address)).is_ok() {
                    join(client, backend);
                }
            }
        });
        Self { address, served, clients }
    }

    /// The other ends of the connections so far.
    pub(crate) fn clients(&self) -> Vec<SocketAddr> {
        self.clients.lock().unwrap().clone()
    }

    /// How many connections each backend got.
    pub(crate) fn served(&self) -> Vec<usize> {
        self.served.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }
}

/// The PROXY protocol's version 2 (section 2.2): signature, version and command, family and transport, length, addresses.
pub(crate) fn proxy_header(client: SocketAddr, here: SocketAddr) -> Vec<u8> {
    let (family, addresses) = match (client, here) {
        (SocketAddr::V4(client), SocketAddr::V4(here)) => {
            (0x11, [client.ip().octets().as_slice(), &here.ip().octets()].concat())
        }
        (SocketAddr::V6(client), SocketAddr::V6(here)) => {
            (0x21, [client.ip().octets().as_slice(), &here.ip().octets()].concat())
        }
        _ => panic!("{client} and {here} are of two families"),
    };
    let length = u16::try_from(addresses.len() + 4).unwrap().to_be_bytes();
    let ports = [client.port().to_be_bytes(), here.port().to_be_bytes()].concat();
    [b"\r\n\r\n\0\r\nQUIT\n\x21", [family].as_slice(), &length, &addresses, &ports].concat()
}

/// Copies both ways until either side ends.
fn join(client: TcpStream, backend: TcpStream) {
    let back = (backend.try_clone().unwrap(), client.try_clone().unwrap());
    thread::spawn(move || pipe(client, backend));
    thread::spawn(move || pipe(back.0, back.1));
}

fn pipe(mut from: TcpStream, mut to: TcpStream) {
    // An error is one side gone: then the other must see it, as it must see the end.
    let copied = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
    if copied.is_err() {
        let _ = from.shutdown(Shutdown::Both);
    }
}
