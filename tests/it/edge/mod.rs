//! What stands before the registry: addresses, names, proxies.

mod listen;
mod proxied;
mod topologies;

use std::{
    fs,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::Path,
    process::Command,
    sync::Arc,
    time::Duration,
};

use rustls::{ClientConnection, StreamOwned, pki_types::ServerName};
use tempfile::TempDir;

use crate::support::{
    certificate::{Certificate, trusting, write_private},
    process::Process,
    registry::launch,
};

/// No test waits longer than this for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// What it prints when it serves.
const READY: &str = "pierhead listens on";

/// The binary on a configuration of the test's own, over storage in memory, with an access log.
struct Edge {
    process: Process,
    certificate: Certificate,
    directory: TempDir,
}

impl Edge {
    /// Starts it with these sections beside the least that it needs, and a certificate for `localhost`.
    fn start(sections: &str) -> Self {
        Self::start_with_auth("auth: none", sections)
    }

    fn start_with_auth(auth: &str, sections: &str) -> Self {
        let mut ours = Command::new(env!("CARGO_BIN_EXE_pierhead"));
        let mut edge = Self::start_by(&mut ours, tempfile::tempdir().unwrap(), &format!("{auth}\n{sections}"));
        let log = edge.directory.path().join("log");
        edge.process.wait_until("it serves", || fs::read_to_string(&log).is_ok_and(|log| log.contains(READY)));
        edge
    }

    /// Starts it by another program, whose last argument so far is ours, and does not wait.
    fn start_by(command: &mut Command, directory: TempDir, sections: &str) -> Self {
        let certificate = Certificate::create(directory.path());
        let (chain, key) = (certificate.chain.display(), certificate.key.display());
        let config = format!(
            "version: 0.1\nlog: {{accesslog: {{disabled: false}}}}\nstorage: {{inmemory: , delete: {{enabled: true}}}}\n{}",
            sections.replace("CERTIFICATE", &format!("tls: {{certificate: {chain}, key: {key}}}")),
        );
        write_private(&directory.path().join("config.yml"), &config);
        let process = launch(command, directory.path());
        Self { process, certificate, directory }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// One request over TLS, and all of its answer.
    fn secure(&self, address: SocketAddr, request: &str) -> Answer {
        ask(&mut secured(&self.certificate, connect(address)), request)
    }

    /// Waits for an access line that ends a request for this target; its first word is the client.
    fn access_line(&mut self, target: &str) -> String {
        let log = self.directory.path().join("log");
        let wanted = format!(" {target} HTTP/1.1\" ");
        let found = || fs::read_to_string(&log).ok()?.lines().find(|line| line.contains(&wanted)).map(str::to_owned);
        self.process.wait_until(&format!("a line of {target}"), || found().is_some());
        found().unwrap()
    }
}

/// One plain request, and all of its answer.
fn asked(address: SocketAddr, request: &str) -> Answer {
    ask(&mut connect(address), request)
}

/// An answer as it came.
#[derive(Debug)]
struct Answer(String);

impl Answer {
    #[track_caller]
    fn status(&self) -> u16 {
        self.0.get(9..12).and_then(|digits| digits.parse().ok()).unwrap_or_else(|| panic!("no status in {:?}", self.0))
    }

    /// Empty where there is none.
    fn header(&self, name: &str) -> &str {
        let head = self.0.split("\r\n\r\n").next().unwrap_or_default();
        let fields = head.lines().filter_map(|line| line.split_once(':'));
        fields.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next().unwrap_or("")
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn connect_unix(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn secured<S: Read + Write>(certificate: &Certificate, stream: S) -> StreamOwned<ClientConnection, S> {
    let config = trusting(&[&certificate.authority]);
    let name = ServerName::try_from("localhost").unwrap();
    StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), stream)
}

/// Sends a request line, headers without the last two, and reads to the end.
fn ask(stream: &mut (impl Read + Write), request: &str) -> Answer {
    write!(stream, "{}\r\nConnection: close\r\n\r\n", request.trim_end().replace('\n', "\r\n")).unwrap();
    Answer(everything(stream).unwrap())
}

/// What comes until the other side is gone, however it goes; an error if it stays.
fn everything(stream: &mut impl Read) -> io::Result<String> {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(error),
        _ => Ok(String::from_utf8_lossy(&bytes).into_owned()),
    }
}
