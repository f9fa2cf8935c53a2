//! The servers, their configurations and their processes.

use std::{
    fmt::Write as _,
    fs::{self, File, OpenOptions},
    io::Write as _,
    net::{SocketAddr, TcpStream},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    compare::Contestant,
    peers::{
        keys::{Authority, ISSUER, SERVICE, Signer},
        ports,
    },
    quantity::{bytes, digits, float},
};

/// How long a server may take to listen.
const PATIENCE: Duration = Duration::from_secs(30);

/// A directory of its own, removed at the end.
#[derive(Debug)]
pub(super) struct Place(PathBuf);

impl Place {
    pub(super) fn create(parent: &Path) -> Result<Self> {
        let number = getrandom::u64().map_err(|error| anyhow::anyhow!("no random number: {error}"))?;
        let directory = parent.join(format!("loadtest-{number:016x}"));
        let made = fs::DirBuilder::new().recursive(true).mode(0o755).create(&directory);
        made.with_context(|| format!("cannot make {}", directory.display()))?;
        Ok(Self(directory))
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

/// To be read by its owner alone.
pub(super) fn write_secret(path: &Path, text: &str) -> Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
}

impl Drop for Place {
    fn drop(&mut self) {
        // What cannot be removed is for whoever owns the machine.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A process that ends with us.
#[derive(Debug)]
struct Server {
    child: Child,
    log: PathBuf,
}

impl Server {
    fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let output = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = command.spawn().with_context(|| format!("{name} cannot be started: is it installed?"))?;
        Ok(Self { child, log: log.to_path_buf() })
    }

    fn wait_for(&mut self, address: SocketAddr) -> Result<Duration> {
        let begin = Instant::now();
        while TcpStream::connect(address).is_err() {
            if let Some(status) = self.child.try_wait()? {
                let said = fs::read_to_string(&self.log).unwrap_or_default();
                bail!("it has ended with {status}; it said:\n{said}");
            }
            if begin.elapsed() > PATIENCE {
                bail!("nobody listens on {address}");
            }
            thread::sleep(Duration::from_millis(2));
        }
        Ok(begin.elapsed())
    }

    fn memory(&self, field: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
        line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap_or_default() << 10
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // nginx's workers end with their master on SIGTERM, not on SIGKILL.
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        let asked = pid.map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::TERM));
        let begin = Instant::now();
        while matches!(asked, Some(Ok(()))) && begin.elapsed() < Duration::from_secs(5) {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        // It is gone, or it is told once more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// All that run beside each other.
#[derive(Debug)]
pub(super) struct Peers {
    ours: Server,
    /// Ours once more, on the same directory, with all of what it takes kept in the page cache; where somebody asks.
    keeping: Option<Server>,
    nginx: Server,
    registry: Server,
    our_address: SocketAddr,
    keeping_address: SocketAddr,
    nginx_address: SocketAddr,
    files_address: SocketAddr,
    started_in: Duration,
    configurations: [(String, String); 4],
    content: Place,
}

impl Peers {
    pub(super) fn start(
        place: &Place,
        program: &Path,
        authority: &Authority,
        signer: &Signer,
        with_keeping: bool,
    ) -> Result<Self> {
        let content = Place::create(&place.0)?;
        let [our_address, keeping_address, nginx_address, files_address, registry_address] = addresses()?;
        let auth = format!(
            "auth:\n  token:\n    realm: {}\n    service: {SERVICE}\n    issuer: {ISSUER}\n    rootcertbundle: {}\n",
            signer.realm,
            signer.bundle.display()
        );
        let config = |root: &str, address: SocketAddr, tls: &str| {
            format!(
                "version: 0.1\nlog:\n  level: info\nstorage:\n  filesystem:\n    rootdirectory: {}\n  cache:\n    \
                 blobdescriptor: inmemory\nhttp:\n  addr: {address}\n  secret: a-secret-of-this-run\n{tls}{auth}",
                content.path(root).display()
            )
        };
        let tls =
            format!("  tls:\n    certificate: {}\n    key: {}\n", authority.chain.display(), authority.key.display());
        let configurations = [
            ("pierhead.yml".to_owned(), config("ours", our_address, &tls)),
            (
                "pierhead-keep.yml".to_owned(),
                config("ours", keeping_address, &tls) + "edge:\n  uploads:\n    page_cache: keep\n",
            ),
            ("registry.yml".to_owned(), config("theirs", registry_address, "")),
            ("nginx.conf".to_owned(), nginx(&content, authority, nginx_address, files_address, registry_address)),
        ];
        for (name, text) in &configurations {
            fs::write(content.path(name), text).with_context(|| format!("cannot write {name}"))?;
        }
        let serve = |program: &Path, name: &str| -> Result<Server> {
            let mut command = Command::new(program);
            let command = command.arg("serve").arg(content.path(name));
            Server::start(command, &content.path(&format!("{name}.log")))
        };
        let mut ours = serve(program, "pierhead.yml").context("our server")?;
        let started_in = ours.wait_for(our_address).context("our server")?;
        let mut keeping =
            with_keeping.then(|| serve(program, "pierhead-keep.yml")).transpose().context("our server")?;
        keeping.as_mut().map(|server| server.wait_for(keeping_address)).transpose().context("our server")?;
        let mut registry = serve(Path::new("docker-registry"), "registry.yml").context("docker-registry")?;
        registry.wait_for(registry_address).context("docker-registry")?;
        let mut command = Command::new("nginx");
        let command = command.arg("-p").arg(&content.0).arg("-c").arg(content.path("nginx.conf"));
        let mut nginx = Server::start(command, &content.path("nginx.log")).context("nginx")?;
        nginx.wait_for(nginx_address).context("nginx")?;
        Ok(Self {
            ours,
            keeping,
            nginx,
            registry,
            our_address,
            keeping_address,
            nginx_address,
            files_address,
            started_in,
            configurations,
            content,
        })
    }

    pub(super) fn ours(&self, arguments: &[String]) -> Contestant {
        contestant("pierhead", self.our_address, &[&self.ours], arguments)
    }

    pub(super) fn keeping(&self, arguments: &[String]) -> Contestant {
        let servers: Vec<_> = self.keeping.iter().collect();
        contestant("pierhead, page_cache: keep", self.keeping_address, &servers, arguments)
    }

    pub(super) fn theirs(&self, arguments: &[String]) -> Contestant {
        contestant("nginx + docker-registry", self.nginx_address, &[&self.nginx, &self.registry], arguments)
    }

    /// Puts a blob that our server has where nginx alone serves it, under the path that it has in a registry.
    pub(super) fn publish(&self, repository: &str, digest: &str) -> Result<()> {
        let hex = digest.trim_start_matches("sha256:");
        let blobs = "ours/docker/registry/v2/blobs/sha256";
        let data = self.content.path(&format!("{blobs}/{}/{hex}/data", &hex[..2]));
        let directory = self.content.path(&format!("files/v2/{repository}/blobs"));
        fs::create_dir_all(&directory)?;
        fs::hard_link(&data, directory.join(digest)).with_context(|| format!("cannot link {}", data.display()))
    }

    /// nginx alone, which serves what was published.
    pub(super) fn files(&self, arguments: &[String]) -> Contestant {
        contestant("nginx, files", self.files_address, &[&self.nginx], arguments)
    }

    /// What both cost while nobody asks, and how soon ours listens.
    pub(super) fn idle(&self) -> Result<String> {
        let mut text = String::from("Idle: ");
        let resident = |server: &Server| bytes(float(server.memory("VmRSS:")));
        write!(
            text,
            "pierhead {}, docker-registry {}, nginx (master) {}. From start to the first connection: pierhead {} ms.",
            resident(&self.ours),
            resident(&self.registry),
            resident(&self.nginx),
            digits(self.started_in.as_secs_f64() * 1e3)
        )?;
        Ok(text)
    }

    /// The highest that each ever had resident.
    pub(super) fn peaks(&self) -> String {
        let peak = |server: &Server| bytes(float(server.memory("VmHWM:")));
        format!("peak resident: pierhead {}, docker-registry {}\n", peak(&self.ours), peak(&self.registry))
    }

    pub(super) fn configurations(&self) -> String {
        let block = |(name, text): &(String, String)| format!("`{name}`\n\n```text\n{text}```\n\n");
        self.configurations.iter().map(block).collect()
    }
}

fn contestant(name: &str, address: SocketAddr, servers: &[&Server], arguments: &[String]) -> Contestant {
    Contestant {
        name: name.to_owned(),
        url: format!("https://{address}"),
        pids: servers.iter().map(|server| server.child.id()).collect(),
        arguments: arguments.to_vec(),
    }
}

fn addresses() -> Result<[SocketAddr; 5]> {
    let free = || ports::free().context("no free port");
    Ok([free()?, free()?, free()?, free()?, free()?])
}

/// In front of docker-registry as administrators set it up, and beside it a server of plain files.
fn nginx(
    content: &Place,
    authority: &Authority,
    address: SocketAddr,
    files: SocketAddr,
    registry: SocketAddr,
) -> String {
    let (here, chain, key) = (content.0.display(), authority.chain.display(), authority.key.display());
    format!(
        "daemon off;\nworker_processes auto;\nerror_log stderr;\npid {here}/nginx.pid;\nuser root;\n\
         events {{ worker_connections 4096; }}\n\
         http {{\n  access_log {here}/access.log;\n  client_body_temp_path {here}/body;\n  proxy_temp_path {here}/proxy;\n  \
         fastcgi_temp_path {here}/fastcgi;\n  uwsgi_temp_path {here}/uwsgi;\n  scgi_temp_path {here}/scgi;\n  \
         sendfile on;\n  tcp_nopush on;\n  ssl_protocols TLSv1.3;\n  ssl_session_cache shared:SSL:10m;\n  \
         ssl_certificate {chain};\n  ssl_certificate_key {key};\n  client_max_body_size 0;\n  keepalive_requests 1000000;\n  \
         upstream registry {{ server {registry}; keepalive 64; }}\n  \
         server {{\n    listen {address} ssl http2;\n    chunked_transfer_encoding on;\n    location / {{\n      \
         proxy_pass http://registry;\n      proxy_http_version 1.1;\n      proxy_set_header Connection \"\";\n      \
         proxy_set_header Host $http_host;\n      proxy_set_header X-Forwarded-Proto $scheme;\n      \
         proxy_set_header X-Real-IP $remote_addr;\n      \
         proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n      \
         proxy_request_buffering off;\n      proxy_buffering off;\n      proxy_read_timeout 900;\n    }}\n  }}\n  \
         server {{\n    listen {files} ssl http2;\n    root {here}/files;\n  }}\n}}\n"
    )
}
