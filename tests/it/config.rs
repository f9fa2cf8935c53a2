//! The configuration as an operator meets it: files on disk, the environment of a process, and what the commands print.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
    time::{Duration, Instant},
};

const VALID: &str = "version: 0.1\nstorage: inmemory\nauth: none\nhttp: {secret: canary}\n";

/// Runs the binary with nothing in its environment but what is given.
fn pierhead(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pierhead"))
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied())
        .output()
        .expect("the binary runs")
}

fn written(content: impl AsRef<[u8]>) -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let path = directory.path().join("config.yml");
    fs::write(&path, content).expect("a file can be written");
    let path = path.display().to_string();
    (directory, path)
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("it prints UTF-8")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("it prints UTF-8")
}

/// A second, and two more for a machine that is busy with other tests.
const REFUSAL_TIME_MAX: Duration = Duration::from_secs(3);

/// `check` on this content ends soon with code 1, and with this in its one error.
#[track_caller]
fn refused(content: impl AsRef<[u8]>, expected: &str) {
    let (_directory, path) = written(content);
    let started = Instant::now();
    let output = pierhead(&["check", &path], &[]);
    assert!(started.elapsed() < REFUSAL_TIME_MAX, "took {:?}", started.elapsed());
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).starts_with("error: ") && stderr(&output).contains(expected), "{}", stderr(&output));
    assert_eq!(stdout(&output), "");
}

#[test]
fn check_prints_what_is_in_force_without_secrets() {
    let (_directory, path) = written(VALID);
    let output = pierhead(&["check", &path], &[("REGISTRY_LOG_LEVEL", "debug"), ("REGISTRY_TYPO", "x")]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(text.contains("level: debug") && text.contains("secret: <redacted>"), "{text}");
    assert!(text.contains("addr: \":5000\"") || text.contains("addr: :5000"), "{text}");
    assert!(!text.contains("canary") && !stderr(&output).contains("canary"));
    assert!(stderr(&output).contains("warning: REGISTRY_TYPO: Ignoring unrecognized environment variable"));
}

#[test]
fn the_path_comes_from_the_environment_too() {
    let (_directory, path) = written(VALID);
    let output = pierhead(&["check"], &[("REGISTRY_CONFIGURATION_PATH", &path)]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    for command in ["check", "serve"] {
        let output = pierhead(&[command], &[]);
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).starts_with("error: configuration path unspecified"), "{}", stderr(&output));
        assert!(stderr(&output).contains("Usage: pierhead"), "{}", stderr(&output));
    }
}

#[test]
fn version_help_and_collection() {
    for flag in ["--version", "-v"] {
        let output = pierhead(&[flag], &[]);
        assert_eq!(stdout(&output), concat!("pierhead ", env!("CARGO_PKG_VERSION"), "\n"));
        assert!(output.status.success());
    }
    let help = pierhead(&["help"], &[]);
    assert!(help.status.success() && stdout(&help).contains("garbage-collect"));
    for arguments in [&["garbage-collect", "-m", "-d", "-q", "c.yml"][..], &["garbage-collect", "--delete-untagged"]] {
        let output = pierhead(arguments, &[]);
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains("not in this version"), "{}", stderr(&output));
    }
    assert_eq!(pierhead(&["dance"], &[]).status.code(), Some(1));
}

#[test]
fn unreadable_files_are_refused() {
    let output = pierhead(&["serve", "/nonexistent/config.yml"], &[]);
    assert_eq!(output.status.code(), Some(1));
    let error = stderr(&output);
    assert!(error.starts_with("error: cannot read the configuration /nonexistent/config.yml: "), "{error}");
    let output = pierhead(&["check", Path::new("/").to_str().unwrap()], &[]);
    assert!(stderr(&output).starts_with("error: cannot read the configuration /: "), "{}", stderr(&output));
    refused([0xff, 0xfe], "config.yml: not UTF-8");
    refused("", "config.yml:1: a configuration is a map of sections");
}

#[test]
fn hostile_files_are_refused_soon() {
    refused(vec![b'#'; 100 << 20], "larger than 1048576 bytes");
    let mut laughs = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..30 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(",");
        laughs = format!("{laughs}a{level}: &a{level} [{aliases}]\n");
    }
    refused(&laughs, "the aliases up to here grow past");
    refused("a: &a {b: *a}", "config.yml:1: an alias stands inside");
    refused(vec![b'['; 1 << 20], "config.yml:1: ");
    refused("- ".repeat(500_000), "config.yml:1: ");
    refused("version: 0.1\nhttp:\n  addr: a\n  addr: b\n", "config.yml:4: the key \"addr\" is written twice");
    refused("version: 0.1\nedge:\n  strikt: true\n", "config.yml:3: edge.strikt: there is no such key");
    refused("version: 0.1\nstorage:\n  inmemory:\n  delete: 5\n", "config.yml:4: storage.delete must be a section");
}

#[test]
fn a_wrong_value_in_the_environment_names_its_variable() {
    let (_directory, path) = written(VALID);
    for (name, value, expected) in [
        (
            "REGISTRY_HTTP_DRAINTIMEOUT",
            "soon",
            "error: REGISTRY_HTTP_DRAINTIMEOUT: http.draintimeout must be a duration",
        ),
        ("REGISTRY_HTTP_SECRET", "{canary: [", "error: REGISTRY_HTTP_SECRET: this is not YAML"),
        ("REGISTRY_HTTP_TLS_CLIENTCAS_1", "a", "error: REGISTRY_HTTP_TLS_CLIENTCAS_1: undefined index: 1"),
    ] {
        let output = pierhead(&["check", &path], &[(name, value)]);
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).starts_with(expected), "{}", stderr(&output));
        assert!(!stderr(&output).contains("canary"));
    }
}

/// A bucket that nobody has to reach: `check` looks at what is written.
const BUCKET: &str = "version: 0.1\nauth: none\nhttp: {addr: '127.0.0.1:0'}\nstorage:\n  s3:\n    bucket: b\n";

#[test]
fn check_shows_a_bucket_without_its_keys() {
    let (_directory, path) = written(format!(
        "{BUCKET}    region: eu-west-1\n    accesskey: canary\n    secretkey: canary\n    sessiontoken: canary\n"
    ));
    let variables = [("REGISTRY_STORAGE_S3_BUCKET", "other"), ("REGISTRY_STORAGE_S3_ENCRYPT", "true")];
    let output = pierhead(&["check", &path], &variables);
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
    let text = stdout(&output);
    for shown in ["bucket: other", "encrypt: true", "chunksize: 16777216", "expirydelay: 20m", "inline_max: 64KiB"] {
        assert!(text.contains(shown), "{shown}: {text}");
    }
    for key in ["accesskey", "secretkey", "sessiontoken"] {
        assert!(text.contains(&format!("{key}: <redacted>")), "{key}: {text}");
    }
    assert!(!text.contains("canary"), "{text}");
}

#[test]
fn a_bucket_comes_from_the_environment_alone() {
    let (_directory, path) = written(VALID);
    let variables = [
        ("REGISTRY_STORAGE", "s3"),
        ("REGISTRY_STORAGE_S3_BUCKET", "b"),
        ("REGISTRY_STORAGE_S3_REGIONENDPOINT", "https://127.0.0.1:9"),
        ("REGISTRY_HTTP_ADDR", "127.0.0.1:0"),
        ("AWS_ACCESS_KEY_ID", "canary"),
        ("AWS_SECRET_ACCESS_KEY", "canary"),
    ];
    let output = pierhead(&["check", &path], &variables);
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
    let text = stdout(&output);
    assert!(text.contains("  s3:\n") && !text.contains("inmemory") && !text.contains("canary"), "{text}");
    let output = pierhead(&["check", &path], &variables[..5]);
    assert_eq!(output.status.code(), Some(0));
    let half = "warning: AWS_ACCESS_KEY_ID: is set without the other half of its pair";
    assert!(stderr(&output).starts_with(half), "{}", stderr(&output));
}

#[test]
fn a_bucket_that_cannot_be_meant_is_refused() {
    for (lines, expected) in [
        ("", "config.yml:5: storage.s3.region is required"),
        (
            "    region: eu-west-1\n    secretkey: canary\n",
            "config.yml:8: storage.s3.secretkey is set without accesskey",
        ),
        (
            "    region: eu-west-1\n    chunksize: 1\n",
            "config.yml:8: storage.s3.chunksize must be a number of bytes between",
        ),
        (
            "    region: eu-west-1\n    ssecustomerkey: canary\n",
            "config.yml:8: storage.s3.ssecustomerkey asks for SSE-C",
        ),
        (
            "    region: eu-west-1\nmiddleware:\n  storage:\n    - name: magic\n",
            "config.yml:10: middleware.storage.0.name is \"magic\", not a storage middleware",
        ),
        (
            "    region: eu-west-1\nedge:\n  downloads:\n    forward_networks: [everybody]\n",
            "config.yml:10: edge.downloads.forward_networks.0 is \"everybody\"; it must be a network",
        ),
    ] {
        let (_directory, path) = written(format!("{BUCKET}{lines}"));
        let output = pierhead(&["check", &path], &[]);
        assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(1), ""), "{lines}");
        let error = stderr(&output);
        assert!(error.starts_with("error: ") && error.contains(expected) && !error.contains("canary"), "{error}");
    }
}

/// What `check` says about a configuration with these lines behind a valid one.
fn checked(lines: &str) -> (Option<i32>, String) {
    let (_directory, path) = written(format!("version: 0.1\nstorage: inmemory\n{lines}"));
    let output = pierhead(&["check", &path], &[]);
    (output.status.code(), stderr(&output))
}

#[test]
fn check_reads_the_files_that_are_named() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let file = |name: &str, content: &str| {
        let path = directory.path().join(name);
        fs::write(&path, content).expect("a file can be written");
        path.display().to_string()
    };
    let (junk, gone) = (file("junk", "junk"), directory.path().join("gone").display().to_string());
    let (broken, old) = (file("broken", "no colon"), file("old", "user:{SHA}x\n"));
    let token = "auth: {token: {realm: r, service: s, issuer: i, ";
    for (lines, code, expected) in [
        (
            format!("auth: none\nhttp: {{tls: {{certificate: {gone}, key: {junk}}}}}"),
            1,
            "error: http.tls: certificate ",
        ),
        (format!("auth: none\nhttp: {{tls: {{certificate: {junk}, key: {junk}}}}}"), 1, "holds no"),
        (format!("{token}rootcertbundle: {gone}}}}}"), 1, "error: auth.token: auth.token.rootcertbundle: cannot read"),
        (format!("{token}rootcertbundle: {junk}}}}}"), 1, "holds neither a certificate nor a public key"),
        (format!("{token}jwks: {junk}}}}}"), 1, "is not a JSON object"),
        (format!("auth: {{htpasswd: {{realm: r, path: {broken}}}}}"), 1, "broken:1: not a line"),
        (format!("auth: {{htpasswd: {{realm: r, path: {old}}}}}"), 0, "old line 1: \"user\" cannot log in"),
        (format!("auth: {{htpasswd: {{realm: r, path: {gone}}}}}"), 0, "it is made at start"),
        ("auth: none\nhttp: {prefix: '/a:b/'}".to_owned(), 1, "is not a path prefix"),
    ] {
        let (found, said) = checked(&lines);
        assert_eq!(found, Some(code), "{lines}: {said}");
        assert!(said.contains(expected), "{lines}: {said}");
    }
    assert!(!Path::new(&gone).exists(), "check has made a file");
}
