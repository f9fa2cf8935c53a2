//! Sockets that were bound by somebody else: a service manager that starts us when the first client comes, or the
//! process that we replace.
//!
//! A socket is known by a name. Whoever passes it may pass several under one name, for IPv4 and IPv6 say. A process that
//! hands its own listeners on names each as the settings do (`127.0.0.1:443`, `unix:/run/registry.sock`), which no name of
//! a service manager's can be: those have no colon.

use std::{io, net::TcpListener, os::unix::net::UnixListener};

use listenfd::ListenFd;
use rustix::net::sockopt;

/// Bound sockets by name, each taken at most once.
#[derive(Debug, Default)]
pub struct Inherited(Vec<(String, Passed)>);

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

    pub fn add(&mut self, name: String, socket: Passed) {
        self.0.push((name, socket));
    }

    /// All sockets of that name.
    pub(super) fn take(&mut self, name: &str) -> Vec<Passed> {
        self.0.extract_if(.., |(known, _)| known == name).map(|(_, socket)| socket).collect()
    }

    /// Names of those that are left.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.0.iter().map(|(name, _)| name.clone()).collect()
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
