//! Binding an address, and accepting on it below the connection limit.

use std::{
    io,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
};
use tracing::warn;

use crate::server::{
    BindError, Endpoint, Handshakes,
    address::Address,
    connection::{self, Context},
    exchange::Observer,
    socket::Socket,
};

/// Connections that wait to be accepted; the standard library's 128 are too few for a burst of pulls.
const BACKLOG: i32 = 4096;

/// The wait after an accept that failed for want of descriptors or memory.
const RETRY: Duration = Duration::from_millis(100);

/// A bound socket.
#[derive(Debug)]
pub(super) struct Listener {
    bound: Bound,
    local: Address,
    tls: Option<Arc<dyn Handshakes>>,
}

#[derive(Debug)]
enum Bound {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener, SocketFile),
}

/// Removes the socket's file at the end.
#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // If it is gone already, that is the wanted state.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Listener {
    pub(super) fn bind(endpoint: &Endpoint) -> Result<Self, BindError> {
        let failed = |source| BindError { address: endpoint.address.clone(), source };
        let (bound, local) = match &endpoint.address {
            Address::Tcp(address) => {
                let listener = bind_tcp(&address.resolve().map_err(failed)?).map_err(failed)?;
                let local = listener.local_addr().map_err(failed)?;
                (Bound::Tcp(listener), local.into())
            }
            Address::Unix { path, mode } => {
                let listener = bind_unix(path, *mode).map_err(failed)?;
                (Bound::Unix(listener, SocketFile(path.clone())), endpoint.address.clone())
            }
        };
        Ok(Self { bound, local, tls: endpoint.tls.clone() })
    }

    pub(super) const fn local(&self) -> &Address {
        &self.local
    }

    /// Registers the socket with the runtime that this is called in.
    pub(super) fn start(self) -> io::Result<Acceptor> {
        let socket = match self.bound {
            Bound::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                Accepting::Tcp(tokio::net::TcpListener::from_std(listener)?)
            }
            Bound::Unix(listener, file) => {
                listener.set_nonblocking(true)?;
                Accepting::Unix { listener: tokio::net::UnixListener::from_std(listener)?, _file: file }
            }
        };
        Ok(Acceptor { socket, tls: self.tls })
    }
}

fn bind_tcp(addresses: &[std::net::SocketAddr]) -> io::Result<std::net::TcpListener> {
    let mut failure = io::Error::new(io::ErrorKind::AddrNotAvailable, "the host has no address");
    for address in addresses {
        match std::net::TcpListener::bind(address) {
            Ok(listener) => {
                rustix::net::listen(&listener, BACKLOG)?;
                return Ok(listener);
            }
            // Another address would only hide that this one is taken.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn bind_unix(path: &Path, mode: u32) -> io::Result<std::os::unix::net::UnixListener> {
    remove_stale(path)?;
    let listener = std::os::unix::net::UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    Ok(listener)
}

/// A socket on which nobody listens was left behind by a process that was killed. Anything else stays.
fn remove_stale(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the path is taken by something else"));
        }
        Ok(_) => {}
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        Err(error) => Err(error),
        Ok(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there")),
    }
}

#[derive(Debug)]
enum Accepting {
    Tcp(tokio::net::TcpListener),
    Unix { listener: tokio::net::UnixListener, _file: SocketFile },
}

impl Accepting {
    async fn accept(&self) -> io::Result<Socket> {
        match self {
            Self::Tcp(listener) => listener.accept().await.map(|(stream, _)| Socket::Tcp(stream)),
            Self::Unix { listener, .. } => listener.accept().await.map(|(stream, _)| Socket::Unix(stream)),
        }
    }
}

/// Tells the observer of one connection, also when it is cut.
struct Open(Arc<dyn Observer>);

impl Open {
    fn new(context: &Context) -> Self {
        context.observer.opened();
        Self(Arc::clone(&context.observer))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.closed();
    }
}

/// The accept loop of one socket.
#[derive(Debug)]
pub(super) struct Acceptor {
    socket: Accepting,
    tls: Option<Arc<dyn Handshakes>>,
}

impl Acceptor {
    /// Accepts until the server stops, then waits for the connections to end, for at most `drain`.
    pub(super) async fn serve(self, context: Arc<Context>, slots: Arc<Semaphore>, drain: Option<Duration>) {
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                biased;
                () = context.stopped() => break,
                accepted = self.accept(&slots) => accepted,
            };
            while connections.try_join_next().is_some() {}
            match accepted {
                Ok((socket, slot)) => {
                    let (context, tls) = (Arc::clone(&context), self.tls.clone());
                    let open = Open::new(&context);
                    connections.spawn(async move {
                        connection::serve(context, socket, tls).await;
                        drop((open, slot));
                    });
                }
                Err(error) => {
                    warn!(error = %error, "a connection could not be accepted");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
        drop(self);
        let all = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(drain.unwrap_or_default(), all).await.is_err() {
            // Dropping the set below cuts what is left.
            warn!("connections were cut at the end of the drain");
        }
    }

    /// A slot first: a connection that cannot be served stays in the kernel's queue.
    async fn accept(&self, slots: &Arc<Semaphore>) -> io::Result<(Socket, OwnedSemaphorePermit)> {
        let slot = Arc::clone(slots).acquire_owned().await.map_err(io::Error::other)?;
        Ok((self.socket.accept().await?, slot))
    }
}
