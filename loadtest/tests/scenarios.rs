//! Every scenario against a real registry: the program of this workspace, over memory, in plain HTTP.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic, also in its helpers")]

use std::{
    fs,
    io::Read as _,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

#[path = "../src/peers/ports.rs"]
mod ports;

const LOADTEST: &str = env!("CARGO_BIN_EXE_loadtest");

/// How long the registry may take to listen.
const PATIENCE: Duration = Duration::from_mins(1);

/// A running registry.
struct Registry {
    process: Child,
    url: String,
    directory: TempDir,
}

impl Registry {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let address = ports::free().unwrap();
        let config = directory.path().join("config.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: warn, accesslog: {{disabled: true}}}}\nstorage: {{inmemory: {{}}}}\nauth: none\n\
             http: {{addr: \"{address}\", secret: of-these-tests}}\n"
        );
        fs::write(&config, text).unwrap();
        let program = Path::new(LOADTEST).with_file_name("pierhead");
        assert!(program.exists(), "{} is built by `cargo test --workspace`", program.display());
        let process =
            Command::new(program).arg("serve").arg(&config).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut registry = Self { process: process.unwrap(), url: format!("http://{address}"), directory };
        registry.wait_for(address);
        registry
    }

    fn wait_for(&mut self, address: SocketAddr) {
        let begin = Instant::now();
        while TcpStream::connect(address).is_err() {
            if self.process.try_wait().unwrap().is_some() || begin.elapsed() > PATIENCE {
                self.process.kill().unwrap();
                let mut said = String::new();
                self.process.stderr.take().unwrap().read_to_string(&mut said).unwrap();
                panic!("it does not serve:\n{said}");
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Runs a scenario and gives its result; what it said when it failed.
    fn run(&self, arguments: &[&str]) -> Value {
        let json = self.directory.path().join("result.json");
        let output = self.output(arguments, &["--json", json.to_str().unwrap()]);
        assert!(output.status.success(), "{arguments:?}:\n{}{}", text(&output.stdout), text(&output.stderr));
        serde_json::from_slice(&fs::read(json).unwrap()).unwrap()
    }

    fn output(&self, arguments: &[&str], more: &[&str]) -> Output {
        let pid = self.process.id().to_string();
        let target = ["--url", &self.url, "--pid", &pid];
        Command::new(LOADTEST).args(arguments).args(target).args(more).output().unwrap()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// How often an operation succeeded.
fn count(result: &Value, operation: &str) -> u64 {
    let operations = result["operations"].as_array().unwrap();
    let found = operations.iter().find(|found| found["name"] == operation);
    found.unwrap_or_else(|| panic!("no {operation} in {operations:?}"))["count"].as_u64().unwrap()
}

#[test]
fn every_scenario_runs() {
    let registry = Registry::start();
    let small = ["--layers", "2", "--layer-size", "20KiB"];
    let check = |scenario: &[&str], operation: &str, least: u64| {
        let result = registry.run(scenario);
        assert!(count(&result, operation) >= least, "{result}");
        assert!(result["server"]["cpu_secs"].as_f64().unwrap() >= 0.0);
    };
    check(&[&["pull", "-c", "2", "-n", "6"], &small[..]].concat(), "image pull", 6);
    check(&[&["pull", "--range", "7KiB", "-c", "2", "-n", "2"], &small[..]].concat(), "blob GET (range)", 12);
    check(&[&["push", "-c", "2", "-n", "4"], &small[..]].concat(), "image push", 4);
    check(&[&["mixed", "-c", "2", "-n", "20"], &small[..]].concat(), "image pull", 5);
    check(&["manifest", "-c", "4", "-n", "50"], "manifest GET", 50);
    check(&["manifest", "--head", "--by-digest", "--rate", "100", "-c", "4", "-n", "20"], "manifest HEAD", 20);
    check(&[&["herd", "-c", "8"], &small[..]].concat(), "image pull", 8);
    check(&["connect", "-c", "2", "-n", "10"], "connection", 10);
    check(&["tags", "--tags", "25", "--page", "10", "-c", "2", "-n", "4"], "tags list", 4);
    check(
        &["expiry", "--push-time", "1s", "--layer-size", "1MiB", "-c", "2", "-n", "2"],
        "push that outlives its token",
        2,
    );
    check(&["zb", "--case", "Mixed 1MB", "-c", "2", "-n", "8"], "Pull 75% and Push 25% Mixed 1MB", 8);
}

#[test]
fn every_flow_pushes() {
    let registry = Registry::start();
    let flows = [
        ("put", "blob push (POST, PUT)"),
        ("patch", "blob push (POST, PATCH, PUT)"),
        ("post", "blob push (POST)"),
        ("chunks", "blob push (chunks)"),
        ("mount", "blob mount"),
    ];
    for (flow, operation) in flows {
        let arguments = [
            "push",
            "--blobs-only",
            "--flow",
            flow,
            "--layer-size",
            "3MB",
            "--chunk-size",
            "1MB",
            "-c",
            "2",
            "-n",
            "4",
        ];
        assert_eq!(count(&registry.run(&arguments), operation), 4, "{flow}");
    }
}

#[test]
fn what_is_required_decides_the_exit_code() {
    let registry = Registry::start();
    let code = |require: &str| {
        registry.output(&["manifest", "-c", "1", "-n", "5", "-q"], &["--require", require]).status.code()
    };
    assert_eq!(code("manifest GET: count>=5"), Some(0));
    assert_eq!(code("manifest GET: rate>=1000000"), Some(3));
    assert_eq!(code("nonsense"), Some(2));
}

#[test]
fn targets_are_compared_and_the_page_stands_alone() {
    let (one, other) = (Registry::start(), Registry::start());
    let page: PathBuf = one.directory.path().join("page.html");
    let targets = [format!("one={},pid={}", one.url, one.process.id()), format!("other={}", other.url)];
    let output = Command::new(LOADTEST)
        .args(["compare", "--pairs", "2", "-t", &targets[0], "-t", &targets[1], "--html"])
        .arg(&page)
        .args(["--", "manifest", "-c", "1", "-n", "20"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let table = text(&output.stdout);
    assert!(table.contains("manifest GET: per s") && table.contains("other / one"), "{table}");
    let page = fs::read_to_string(page).unwrap();
    assert!(page.contains("<svg") && !page.contains("<script"));
}

#[test]
fn a_registry_that_is_not_there_is_said_to_be() {
    let url = format!("http://{}", ports::free().unwrap());
    let output = Command::new(LOADTEST).args(["push", "--url", &url, "-n", "1", "-q"]).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stdout).contains("cannot connect"), "{}", text(&output.stdout));
    let output = Command::new(LOADTEST).args(["pull", "--url", &url, "-n", "1", "-q"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("pull cannot be prepared"), "{}", text(&output.stderr));
}
