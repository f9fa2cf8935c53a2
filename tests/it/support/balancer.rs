//! A round-robin balancer: each connection goes to the next backend, or to another one when that does not answer.

use std::{
    io,
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// A running balancer; its thread lives as long as the test binary.
#[derive(Debug)]
pub(crate) struct Balancer {
    pub address: SocketAddr,
    served: Arc<Vec<AtomicUsize>>,
}

impl Balancer {
    pub(crate) fn start(backends: Vec<SocketAddr>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let served: Arc<Vec<AtomicUsize>> = Arc::new(backends.iter().map(|_| AtomicUsize::new(0)).collect());
        let counts = Arc::clone(&served);
        thread::spawn(move || {
            for (turn, client) in listener.incoming().flatten().enumerate() {
                let order = (0..backends.len()).map(|step| (turn + step) % backends.len());
                let found = order.into_iter().find_map(|at| TcpStream::connect(backends[at]).ok().map(|b| (at, b)));
                // Without any backend the client sees its connection closed.
                if let Some((at, backend)) = found {
                    counts[at].fetch_add(1, Ordering::Relaxed);
                    join(client, backend);
                }
            }
        });
        Self { address, served }
    }

    /// How many connections each backend got.
    pub(crate) fn served(&self) -> Vec<usize> {
        self.served.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }
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
