//! A registry process: which program it is, is a value, and both programs read the same file.

use std::{
    env,
    ffi::{OsStr, OsString},
    fmt::Write as _,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use crate::support::{
    certificate::{Certificate, write_private},
    command::{command, run},
    process::{Process, Usage, free_address},
    s3::{ACCESS_KEY, REGION, SECRET_KEY},
    tokens::{DEVELOPER, GUEST, ISSUER, SERVICE, TokenServer},
    tools,
};

/// How long the tokens of these tests live, as GitLab's do.
const TOKEN_LIFETIME: Duration = Duration::from_mins(5);

const LOG_LINES_SHOWN: usize = 40;

/// Shared by all processes on one directory, as the administrator's guide asks; those on one bucket share nothing else.
const HTTP_SECRET: &str = "a-secret-that-replicas-share";

/// A program that serves `config.yml`.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub name: &'static str,
    path: PathBuf,
    /// Another program and its arguments, which starts it; nothing where it starts by itself.
    under: Vec<OsString>,
}

impl Program {
    /// The binary under test; `PIERHEAD_TEST_SERVER` names another one, to compare.
    pub(crate) fn pierhead() -> Self {
        let built = PathBuf::from(env!("CARGO_BIN_EXE_pierhead"));
        Self {
            name: "pierhead",
            path: env::var_os("PIERHEAD_TEST_SERVER").map_or(built, PathBuf::from),
            under: Vec::new(),
        }
    }

    /// The same, started by another program that becomes it: the process has one id.
    pub(crate) fn under(self, under: Vec<OsString>) -> Self {
        Self { under, ..self }
    }

    fn command(&self) -> Command {
        let mut words = self.under.iter().map(OsString::as_os_str).chain([self.path.as_os_str()]);
        let mut command = Command::new(words.next().unwrap());
        command.args(words);
        command
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The release build of ours where there is one, for figures.
    pub(crate) fn pierhead_release() -> Option<Self> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/release/pierhead");
        path.is_file().then_some(Self { name: "pierhead (release)", path, under: Vec::new() })
    }

    const DISTRIBUTION: &str = "docker-registry 2.8.2";

    /// Debian's docker-registry, CNCF Distribution 2.8.2.
    pub(crate) fn distribution() -> Self {
        Self { name: Self::DISTRIBUTION, path: tools::path("docker-registry"), under: Vec::new() }
    }
}

/// Who may come in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Auth {
    None,
    /// [`DEVELOPER`] with a bcrypt hash.
    Htpasswd,
    /// Tokens for [`DEVELOPER`] and [`GUEST`].
    Token,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Transport {
    Plain,
    Tls,
}

/// Where a registry keeps its content, and how: what stands below `storage` in its configuration.
#[derive(Clone, Debug)]
pub(crate) struct Storage(String);

/// How content of an object store comes to clients.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Delivery {
    /// They are sent to the store.
    Redirect,
    /// The registry passes it on.
    Forward,
}

impl Storage {
    pub(crate) fn directory(root: &Path) -> Self {
        Self(format!("  filesystem:\n    rootdirectory: {}\n  delete:\n    enabled: true\n", root.display()))
    }

    /// A bucket behind a port of this machine: the store's own, a proxy's or a sink's.
    ///
    /// It is named `localhost`: a client that is redirected there sees another host, and keeps its token to itself.
    pub(crate) fn s3(port: u16, bucket: &str, delivery: Delivery) -> Self {
        let storage = format!(
            "  s3:\n    accesskey: {ACCESS_KEY}\n    secretkey: {SECRET_KEY}\n    region: {REGION}\n    \
             regionendpoint: http://localhost:{port}\n    bucket: {bucket}\n    forcepathstyle: true\n    \
             secure: false\n    v4auth: true\n",
        );
        let storage = Self(storage).with("delete:\n  enabled: true");
        storage.with(&format!("redirect:\n  disable: {}", delivery == Delivery::Forward))
    }

    fn is_directory(&self) -> bool {
        self.0.starts_with("  filesystem:")
    }

    /// Adds a parameter of the S3 driver.
    pub(crate) fn parameter(self, name: &str, value: &str) -> Self {
        Self(self.0.replacen("  s3:\n", &format!("  s3:\n    {name}: {value}\n"), 1))
    }

    /// Adds a section beside the driver's.
    pub(crate) fn with(mut self, section: &str) -> Self {
        section.lines().for_each(|line| writeln!(self.0, "  {line}").unwrap());
        self
    }
}

/// What a configuration says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan<'a> {
    pub storage: Option<&'a Storage>,
    pub transport: Transport,
    pub certificate: &'a Certificate,
    /// Lines more below `http`.
    pub http: &'a str,
    /// Sections more.
    pub sections: &'a str,
}

/// A running registry over a directory or a bucket.
#[derive(Debug)]
pub(crate) struct Registry {
    pub address: SocketAddr,
    pub certificate: Certificate,
    program: Program,
    /// Where its configuration, its log and its credentials lie.
    directory: PathBuf,
    process: Process,
}

impl Registry {
    /// Starts `program` over the storage in `root`; its own files go to `directory`, which is made.
    pub(crate) fn start(program: &Program, directory: &Path, root: &Path, transport: Transport, auth: Auth) -> Self {
        Self::start_on(program, directory, &Storage::directory(root), transport, auth)
    }

    /// The same over any storage.
    pub(crate) fn start_on(
        program: &Program,
        directory: &Path,
        storage: &Storage,
        transport: Transport,
        auth: Auth,
    ) -> Self {
        let http = |certificate: &Certificate| match transport {
            Transport::Plain => String::new(),
            Transport::Tls => tls_section(certificate),
        };
        Self::start_with(program, directory, storage, auth, free_address(), http)
    }

    /// The same at an address that somebody knows already; `more` is what the section `http`, the last one, says beside
    /// that, and may be followed by other sections.
    pub(crate) fn start_with(
        program: &Program,
        directory: &Path,
        storage: &Storage,
        auth: Auth,
        address: SocketAddr,
        more: impl FnOnce(&Certificate) -> String,
    ) -> Self {
        fs::create_dir_all(directory).unwrap();
        let certificate = Certificate::create(directory);
        let http = more(&certificate);
        let sections = auth_section(auth, directory, &certificate);
        Self::start_configured(program, directory, address, &certificate, Some(storage), &sections, &http)
    }

    /// The same with everything said.
    pub(crate) fn start_as(program: &Program, directory: &Path, plan: &Plan<'_>) -> Self {
        let &Plan { storage, transport, certificate, http: more, sections } = plan;
        fs::create_dir_all(directory).unwrap();
        let tls = match transport {
            Transport::Plain => String::new(),
            Transport::Tls => tls_section(certificate),
        };
        Self::start_configured(
            program,
            directory,
            free_address(),
            certificate,
            storage,
            sections,
            &format!("{tls}{more}"),
        )
    }

    /// `http` stands last: it may be followed by other sections.
    fn start_configured(
        program: &Program,
        directory: &Path,
        address: SocketAddr,
        certificate: &Certificate,
        storage: Option<&Storage>,
        sections: &str,
        http: &str,
    ) -> Self {
        let secret = if storage.is_some_and(Storage::is_directory) {
            format!("  secret: {HTTP_SECRET}\n")
        } else {
            String::new()
        };
        // Its purger comes at some minute of the first hour, and does not survive what others write into a bucket.
        let storage = storage.cloned().map(|storage| match program.name {
            Program::DISTRIBUTION if !storage.0.contains("maintenance:") => {
                storage.with("maintenance:\n  uploadpurging:\n    enabled: false")
            }
            _ => storage,
        });
        let storage = storage.as_ref();
        let config = format!(
            "version: 0.1\n\
             log:\n  level: info\n  accesslog:\n    disabled: true\n\
             {}\
             {sections}http:\n  addr: {address}\n{secret}{http}",
            storage.map_or_else(String::new, |storage| format!("storage:\n{}", storage.0)),
        );
        write_private(&directory.join("config.yml"), &config);
        let process = spawn(program, directory, address);
        Self {
            address,
            certificate: certificate.clone(),
            program: program.clone(),
            directory: directory.to_path_buf(),
            process,
        }
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn usage(&self) -> Usage {
        self.process.usage()
    }

    /// What it wrote so far.
    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    /// Waits until it has written this.
    pub(crate) fn wait_for_log(&mut self, text: &str) {
        let log = self.directory.join("log");
        let said = || fs::read_to_string(&log).is_ok_and(|log| log.contains(text));
        self.process.wait_until(&format!("it logs {text:?}"), said);
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again after [`Registry::kill`], with the same configuration on the same port.
    pub(crate) fn restart(&mut self) {
        self.process = spawn(&self.program, &self.directory, self.address);
    }
}

/// A test that failed shows what the server said last.
impl Drop for Registry {
    fn drop(&mut self) {
        if thread::panicking() {
            let log = self.process.log();
            let lines: Vec<_> = log.lines().rev().take(LOG_LINES_SHOWN).collect();
            println!("--- {} at {} said last:", self.program.name, self.address);
            lines.iter().rev().for_each(|line| println!("{line:.1000}"));
        }
    }
}

/// Below `http`.
pub(crate) fn tls_section(certificate: &Certificate) -> String {
    format!("  tls:\n    certificate: {}\n    key: {}\n", certificate.chain.display(), certificate.key.display())
}

/// Starts `program` on the `config.yml` in `directory` and waits until it accepts; its output goes to `log` there.
pub(crate) fn spawn(program: &Program, directory: &Path, address: SocketAddr) -> Process {
    spawn_by(&mut program.command(), directory, address)
}

/// The same with at most this many open files.
pub(crate) fn spawn_with_files(program: &Program, files: u32, directory: &Path, address: SocketAddr) -> Process {
    let mut command = Command::new("prlimit");
    spawn_by(command.arg(format!("--nofile={files}:{files}")).arg(&program.path), directory, address)
}

/// `command` stands for the program, without arguments of its own.
fn spawn_by(command: &mut Command, directory: &Path, address: SocketAddr) -> Process {
    let mut process = launch(command, directory);
    process.wait_for_port(address);
    process
}

/// The same with a program that another may start first, and without waiting.
pub(crate) fn launch(command: &mut Command, directory: &Path) -> Process {
    command.arg("serve").arg(directory.join("config.yml")).current_dir(directory);
    // Such a variable of the developer's shell would change the configuration, or who the server is to a store.
    let changes = |name: &OsStr| ["REGISTRY_", "AWS_"].iter().any(|start| name.to_string_lossy().starts_with(start));
    for (name, _) in env::vars_os().filter(|(name, _)| changes(name)) {
        command.env_remove(name);
    }
    Process::start(command, &directory.join("log"))
}

/// The section `auth`; what it names lies in the directory.
pub(crate) fn auth_section(auth: Auth, directory: &Path, certificate: &Certificate) -> String {
    match auth {
        Auth::None => String::new(),
        Auth::Htpasswd => {
            let path = directory.join("htpasswd");
            let hash = ["-B", "-b", "-n", DEVELOPER.name, DEVELOPER.password];
            write_private(&path, &run(&mut command("htpasswd", hash)));
            format!("auth:\n  htpasswd:\n    realm: registry\n    path: {}\n", path.display())
        }
        Auth::Token => {
            let tokens = TokenServer::start(directory, certificate, &[DEVELOPER, GUEST], TOKEN_LIFETIME);
            format!(
                "auth:\n  token:\n    realm: {}\n    service: {SERVICE}\n    issuer: {ISSUER}\n    \
                 rootcertbundle: {}\n",
                tokens.realm(),
                tokens.bundle.display()
            )
        }
    }
}
