//! Replacing this process by one of another version, without a connection that is refused.
//!
//! The program that now lies where this one was started from is started with the same arguments and with all sockets that
//! are listened on. When it says that it serves, this process takes no more connections and lets its requests finish. A
//! successor that cannot serve is ended, and all goes on as before. Two processes on one storage are two replicas.

use std::{
    ffi::OsString,
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use command_fds::{CommandFdExt as _, FdMapping};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::{
    io::AsyncReadExt as _,
    time::{Instant, sleep, timeout_at},
};

use crate::{
    config::environment::HANDOVER,
    server::{Handed, address::Address, debug::Debug, inherited::READY},
};

/// The first descriptor that is passed (`sd_listen_fds(3)`).
const FIRST: i32 = 3;

/// How long a process that has closed its end may take to end.
const PARTING: Duration = Duration::from_secs(2);

/// How this process was started.
#[derive(Clone, Debug)]
pub struct Invocation {
    program: PathBuf,
    arguments: Vec<OsString>,
}

impl Invocation {
    /// By the words of the command line, of which the first is the program. Where it is a path that one counts, and a
    /// link in it leads to whatever it then leads to; otherwise the file that is running.
    ///
    /// # Errors
    /// Where this process was started from cannot be told.
    pub fn of(words: &[OsString]) -> Result<Self> {
        let (first, arguments) = words.split_first().context("a process is started with a name at least")?;
        let path = Path::new(first);
        let program = if path.components().count() > 1 { std::path::absolute(path) } else { std::env::current_exe() };
        let program = program.context("cannot tell which program is running")?;
        Ok(Self { program, arguments: arguments.to_vec() })
    }
}

/// What a successor gets.
#[derive(Debug, Default)]
pub(super) struct Estate(Vec<(String, OwnedFd)>);

impl Estate {
    pub(super) fn new(handed: Vec<Handed>) -> Self {
        Self(handed.into_iter().map(|handed| (name(&handed.address), handed.socket)).collect())
    }

    /// # Errors
    /// Too many descriptors are open.
    pub(super) fn add(&mut self, name: String, debug: &Debug) -> Result<()> {
        self.0.push((name, debug.socket().context("http.debug.addr")?));
        Ok(())
    }
}

/// The name under which a successor looks for the socket of an address.
fn name(address: &Address) -> String {
    match address {
        Address::Inherited { name } => name.clone(),
        address @ (Address::Tcp(_) | Address::Unix { .. }) => address.to_string(),
    }
}

/// A process that is to take over. Dropped before it has, it is ended.
#[derive(Debug)]
pub(super) struct Successor {
    child: Option<Child>,
    id: u32,
    channel: tokio::net::UnixStream,
    deadline: Instant,
    heard: Vec<u8>,
}

impl Successor {
    /// Starts it; it may take so long until it serves.
    ///
    /// # Errors
    /// It cannot be started.
    pub(super) fn start(invocation: &Invocation, estate: &Estate, patience: Duration) -> Result<Self> {
        let (ours, theirs) = UnixStream::pair().context("no socket to hear the new process by")?;
        let mut mappings = vec![FdMapping { parent_fd: theirs.into(), child_fd: FIRST }];
        let mut names = vec![HANDOVER.to_owned()];
        for ((name, socket), child_fd) in estate.0.iter().zip(FIRST + 1..) {
            let parent_fd = socket.try_clone().context("too many open descriptors")?;
            mappings.push(FdMapping { parent_fd, child_fd });
            // Colons stand between names.
            names.push(utf8_percent_encode(name, NON_ALPHANUMERIC).to_string());
        }
        let mut command = Command::new(&invocation.program);
        command.args(&invocation.arguments);
        command.env_remove("LISTEN_PID").env_remove("LISTEN_FDS_FIRST_FD");
        command.env("LISTEN_FDS", names.len().to_string()).env("LISTEN_FDNAMES", names.join(":"));
        command.fd_mappings(mappings).context("descriptors cannot be passed")?;
        let child = command.spawn().with_context(|| format!("cannot start {}", invocation.program.display()))?;
        // Its end of the channel is its own alone from here on.
        drop(command);
        ours.set_nonblocking(true)?;
        let channel = tokio::net::UnixStream::from_std(ours)?;
        let (id, deadline) = (child.id(), Instant::now() + patience);
        Ok(Self { child: Some(child), id, channel, deadline, heard: Vec::new() })
    }

    pub(super) const fn id(&self) -> u32 {
        self.id
    }

    /// Completes when it serves. May be dropped and called again.
    ///
    /// # Errors
    /// It will not.
    pub(super) async fn ready(&mut self) -> Result<()> {
        while self.heard != READY {
            match timeout_at(self.deadline, self.channel.read_buf(&mut self.heard)).await {
                Ok(Ok(1..)) if READY.starts_with(&self.heard) => {}
                Ok(Ok(1..)) => bail!("the new process says something else than that it serves"),
                Ok(Ok(0) | Err(_)) => return Err(self.gone().await),
                Err(_) => bail!("the new process did not serve in time (edge.upgrade.ready_timeout)"),
            }
        }
        // It lives on by itself.
        self.child = None;
        Ok(())
    }

    async fn gone(&mut self) -> anyhow::Error {
        let deadline = Instant::now() + PARTING;
        loop {
            match self.child.as_mut().map(Child::try_wait) {
                Some(Ok(Some(status))) => return ended(status),
                Some(Ok(None)) if Instant::now() < deadline => sleep(Duration::from_millis(10)).await,
                _ => return anyhow!("the new process has given up"),
            }
        }
    }
}

fn ended(status: ExitStatus) -> anyhow::Error {
    anyhow!("the new process ended before it served, with {status}; what it wrote says why")
}

impl Drop for Successor {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // Both fail only when it has ended.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
