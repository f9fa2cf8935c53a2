//! Who is let through where credentials are checked before the upstream, and the other ways to it: HTTP/2 in front, TLS
//! and a socket behind.

use std::path::Path;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

use crate::{
    stage::credentials,
    support::{
        certificate::Certificate,
        command::{command, run},
        registry::{Auth, Program, Registry, Storage, Transport, auth_section},
        tokens::DEVELOPER,
        tools,
    },
    upstream::{
        front::{Front, Setting},
        scripted::{PATIENCE, Upstream, fields, say},
    },
};

fn guarded(directory: &Path, upstream: &Upstream) -> Front {
    let certificate = Certificate::create(directory);
    let auth = auth_section(Auth::Htpasswd, directory, &certificate);
    let edge = format!(
        "  upstream:\n    servers: http://{}\n    verify_tokens: true\n    health: {{interval: 0s}}\n",
        upstream.address
    );
    let setting = Setting { transport: Transport::Plain, edge: &edge, sections: &auth, storage: None };
    Front::start(&directory.join("front"), &certificate, &setting)
}

#[tokio::test]
async fn only_what_passes_our_gate_is_passed_on() {
    if !tools::present(&["htpasswd"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut upstream = Upstream::start().await;
    let front = guarded(directory.path(), &upstream);
    let ask = |method: &str, path: &str, more: &str| {
        format!("{method} {path} HTTP/1.1\r\nHost: r\r\nConnection: close\r\n{more}\r\n")
    };
    let right = format!("Authorization: Basic {}\r\n", STANDARD.encode(credentials(&DEVELOPER)));
    let wrong = format!("Authorization: Basic {}\r\n", STANDARD.encode("developer:wrong"));
    let form = format!("{right}Content-Length: 0\r\nContent-Type: Application/X-WWW-Form-URLEncoded; a=b\r\n");
    let digest = format!("sha256:{}", "0".repeat(64));
    for (request, status) in [
        (ask("GET", "/v2/", ""), 401),
        (ask("GET", "/v2/a/manifests/x", &wrong), 401),
        (ask("PUT", "/v2/a/manifests/x", "Content-Length: 0\r\n"), 401),
        (ask("GET", "/v2/a/../b/manifests/x", &right), 400),
        (ask("GET", "/v2/a/%2e%2e/b/manifests/x", &right), 400),
        (ask("GET", "/admin", &right), 404),
        (ask("GET", "/v2/a%2fb/manifests/x", &right), 404),
        // A form's parameters would go before those that were judged.
        (ask("POST", &format!("/v2/a/blobs/uploads/?mount={digest}&from=a"), &form), 415),
    ] {
        let answer = say(front.address(), &request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answer}");
        let challenged = answer.to_lowercase().contains("www-authenticate: basic");
        assert_eq!(challenged, status == 401, "{answer}");
    }
    assert_eq!(upstream.accepted(), 0, "none of them was passed on");

    let client = tokio::spawn({
        let (address, request) = (front.address(), ask("GET", "/v2/a/manifests/x", &right));
        async move { say(address, &request).await }
    });
    let (mut caller, head) = upstream.asked().await;
    assert!(fields(&head).contains(&fields(&format!("\n{right}"))[0]), "{head}");
    caller.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    assert!(client.await.unwrap().ends_with("ok"));
}

#[tokio::test]
async fn http2_in_front_becomes_http1_behind() {
    if !tools::present(&["curl"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let certificate = Certificate::create(directory.path());
    let mut upstream = Upstream::start().await;
    let edge = format!("  upstream:\n    servers: http://{}\n    health: {{interval: 0s}}\n", upstream.address);
    let setting = Setting { transport: Transport::Tls, edge: &edge, sections: "auth: none\n", storage: None };
    let front = Front::start(&directory.path().join("front"), &certificate, &setting);
    let url = format!("https://{}/v2/x", front.address());
    let body = directory.path().join("body");
    std::fs::write(&body, "abcdef").unwrap();
    let sized = format!("@{}", body.display());
    for (arguments, expected, received) in [
        (vec![], None, ""),
        (vec!["-X", "POST"], Some("content-length: 0"), ""),
        (vec!["-X", "PUT", "--data-binary", &sized], Some("content-length: 6"), "abcdef"),
        (
            vec!["-X", "PATCH", "-H", "Content-Length:", "--data-binary", &sized],
            Some("transfer-encoding: chunked"),
            "6\r\nabcdef\r\n0\r\n\r\n",
        ),
    ] {
        let mut curl = command("curl", ["--silent", "--show-error", "--http2", "--cacert"]);
        curl.arg(&certificate.authority).args(&arguments).arg(&url);
        let client = tokio::task::spawn_blocking(move || run(&mut curl));
        let (mut caller, head) = upstream.asked().await;
        let framing: Vec<_> = fields(&head)
            .into_iter()
            .filter(|line| line.starts_with("content-l") || line.starts_with("transfer"))
            .collect();
        assert_eq!(framing.first().map(String::as_str), expected, "{arguments:?}");
        assert!(fields(&head).contains(&format!("host: {}", front.address())), "{head}");
        assert!(fields(&head).contains(&"x-forwarded-ssl: on".to_owned()), "{head}");
        assert_eq!(caller.body(received.len()).await, received.as_bytes());
        caller
            .say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n4\r\nyes!\r\n0\r\n\r\n")
            .await;
        assert_eq!(client.await.unwrap(), "yes!");
    }
}

/// A stream that is reset is a client that is gone.
#[tokio::test]
async fn who_leaves_on_http2_is_gone_as_well() {
    if !tools::present(&["curl"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let certificate = Certificate::create(directory.path());
    let mut upstream = Upstream::start().await;
    let edge = format!("  upstream:\n    servers: http://{}\n    health: {{interval: 0s}}\n", upstream.address);
    let setting = Setting { transport: Transport::Tls, edge: &edge, sections: "auth: none\n", storage: None };
    let front = Front::start(&directory.path().join("front"), &certificate, &setting);
    let mut curl = command("curl", ["--silent", "--http2", "--cacert"]);
    let mut curl = curl.arg(&certificate.authority).arg(format!("https://{}/v2/x", front.address())).spawn().unwrap();
    let (mut caller, _) = upstream.asked().await;
    curl.kill().unwrap();
    curl.wait().unwrap();
    assert_eq!(caller.rest().await, b"");
    front.await_metric("pierhead_upstream_requests_total", &["abandoned"], |count| count >= 1.0).await;
}

#[tokio::test]
async fn a_server_is_believed_by_its_certificate() {
    if !tools::present(&["docker-registry"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    let storage = Storage::directory(&here.join("data"));
    let back = Registry::start_on(&Program::distribution(), &here.join("back"), &storage, Transport::Tls, Auth::None);
    let request = "GET /v2/ HTTP/1.1\r\nHost: r\r\nConnection: close\r\n\r\n";
    let edge = |authority: &Path| {
        let ca = authority.display();
        format!("  upstream:\n    servers: https://{}\n    ca: {ca}\n    health: {{interval: 0s}}\n", back.address)
    };
    let trusting = Front::with(&edge(&back.certificate.authority));
    let answer = say(trusting.address(), request).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("{}"), "{answer}");
    let stranger = Certificate::create(&here.join("stranger"));
    let doubting = Front::with(&edge(&stranger.authority));
    assert!(say(doubting.address(), request).await.starts_with("HTTP/1.1 503 "));
}

#[tokio::test]
async fn a_server_on_a_socket() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("registry.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let front =
        Front::with(&format!("  upstream:\n    servers: unix:{}\n    health: {{interval: 0s}}\n", path.display()));
    let client = tokio::spawn({
        let address = front.address();
        async move { say(address, "GET /v2/ HTTP/1.1\r\nHost: r\r\nConnection: close\r\n\r\n").await }
    });
    let (mut stream, _) = timeout(PATIENCE, listener.accept()).await.expect("nobody called").unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(timeout(PATIENCE, stream.read_u8()).await.expect("no head").unwrap());
    }
    assert!(fields(&String::from_utf8(head).unwrap()).contains(&"host: r".to_owned()));
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
    assert!(client.await.unwrap().ends_with("ok"));
}
