//! Many addresses at once, sockets of systemd, and the way to https.

use std::{
    collections::BTreeSet,
    fs,
    net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    process::Command,
};

use crate::{
    edge::{Answer, Edge, ask, asked, connect_unix, secured},
    support::{process::free_address, tools},
};

/// Starts what is not meant to serve.
fn start_and_fail(sections: &str) -> Edge {
    Edge::start_by(&mut Command::new(env!("CARGO_BIN_EXE_pierhead")), tempfile::tempdir().unwrap(), sections)
}

const ASK: &str = "GET /v2/ HTTP/1.1\nHost: localhost";

fn check_served(answer: &Answer) {
    assert_eq!(
        (answer.status(), answer.header("docker-distribution-api-version")),
        (200, "registry/2.0"),
        "{answer:?}"
    );
}

fn free_v6() -> SocketAddr {
    local_v6(free_address().port())
}

fn local(port: u16) -> SocketAddr {
    (std::net::Ipv4Addr::LOCALHOST, port).into()
}

fn local_v6(port: u16) -> SocketAddr {
    (Ipv6Addr::LOCALHOST, port).into()
}

#[test]
fn several_listeners_serve_at_once_and_all_are_logged() {
    let (public, v6, internal, plain, debug) =
        (free_address(), free_v6(), free_address(), free_address(), free_address());
    let edge = Edge::start(&format!(
        "http: {{CERTIFICATE, debug: {{addr: '{debug}'}}}}\nedge:\n  external_url: https://registry.test\n  listen:\n    \
         - address: {public}\n    - '{v6}'\n    - address: {internal}\n      tls: off\n    \
         - address: unix:./registry.sock\n      tls: off\n      mode: 0600\n    - unix:./secure.sock\n  \
         redirect_http_to_https: {{address: '{plain}'}}\n"
    ));
    check_served(&edge.secure(public, ASK));
    check_served(&edge.secure(v6, ASK));
    check_served(&asked(internal, ASK));
    let socket = edge.path().join("registry.sock");
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    check_served(&ask(&mut connect_unix(&socket), ASK));
    check_served(&ask(&mut secured(&edge.certificate, connect_unix(&edge.path().join("secure.sock"))), ASK));

    let log = edge.process.log();
    let logged: BTreeSet<_> = log
        .lines()
        .filter_map(|line| line.split_once("listening on ")?.1.split(": ").next())
        .map(|address| address.rsplit_once("]:").or_else(|| address.rsplit_once(':')).unwrap().1.to_owned())
        .filter(|port| port.parse::<u16>().is_ok())
        .collect();
    assert_eq!(logged, listening_ports(edge.process.id()), "{log}");
    assert_eq!(logged.len(), 5, "{log}");
    assert!(log.contains("listening on unix:./registry.sock: http"), "{log}");
    assert!(log.contains(&format!("listening on {plain}: http, redirected to https")), "{log}");
    drop(edge);
    assert!(!socket.exists(), "the socket's file stays");
}

/// TCP ports on which a process listens, as the kernel tells.
fn listening_ports(process: u32) -> BTreeSet<String> {
    const LISTENING: &str = "0A";
    let sockets: BTreeSet<String> = fs::read_dir(format!("/proc/{process}/fd"))
        .unwrap()
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let tables = ["tcp", "tcp6"].map(|table| fs::read_to_string(format!("/proc/{process}/net/{table}")).unwrap());
    let rows =
        tables.iter().flat_map(|table| table.lines().skip(1)).map(|row| row.split_whitespace().collect::<Vec<_>>());
    let ours = rows.filter(|row| row[3] == LISTENING && sockets.contains(row[9]));
    ours.map(|row| u16::from_str_radix(row[1].rsplit(':').next().unwrap(), 16).unwrap().to_string()).collect()
}

#[test]
fn an_address_without_a_host_takes_both_families() {
    for host in ["", "*"] {
        let port = free_address().port();
        let _edge = Edge::start(&format!("edge: {{listen: [{{address: '{host}:{port}', tls: off}}]}}"));
        check_served(&asked(local(port), ASK));
        check_served(&asked(local_v6(port), ASK));
    }
    let port = free_address().port();
    let _edge = Edge::start(&format!("http: {{addr: '[::]:{port}'}}"));
    check_served(&asked(local(port), ASK));
    check_served(&asked(local_v6(port), ASK));
}

#[test]
fn each_family_can_be_listened_on_by_itself() {
    let port = free_address().port();
    let edge = Edge::start(&format!(
        "http: {{CERTIFICATE}}\nedge: {{listen: [{{address: '0.0.0.0:{port}', tls: off}}, '[::]:{port}']}}"
    ));
    check_served(&asked(local(port), ASK));
    check_served(&edge.secure(local_v6(port), ASK));
}

#[test]
fn a_taken_port_ends_the_start_before_anything_is_served() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, free) = (taken.local_addr().unwrap(), free_address());
    let sections = format!("edge: {{listen: ['{free}', '{address}']}}");
    let mut edge = start_and_fail(&sections);
    assert_eq!(edge.process.ended(), Some(1));
    let log = edge.process.log();
    assert!(log.contains(&format!("error: cannot listen on {address}: Address already in use")), "{log}");
    assert!(!log.contains("listening on"), "{log}");
}

#[test]
fn systemd_passes_sockets_by_name() {
    if !tools::present(&["systemd-socket-activate"]) {
        return;
    }
    let (web, web_v6, plain, redirect) = (free_address(), free_v6(), free_address(), free_address());
    let directory = tempfile::tempdir().unwrap();
    let unix = directory.path().join("passed.sock");
    let mut activate = Command::new(tools::path("systemd-socket-activate"));
    for address in
        [web.to_string(), web_v6.to_string(), plain.to_string(), unix.display().to_string(), redirect.to_string()]
    {
        activate.arg("-l").arg(address);
    }
    activate.arg("--fdname=web:web:internal:local:redirect").arg(env!("CARGO_BIN_EXE_pierhead"));
    let own = free_address();
    let sections = format!(
        "http: {{CERTIFICATE}}\nedge:\n  external_url: https://registry.test\n  listen:\n    - systemd:web\n    \
         - {{address: 'systemd:internal', tls: off}}\n    - {{address: 'systemd:local', tls: off}}\n    - '{own}'\n  \
         redirect_http_to_https: {{address: 'systemd:redirect'}}\n"
    );
    let mut edge = Edge::start_by(&mut activate, directory, &sections);
    // The activator starts nothing before somebody connects.
    edge.process.wait_for_port(web);
    check_served(&edge.secure(web, ASK));
    check_served(&edge.secure(web_v6, ASK));
    check_served(&edge.secure(own, ASK));
    check_served(&asked(plain, ASK));
    check_served(&ask(&mut connect_unix(&unix), ASK));
    assert_eq!(asked(redirect, ASK).header("location"), "https://registry.test/v2/");
    let log = edge.process.log();
    assert!(log.contains(&format!("listening on {web_v6}: https")), "{log}");
    assert!(log.contains(&format!("listening on unix:{}: http", unix.display())), "{log}");
}

#[test]
fn a_socket_that_systemd_did_not_pass_ends_the_start() {
    if !tools::present(&["systemd-socket-activate"]) {
        return;
    }
    let address = free_address();
    let mut activate = Command::new(tools::path("systemd-socket-activate"));
    activate.args(["-l", &address.to_string(), "--fdname=other", env!("CARGO_BIN_EXE_pierhead")]);
    let mut edge = Edge::start_by(&mut activate, tempfile::tempdir().unwrap(), "edge: {listen: ['systemd:web']}");
    edge.process.wait_for_port(address);
    assert_eq!(edge.process.ended(), Some(1));
    let log = edge.process.log();
    let expected =
        "error: cannot listen on systemd:web: no socket of that name was passed; left of those that were: other";
    assert!(log.contains(expected), "{log}");
}

#[test]
fn sockets_for_another_process_are_not_ours() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pierhead"));
    command.env("LISTEN_PID", "1").env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", "web");
    let mut edge = Edge::start_by(&mut command, tempfile::tempdir().unwrap(), "edge: {listen: ['systemd:web']}");
    assert_eq!(edge.process.ended(), Some(1));
    assert!(edge.process.log().contains("left of those that were: none"), "{}", edge.process.log());
}

#[test]
fn plain_http_is_sent_to_the_external_url() {
    let (public, plain) = (free_address(), free_address());
    let mut edge = Edge::start(&format!(
        "http: {{CERTIFICATE}}\nedge:\n  external_url: https://registry.example.com:5050\n  listen: ['{public}']\n  \
         redirect_http_to_https: {{address: '{plain}'}}\n"
    ));
    let check = |request: &str, expected: &str| {
        let answer = asked(plain, request);
        assert_eq!((answer.status(), answer.header("location")), (301, expected), "{request}");
        assert!(answer.0.ends_with("\r\n\r\n"), "no body: {answer:?}");
    };
    let origin = "https://registry.example.com:5050";
    check("GET /v2/x?y=1&z=%2F HTTP/1.1\nHost: registry.example.com", &format!("{origin}/v2/x?y=1&z=%2F"));
    check("HEAD / HTTP/1.1\nHost: evil.example.com\nX-Forwarded-Host: evil.example.com", &format!("{origin}/"));
    check("POST /v2/a/blobs/uploads/ HTTP/1.1\nHost: a\nContent-Length: 0", &format!("{origin}/v2/a/blobs/uploads/"));
    check("GET //evil.example.com/ HTTP/1.1\nHost: a", &format!("{origin}//evil.example.com/"));
    check("GET http://evil.example.com/x HTTP/1.1\nHost: evil.example.com", &format!("{origin}/x"));
    check("OPTIONS * HTTP/1.1\nHost: a", &format!("{origin}/"));
    check("GET /%0d%0aX:y HTTP/1.1\nHost: a", &format!("{origin}/%0d%0aX:y"));
    // Its own rules of framing are those of every listener.
    assert_eq!(asked(plain, "GET / HTTP/1.1\nHost: a\nHost: b").status(), 400);
    assert!(edge.access_line("/v2/x?y=1&z=%2F").starts_with("127.0.0.1 - - ["));
    // It serves nothing else, and locations bear the external name.
    let upload = edge.secure(public, "POST /v2/a/blobs/uploads/ HTTP/1.1\nHost: localhost\nContent-Length: 0");
    assert_eq!(upload.status(), 202);
    assert!(upload.header("location").starts_with(&format!("{origin}/v2/a/blobs/uploads/")), "{upload:?}");
}

#[test]
fn the_listener_for_operators_is_not_the_registrys() {
    let address = free_address();
    let sections = format!("http: {{addr: '{address}', debug: {{addr: '{address}'}}}}");
    let mut edge = start_and_fail(&sections);
    assert_eq!(edge.process.ended(), Some(1));
    let expected = format!("config.yml:4: http.debug.addr is {address}, but http.addr");
    assert!(edge.process.log().contains(&expected), "{}", edge.process.log());
    assert!(TcpStream::connect(address).is_err());
}
