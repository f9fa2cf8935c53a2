//! Behind balancers and proxies: who is believed, and about what.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
};

use crate::{
    edge::{Answer, Edge, ask, asked, connect, connect_unix, everything, secured},
    support::{
        balancer::proxy_header,
        command::{command, run, run_refused},
        process::free_address,
        tools,
    },
};

const REQUEST: &[u8] = b"GET /v2/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// A connection that begins with these bytes.
fn announced(address: SocketAddr, header: &[u8]) -> TcpStream {
    let mut stream = connect(address);
    stream.write_all(header).unwrap();
    stream
}

/// A target that no other request of the test has.
fn get(target: &str, headers: &str) -> String {
    format!("GET {target} HTTP/1.1\nHost: inner.example.com\n{headers}")
}

#[test]
fn a_proxy_header_names_the_client() {
    let (plain, secure) = (free_address(), free_address());
    let mut edge = Edge::start(&format!(
        "http: {{CERTIFICATE}}\nedge:\n  trusted_proxies: [127.0.0.1]\n  listen:\n    \
         - {{address: '{plain}', tls: off, proxy_protocol: required}}\n    \
         - {{address: '{secure}', proxy_protocol: required}}\n"
    ));
    let v2 = proxy_header("192.0.2.2:4711".parse().unwrap(), secure);
    let v2_ipv6 = proxy_header("[2001:db8::2]:4711".parse().unwrap(), "[::1]:443".parse().unwrap());
    let headers: [(&[u8], &str); 6] = [
        (b"PROXY TCP4 192.0.2.1 127.0.0.1 4711 443\r\n", "192.0.2.1"),
        (b"PROXY TCP6 2001:db8::1 ::1 4711 443\r\n", "2001:db8::1"),
        (&v2, "192.0.2.2"),
        (&v2_ipv6, "2001:db8::2"),
        // Of nobody in particular, and of the balancer itself.
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
        (&[SIGNATURE, b"\x20\x00\x00\x00"].concat(), "127.0.0.1"),
    ];
    for (number, (header, client)) in headers.iter().enumerate() {
        let lies = "X-Forwarded-For: 6.6.6.6\nX-Real-IP: 6.6.6.6\nForwarded: for=6.6.6.6";
        let target = format!("/v2/?plain={number}");
        assert_eq!(ask(&mut announced(plain, header), &get(&target, lies)).status(), 200);
        let line = edge.access_line(&target);
        assert!(line.starts_with(&format!("{client} - - [")), "{line}");

        let target = format!("/v2/?secure={number}");
        let mut stream = secured(&edge.certificate, announced(secure, header));
        assert_eq!(ask(&mut stream, &get(&target, lies)).status(), 200);
        let line = edge.access_line(&target);
        assert!(line.starts_with(&format!("{client} - - [")), "{line}");
    }
    // Byte by byte, and in one piece with what follows.
    let mut slow = connect(plain);
    slow.set_nodelay(true).unwrap();
    for byte in &v2 {
        slow.write_all(&[*byte]).unwrap();
    }
    assert_eq!(ask(&mut slow, &get("/v2/", "")).status(), 200);
    let mut whole = connect(plain);
    whole.write_all(&[&v2[..], REQUEST].concat()).unwrap();
    assert_eq!(Answer(everything(&mut whole).unwrap()).status(), 200);
}

#[test]
fn curl_speaks_the_proxy_protocol_too() {
    if !tools::present(&["curl"]) {
        return;
    }
    let address = free_address();
    let mut edge = Edge::start(&format!(
        "http: {{CERTIFICATE}}\nedge:\n  trusted_proxies: [127.0.0.1]\n  listen:\n    \
         - {{address: '{address}', proxy_protocol: required}}\n"
    ));
    let port = address.port();
    let url = format!("https://localhost:{port}/v2/?curl");
    let mut curl = command("curl", ["-sS", "--http1.1", "--noproxy", "*", "--max-time", "30", "--cacert"]);
    curl.arg(&edge.certificate.authority).args(["--resolve", &format!("localhost:{port}:127.0.0.1"), &url]);
    run_refused(&mut curl);
    assert_eq!(run(curl.arg("--haproxy-protocol")), "{}");
    assert!(edge.access_line("/v2/?curl").starts_with("127.0.0.1 - - ["));
}

#[test]
fn without_a_right_header_from_the_right_peer_nothing_is_served() {
    let (trusting, distrusting, redirect) = (free_address(), free_address(), free_address());
    let edge = Edge::start(&format!(
        "http: {{CERTIFICATE}}\nedge:\n  external_url: https://registry.test\n  trusted_proxies: [127.0.0.1]\n  \
         limits: {{handshake_timeout: 1s}}\n  listen:\n    \
         - {{address: '{trusting}', tls: off, proxy_protocol: required}}\n  \
         redirect_http_to_https: {{address: '{redirect}', proxy_protocol: required}}\n"
    ));
    let foreign = Edge::start(&format!(
        "edge:\n  trusted_proxies: [10.0.0.0/8, unix]\n  listen:\n    \
         - {{address: '{distrusting}', tls: off, proxy_protocol: required}}\n"
    ));
    let dropped = |address: SocketAddr, bytes: &[u8]| {
        let mut stream = announced(address, bytes);
        assert_eq!(everything(&mut stream).unwrap(), "", "{address} {:?}", String::from_utf8_lossy(bytes));
    };
    let right = [&proxy_header("192.0.2.1:1".parse().unwrap(), trusting), REQUEST].concat();
    assert_eq!(Answer(everything(&mut announced(trusting, &right)).unwrap()).status(), 200);
    assert_eq!(Answer(everything(&mut announced(redirect, &right)).unwrap()).status(), 301);
    dropped(distrusting, &right);
    dropped(distrusting, REQUEST);
    for address in [trusting, redirect] {
        dropped(address, REQUEST);
        dropped(address, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03");
        dropped(address, &[b"PROXY TCP4 192.0.2.1 127.0.0.1 4711 99999\r\n", REQUEST].concat());
        dropped(address, &[b"PROXY TCP4 192.0.2.1 127.0.0.1 4711 443\n", REQUEST].concat());
        dropped(address, &[b"PROXY ", [b'x'; 4096].as_slice()].concat());
        dropped(address, &[SIGNATURE, b"\x21\x11\xff\xff", &[0; 64]].concat());
        dropped(address, &[SIGNATURE, b"\x21\x11\x00\x04", &[0; 64]].concat());
        // What does not come is not waited for.
        dropped(address, b"");
        dropped(address, b"PROXY TCP4 192.0.2.1");
        dropped(address, &[SIGNATURE, b"\x21\x11\x00\x0c\x00"].concat());
    }
    drop((edge, foreign));
}

#[test]
fn a_proxy_header_where_none_is_expected_is_no_request() {
    let (plain, secure) = (free_address(), free_address());
    let mut edge = Edge::start(&format!(
        "http: {{CERTIFICATE}}\nedge:\n  trusted_proxies: [127.0.0.1]\n  listen:\n    \
         - {{address: '{plain}', tls: off}}\n    - '{secure}'\n"
    ));
    for header in
        [b"PROXY TCP4 192.0.2.1 127.0.0.1 4711 443\r\n".to_vec(), proxy_header("192.0.2.1:1".parse().unwrap(), plain)]
    {
        let request = [&header[..], b"GET /v2/?x HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
        let answer = everything(&mut announced(plain, &request)).unwrap();
        assert!(answer.is_empty() || Answer(answer.clone()).status() == 400, "{answer}");
        assert!(!everything(&mut announced(secure, &request)).unwrap().contains("HTTP/1.1"));
    }
    assert_eq!(asked(plain, &get("/v2/?end", "")).status(), 200);
    assert!(edge.access_line("/v2/?end").starts_with("127.0.0.1 "));
    assert!(!edge.process.log().contains("192.0.2.1"), "{}", edge.process.log());
}

#[test]
fn whom_a_proxy_header_names_must_be_trusted_to_be_believed_in_turn() {
    let address = free_address();
    let mut edge = Edge::start(&format!(
        "edge:\n  trusted_proxies: [127.0.0.1, 10.0.0.0/8]\n  listen:\n    \
         - {{address: '{address}', tls: off, proxy_protocol: required}}\n"
    ));
    let mut check = |header: &[u8], target: &str, expected: &str| {
        let request = get(target, "X-Forwarded-For: 198.51.100.1");
        assert_eq!(ask(&mut announced(address, header), &request).status(), 200);
        let line = edge.access_line(target);
        assert!(line.starts_with(&format!("{expected} - - [")), "{line}");
    };
    check(b"PROXY TCP4 10.1.1.1 127.0.0.1 4711 443\r\n", "/v2/?proxy", "198.51.100.1");
    check(b"PROXY TCP4 11.1.1.1 127.0.0.1 4711 443\r\n", "/v2/?client", "11.1.1.1");
    // Behind a balancer that cannot name its client there may be anybody.
    check(b"PROXY UNKNOWN\r\n", "/v2/?unknown", "127.0.0.1");
    check(&[SIGNATURE, b"\x21\x31\x00\xd8", &[0; 216]].concat(), "/v2/?socket", "127.0.0.1");
}

/// What a client behind nobody, or a proxy that does not clean up, may send.
const CLAIMS: &str = "X-Forwarded-For: 203.0.113.9\nX-Real-IP: 203.0.113.8\nForwarded: for=203.0.113.7;proto=https;host=seven\n\
                      X-Forwarded-Proto: https\nX-Forwarded-Host: claimed.example.com\nX-Forwarded-Port: 8443";

/// Where an upload is said to go on.
fn location(address: SocketAddr, headers: &str) -> String {
    let request = format!("POST /v2/a/blobs/uploads/ HTTP/1.1\nHost: inner.example.com\nContent-Length: 0\n{headers}");
    let answer = asked(address, &request);
    assert_eq!(answer.status(), 202, "{answer:?}");
    answer.header("location").split("/v2/").next().unwrap().to_owned()
}

#[test]
fn what_clients_claim_is_believed_of_nobody_who_is_not_listed() {
    for trusted in ["[]", "[10.0.0.0/8, unix]"] {
        for relative in ["true", "false"] {
            let address = free_address();
            let mut edge = Edge::start(&format!(
                "http: {{addr: '{address}', relativeurls: {relative}}}\nedge: {{trusted_proxies: {trusted}}}"
            ));
            assert_eq!(location(address, CLAIMS), "", "{trusted}");
            assert_eq!(asked(address, &get("/v2/?claims", CLAIMS)).status(), 200);
            assert!(edge.access_line("/v2/?claims").starts_with("127.0.0.1 - - ["));
            assert!(!edge.process.log().contains("203.0.113."), "{}", edge.process.log());
        }
    }
}

#[test]
fn a_trusted_proxy_is_believed() {
    for (header, client, origin) in [
        ("X-Forwarded-For", "203.0.113.9", "https://claimed.example.com:8443"),
        ("X-Real-IP", "203.0.113.8", "https://claimed.example.com:8443"),
        ("Forwarded", "203.0.113.7", "https://seven"),
        ("X-Other", "127.0.0.1", "https://claimed.example.com:8443"),
    ] {
        let address = free_address();
        let mut edge = Edge::start(&format!(
            "http: {{addr: '{address}', relativeurls: false}}\n\
             edge: {{trusted_proxies: [127.0.0.1], real_ip: {{header: {header}}}}}"
        ));
        assert_eq!(location(address, CLAIMS), origin, "{header}");
        assert_eq!(location(address, ""), "");
        assert_eq!(location(address, "X-Forwarded-Proto: http").is_empty(), header == "Forwarded");
        assert_eq!(asked(address, &get("/v2/?claims", CLAIMS)).status(), 200);
        let line = edge.access_line("/v2/?claims");
        assert!(line.starts_with(&format!("{client} - - [")), "{header}: {line}");
        // The log of requests, where no port is made up.
        let told = format!("http.request.remoteaddr={client}");
        assert!(client == "127.0.0.1" || edge.process.log().contains(&format!("{told} ")), "{}", edge.process.log());
    }
}

#[test]
fn the_external_url_stands_above_what_proxies_say() {
    let address = free_address();
    let _edge = Edge::start(&format!(
        "http: {{addr: '{address}', relativeurls: false}}\n\
         edge: {{external_url: 'https://registry.example.com', trusted_proxies: [127.0.0.1]}}"
    ));
    assert_eq!(location(address, CLAIMS), "https://registry.example.com");
    assert_eq!(location(address, ""), "https://registry.example.com");
}

#[test]
fn a_unix_socket_is_trusted_only_by_name() {
    for (trusted, client) in [("[127.0.0.1]", "-"), ("[unix]", "203.0.113.9")] {
        let mut edge =
            Edge::start(&format!("edge: {{trusted_proxies: {trusted}, listen: [{{address: 'unix:./s', tls: off}}]}}"));
        let mut stream = connect_unix(&edge.path().join("s"));
        assert_eq!(ask(&mut stream, &get("/v2/?claims", CLAIMS)).status(), 200);
        let line = edge.access_line("/v2/?claims");
        assert!(line.starts_with(&format!("{client} - - [")), "{line}");
    }
    let proxy = "listen: [{address: 'unix:./s', tls: off, proxy_protocol: required}]";
    let header = b"PROXY TCP4 192.0.2.1 127.0.0.1 4711 443\r\n";
    let mut believing = Edge::start(&format!("edge: {{trusted_proxies: [unix], {proxy}}}"));
    let mut stream = connect_unix(&believing.path().join("s"));
    stream.write_all(header).unwrap();
    assert_eq!(ask(&mut stream, &get("/v2/?named", "")).status(), 200);
    assert!(believing.access_line("/v2/?named").starts_with("192.0.2.1 - - ["));
    let doubting = Edge::start(&format!("edge: {{trusted_proxies: [127.0.0.1], {proxy}}}"));
    let mut stream = connect_unix(&doubting.path().join("s"));
    // It may be closed before this is written.
    let _ = stream.write_all(header).and_then(|()| stream.write_all(b"GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n"));
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    assert!(bytes.is_empty());
}

#[test]
fn challenges_lead_to_where_the_client_is() {
    if !tools::present(&["openssl"]) {
        return;
    }
    let keys = tempfile::tempdir().unwrap();
    let (certificate, key) = (keys.path().join("token.crt"), keys.path().join("token.key"));
    let subject = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=t", "-out"];
    run(command("openssl", subject).arg(&certificate).arg("-keyout").arg(key));
    let auth = format!(
        "auth: {{token: {{realm: 'https://gitlab.example.com/jwt/auth', service: s, issuer: i, autoredirect: true, \
         rootcertbundle: '{}'}}}}",
        certificate.display()
    );
    let check = |edge: &str, headers: &str, expected: &str| {
        let address = free_address();
        let _edge = Edge::start_with_auth(&auth, &format!("http: {{addr: '{address}'}}\nedge: {{{edge}}}"));
        let answer = asked(address, &get("/v2/", headers));
        let challenge = answer.header("www-authenticate");
        assert_eq!(answer.status(), 401);
        assert!(challenge.starts_with(&format!("Bearer realm=\"{expected}/auth/token\",")), "{challenge}");
    };
    check("strict: false", CLAIMS, "https://inner.example.com");
    check("trusted_proxies: [127.0.0.1]", CLAIMS, "https://claimed.example.com:8443");
    check("trusted_proxies: [127.0.0.1]", "X-Forwarded-Proto: http", "http://inner.example.com");
    check("trusted_proxies: [127.0.0.1]", "X-Forwarded-For: 203.0.113.9", "https://inner.example.com");
    check("external_url: 'https://r:5050/x', trusted_proxies: [127.0.0.1]", CLAIMS, "https://r:5050");
}

#[test]
fn the_networks_of_downloads_are_the_clients() {
    let address = free_address();
    let _edge = Edge::start(&format!(
        "middleware: {{storage: [{{name: redirect, options: {{baseurl: 'https://mirror.example.com'}}}}]}}\n\
         http: {{addr: '{address}'}}\nedge:\n  trusted_proxies: [127.0.0.1, 10.0.0.1]\n  \
         downloads: {{inline_max: 0, redirect_networks: [203.0.113.0/24]}}\n"
    ));
    let digest = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    let target = format!("/v2/a/blobs/uploads/?digest={digest}");
    let request = format!("POST {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(Answer(everything(&mut announced(address, request.as_bytes())).unwrap()).status(), 201);
    let check = |headers: &str, expected: u16| {
        let answer = asked(address, &get(&format!("/v2/a/blobs/{digest}"), headers));
        assert_eq!(answer.status(), expected, "{headers} {answer:?}");
    };
    check("", 200);
    check("X-Forwarded-For: 203.0.113.9", 307);
    check("X-Forwarded-For: 203.0.113.9, 10.0.0.1", 307);
    check("X-Forwarded-For: 203.0.113.9, 198.51.100.1", 200);
    check("X-Real-IP: 203.0.113.9", 200);
}
