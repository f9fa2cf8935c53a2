//! Files that are none: a sentence with the place, soon, and nothing of what is in them.

use std::time::{Duration, Instant};

use super::*;

/// On a machine that is busy with other tests.
const REFUSAL_TIME_MAX: Duration = Duration::from_secs(20);

#[track_caller]
fn refused(format: &str, content: &[u8], expected: &str) {
    let bed = Bed::new();
    fs::write(bed.path("file"), content).unwrap();
    let started = Instant::now();
    let output = pierhead(&["import", format, &bed.text("file")]);
    assert!(started.elapsed() < REFUSAL_TIME_MAX, "took {:?}", started.elapsed());
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let expected = format!("error: {}{expected}\n", bed.text("file"));
    assert_eq!((stderr(&output).as_str(), stdout(&output).as_str()), (expected.as_str(), ""));
}

#[test]
fn files_that_are_none_are_refused_with_their_place() {
    for format in ["gitlab.rb", "nginx.conf"] {
        refused(format, &vec![b'#'; 10 << 20], ": larger than 1048576 bytes");
        refused(format, b"# \xc3\xa4\n\n# \xff\n", ":3: not UTF-8");
        let output = pierhead(&["import", format, "/nonexistent/file"]);
        assert!(stderr(&output).starts_with("error: cannot read /nonexistent/file: "), "{}", stderr(&output));
        let output = pierhead(&["import", format, "/"]);
        assert!(stderr(&output).starts_with("error: cannot read /: "), "{}", stderr(&output));
    }
    refused("gitlab.rb", b"registry['http_secret'] = 'canary\n", ":1:27: the text that begins here has no end");
    refused(
        "gitlab.rb",
        b"\n  registry['x'] = <<~EOS\n canary\n",
        ":2:19: the heredoc that begins here has no end EOS",
    );
    refused("gitlab.rb", "[".repeat(1 << 20).as_bytes(), ":1:65: nested deeper than 64");
    refused("gitlab.rb", "{'a'=>".repeat(1 << 17).as_bytes(), ":1:385: nested deeper than 64");
    refused("gitlab.rb", "if x\n".repeat(1 << 17).as_bytes(), ":65:1: nested deeper than 64");
    refused("nginx.conf", "a {".repeat(1 << 18).as_bytes(), ":1:96: nested deeper than 32");
    refused("nginx.conf", b"server {\n  return 'canary;\n", ":2:10: the text that begins here has no end");
    refused("nginx.conf", b"", ": there is no server in this file that passes requests on to a registry");
}

/// Many settings are many lines, and nothing worse.
#[test]
fn files_of_one_mebibyte_are_read() {
    let bed = Bed::new();
    let line = "registry['frobnicate'] = [1, 'two', { three: File.read('/x') }] if x\n";
    fs::write(bed.path("file"), line.repeat((1 << 20) / line.len())).unwrap();
    let output = pierhead(&["import", "gitlab.rb", &bed.text("file")]);
    assert!(stdout(&output).contains("version: 0.1"), "{}", stderr(&output));
    let server = "server { listen 80; server_name a; location / { proxy_pass http://b; } }\n";
    let text = format!("{server}{}", "frobnicate x;\n".repeat(70_000));
    fs::write(bed.path("file"), text).unwrap();
    let output = pierhead(&["import", "nginx.conf", &bed.text("file")]);
    assert!(stdout(&output).contains("http://b"));
    assert_eq!(stderr(&output).matches("frobnicate is not known").count(), 70_000);
}
