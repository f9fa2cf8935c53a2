//! SIGHUP: what is good is in force with the next request, what is bad changes nothing.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::{
    lifecycle::{
        client::Target,
        server::{PATIENCE, Server},
    },
    support::{
        certificate::Certificate,
        http::{empty, send},
        push::{Family, Flow, Pace, Pusher},
    },
};

async fn begins_a_push(server: &Server) -> StatusCode {
    send(server.address, empty(Method::POST, "/v2/a/b/blobs/uploads/")).await.unwrap().status()
}

/// What is said of it is for developers.
async fn breaks_a_handshake(server: &Server) {
    let mut stream = TcpStream::connect(server.secure).await.unwrap();
    stream.write_all(b"this is no hello").await.unwrap();
    // An alert, and the end.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await.unwrap();
}

const OF_A_HANDSHAKE: &str = "a TLS handshake failed";

#[tokio::test]
async fn what_can_change_changes_with_the_next_request() {
    let server = Server::start("", "");
    assert!(!server.get("/v2/").await.headers().contains_key("x-site"));
    // A push goes on through all of it.
    let (content, hurry) = (Family::new(8 << 20).member(1), Arc::new(AtomicBool::new(false)));
    let pushing = tokio::spawn({
        let (pusher, content, pace) =
            (Pusher::new(server.address, "a/b"), content.clone(), Pace::Slow(256 << 10, Arc::clone(&hurry)));
        async move { pusher.push(&content, Flow::Put, &pace).await.map(drop).map_err(|stopped| format!("{stopped:?}")) }
    });
    server.until_pushing().await;

    let storage = format!(
        "storage: {{filesystem: {{rootdirectory: {}}}, maintenance: {{readonly: {{enabled: true}}}}}}\n",
        server.path("data").display()
    );
    server.write(
        &format!(
            "{storage}log: {{level: debug}}\n#http headers: {{X-Site: [one]}}\n#http host: https://r.example.com\n"
        ),
        "",
    );
    let said = server.reload();
    assert!(said.contains("is in force") && said.contains("config.generation=2"), "{said}");
    assert!(!said.contains("takes a restart"), "{said}");
    assert_eq!(begins_a_push(&server).await, 405);
    breaks_a_handshake(&server).await;
    server.wait_for(OF_A_HANDSHAKE, 0);
    let answer = server.get("/v2/").await;
    assert_eq!(answer.headers()["x-site"], "one");
    assert_eq!(server.metric("pierhead_config_generation").await, 2);
    assert_eq!(server.metric("pierhead_config_last_reload_successful").await, 1);

    // And back again.
    server.write("", "");
    assert!(server.reload().contains("config.generation=3"));
    let answer = send(server.address, empty(Method::POST, "/v2/a/b/blobs/uploads/")).await.unwrap();
    assert_eq!(answer.status(), 202);
    assert!(answer.headers()["location"].to_str().unwrap().starts_with('/'));
    hurry.store(true, Ordering::Relaxed);
    timeout(PATIENCE, pushing).await.unwrap().unwrap().unwrap();
    let quiet = server.log().len();
    breaks_a_handshake(&server).await;
    server.get("/v2/?quiet=1").await;
    let log = server.wait_for("http.request.uri=\"/v2/?quiet=1\"", quiet);
    assert!(!log.contains(OF_A_HANDSHAKE), "{log}");
}

#[tokio::test]
async fn who_may_come_in_changes() {
    let server = Server::start("", "");
    let realm = |name: &str| {
        let challenge = format!("auth: {{htpasswd: {{realm: {name}, path: {}}}}}\n", server.path("htpasswd").display());
        server.write(&challenge, "");
    };
    // A file that is not there is not made under a running server.
    realm("one");
    assert!(server.reload().contains("auth.htpasswd"));
    assert_eq!(server.get("/v2/").await.status(), 200);
    fs::write(server.path("htpasswd"), format!("user:{}\n", bcrypt::hash("right", 4).unwrap())).unwrap();
    assert!(server.reload().contains("is in force"));
    let answer = server.get("/v2/").await;
    assert_eq!(answer.status(), 401);
    assert!(answer.headers()["www-authenticate"].to_str().unwrap().contains("realm=\"one\""));
    let with = |password: &str| {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        let basic = STANDARD.encode(format!("user:{password}"));
        let body = BodyExt::boxed(http_body_util::Empty::new());
        Request::get("/v2/").header("authorization", format!("Basic {basic}")).body(body).unwrap()
    };
    assert_eq!(send(server.address, with("right")).await.unwrap().status(), 200);
    assert_eq!(send(server.address, with("wrong")).await.unwrap().status(), 401);
}

#[tokio::test]
async fn what_is_bad_is_refused_whole() {
    let server = Server::start("", "");
    let target = Target::new(server.secure, &[&server.certificate.authority]);
    let shown = target.certificate().await;
    let config = server.path("config.yml");
    let good = |line: &str| format!("#http headers: {{X-Site: [{line}]}}\n");

    // Half of each is good; none of it may be in force.
    let check = async |named: &[&str], number: u32| {
        let said = server.reload();
        assert!(said.contains("level=error") && said.contains("refused"), "{said}");
        for name in named {
            assert!(said.contains(name), "{name} in {said}");
        }
        assert!(!server.get("/v2/").await.headers().contains_key("x-site"));
        assert_eq!(begins_a_push(&server).await, 202);
        assert_eq!(target.certificate().await, shown);
        assert_eq!(server.metric("pierhead_config_last_reload_successful").await, 0);
        assert_eq!(server.metric("pierhead_config_generation").await, 1);
        let failures = server.ask("/metrics").await.1;
        assert!(
            failures.contains(&format!("pierhead_config_reloads_total{{outcome=\"failure\"}} {number}\n")),
            "{failures}"
        );
    };
    server.write(&format!("{}log: {{level: loud}}\n", good("half")), "");
    check(&["config.yml:", "log.level"], 1).await;
    server.write(&good("half"), "  limits: {connections: 0}\n");
    check(&["config.yml:", "edge.limits.connections"], 2).await;
    fs::write(&config, "version: 0.1\nhttp: {headers: [\n").unwrap();
    check(&["config.yml:"], 3).await;
    fs::remove_file(&config).unwrap();
    check(&["cannot read the configuration"], 4).await;
    server.write(
        &format!(
            "{}auth: {{token: {{realm: https://a/, service: s, issuer: i, rootcertbundle: /no}}}}\n",
            good("half")
        ),
        "",
    );
    check(&["auth.token", "/no"], 5).await;
    server.write(&good("half"), "  access_log: {path: /nowhere/at/all/access.log}\n");
    check(&["edge.access_log.path", "/nowhere/at/all/access.log"], 6).await;
    // The certificate comes last of all, and is as good a reason.
    server.write(&good("half"), "");
    let key = fs::read(&server.certificate.key).unwrap();
    let directory = tempfile::tempdir().unwrap();
    fs::copy(Certificate::create(directory.path()).key, &server.certificate.key).unwrap();
    check(&["http.tls", "server.key"], 7).await;
    fs::write(&server.certificate.key, key).unwrap();
    assert!(server.reload().contains("config.generation=2"));
    assert_eq!(server.get("/v2/").await.headers()["x-site"], "half");
}

#[tokio::test]
async fn a_certificate_is_exchanged() {
    let server = Server::start("", "");
    let directory = tempfile::tempdir().unwrap();
    let next = Certificate::create(directory.path());
    let target = Target::new(server.secure, &[&server.certificate.authority, &next.authority]);
    let before = target.certificate().await;
    for (from, to) in [(&next.chain, &server.certificate.chain), (&next.key, &server.certificate.key)] {
        fs::copy(from, to).unwrap();
    }
    assert!(server.reload().contains("is in force"));
    let after = target.certificate().await;
    assert_ne!(before, after);
}

#[tokio::test]
async fn what_takes_a_restart_is_named() {
    let server = Server::start("", "");
    server.write(
        &format!("storage: {{filesystem: {{rootdirectory: {}}}}}\n", server.path("other").display()),
        "  strict: true\n",
    );
    let said = server.reload();
    for key in ["storage.filesystem.rootdirectory", "edge.strict"] {
        let line = said.lines().find(|line| line.contains(key)).unwrap_or_else(|| panic!("{key} in {said}"));
        assert!(
            line.contains("level=warning") && line.contains("takes a restart") && line.contains("config.yml:"),
            "{line}"
        );
    }
    assert_eq!(server.metric("pierhead_config_keys_awaiting_restart").await, 2);
    assert_eq!(begins_a_push(&server).await, 202);
    assert!(!server.path("other").exists());
    // Taken back, nothing waits any more.
    server.write("", "");
    server.reload();
    assert_eq!(server.metric("pierhead_config_keys_awaiting_restart").await, 0);
}

#[tokio::test]
async fn before_another_registry_more_takes_a_restart() {
    let upstream =
        |more: &str| format!("  upstream: {{servers: 'http://127.0.0.1:9', {more}health: {{interval: 0s}}}}\n");
    let server = Server::start("", &upstream(""));
    let named = |said: &str| -> Vec<String> {
        let lines = said.lines().filter(|line| line.contains("takes a restart or an upgrade"));
        assert!(lines.clone().all(|line| line.contains("level=warning")), "{said}");
        lines.filter_map(|line| Some(line.split_once("configuration: ")?.1.split_once(": ")?.0.to_owned())).collect()
    };
    server.write("", &format!("{}  limits: {{header_timeout: 9s}}\n", upstream("")));
    assert_eq!(named(&server.reload()), [""; 0]);
    server.write("#http headers: {X-Site: [one]}\n", &upstream("connections_max: 7, "));
    assert_eq!(named(&server.reload()), ["edge.upstream.connections_max", "http.headers"]);
    assert_eq!(server.metric("pierhead_config_keys_awaiting_restart").await, 2);
    assert!(!server.get("/v2/").await.headers().contains_key("x-site"));
    // Our own registry does not answer before the next start.
    server.write("", "");
    assert_eq!(named(&server.reload()), ["edge.upstream"]);
    assert_eq!(server.get("/v2/").await.status(), 503);
}

#[tokio::test]
async fn limits_and_proxies_change() {
    let server = Server::start("", "");
    let asked = async |forwarded: &str| {
        let mut request = empty(Method::POST, "/v2/a/b/blobs/uploads/");
        request.headers_mut().insert("x-forwarded-proto", "https".parse().unwrap());
        request.headers_mut().insert("x-forwarded-host", forwarded.parse().unwrap());
        let answer = send(server.address, request).await.unwrap();
        answer.headers()["location"].to_str().unwrap().to_owned()
    };
    assert!(asked("r.example.com").await.starts_with('/'));
    server
        .write("#http relativeurls: false\n", "  trusted_proxies: [127.0.0.0/8]\n  limits: {header_timeout: 300ms}\n");
    assert!(server.reload().contains("is in force"));
    assert!(asked("r.example.com").await.starts_with("https://r.example.com/"));
    // The new deadline of heads, on a connection that begins now.
    let mut slow = TcpStream::connect(server.address).await.unwrap();
    let answer = async {
        slow.write_all(b"GET /v2/ HTTP/1.1\r\n").await.unwrap();
        let mut answer = Vec::new();
        slow.read_to_end(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    };
    // The old one was ten seconds.
    let answer = timeout(Duration::from_secs(9), answer).await.expect("the old deadline");
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
}

#[tokio::test]
async fn access_and_rates_change() {
    let server = Server::start("", "");
    let ask = async |client: &str| {
        let mut request = empty(Method::GET, "/v2/");
        request.headers_mut().insert("x-forwarded-for", client.parse().unwrap());
        send(server.address, request).await.unwrap().status().as_u16()
    };
    let proxies = "  trusted_proxies: [127.0.0.0/8]\n";
    let rates = "{requests: {per_address: 1/h burst 2}, clients_max: 7}";
    server.write("", &format!("{proxies}  access: {{deny: [192.0.2.66]}}\n  rates: {rates}\n"));
    let said = server.reload();
    let waits: Vec<_> = said.lines().filter(|line| line.contains("takes a restart")).collect();
    assert!(waits.len() == 1 && waits[0].contains("edge.rates.clients_max"), "{said}");
    assert_eq!(ask("192.0.2.66").await, 403);
    assert_eq!([ask("192.0.2.1").await, ask("192.0.2.1").await, ask("192.0.2.1").await], [200, 200, 429]);
    // And back again.
    server.write("", proxies);
    assert!(server.reload().contains("config.generation=3"));
    assert_eq!([ask("192.0.2.66").await, ask("192.0.2.1").await], [200, 200]);
}

/// The names that are ours stand above a rule for all that nobody has.
#[tokio::test]
async fn names_of_ours_change() {
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let rule = format!("  passthrough: [{{names: ['*'], http: '{}'}}]\n", other.local_addr().unwrap());
    let answering = tokio::spawn(async move {
        loop {
            let (mut stream, _) = other.accept().await.unwrap();
            // Its head comes in one piece, and what is left of it is of no matter.
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(b"HTTP/1.1 418 Other\r\nContent-Length: 0\r\n\r\n").await;
        }
    });
    let named = |name: &str| format!("  external_url: https://{name}\n{rule}");
    let server = Server::start("", &named("one.test"));
    let check = async |expected: [u16; 3]| {
        for (host, expected) in ["one.test", "Two.test", "three.test"].into_iter().zip(expected) {
            let mut stream = TcpStream::connect(server.address).await.unwrap();
            let request = format!("GET /v2/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
            assert!(answer.starts_with(&format!("HTTP/1.1 {expected} ")), "{host}: {answer}");
        }
    };
    check([200, 418, 418]).await;
    server.write("", &named("TWO.test"));
    assert!(server.reload().contains("is in force"));
    check([418, 200, 418]).await;
    // A reload that is refused changes nothing of it.
    server.write("log: {level: loud}\n", &named("three.test"));
    assert!(server.reload().contains("refused"));
    check([418, 200, 418]).await;
    server.write("", &rule);
    assert!(server.reload().contains("is in force"));
    check([418, 418, 418]).await;
    answering.abort();
}
