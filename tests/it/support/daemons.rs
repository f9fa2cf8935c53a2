//! Container engines and a web server, started by hand in directories of the test.
//!
//! The engines look for certificates and names at fixed places of the machine. Each one runs in a mount namespace of
//! its own, where those places are files of the test: nothing of the machine is changed and nothing is left behind.

use std::{
    ffi::OsStr,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use crate::support::{
    certificate::{Certificate, HOST_NAME},
    command::command,
    process::{Process, Usage, free_address},
    tools,
};

/// A Docker engine that knows the registry as [`HOST_NAME`] and trusts its authority.
#[derive(Debug)]
pub(crate) struct Docker {
    socket: PathBuf,
    /// Where its clients keep their log-in.
    client: PathBuf,
    _daemon: Process,
}

impl Docker {
    pub(crate) fn start(directory: &Path, registry: SocketAddr, certificate: &Certificate) -> Self {
        let hosts = format!("127.0.0.1 localhost {HOST_NAME}\n");
        Self::start_among(directory, &hosts, &format!("{HOST_NAME}:{}", registry.port()), certificate)
    }

    /// With these lines in `/etc/hosts`; `registry` is what stands before the first slash of a reference.
    pub(crate) fn start_among(directory: &Path, names: &str, registry: &str, certificate: &Certificate) -> Self {
        let socket = directory.join("docker.sock");
        let client = directory.join("client");
        fs::create_dir_all(&client).unwrap();
        fs::write(directory.join("docker.json"), "{}").unwrap();
        let places = directory.join("docker-etc");
        let trusted = places.join("certs.d").join(registry);
        fs::create_dir_all(&trusted).unwrap();
        fs::copy(&certificate.authority, trusted.join("ca.crt")).unwrap();
        let hosts = directory.join("hosts");
        fs::write(&hosts, names).unwrap();

        let mut daemon = in_namespace(&[(&hosts, "/etc/hosts"), (&places, "/etc/docker")], "dockerd");
        for (option, file) in
            [("--config-file", "docker.json"), ("--data-root", "docker"), ("--exec-root", "exec"), ("--pidfile", "pid")]
        {
            daemon.arg(option).arg(directory.join(file));
        }
        daemon.args(["--iptables=false", "--ip6tables=false", "--ip-masq=false", "--bridge=none"]);
        daemon.args(["--storage-driver=vfs", "-H"]).arg(url("unix://", &socket));
        let mut daemon = Process::start(&mut daemon, &directory.join("dockerd.log"));
        let docker = |socket| Command::new(tools::path("docker")).args(["-H", socket, "version"]).output();
        let address = url("unix://", &socket);
        daemon.wait_until("docker version answers", || docker(&address).is_ok_and(|output| output.status.success()));
        Self { socket, client, _daemon: daemon }
    }

    /// The docker command against this engine.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = command("docker", ["-H", &url("unix://", &self.socket), "--config"]);
        command.arg(&self.client).args(arguments);
        command
    }
}

/// A containerd with its own state, for `ctr`.
#[derive(Debug)]
pub(crate) struct Containerd {
    socket: PathBuf,
    _daemon: Process,
}

impl Containerd {
    pub(crate) fn start(directory: &Path) -> Self {
        let socket = directory.join("containerd.sock");
        let config = directory.join("containerd.toml");
        let text = format!(
            "version = 2\nroot = '{0}/containerd'\nstate = '{0}/containerd-state'\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
             [grpc]\naddress = '{1}'\n",
            directory.display(),
            socket.display(),
        );
        fs::write(&config, text).unwrap();
        let mut daemon = command("containerd", [OsStr::new("--config"), config.as_os_str()]);
        let mut daemon = Process::start(&mut daemon, &directory.join("containerd.log"));
        let ctr = || Command::new(tools::path("ctr")).arg("-a").arg(&socket).arg("version").output();
        daemon.wait_until("ctr version answers", || ctr().is_ok_and(|output| output.status.success()));
        Self { socket, _daemon: daemon }
    }

    /// The ctr command against this containerd.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = command("ctr", [OsStr::new("-a"), self.socket.as_os_str()]);
        command.args(arguments);
        command
    }
}

/// nginx with TLS and HTTP/2 in front of a plain registry, as administrators set it up.
#[derive(Debug)]
pub(crate) struct Nginx {
    pub address: SocketAddr,
    process: Process,
}

impl Nginx {
    pub(crate) fn start(directory: &Path, upstream: SocketAddr, certificate: &Certificate) -> Self {
        Self::start_at(free_address(), directory, upstream, certificate)
    }

    /// At an address that somebody knows already.
    pub(crate) fn start_at(
        address: SocketAddr,
        directory: &Path,
        upstream: SocketAddr,
        certificate: &Certificate,
    ) -> Self {
        Self::start_logging(address, directory, upstream, certificate, "access_log off;")
    }

    /// With directives of `http` that say what it logs.
    pub(crate) fn start_logging(
        address: SocketAddr,
        directory: &Path,
        upstream: SocketAddr,
        certificate: &Certificate,
        log: &str,
    ) -> Self {
        let config = directory.join("nginx.conf");
        let text = format!(
            "daemon off;\nworker_processes auto;\nerror_log stderr;\npid {0}/nginx.pid;\n\
             events {{ worker_connections 1024; }}\n\
             http {{\n  {log}\n  client_body_temp_path {0}/body;\n  proxy_temp_path {0}/proxy;\n  \
             fastcgi_temp_path {0}/fastcgi;\n  uwsgi_temp_path {0}/uwsgi;\n  scgi_temp_path {0}/scgi;\n  \
             upstream registry {{ server {upstream}; keepalive 32; }}\n  \
             server {{\n    listen {address} ssl http2;\n    ssl_certificate {1};\n    ssl_certificate_key {2};\n    \
             client_max_body_size 0;\n    chunked_transfer_encoding on;\n    location / {{\n      \
             proxy_pass http://registry;\n      proxy_http_version 1.1;\n      proxy_set_header Connection \"\";\n      \
             proxy_set_header Host $http_host;\n      proxy_set_header X-Forwarded-Proto $scheme;\n      \
             proxy_set_header X-Real-IP $remote_addr;\n      \
             proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n      \
             proxy_request_buffering off;\n      proxy_buffering off;\n      proxy_read_timeout 900;\n    }}\n  }}\n}}\n",
            directory.display(),
            certificate.chain.display(),
            certificate.key.display(),
        );
        fs::write(&config, text).unwrap();
        let mut nginx = command("nginx", [OsStr::new("-c"), config.as_os_str()]);
        let mut process = Process::start(&mut nginx, &directory.join("nginx.log"));
        process.wait_for_port(address);
        Self { address, process }
    }

    pub(crate) fn usage(&self) -> Usage {
        self.process.usage()
    }
}

/// A program in a mount namespace where each pair's second path shows the first.
fn in_namespace(places: &[(&Path, &str)], program: &str) -> Command {
    use std::fmt::Write as _;
    let mut script = String::from("set -e\n");
    let mut paths = Vec::new();
    for (number, (here, there)) in places.iter().enumerate() {
        // The engine's places may be missing on this machine; an empty directory does no harm.
        writeln!(script, "[ -e {there} ] || mkdir -p {there}; mount --bind \"${{{}}}\" {there}", number + 1).unwrap();
        paths.push(here.as_os_str());
    }
    write!(script, "shift {}; exec \"$0\" \"$@\"", places.len()).unwrap();
    let mut command = command("unshare", ["--mount", "sh", "-c", &script]);
    command.arg(tools::path(program)).args(paths);
    command
}

fn url(scheme: &str, path: &Path) -> String {
    format!("{scheme}{}", path.display())
}
