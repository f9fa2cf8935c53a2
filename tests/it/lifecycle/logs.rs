//! The access log: its formats, its file, and rotation.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::lifecycle::server::{PATIENCE, Server};

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

fn wait_for_line(path: &Path, text: &str) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(line) = lines(path).into_iter().find(|line| line.contains(text)) {
            return line;
        }
        assert!(Instant::now() < deadline, "{text} never came to {}: {:?}", path.display(), lines(path));
        thread::sleep(Duration::from_millis(10));
    }
}

#[tokio::test]
async fn a_file_is_opened_again_on_a_signal_and_no_line_is_lost() {
    let server = Server::start("", "  access_log: {path: access.log}\n");
    let (path, old) = (server.path("access.log"), server.path("access.log.1"));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777 & !0o640, 0);
    for number in 0..100 {
        if number == 50 {
            fs::rename(&path, &old).unwrap();
            server.signal(Signal::USR1);
            server.wait_for("log files are opened again", 0);
        }
        server.get(&format!("/v2/?number={number:03}")).await;
    }
    wait_for_line(&path, "number=099");
    let all = [lines(&old), lines(&path)].concat();
    // An answer is written down when it has been sent: a line may be overtaken by the next.
    let mut found: Vec<_> = all.iter().filter_map(|line| line.split_once("?number=")?.1.get(..3)).collect();
    found.sort_unstable();
    let expected: Vec<_> = (0..100).map(|number| format!("{number:03}")).collect();
    assert_eq!(found, expected);
    assert!(lines(&old).len() >= 49, "{}", lines(&old).len());
    // Where it cannot be opened, lines go on where they went.
    fs::rename(&path, &old).unwrap();
    fs::create_dir(&path).unwrap();
    let from = server.log().len();
    server.signal(Signal::USR1);
    server.wait_for("log files are opened again", from);
    server.get("/v2/?after=1").await;
    wait_for_line(&old, "after=1");
    server.wait_for("cannot be opened again", 0);
}

#[tokio::test]
async fn format_and_place_change_with_the_configuration() {
    let server = Server::start("", "  access_log: {path: access.log}\n");
    let first = server.path("access.log");
    server.get("/v2/?a=1&private_token=canary").await;
    let line = wait_for_line(&first, "a=1");
    assert!(line.ends_with("\"GET /v2/?a=1&private_token=[REDACTED] HTTP/1.1\" 200 2 \"\" \"\""), "{line}");
    server.write("", "  access_log: {path: access.log, format: gitlab}\n");
    server.reload();
    server.get("/v2/?b=1&_state=canary").await;
    let line = wait_for_line(&first, "b=1");
    assert!(line.ends_with("\"GET /v2/?b=1&_state=[FILTERED] HTTP/1.1\" 200 2 \"-\" \"-\" -"), "{line}");
    server.write("", "  access_log: {path: other.log, format: json}\n");
    server.reload();
    server.get("/v2/?c=1&rss_token=canary&digest=sha256:7").await;
    let line = wait_for_line(&server.path("other.log"), "c=1");
    let object: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(object["uri"], "/v2/?c=1&rss_token=[REDACTED]&digest=sha256:7");
    assert_eq!(
        (&object["status"], &object["handler"], &object["client"]),
        (&200.into(), &"base".into(), &"127.0.0.1".into())
    );
    server.write("log: {accesslog: {disabled: true}}\n", "  access_log: {path: other.log}\n");
    server.reload();
    server.get("/v2/?d=1").await;
    server.write("", "  access_log: {path: other.log}\n");
    server.reload();
    server.get("/v2/?e=1").await;
    wait_for_line(&server.path("other.log"), "e=1");
    assert!(!lines(&server.path("other.log")).iter().any(|line| line.contains("d=1")));
    assert!(![lines(&first), lines(&server.path("other.log"))].concat().iter().any(|line| line.contains("canary")));
}

#[test]
fn a_file_that_cannot_be_opened_ends_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("config.yml");
    let text = format!(
        "version: 0.1\nauth: none\nstorage: inmemory\nhttp: {{addr: '127.0.0.1:0'}}\nedge: {{access_log: {{path: {}/no/access.log}}}}\n",
        directory.path().display()
    );
    fs::write(&config, text).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_pierhead")).arg("serve").arg(&config).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("edge.access_log.path: cannot open"), "{said}");
}
