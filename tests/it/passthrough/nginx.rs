//! A real nginx as the other server of the host.

use std::{ffi::OsStr, fs, net::SocketAddr, path::Path};

use bytes::Bytes;
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt, net::TcpStream};
use tokio_rustls::client::TlsStream;

use crate::{
    passthrough::rig::{Edge, OTHER, OWN, connect, everything, exactly, status, until},
    support::{
        certificate::Certificate,
        command::command,
        process::{Process, free_address},
        tools,
    },
};

/// Bytes of the file that it serves.
const FILE_SIZE: usize = 48 << 20;

struct Nginx {
    tls: SocketAddr,
    http: SocketAddr,
    certificate: Certificate,
    directory: TempDir,
    _process: Process,
}

impl Nginx {
    /// `parameter` stands in its `listen`.
    fn start(parameter: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let certificate = Certificate::create_for(directory.path(), &[OTHER]);
        let (tls, http) = (free_address(), free_address());
        let place = directory.path().display();
        let text = format!(
            "daemon off;\nworker_processes 1;\nerror_log stderr;\npid {place}/nginx.pid;\n\
             events {{ worker_connections 256; }}\n\
             http {{\n  log_format who '$proxy_protocol_addr:$proxy_protocol_port $server_protocol';\n  \
             access_log {place}/access.log who;\n  client_body_temp_path {place}/body;\n  \
             proxy_temp_path {place}/proxy;\n  fastcgi_temp_path {place}/fastcgi;\n  uwsgi_temp_path {place}/uwsgi;\n  \
             scgi_temp_path {place}/scgi;\n  server {{\n    listen {tls} ssl http2 {parameter};\n    \
             listen {http} {parameter};\n    ssl_certificate {};\n    ssl_certificate_key {};\n    \
             root {place}/files;\n    \
             location = /who {{ return 200 '$http_host|$http_x_forwarded_for|$http_x_forwarded_proto|$scheme'; }}\n  \
             }}\n}}\n",
            certificate.chain.display(),
            certificate.key.display(),
        );
        fs::create_dir(directory.path().join("files")).unwrap();
        let file: Vec<u8> = (0..FILE_SIZE).map(content).collect();
        fs::write(directory.path().join("files/large"), file).unwrap();
        let config = directory.path().join("nginx.conf");
        fs::write(&config, text).unwrap();
        // Its workers are others when it is started by root.
        open_to_all(directory.path());
        let mut nginx = command("nginx", [OsStr::new("-c"), config.as_os_str()]);
        let mut process = Process::start(&mut nginx, &directory.path().join("nginx.log"));
        process.wait_for_port(tls);
        Self { tls, http, certificate, directory, _process: process }
    }

    fn rules(&self, keys: &str) -> String {
        format!("[{{names: [{OTHER}], tls: '{}', http: '{}', {keys}}}]", self.tls, self.http)
    }

    /// The lines of requests whose client it knows.
    fn seen(&self) -> String {
        fs::read_to_string(self.directory.path().join("access.log")).unwrap_or_default()
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the lowest bits are wanted")]
const fn content(at: usize) -> u8 {
    (at / 7) as u8
}

fn open_to_all(directory: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
}

async fn over_http2(stream: TlsStream<TcpStream>, path: &str) -> (u16, Bytes) {
    let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get(format!("https://{OTHER}{path}")).body(()).unwrap();
    let answer = sender.send_request(request, true).unwrap().0.await.unwrap();
    let (status, mut body) = (answer.status().as_u16(), answer.into_body());
    let mut bytes = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk.unwrap();
        body.flow_control().release_capacity(chunk.len()).unwrap();
        bytes.extend_from_slice(&chunk);
    }
    (status, bytes.into())
}

#[tokio::test]
async fn each_name_has_its_own_certificate_on_one_port() {
    if !tools::present(&["nginx"]) {
        return;
    }
    let nginx = Nginx::start("");
    let edge = Edge::start(&nginx.rules(""), "");
    let mut stream = edge.secure(OTHER, &nginx.certificate.authority, Some("http/1.1")).await;
    let request = format!("GET /who HTTP/1.1\r\nHost: {OTHER}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    assert!(everything(&mut stream).await.ends_with("\r\n\r\ngitlab.test|||https"));

    let stream = edge.secure(OTHER, &nginx.certificate.authority, Some("h2")).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
    assert_eq!(over_http2(stream, "/who").await, (200, Bytes::from_static(b"gitlab.test|||https")));

    let mut stream = edge.secure(OWN, &edge.certificate.authority, None).await;
    stream.write_all(b"GET /v2/ HTTP/1.1\r\nHost: registry.test\r\nConnection: close\r\n\r\n").await.unwrap();
    let said = everything(&mut stream).await;
    assert!(said.to_ascii_lowercase().contains("docker-distribution-api-version"), "{said}");
}

#[tokio::test]
async fn large_files_arrive_whole() {
    if !tools::present(&["nginx"]) {
        return;
    }
    let nginx = Nginx::start("");
    let edge = Edge::start(&nginx.rules(""), "");
    let right =
        |bytes: &[u8]| bytes.len() == FILE_SIZE && bytes.iter().enumerate().all(|(at, byte)| *byte == content(at));
    let stream = edge.secure(OTHER, &nginx.certificate.authority, Some("h2")).await;
    let (status, bytes) = over_http2(stream, "/large").await;
    assert!(status == 200 && right(&bytes), "over TLS: {status}, {} bytes", bytes.len());
    let mut client = connect(edge.plain).await;
    client.write_all(format!("GET /large HTTP/1.1\r\nHost: {OTHER}\r\n\r\n").as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(exactly(&mut client, 1).await);
    }
    assert!(right(&exactly(&mut client, FILE_SIZE).await), "in plain HTTP");
}

#[tokio::test]
async fn it_hears_who_the_client_is() {
    if !tools::present(&["nginx"]) {
        return;
    }
    let nginx = Nginx::start("proxy_protocol");
    for version in ["v1", "v2"] {
        let edge = Edge::start(&nginx.rules(&format!("proxy_protocol: {version}")), "");
        let stream = edge.secure(OTHER, &nginx.certificate.authority, Some("h2")).await;
        let client = stream.get_ref().0.local_addr().unwrap();
        assert_eq!(over_http2(stream, "/who").await.0, 200);
        let mut plain = connect(edge.plain).await;
        let other_client = plain.local_addr().unwrap();
        plain.write_all(format!("GET /who HTTP/1.1\r\nHost: {OTHER}\r\n\r\n").as_bytes()).await.unwrap();
        let said = until(&mut plain, "|http").await;
        assert_eq!(status(&said), 200);
        assert!(said.ends_with("gitlab.test|127.0.0.1|http|http"), "{said}");
        for line in [format!("{client} HTTP/2.0"), format!("{other_client} HTTP/1.1")] {
            let mut looks = 0;
            while !nginx.seen().contains(&line) {
                looks += 1;
                assert!(looks < 500, "{version}: no {line} in {}", nginx.seen());
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        }
    }
}
