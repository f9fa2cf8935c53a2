//! A server that asks Pebble for its certificate, and a client that looks at what it shows.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    client::Resumption,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};

use crate::support::{
    certificate::{client_config, write_private},
    digest::hexadecimal,
    pebble::Pebble,
    process::{Process, free_address},
    registry::{Program, spawn},
};

pub(super) const NAME: &str = "registry.test";

/// No test waits longer than this for anything.
pub(super) const PATIENCE: Duration = Duration::from_mins(2);

/// Waits until something holds.
#[track_caller]
pub(super) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// A server with `edge.acme`.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) directory: PathBuf,
    process: Option<Process>,
}

/// What stands in its configuration.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) address: SocketAddr,
    /// Below `storage`.
    pub(super) storage: String,
    /// Below `edge.acme`, beside what all have.
    pub(super) acme: String,
}

impl Plan {
    /// Everything lies below `directory`.
    pub(super) fn new(directory: &Path, acme: &str) -> Self {
        let storage = format!("  filesystem:\n    rootdirectory: {}\n", directory.join("data").display());
        let state = format!("state: {}\n", directory.join("state").display());
        Self { address: free_address(), storage, acme: format!("{state}{acme}") }
    }

    fn config(&self, pebble: &Pebble) -> String {
        let mut acme = String::new();
        let authority = format!("directory: {}\nca: {}", pebble.url(), pebble.certificate.authority.display());
        for line in authority.lines().chain(self.acme.lines()) {
            writeln!(acme, "    {line}").unwrap();
        }
        format!(
            "version: 0.1\nlog:\n  accesslog:\n    disabled: true\nauth: none\nstorage:\n{}http:\n  addr: {}\n\
             edge:\n  acme:\n    enabled: true\n    poll_interval: 300ms\n{acme}",
            self.storage, self.address
        )
    }
}

impl Server {
    pub(super) fn start(directory: &Path, pebble: &Pebble, plan: &Plan) -> Self {
        Self::start_with(directory, pebble, plan, "")
    }

    /// With more below `edge`.
    pub(super) fn start_with(directory: &Path, pebble: &Pebble, plan: &Plan, edge: &str) -> Self {
        fs::create_dir_all(directory).unwrap();
        write_private(&directory.join("config.yml"), &format!("{}{edge}", plan.config(pebble)));
        let mut server = Self { address: plan.address, directory: directory.to_path_buf(), process: None };
        server.restart();
        server
    }

    /// Starts it with the configuration that it has.
    pub(super) fn restart(&mut self) {
        self.process = Some(spawn(&Program::pierhead(), &self.directory, self.address));
    }

    /// SIGHUP with this configuration, which must be good.
    pub(super) fn reload(&self, config: &str) {
        const IN_FORCE: &str = "the configuration was read again and is in force";
        let before = self.log().matches(IN_FORCE).count();
        fs::write(self.directory.join("config.yml"), config).unwrap();
        self.process.as_ref().unwrap().signal(rustix::process::Signal::HUP);
        until("the configuration is in force", || self.log().matches(IN_FORCE).count() > before);
    }

    /// SIGKILL.
    pub(super) fn kill(&mut self) {
        self.process.take().unwrap().kill();
    }

    /// In order; its value ends it.
    pub(super) fn stop(&mut self) {
        self.process = None;
    }

    /// What it said, but for requests.
    pub(super) fn log(&self) -> String {
        let log = fs::read_to_string(self.directory.join("log")).unwrap_or_default();
        log.lines().filter(|line| !line.contains("response completed")).flat_map(|line| [line, "\n"]).collect()
    }

    /// A command of ours about the certificates of its configuration.
    pub(super) fn acme(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pierhead"));
        command.arg("acme").args(arguments).arg(self.directory.join("config.yml"));
        command.output().unwrap()
    }

    /// Orders a certificate whether it is due or not; its serial number.
    pub(super) fn renew(&self) -> String {
        let mut output = self.acme(&["renew", "--force"]);
        // The server itself may have the right to order just now.
        let deadline = Instant::now() + PATIENCE;
        while said(&output).contains("another process is ordering") && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(200));
            output = self.acme(&["renew", "--force"]);
        }
        assert!(output.status.success(), "{}\n{}", said(&output), self.log());
        let printed = String::from_utf8(output.stdout).unwrap();
        let serial = printed.trim().strip_prefix("issued: ").unwrap().split(';').next().unwrap();
        serial.to_owned()
    }

    pub(super) fn status(&self) -> String {
        let output = self.acme(&["status"]);
        assert!(output.status.success(), "{}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if thread::panicking() {
            println!("--- {} said:\n{}", self.address, self.log());
        }
    }
}

pub(super) fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Trusts what an authority signs.
#[derive(Clone, Debug)]
pub(super) struct Client(Arc<ClientConfig>);

impl Client {
    pub(super) fn of(pebble: &Pebble) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(pebble.root().as_bytes()).unwrap()).unwrap();
        let mut config = client_config(roots);
        // In a session that is resumed, nobody shows anything.
        config.resumption = Resumption::disabled();
        Self(Arc::new(config))
    }

    /// Makes a handshake and a request; the certificate's serial number in hexadecimal.
    pub(super) fn look(&self, address: SocketAddr, name: &str) -> Result<String, String> {
        let look = || -> Result<String, Box<dyn std::error::Error>> {
            let connection = ClientConnection::new(Arc::clone(&self.0), ServerName::try_from(name.to_owned())?)?;
            let socket = TcpStream::connect(address)?;
            socket.set_read_timeout(Some(Duration::from_secs(20)))?;
            let mut stream = StreamOwned::new(connection, socket);
            stream.write_all(b"GET /v2/ HTTP/1.1\r\nHost: registry.test\r\nConnection: close\r\n\r\n")?;
            let mut answer = [0; 12];
            stream.read_exact(&mut answer)?;
            if &answer != b"HTTP/1.1 200" {
                return Err(String::from_utf8_lossy(&answer).into_owned().into());
            }
            let shown = stream.conn.peer_certificates().and_then(|chain| chain.first()).ok_or("no certificate")?;
            let (_, shown) = x509_parser::parse_x509_certificate(shown).map_err(|error| error.to_string())?;
            Ok(hexadecimal(shown.raw_serial()))
        };
        look().map_err(|error| error.to_string())
    }

    /// Waits until the server shows something that the authority signed.
    #[track_caller]
    pub(super) fn until_trusted(&self, address: SocketAddr) -> String {
        let mut seen = Err(String::new());
        until("a certificate of the authority is shown", || {
            seen = self.look(address, NAME);
            seen.is_ok()
        });
        seen.unwrap()
    }
}

/// A client that connects again and again, from its start to [`Watch::end`].
#[derive(Debug)]
pub(super) struct Watch {
    seen: Arc<Seen>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Seen {
    ended: AtomicBool,
    handshakes: AtomicUsize,
    serials: Mutex<BTreeSet<String>>,
    failures: Mutex<Vec<String>>,
}

impl Watch {
    pub(super) fn start(client: &Client, addresses: Vec<SocketAddr>) -> Self {
        let (client, seen) = (client.clone(), Arc::new(Seen::default()));
        let shared = Arc::clone(&seen);
        let thread = thread::spawn(move || {
            for address in addresses.iter().cycle() {
                if shared.ended.load(Ordering::Relaxed) {
                    return;
                }
                match client.look(*address, NAME) {
                    Ok(serial) => drop(shared.serials.lock().unwrap().insert(serial)),
                    Err(failure) => shared.failures.lock().unwrap().push(failure),
                }
                shared.handshakes.fetch_add(1, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(10));
            }
        });
        Self { seen, thread: Some(thread) }
    }

    pub(super) fn has_seen(&self, serial: &str) -> bool {
        self.seen.serials.lock().unwrap().contains(serial)
    }

    pub(super) fn handshakes(&self) -> usize {
        self.seen.handshakes.load(Ordering::Relaxed)
    }

    pub(super) fn serials(&self) -> usize {
        self.seen.serials.lock().unwrap().len()
    }

    /// Ends it: not one handshake may have failed.
    #[track_caller]
    pub(super) fn end(mut self, what: &str) {
        self.seen.ended.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
        let failures = self.seen.failures.lock().unwrap();
        let handshakes = self.handshakes();
        println!("{what}: {handshakes} handshakes, {} failed, {} serial numbers", failures.len(), self.serials());
        assert!(failures.is_empty() && handshakes > 10, "{what}: {handshakes} handshakes, {failures:?}");
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.seen.ended.store(true, Ordering::Relaxed);
    }
}
