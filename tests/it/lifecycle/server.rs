//! A server that is told things by signals, and those that take its place.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Method, Response};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tempfile::TempDir;

use crate::support::{
    certificate::Certificate,
    http::{empty, send},
    process::{Process, free_address},
    registry::Program,
};

/// No test waits longer than this for anything.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// The words with which a process names its successor in the log.
const STARTED: &str = "upgrade.process=";

/// A server with a plain listener, one with TLS, one of the file system, and one for operators.
pub(crate) struct Server {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
    pub(crate) secure: SocketAddr,
    pub(crate) debug: SocketAddr,
    pub(crate) certificate: Certificate,
    /// Where the program lies: it can be replaced.
    pub(crate) program: PathBuf,
    directory: TempDir,
}

impl Server {
    /// With these sections (at the first column) beside `storage`, `http` and `edge.listen`; `edge` holds more of that
    /// section, each line indented by two.
    pub(crate) fn start(sections: &str, edge: &str) -> Self {
        Self::start_as(&Program::pierhead(), sections, edge)
    }

    /// With variables in its environment.
    pub(crate) fn start_under(sections: &str, edge: &str, variables: &[(&str, &str)]) -> Self {
        Self::start_with(&Program::pierhead(), sections, edge, variables)
    }

    pub(crate) fn start_as(program: &Program, sections: &str, edge: &str) -> Self {
        Self::start_with(program, sections, edge, &[])
    }

    fn start_with(program: &Program, sections: &str, edge: &str, variables: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let certificate = Certificate::create(directory.path());
        let own = directory.path().join("pierhead");
        // A link costs nothing, and what is replaced later is the link.
        std::os::unix::fs::symlink(program.path(), &own).unwrap();
        let (address, secure, debug) = (free_address(), free_address(), free_address());
        let text = configuration(&Places { address, secure, debug, directory: directory.path() }, sections, edge);
        fs::write(directory.path().join("config.yml"), text).unwrap();
        let mut command = Command::new(&own);
        command.arg("serve").arg("config.yml").current_dir(directory.path()).envs(variables.iter().copied());
        let process = Process::start(&mut command, &directory.path().join("log"));
        let mut server = Self { process, address, secure, debug, certificate, program: own, directory };
        for address in [address, secure, debug] {
            server.process.wait_for_port(address);
        }
        server
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes another configuration, which nobody reads yet.
    pub(crate) fn write(&self, sections: &str, edge: &str) {
        let Self { address, secure, debug, .. } = *self;
        let text = configuration(&Places { address, secure, debug, directory: self.directory.path() }, sections, edge);
        fs::write(self.path("config.yml"), text).unwrap();
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// SIGHUP, and what the log says of it from then on.
    pub(crate) fn reload(&self) -> String {
        let before = self.log().len();
        self.signal(Signal::HUP);
        self.wait_for("the configuration was read again", before)
    }

    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    /// What the log says behind its first `from` bytes, as soon as it says this.
    pub(crate) fn wait_for(&self, text: &str, from: usize) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log = self.log();
            let new = &log[from..];
            // Up to the end of that line.
            if new.split_once(text).is_some_and(|(_, rest)| rest.contains('\n')) {
                return new.to_owned();
            }
            assert!(Instant::now() < deadline, "never logged {text:?}:\n{log}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// The process that was started last to take this one's place.
    pub(crate) fn successor(&self) -> Option<Successor> {
        let id = self.log().rsplit_once(STARTED)?.1.split_whitespace().next()?.parse().ok()?;
        Some(Successor(Pid::from_raw(id).unwrap()))
    }

    /// Status and body of a page for operators.
    pub(crate) async fn ask(&self, path: &str) -> (u16, String) {
        let answer = send(self.debug, empty(Method::GET, path)).await.unwrap();
        (answer.status().as_u16(), String::from_utf8(answer.body().to_vec()).unwrap())
    }

    pub(crate) async fn get(&self, path: &str) -> Response<Bytes> {
        send(self.address, empty(Method::GET, path)).await.unwrap()
    }

    /// Waits until the long request of a push is under way: the short one that opened it is over.
    pub(crate) async fn until_pushing(&self) {
        let deadline = Instant::now() + PATIENCE;
        let opened = "handler=\"blob_upload\"";
        loop {
            let (_, metrics) = self.ask("/metrics").await;
            if metrics.contains(opened) && metrics.contains("registry_http_in_flight_requests 1\n") {
                return;
            }
            assert!(Instant::now() < deadline, "nothing is pushed: {metrics}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// A metric without labels, in whole numbers.
    pub(crate) async fn metric(&self, name: &str) -> u64 {
        let (_, metrics) = self.ask("/metrics").await;
        let line = metrics.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("no {name} in {metrics}")).parse().unwrap()
    }
}

/// A process that took another's place; dropping it ends it.
pub(crate) struct Successor(Pid);

impl Successor {
    pub(crate) fn id(&self) -> i32 {
        self.0.as_raw_nonzero().get()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.0, signal).unwrap();
    }

    pub(crate) fn is_alive(&self) -> bool {
        // A process that has ended may wait for whoever adopted it to take notice.
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.as_raw_nonzero())).unwrap_or_default();
        let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        test_kill_process(self.0).is_ok() && !matches!(state, Some('Z') | None)
    }

    pub(crate) fn wait_for_end(&self) {
        let deadline = Instant::now() + PATIENCE;
        while self.is_alive() {
            assert!(Instant::now() < deadline, "the successor did not end");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        for _ in 0..2 {
            if self.is_alive() {
                let _ = kill_process(self.0, Signal::TERM);
                thread::sleep(Duration::from_millis(300));
            }
        }
        if self.is_alive() {
            let _ = kill_process(self.0, Signal::KILL);
        }
    }
}

struct Places<'a> {
    address: SocketAddr,
    secure: SocketAddr,
    debug: SocketAddr,
    directory: &'a Path,
}

fn configuration(places: &Places<'_>, sections: &str, edge: &str) -> String {
    let Places { address, secure, debug, directory } = places;
    let path = |name: &str| directory.join(name).display().to_string();
    // Where a test says nothing of these, they are as here.
    let or = |name: &str, usual: &str| if sections.contains(name) { String::new() } else { usual.to_owned() };
    format!(
        "version: 0.1\n{}{}{sections}http:\n  tls: {{certificate: {}, key: {}}}\n  \
         debug: {{addr: {debug}, prometheus: {{enabled: true}}}}\n{}\
         edge:\n  listen:\n    - {{address: {address}, tls: off}}\n    - {secure}\n    \
         - {{address: 'unix:{}', tls: off}}\n{edge}",
        or("auth:", "auth: none\n"),
        or("storage:", &format!("storage: {{filesystem: {{rootdirectory: {}}}}}\n", path("data"))),
        path("server.crt"),
        path("server.key"),
        http_lines(sections),
        path("registry.sock"),
    )
}

/// Lines of `sections` that begin with `#http ` belong into that section.
fn http_lines(sections: &str) -> String {
    let lines = sections.lines().filter_map(|line| line.strip_prefix("#http "));
    lines.flat_map(|line| ["  ", line, "\n"]).collect()
}
