//! Binding an address, or taking a socket that somebody else has bound, and accepting on it as long as there are seats.

use std::{
    io,
    net::SocketAddr,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use tokio::task::JoinSet;
use tracing::warn;

use crate::server::{
    BindError, Endpoint, Serves, Terms,
    address::{Address, Families},
    connection::{self, Context},
    exchange::Observer,
    inherited::{Inherited, Passed},
    proxies::Standing,
    proxy_protocol::ProxyProtocol,
    seats::{Seat, Seats},
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
    terms: Terms,
    serves: Serves,
}

#[derive(Debug)]
enum Bound {
    Tcp(std::net::TcpListener),
    /// With its file, unless that is somebody else's.
    Unix(std::os::unix::net::UnixListener, Option<SocketFile>),
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
    /// Binds an endpoint's address, or takes what is `inherited` under its name, which may be several sockets.
    pub(super) fn bind(endpoint: &Endpoint, inherited: &mut Inherited) -> Result<Vec<Self>, BindError> {
        let failed = |source| BindError { address: endpoint.address.clone(), source };
        let bound = match &endpoint.address {
            Address::Tcp(address) => vec![Bound::Tcp(bind_tcp(&address.resolve().map_err(failed)?).map_err(failed)?)],
            Address::Unix { path, mode } => {
                vec![Bound::Unix(bind_unix(path, *mode).map_err(failed)?, Some(SocketFile(path.clone())))]
            }
            Address::Inherited { name } => taken(inherited, name).map_err(failed)?,
        };
        bound.into_iter().map(|bound| Self::on(bound, endpoint).map_err(failed)).collect()
    }

    fn on(bound: Bound, endpoint: &Endpoint) -> io::Result<Self> {
        let local = match (&bound, &endpoint.address) {
            (Bound::Tcp(listener), _) => listener.local_addr()?.into(),
            (Bound::Unix(..), address @ Address::Unix { .. }) => address.clone(),
            (Bound::Unix(listener, _), _) => {
                let path = listener.local_addr()?.as_pathname().map(Path::to_path_buf).unwrap_or_default();
                let mode = std::fs::metadata(&path).map_or(0, |metadata| metadata.permissions().mode() & 0o777);
                Address::Unix { path, mode }
            }
        };
        Ok(Self { bound, local, terms: endpoint.terms(), serves: endpoint.serves.clone() })
    }

    pub(super) const fn local(&self) -> &Address {
        &self.local
    }

    pub(super) const fn terms(&self) -> &Terms {
        &self.terms
    }

    pub(super) const fn serves(&self) -> &Serves {
        &self.serves
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
        Ok(Acceptor { socket, terms: self.terms })
    }
}

fn taken(inherited: &mut Inherited, name: &str) -> io::Result<Vec<Bound>> {
    let sockets = inherited.take(name);
    if sockets.is_empty() {
        let left = inherited.names().join(", ");
        let others = if left.is_empty() { "none".to_owned() } else { left };
        let text = format!("no socket of that name was passed; left of those that were: {others}");
        return Err(io::Error::new(io::ErrorKind::NotFound, text));
    }
    let bound = |socket| match socket {
        Passed::Tcp(listener) => Bound::Tcp(listener),
        Passed::Unix(listener) => Bound::Unix(listener, None),
    };
    Ok(sockets.into_iter().map(bound).collect())
}

fn bind_tcp(addresses: &[(SocketAddr, Families)]) -> io::Result<std::net::TcpListener> {
    let mut failure = io::Error::new(io::ErrorKind::AddrNotAvailable, "the host has no address");
    for (address, families) in addresses {
        match open_tcp(*address, *families) {
            Ok(listener) => return Ok(listener),
            // Another address would only hide that this one is taken.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// Which families a socket takes must not depend on how the machine is set up.
fn open_tcp(address: SocketAddr, families: Families) -> io::Result<std::net::TcpListener> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // After a restart, connections of before that are still ending must not keep the port.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, families == Families::One)?;
    }
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(std::net::TcpListener::from(socket))
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
    Unix { listener: tokio::net::UnixListener, _file: Option<SocketFile> },
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
    terms: Terms,
}

impl Acceptor {
    /// Accepts until the server stops, then waits for the connections to end, for at most `drain`.
    pub(super) async fn serve(self, context: Arc<Context>, seats: Arc<Seats>, drain: Option<Duration>) {
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                biased;
                () = context.stopped() => break,
                accepted = self.accept(&context, &seats) => accepted,
            };
            while connections.try_join_next().is_some() {}
            match accepted {
                Ok((socket, seat)) => {
                    let (context, terms) = (Arc::clone(&context), self.terms.clone());
                    let open = Open::new(&context);
                    connections.spawn(async move {
                        connection::serve(context, socket, terms, seat).await;
                        drop(open);
                    });
                }
                Err(error) => {
                    warn!(error = %error, "a connection could not be accepted");
                    // Mostly for want of descriptors, of which this gives one back.
                    seats.shed();
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

    /// One connection is taken in before there is a seat for it, so that nobody has to make room for no one; the others
    /// stay in the kernel's queue.
    async fn accept(&self, context: &Context, seats: &Arc<Seats>) -> io::Result<(Socket, Seat)> {
        let socket = self.socket.accept().await?;
        let seat = seats.take(|| context.bounds.limits().connections).await;
        let peer = socket.peer();
        if let Some(peer) = peer.filter(|_| self.terms.proxy_protocol == ProxyProtocol::Off)
            && context.proxies.standing(Some(peer)) == Standing::Client
        {
            // Known before anything is read: who fills the room must not be faster than we are in counting.
            seat.assign(peer.ip());
        }
        Ok((socket, seat))
    }
}
