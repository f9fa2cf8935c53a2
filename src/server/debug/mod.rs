//! The private debug listener: health, counters, metrics and a CPU profile, over plain HTTP/1.1.
//!
//! `http` reads one bodyless head of bounded size and writes one answer; it is written by hand, because an HTTP engine
//! would bring more states than that. `pages` decides what an answer holds, `profile` takes a profile. The peer's two
//! halves of an exchange have a deadline each; the time that an answer takes to be made has none, because only a
//! profile takes any, and its length is bounded where it is asked for.
//!
//! Never: configuration, arguments or environment in an answer.

mod http;
mod pages;
mod profile;

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsFd as _, OwnedFd},
    sync::Arc,
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, timeout},
};

use crate::{
    health::{Health, readiness::Readiness},
    server::debug::http::Head,
    telemetry::metrics::Metrics,
};

/// For a peer to send its head, and again for it to take the answer.
const DEADLINE: Duration = Duration::from_secs(10);
const CONNECTIONS_MAX: usize = 32;

/// What the listener shows.
#[derive(Clone, Debug)]
pub struct Pages {
    pub health: Health,
    pub readiness: Readiness,
    pub metrics: Arc<Metrics>,
    /// Where Prometheus scrapes, when enabled.
    pub metrics_path: Option<String>,
    pub started: Instant,
}

/// The bound listener.
#[derive(Debug)]
pub struct Debug(TcpListener);

impl Debug {
    /// Binds `addr` (host:port).
    pub async fn bind(addr: &str) -> io::Result<Self> {
        TcpListener::bind(addr).await.map(Self)
    }

    /// On a socket that somebody else has bound.
    pub fn on(listener: std::net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener).map(Self)
    }

    /// The socket, for another process to accept on as well.
    pub fn socket(&self) -> io::Result<OwnedFd> {
        self.0.as_fd().try_clone_to_owned()
    }

    pub fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// What the caller should log when others than this machine can reach the listener.
    pub fn warning(&self) -> Option<String> {
        let address = self.0.local_addr().ok()?;
        (!address.ip().is_loopback())
            .then(|| format!("http.debug.addr {address} is not a loopback address: it has no authentication"))
    }

    /// Serves until `shutdown` completes; then ends what is open.
    pub async fn run(self, pages: Pages, shutdown: impl Future<Output = ()>) {
        let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut open = JoinSet::new();
        tokio::pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                () = &mut shutdown => return,
                Some(_) = open.join_next() => continue,
                accepted = self.0.accept() => accepted,
            };
            let Ok((stream, _)) = accepted else {
                // Out of descriptors, most likely: a pause instead of a spin.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else { continue };
            let pages = pages.clone();
            open.spawn(async move {
                // A peer that is slow or gone is owed nothing.
                drop(exchange(stream, &pages).await);
                drop(slot);
            });
        }
    }
}

async fn exchange(mut stream: TcpStream, pages: &Pages) -> io::Result<()> {
    let answer = match timeout(DEADLINE, http::read(&mut stream)).await?? {
        Head::Gone => return Ok(()),
        Head::Refused(status) => http::Answer::status(status),
        Head::Complete(request) => pages.answer(&request).await,
    };
    timeout(DEADLINE, http::write(&mut stream, &answer)).await?
}
