//! Files that are replaced under a running server, while clients come all the time.

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use tokio::task::JoinHandle;

use crate::{
    edge_tls::rig::{Authority, Edge, NAME, PATIENCE, ask, client, serial},
    support::{http, process::free_address},
};

/// A client that shakes hands and asks, again and again.
struct Visitor {
    stop: Arc<AtomicBool>,
    /// Each serial number that it saw, once for each time that it changed.
    seen: Arc<Mutex<Vec<u8>>>,
    running: JoinHandle<u32>,
}

impl Visitor {
    fn start(edge: &Arc<Edge>, authority: &Authority) -> Self {
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (edge, config) = (Arc::clone(edge), client(authority));
        let (until, told) = (Arc::clone(&stop), Arc::clone(&seen));
        let running = tokio::spawn(async move {
            let mut visits = 0;
            while !until.load(Ordering::Relaxed) {
                let mut stream = edge.greet(Some(NAME), config.clone()).await.expect("no handshake may fail");
                let serial = serial(&stream);
                let head = ask(&mut stream, "/v2/").await.expect("no request may fail");
                assert!(head.starts_with("http/1.1 200"), "{head}");
                let mut seen = told.lock().unwrap();
                if seen.last() != Some(&serial) {
                    seen.push(serial);
                }
                visits += 1;
            }
            visits
        });
        Self { stop, seen, running }
    }

    async fn until(&self, serial: u8) {
        let deadline = Instant::now() + PATIENCE;
        while self.seen.lock().unwrap().last() != Some(&serial) {
            assert!(!self.running.is_finished(), "a visit failed");
            assert!(Instant::now() < deadline, "{serial} was not seen: {:?}", self.seen.lock().unwrap());
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }

    /// What it saw; a panic if a single visit failed.
    async fn end(self) -> Vec<u8> {
        self.stop.store(true, Ordering::Relaxed);
        assert!(self.running.await.unwrap() > 0);
        self.seen.lock().unwrap().clone()
    }
}

async fn until_logged(edge: &Edge, text: &str, times: usize) {
    let deadline = Instant::now() + PATIENCE;
    while edge.log().matches(text).count() < times {
        assert!(Instant::now() < deadline, "{text:?} was not logged {times} times:\n{}", edge.log());
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_files_are_served_and_bad_ones_are_not() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new("root");
    let files = authority.serve(directory.path(), "a", &[NAME], 1);
    let debug = free_address();
    let http = format!("  debug: {{addr: '{debug}', prometheus: {{enabled: true}}}}\n");
    let edge = format!("  tls: {{certificates: [{}]}}\n", files.yaml());
    let edge = Arc::new(Edge::start(directory.path(), &http, &edge));
    let visitor = Visitor::start(&edge, &authority);
    visitor.until(1).await;

    // In place, one file after the other.
    authority.serve(directory.path(), "a", &[NAME], 2);
    visitor.until(2).await;
    until_logged(&edge, "serial number 02 is in force", 1).await;

    // Half of a certificate, as it is while somebody writes it.
    let whole = fs::read_to_string(&files.certificate).unwrap();
    fs::write(&files.certificate, &whole[..whole.len() / 2]).unwrap();
    until_logged(&edge, "is not readable PEM", 1).await;
    // Another key, which does not belong to the certificate.
    fs::write(&files.certificate, &whole).unwrap();
    fs::write(&files.key, rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
    until_logged(&edge, "the key does not belong to the certificate", 1).await;
    let (_, metrics) = metrics(debug).await;
    assert!(metrics.contains("pierhead_certificate_reload_failures_total 2"), "{metrics}");
    let left = metrics.lines().find_map(|line| {
        line.strip_prefix(&format!("pierhead_certificate_seconds_left{{key=\"ecdsa\",name=\"{NAME}\"}} "))
    });
    let left: u32 = left.unwrap().parse().unwrap();
    assert!((89 * 86400..=90 * 86400).contains(&left), "{left}");

    // Put right, by renaming.
    let new = authority.serve(directory.path(), "new", &[NAME], 3);
    fs::rename(&new.key, &files.key).unwrap();
    fs::rename(&new.certificate, &files.certificate).unwrap();
    visitor.until(3).await;
    assert_eq!(visitor.end().await, [1, 2, 3]);
    for once in ["is not readable PEM", "the key does not belong"] {
        assert_eq!(edge.log().matches(once).count(), 1, "{once}: {}", edge.log());
    }
}

async fn metrics(debug: std::net::SocketAddr) -> (::http::StatusCode, String) {
    let answer = http::send(debug, http::empty(::http::Method::GET, "/metrics")).await.unwrap();
    (answer.status(), String::from_utf8(answer.into_body().to_vec()).unwrap())
}

/// As Kubernetes does it with secrets: a link beside the files turns to another directory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_that_turn_are_followed() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new("root");
    let turn = |to: &str| {
        let _ = fs::remove_file(directory.path().join("next"));
        symlink(to, directory.path().join("next")).unwrap();
        fs::rename(directory.path().join("next"), directory.path().join("..data")).unwrap();
    };
    for (version, serial) in [("v1", 1), ("v2", 2)] {
        fs::create_dir(directory.path().join(version)).unwrap();
        authority.serve(&directory.path().join(version), "tls", &[NAME], serial);
    }
    turn("v1");
    for name in ["tls.crt", "tls.key"] {
        symlink(Path::new("..data").join(name), directory.path().join(name)).unwrap();
    }
    let at = |name: &str| directory.path().join(name).display().to_string();
    let http = format!("  tls: {{certificate: {}, key: {}}}\n", at("tls.crt"), at("tls.key"));
    let edge = Arc::new(Edge::start(directory.path(), &http, "  strict: true\n"));
    let visitor = Visitor::start(&edge, &authority);
    visitor.until(1).await;
    turn("v2");
    visitor.until(2).await;
    assert_eq!(visitor.end().await, [1, 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_bad_pair_does_not_keep_another_from_changing() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new("root");
    let good = authority.serve(directory.path(), "good", &[NAME], 1);
    let bad = authority.serve(directory.path(), "bad", &["other.test"], 9);
    let edge = Arc::new(Edge::with(directory.path(), &[&good, &bad], ""));
    let visitor = Visitor::start(&edge, &authority);
    visitor.until(1).await;
    fs::write(&bad.certificate, "").unwrap();
    authority.serve(directory.path(), "good", &[NAME], 2);
    visitor.until(2).await;
    until_logged(&edge, "holds no certificate: it is empty", 1).await;
    assert_eq!(serial(&edge.greet(Some("other.test"), client(&authority)).await.unwrap()), 9);
    visitor.end().await;
}

#[test]
fn what_ends_soon_is_warned_about() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new("root");
    let mut params = crate::edge_tls::rig::server(&[NAME], 1);
    params.not_before = time::OffsetDateTime::now_utc() - time::Duration::days(80);
    params.not_after = time::OffsetDateTime::now_utc() + time::Duration::days(10) + time::Duration::hours(1);
    let key = rcgen::KeyPair::generate().unwrap();
    let soon = authority.serve_with(directory.path(), "soon", &params, &key);
    let mut edge = Edge::with(directory.path(), &[&soon], "");
    edge.wait_for_log(&format!("the certificate for {NAME} expires in 10 days, at "));
}
