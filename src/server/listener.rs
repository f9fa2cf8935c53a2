//! Binding an address, or taking a socket that somebody else has bound, and accepting on it as long as there are seats.

use std::{
    io,
    net::SocketAddr,
    os::{
        fd::AsFd as _,
        unix::fs::{FileTypeExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use tokio::task::JoinSet;
use tracing::warn;

use crate::server::{
    BindError, Endpoint, Handed, Serves, Terms,
    address::{Address, Families},
    connection::{self, Context},
    control::Phase,
    exchange::Observer,
    inherited::{Inherited, Passed},
    passthrough::Passthrough,
    proxy_protocol::ProxyProtocol,
    seats::Seat,
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
    configured: Address,
    local: Address,
    terms: Terms,
    serves: Serves,
    passthrough: Option<Arc<Passthrough>>,
}

#[derive(Debug)]
enum Bound {
    Tcp(std::net::TcpListener),
    /// With its file, unless that is somebody else's.
    Unix(std::os::unix::net::UnixListener, Option<SocketFile>),
}

/// Removes the socket's file at the end, unless somebody else listens there by then.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    handed_over: Arc<AtomicBool>,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if !self.handed_over.load(Ordering::Relaxed) {
            // If it is gone already, that is the wanted state.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Listener {
    /// Binds an endpoint's address, or takes what is `inherited` under its name, which may be several sockets. A file in
    /// the file system is removed at the end unless the sockets were `handed_over`.
    pub(super) fn bind(
        endpoint: &Endpoint,
        inherited: &mut Inherited,
        handed_over: &Arc<AtomicBool>,
    ) -> Result<Vec<Self>, BindError> {
        let failed = |source| BindError { address: endpoint.address.clone(), source };
        let name = endpoint.address.to_string();
        let bound = match &endpoint.address {
            Address::Tcp(address) => vec![Bound::Tcp(match inherited.take_tcp(&name) {
                Some(listener) => listener,
                None => bind_tcp(&address.resolve().map_err(failed)?).map_err(failed)?,
            })],
            Address::Unix { path, mode } => {
                let listener = match inherited.take_unix(&name) {
                    Some(listener) => set_mode(path, *mode).map(|()| listener),
                    None => bind_unix(path, *mode),
                };
                // A file that is not ours, because another process listens there, is not ours to remove.
                let listener = listener.map_err(failed)?;
                let file = SocketFile { path: path.clone(), handed_over: Arc::clone(handed_over) };
                vec![Bound::Unix(listener, Some(file))]
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
        let configured = endpoint.address.clone();
        Ok(Self {
            bound,
            configured,
            local,
            terms: endpoint.terms(),
            serves: endpoint.serves.clone(),
            passthrough: endpoint.passthrough.clone(),
        })
    }

    pub(super) fn handed(&self) -> io::Result<Handed> {
        let socket = match &self.bound {
            Bound::Tcp(listener) => listener.as_fd().try_clone_to_owned(),
            Bound::Unix(listener, _) => listener.as_fd().try_clone_to_owned(),
        };
        Ok(Handed { address: self.configured.clone(), socket: socket? })
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

    pub(super) const fn passthrough(&self) -> Option<&Arc<Passthrough>> {
        self.passthrough.as_ref()
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
        // Its file is the manager's.
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
    set_mode(path, mode)?;
    Ok(listener)
}

fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
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
    /// Accepts until the listeners are to be closed, then waits for the connections to end. Who drops
    /// this cuts them.
    pub(super) async fn serve(self, context: Arc<Context>) {
        let Self { socket: accepting, terms } = self;
        let mut connections = JoinSet::new();
        let serve = |socket, seat| {
            let (context, terms) = (Arc::clone(&context), terms.clone());
            let open = Open::new(&context);
            async move {
                connection::serve(context, socket, terms, seat).await;
                drop(open);
            }
        };
        let late = loop {
            let accepted = tokio::select! {
                biased;
                () = context.control.reached(Phase::Draining) => break None,
                accepted = accepting.accept() => accepted,
            };
            while connections.try_join_next().is_some() {}
            let socket = match accepted {
                Ok(socket) => socket,
                Err(error) => {
                    warn!(error = %error, "a connection could not be accepted");
                    // Mostly for want of descriptors, of which this gives one back.
                    context.control.seats().shed();
                    tokio::time::sleep(RETRY).await;
                    continue;
                }
            };
            let seat = tokio::select! {
                biased;
                seat = seat(&context, &terms, &socket) => seat,
                () = context.control.reached(Phase::Draining) => break Some(socket),
            };
            connections.spawn(serve(socket, seat));
        };
        drop(accepting);
        if let Some(socket) = late {
            // Accepted before the end began: it waits for its seat as it would have.
            let seat = seat(&context, &terms, &socket).await;
            connections.spawn(serve(socket, seat));
        }
        while connections.join_next().await.is_some() {}
    }
}

/// One connection is taken in before there is a seat for it, so that nobody has to make room for no one; the others stay
/// in the kernel's queue.
async fn seat(context: &Context, terms: &Terms, socket: &Socket) -> Seat {
    let seat = context.control.seats().take().await;
    if let Some(peer) = socket.peer().filter(|_| terms.proxy_protocol == ProxyProtocol::Off)
        && !context.rules().proxies.trusts(Some(peer.ip()))
    {
        // Known before anything is read: who fills the room must not be faster than we are in counting.
        seat.assign(peer.ip());
    }
    seat
}
