//! SIGUSR2: another process takes the sockets and serves; or cannot, and nothing happens.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, net::UnixDatagram},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use http::Method;
use rustix::process::Signal;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    time::timeout,
};

use crate::{
    lifecycle::server::{PATIENCE, Server},
    support::{
        command::{command, run},
        http::{empty, send},
        process::free_address,
        push::{Family, Flow, Pace, Pusher},
        registry::Program,
    },
};

/// Puts another file in the place of the program, as a package manager does: beside it, then over it. The copy is made by
/// another process: what this one has open for writing, a child of another test could have open when it is run.
pub(crate) fn install(server: &Server, program: &Path) {
    let beside = server.path("pierhead.new");
    run(command("cp", [program, beside.as_path()]).arg("--preserve=mode"));
    fs::rename(&beside, &server.program).unwrap();
}

/// A script that does not serve.
fn script(server: &Server, text: &str) {
    let path = server.path("script");
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    install(server, &path);
}

async fn over_unix(path: &Path) -> String {
    let mut stream = UnixStream::connect(path).await.unwrap();
    stream.write_all(b"GET /v2/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer
}

#[tokio::test]
async fn another_process_takes_over() {
    let mut server = Server::start("", "");
    let started = server.ask("/debug/vars").await.1;
    assert!(started.contains("uptime_secs"), "{started}");
    let (content, hurry) = (Family::new(8 << 20).member(1), Arc::new(AtomicBool::new(false)));
    let pushing = tokio::spawn({
        let (pusher, content, pace) =
            (Pusher::new(server.address, "a/b"), content.clone(), Pace::Slow(256 << 10, Arc::clone(&hurry)));
        async move { pusher.push(&content, Flow::Put, &pace).await.map(drop).map_err(|stopped| format!("{stopped:?}")) }
    });
    server.until_pushing().await;
    install(&server, Program::pierhead().path());
    server.signal(Signal::USR2);
    server.wait_for("another process serves in this one's place", 0);
    let successor = server.successor().unwrap();
    // The old one still has its push, and nothing else; the new one has every socket.
    assert_eq!(server.metric("registry_http_in_flight_requests").await, 0);
    assert_eq!(server.ask("/readyz").await.0, 200);
    assert_eq!(server.get("/v2/").await.status(), 200);
    hurry.store(true, Ordering::Relaxed);
    timeout(PATIENCE, pushing).await.unwrap().unwrap().unwrap();
    assert!(server.process.wait_for_end().success());
    assert!(successor.is_alive());
    let pushed = send(server.address, empty(Method::HEAD, &format!("/v2/a/b/blobs/{}", content.digest))).await.unwrap();
    assert_eq!(pushed.status(), 200);
    // The file of the socket outlived the old process, and goes with the new one.
    let socket = server.path("registry.sock");
    assert!(over_unix(&socket).await.starts_with("HTTP/1.1 200"));

    // And once more, from one that was an heir itself.
    let from = server.log().len();
    successor.signal(Signal::USR2);
    server.wait_for("another process serves in this one's place", from);
    let second = server.successor().unwrap();
    successor.wait_for_end();
    assert_eq!(server.get("/v2/").await.status(), 200);
    assert!(over_unix(&socket).await.starts_with("HTTP/1.1 200"));
    second.signal(Signal::TERM);
    second.wait_for_end();
    assert!(!socket.exists());
}

#[tokio::test]
async fn who_cannot_serve_does_not_take_over() {
    let server = Server::start("", "  upgrade: {ready_timeout: 1s}\n");
    let check = async |said: &str, number: usize| {
        let from = server.log().len();
        server.signal(Signal::USR2);
        let log = server.wait_for("the upgrade failed, and this process goes on", from);
        assert!(log.contains(said), "{said} in {log}");
        assert_eq!(server.get("/v2/").await.status(), 200, "{number}");
        assert_eq!(server.ask("/readyz").await.0, 200);
        assert!(over_unix(&server.path("registry.sock")).await.starts_with("HTTP/1.1 200"));
    };
    script(&server, "exit 7");
    check("exit status: 7", 1).await;
    script(&server, "exec sleep 600");
    check("did not serve in time", 2).await;
    let hung = server.successor().unwrap();
    hung.wait_for_end();
    script(&server, "");
    fs::set_permissions(&server.program, fs::Permissions::from_mode(0o644)).unwrap();
    check("cannot start", 3).await;
    // The program is good, what it reads is not.
    install(&server, Program::pierhead().path());
    fs::write(server.path("config.yml"), "version: 0.2\n").unwrap();
    check("exit status: 1", 4).await;
    assert!(server.log().contains("unsupported version"), "{}", server.log());
}

#[tokio::test]
async fn addresses_may_come_and_go_with_an_upgrade() {
    let server = Server::start("", "");
    let other = free_address();
    let text = fs::read_to_string(server.path("config.yml")).unwrap();
    let moved = text.replace(&format!("- {}\n", server.secure), &format!("- {other}\n"));
    assert_ne!(text, moved);
    fs::write(server.path("config.yml"), moved).unwrap();
    assert!(server.reload().contains("edge.listen: has changed"));
    server.signal(Signal::USR2);
    server.wait_for("another process serves in this one's place", 0);
    let _successor = server.successor().unwrap();
    server.wait_for(&format!("{} is not listened on any more", server.secure), 0);
    tokio::net::TcpStream::connect(other).await.unwrap();
    let gone = async { while tokio::net::TcpStream::connect(server.secure).await.is_ok() {} };
    timeout(PATIENCE, gone).await.expect("the old address stayed open");
    assert_eq!(server.get("/v2/").await.status(), 200);
}

#[tokio::test]
async fn a_service_manager_follows() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let ear = UnixDatagram::bind(&path).unwrap();
    ear.set_read_timeout(Some(PATIENCE)).unwrap();
    let hear = |begin: &str| loop {
        let mut buffer = [0; 4096];
        let length = ear.recv(&mut buffer).unwrap_or_else(|error| panic!("never heard {begin}: {error}"));
        let text = String::from_utf8(buffer[..length].to_vec()).unwrap();
        if text.starts_with(begin) {
            return text;
        }
    };
    let mut server =
        Server::start_under("", "", &[("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "200000")]);
    hear("READY=1");
    hear("WATCHDOG=1");
    server.reload();
    let reloading = hear("RELOADING=1");
    assert!(reloading.contains("\nMONOTONIC_USEC="), "{reloading}");
    hear("READY=1");
    fs::write(server.path("config.yml"), "version: 0.2\n").unwrap();
    server.reload();
    hear("RELOADING=1");
    let ready = hear("READY=1");
    assert!(ready.contains("config.yml:1"), "{ready}");
    server.write("", "");
    server.signal(Signal::USR2);
    let main = hear("MAINPID=");
    let successor = server.successor().unwrap();
    assert_eq!(main, format!("MAINPID={}\nSTATUS=serving", successor.id()));
    assert!(server.process.wait_for_end().success());
    // The one that is watched now lives.
    hear("WATCHDOG=1");
    successor.signal(Signal::TERM);
    assert!(hear("STOPPING=1").contains("EXTEND_TIMEOUT_USEC="));
}
