//! Sockets that were bound by somebody else: a service manager that starts us when the first client comes, or the
//! process that we replace.
//!
//! A socket is known by a name. Whoever passes it may pass several under one name, for IPv4 and IPv6 say. A process that
//! is replaced passes all that it listens on, each under its address (those of a service manager under their names), and
//! before them the one by which its successor says that it serves.

use std::{
    io::{self, Write as _},
    net::TcpListener,
    os::unix::net::{UnixListener, UnixStream},
};

use listenfd::ListenFd;
use rustix::net::{AddressFamily, SocketType, sockopt};

/// What a successor says when it serves.
pub const READY: &[u8] = b"ready";

/// Bound sockets by name, each taken at most once.
#[derive(Debug, Default)]
pub struct Inherited {
    sockets: Vec<(String, Passed)>,
    predecessor: Option<Predecessor>,
}

/// The process that we replace; it waits for our word.
#[derive(Debug)]
pub struct Predecessor(UnixStream);

impl Predecessor {
    /// Says that this process serves: the other one takes no connections from now on.
    ///
    /// # Errors
    /// It did not hear it, because it is gone, say.
    pub fn release(mut self) -> io::Result<()> {
        self.0.write_all(READY)
    }
}

/// A socket on which connections already queue.
#[derive(Debug)]
pub enum Passed {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Inherited {
    /// Those that a service manager passed to this process, in the order of `names` (`sd_listen_fds(3)`). To be called
    /// once, before anything else opens descriptors.
    ///
    /// # Errors
    /// What was passed is no socket that connections can be accepted on.
    pub fn of_process(names: &[String]) -> io::Result<Self> {
        if names.is_empty() {
            return Ok(Self::default());
        }
        let mut sockets = ListenFd::from_env();
        let mut inherited = Self::default();
        for (index, name) in names.iter().enumerate() {
            let passed = take(&mut sockets, index).map_err(|error| {
                io::Error::new(error.kind(), format!("the socket {name:?} that systemd passed cannot be used: {error}"))
            })?;
            inherited.add(name.clone(), passed);
        }
        Ok(inherited)
    }

    /// Those that the process which we replace passed: the one to answer by, and those with these names behind it. To be
    /// called as [`Inherited::of_process`] is.
    ///
    /// # Errors
    /// What was passed is something else.
    pub fn of_predecessor(names: &[String]) -> io::Result<Self> {
        let mut sockets = ListenFd::from_env();
        let missing =
            || io::Error::new(io::ErrorKind::NotFound, "the replaced process has passed nothing to answer by");
        let unix = i32::from(AddressFamily::UNIX.as_raw());
        let stream = i32::try_from(SocketType::STREAM.as_raw()).map_err(io::Error::other)?;
        let channel = sockets.take_custom(0, unix, stream, "stream to answer by")?.ok_or_else(missing)?;
        let mut inherited = Self { predecessor: Some(Predecessor(channel)), ..Self::default() };
        for (index, name) in names.iter().enumerate() {
            let passed = take(&mut sockets, index + 1).map_err(|error| {
                let text = format!("the socket {name:?} of the replaced process cannot be used: {error}");
                io::Error::new(error.kind(), text)
            })?;
            inherited.add(name.clone(), passed);
        }
        Ok(inherited)
    }

    /// Who waits for our word, if anybody does.
    pub const fn predecessor(&mut self) -> Option<Predecessor> {
        self.predecessor.take()
    }

    pub fn add(&mut self, name: String, socket: Passed) {
        self.sockets.push((name, socket));
    }

    /// All sockets of that name.
    pub(super) fn take(&mut self, name: &str) -> Vec<Passed> {
        self.sockets.extract_if(.., |(known, _)| known == name).map(|(_, socket)| socket).collect()
    }

    /// One of that name, for TCP.
    pub fn take_tcp(&mut self, name: &str) -> Option<TcpListener> {
        let wanted = |(known, passed): &(String, Passed)| known == name && matches!(passed, Passed::Tcp(_));
        let position = self.sockets.iter().position(wanted)?;
        match self.sockets.remove(position).1 {
            Passed::Tcp(listener) => Some(listener),
            Passed::Unix(_) => None,
        }
    }

    /// One of that name, of the file system.
    pub(super) fn take_unix(&mut self, name: &str) -> Option<UnixListener> {
        let wanted = |(known, passed): &(String, Passed)| known == name && matches!(passed, Passed::Unix(_));
        let position = self.sockets.iter().position(wanted)?;
        match self.sockets.remove(position).1 {
            Passed::Unix(listener) => Some(listener),
            Passed::Tcp(_) => None,
        }
    }

    /// Closes those that are left, and says their names: connections that nobody accepts would wait there.
    pub fn close(&mut self) -> Vec<String> {
        self.sockets.drain(..).map(|(name, _)| name).collect()
    }

    /// Names of those that are left.
    pub fn names(&self) -> Vec<String> {
        self.sockets.iter().map(|(name, _)| name.clone()).collect()
    }
}

fn take(sockets: &mut ListenFd, index: usize) -> io::Result<Passed> {
    let missing = || io::Error::new(io::ErrorKind::NotFound, "there is no such descriptor");
    let passed = match sockets.take_tcp_listener(index) {
        Ok(listener) => Passed::Tcp(listener.ok_or_else(missing)?),
        Err(_) => Passed::Unix(sockets.take_unix_listener(index)?.ok_or_else(missing)?),
    };
    let accepts = match &passed {
        Passed::Tcp(listener) => sockopt::socket_acceptconn(listener),
        Passed::Unix(listener) => sockopt::socket_acceptconn(listener),
    };
    if accepts? { Ok(passed) } else { Err(io::Error::other("nobody listens on it: Accept=yes is not supported")) }
}
