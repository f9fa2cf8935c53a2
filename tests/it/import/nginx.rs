//! `import nginx.conf`: the result stands where NGINX stood, before the same registry.

use super::*;
use crate::support::registry::{Auth, Program, Registry, Transport};

/// As GitLab's package writes it, with the test's own ports and files.
const TEMPLATE: &str = r#"
upstream registry { server 127.0.0.1:@UPSTREAMPORT@; keepalive 8; }
server {
  listen 127.0.0.1:@REDIRECTPORT@;
  server_name localhost;
  server_tokens off;
  location / { return 301 https://localhost:@PUBLICPORT@$request_uri; }
}
server {
  listen 127.0.0.1:@PUBLICPORT@ ssl;
  server_name localhost;
  server_tokens off;
  client_max_body_size 0;
  chunked_transfer_encoding on;
  ssl_certificate @HERE@/server.crt;
  ssl_certificate_key @HERE@/server.key;
  ssl_protocols TLSv1.2 TLSv1.3;
  ssl_session_cache shared:SSL:10m;
  add_header Strict-Transport-Security "max-age=63072000";
  add_header X-Frame-Options DENY always;
  location / {
    proxy_set_header Host $http_host;
    proxy_set_header X-Real-IP $remote_addr;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Proto https;
    proxy_set_header X-Forwarded-Ssl on;
    proxy_read_timeout 900;
    proxy_buffering off;
    proxy_request_buffering off;
    proxy_http_version 1.1;
    proxy_pass http://registry;
  }
}
"#;

#[test]
fn a_server_block_becomes_one_that_serves() {
    if !tools::present(&["curl"]) {
        return;
    }
    let bed = Bed::new();
    let behind =
        Registry::start(&Program::pierhead(), &bed.path("behind"), &bed.path("data"), Transport::Plain, Auth::None);
    let (public, redirect) = (free_address(), free_address());
    let ports = [
        ("UPSTREAMPORT", behind.address.port().to_string()),
        ("PUBLICPORT", public.port().to_string()),
        ("REDIRECTPORT", redirect.port().to_string()),
    ];
    let source = bed.fill("nginx.conf", TEMPLATE, &ports);
    let result = bed.text("config.yml");
    let output = pierhead(&["import", "nginx.conf", &source, "-o", &result]);
    let named = stderr(&output);
    assert_eq!(output.status.code(), Some(0), "{named}");
    for directive in ["server_tokens", "keepalive", "ssl_session_cache", "proxy_buffering", "proxy_http_version"] {
        assert!(named.contains(&format!(" {directive} has no effect: ")), "{directive}\n{named}");
    }
    let _server = bed.serve(&result, public);
    let answer = bed.curl(&["--http1.1", &format!("https://localhost:{}/v2/", public.port())]).to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 200") && answer.contains("registry/2.0"), "{answer}");
    // What NGINX adds to the answers that it passes on is added here, too.
    for added in ["x-frame-options: deny", "strict-transport-security: max-age=63072000"] {
        assert!(answer.contains(added), "{added}: {answer}");
    }
    let upload = format!("https://localhost:{}/v2/team/app/blobs/uploads/", public.port());
    let answer = bed.curl(&["--http1.1", "--request", "POST", "--data", "", &upload]);
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    let answer = bed.curl(&[&format!("http://127.0.0.1:{}/v2/", redirect.port())]).to_ascii_lowercase();
    assert!(answer.contains(&format!("location: https://localhost:{}/v2/", public.port())), "{answer}");
}

#[test]
fn a_server_is_chosen_by_its_name() {
    let bed = Bed::new();
    let server = |name: &str| {
        format!("server {{ listen 80; server_name {name}; location / {{ proxy_pass http://{name}:1; }} }}\n")
    };
    let source = bed.fill("nginx.conf", &(server("a") + &server("b")), &[]);
    let output = pierhead(&["import", "nginx.conf", &source]);
    assert_eq!(output.status.code(), Some(1));
    let expected =
        format!("error: {source}: there are several servers in this file; choose one of a, b with --server\n");
    assert_eq!(stderr(&output), expected);
    let output = pierhead(&["import", "nginx.conf", &source, "--server", "b"]);
    assert!(stdout(&output).contains("http://b:1") && !stdout(&output).contains("http://a:1"), "{}", stdout(&output));
}
