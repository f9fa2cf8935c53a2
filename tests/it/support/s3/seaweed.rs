//! `SeaweedFS`, a real S3: it checks signatures, conditions and sizes.
//!
//! Starting it takes seconds and a hundred mebibytes, so that one instance serves all tests of a run, each in a bucket
//! of its own. It begins with the first test that wants it and ends with the test binary, however that ends: a shell
//! around it waits for the end of its standard input, which this process holds open, and then takes the data away.

use std::{
    env, fs,
    io::Read as _,
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::support::{
    certificate::write_private,
    process::free_address,
    s3::{
        ACCESS_KEY, SECRET_KEY,
        client::{Bucket, Client},
    },
    tools,
};

/// What a test that uses it asks [`tools::present`] for.
pub(crate) const PROGRAM: &str = "weed";

const PATIENCE: Duration = Duration::from_mins(1);

/// Each bucket takes seven of them as files; none is made before something is written.
const VOLUMES_MAX: &str = "5000";

/// What its garbage collector is asked to stay below.
const MEMORY: &str = "1GiB";

/// Runs a program until standard input ends, in its directory `$1` with its output in `log`, and clears away what it
/// leaves there and at `$2`.
const GUARD: &str = "cd \"$1\"; left=$2; shift 2; \"$@\" >log 2>&1 </dev/null & child=$!; read -r line; \
                     kill -9 $child; wait $child; rm -rf \"$PWD\" $left";

/// Sockets that it makes whatever it is told, each with its port.
const SOCKETS: [(&str, &str); 4] = [
    ("s3", "s3.port.grpc"),
    ("master", "master.port.grpc"),
    ("volume", "volume.port.grpc"),
    ("filer", "filer.port.grpc"),
];

/// The running instance.
#[derive(Debug)]
pub(crate) struct Seaweed {
    pub address: SocketAddr,
    buckets: AtomicU64,
    guard: Child,
    /// The guard goes on as long as this is open.
    open: Option<ChildStdin>,
}

/// The one instance of this run; `None`, with a line about it, where it is not on this machine.
pub(crate) fn shared() -> Option<&'static Seaweed> {
    static SHARED: OnceLock<Seaweed> = OnceLock::new();
    tools::present(&[PROGRAM]).then(|| SHARED.get_or_init(Seaweed::start))
}

/// One of its own, for content that a disk should not keep beside that of others; it goes with its value.
pub(crate) fn fresh() -> Option<Seaweed> {
    tools::present(&[PROGRAM]).then(Seaweed::start)
}

impl Drop for Seaweed {
    fn drop(&mut self) {
        self.open = None;
        // Nothing depends on how it ended.
        let _ = self.guard.wait();
    }
}

impl Seaweed {
    fn start() -> Self {
        // The guard removes it; this process may be gone by then.
        let directory = tempfile::tempdir().unwrap().keep();
        let address = free_address();
        let log = directory.join("log");
        let sockets = SOCKETS.map(|(name, option)| (name, option, free_address().port()));
        let left = sockets.map(|(name, _, port)| format!("/tmp/seaweedfs-{name}-grpc-{port}.sock")).join(" ");
        let mut guard = Command::new("sh");
        guard.args(["-c", GUARD, "guard"]).arg(&directory).arg(left).arg(tools::path(PROGRAM));
        guard.args(arguments(&directory, address));
        guard.args(sockets.map(|(_, option, port)| format!("-{option}={port}")));
        guard.env("GOMEMLIMIT", MEMORY).env("TMPDIR", &directory);
        // A setting of the developer's own would change what it does.
        for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("WEED_")) {
            guard.env_remove(name);
        }
        // Without these it refuses to encrypt what a client asks it to.
        guard.env("WEED_S3_SSE_KEK_PASSPHRASE", "tests").env("WEED_S3_SSE_KEY", "5e".repeat(32));
        let mut guard = spawn(&mut guard);
        let open = guard.stdin.take().unwrap();
        let deadline = Instant::now() + PATIENCE;
        while !answers(address) {
            let log = || fs::read_to_string(&log).unwrap_or_default();
            assert!(guard.try_wait().unwrap().is_none(), "SeaweedFS ended:\n{}", log());
            assert!(Instant::now() < deadline, "SeaweedFS does not answer within {PATIENCE:?}:\n{}", log());
            thread::sleep(Duration::from_millis(20));
        }
        Self { address, buckets: AtomicU64::new(1), guard, open: Some(open) }
    }

    /// A fresh one, which goes with its value.
    pub(crate) fn bucket(&self) -> Bucket {
        let number = self.buckets.fetch_add(1, Ordering::Relaxed);
        Bucket::create(Client::to(self.address), &format!("bucket-{number}"))
    }
}

/// In a process group of its own, so that a Ctrl-C in the terminal reaches the tests alone, and this when they end.
fn spawn(guard: &mut Command) -> Child {
    use std::os::unix::process::CommandExt as _;
    guard
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap_or_else(|error| panic!("{guard:?}: {error}"))
}

fn arguments(directory: &Path, address: SocketAddr) -> Vec<String> {
    let rights = json!(["Admin", "Read", "Write", "List", "Tagging"]);
    let credentials = json!([{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}]);
    let identities = json!({"identities": [{"name": "tests", "credentials": credentials, "actions": rights}]});
    write_private(&directory.join("s3.json"), &identities.to_string());
    let data = directory.join("data");
    fs::create_dir(&data).unwrap();
    let inside = |name: &str| directory.join(name).display().to_string();
    let mut arguments: Vec<String> =
        ["server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3"].map(Into::into).into();
    let mut option = |name: &str, value: &str| arguments.push(format!("-{name}={value}"));
    option("dir", &data.display().to_string());
    option("volume.max", VOLUMES_MAX);
    option("master.volumeSizeLimitMB", "1024");
    option("master.telemetry", "false");
    // Alone, it need not wait for others to vote.
    option("master.electionTimeout", "1s");
    option("master.heartbeatInterval", "100ms");
    option("s3.port", &address.port().to_string());
    option("s3.config", &inside("s3.json"));
    option("s3.domainName", "s3.test");
    option("s3.localSocket", &inside("s3.sock"));
    option("filer.localSocket", &inside("filer.sock"));
    for unused in ["s3.port.iceberg", "s3.port.lance"] {
        option(unused, "0");
    }
    for port in [
        "s3.port.grpc",
        "master.port",
        "master.port.grpc",
        "volume.port",
        "volume.port.grpc",
        "filer.port",
        "filer.port.grpc",
    ] {
        option(port, &free_address().port().to_string());
    }
    arguments
}

fn answers(address: SocketAddr) -> bool {
    use std::io::Write as _;
    let ask = || {
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(b"GET /status HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        std::io::Result::Ok(answer)
    };
    ask().is_ok_and(|answer| answer.split(' ').nth(1) == Some("200"))
}
