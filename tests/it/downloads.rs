//! Blobs whose clients are sent to fetch them elsewhere, and those that are not.

use std::{fs, net::SocketAddr, process::Command, sync::Arc, time::Duration};

use async_trait::async_trait;
use http::Uri;
use pierhead::{
    api::settings::Downloads,
    store::{
        Precondition, Result as StoreResult, Store,
        error::{Error, Kind, Operation},
        key::Key,
        locate::{Locate, Visitor, base::Base, redirect::Redirect},
    },
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpSocket,
};

use crate::{
    gateway::{Answer, Ask, Rig, ask, sha256, sha512},
    support::process::{Process, free_address},
};

const INLINE_MAX: u64 = 8;

/// More than [`INLINE_MAX`] bytes.
const LARGE: &str = "0123456789";

/// No more than [`INLINE_MAX`] bytes.
const SMALL: &str = "01234567";

fn network() -> Arc<dyn Locate> {
    Arc::new(Redirect::new(Base::new("https://cdn.example.com/registry/").unwrap()))
}

async fn rig_with(locator: Option<Arc<dyn Locate>>) -> Rig {
    Rig::with(|plan| {
        plan.locator = locator;
        plan.api.downloads = Downloads {
            forward: vec!["10.1.0.0/16".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
            redirect: vec!["10.0.0.0/8".parse().unwrap(), "2001::/16".parse().unwrap()],
            inline_max: INLINE_MAX,
        };
    })
    .await
}

async fn rig() -> Rig {
    rig_with(Some(network())).await
}

fn address_of(digest: &str) -> String {
    let (algorithm, hex) = digest.split_once(':').unwrap();
    format!("https://cdn.example.com/registry/docker/registry/v2/blobs/{algorithm}/{}/{hex}/data", &hex[..2])
}

/// 307 says where, and nothing that outlives the address.
fn check_redirect(answer: &Answer, digest: &str) {
    assert_eq!((answer.status, answer.header("location")), (307, address_of(digest)));
    assert_eq!(answer.header("docker-content-digest"), digest);
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!((answer.header("content-length").as_str(), answer.body.len()), ("0", 0));
    assert_eq!(answer.header("docker-distribution-api-version"), "registry/2.0");
    for absent in ["etag", "accept-ranges", "content-type", "content-range"] {
        assert_eq!(answer.header(absent), "", "{absent}");
    }
}

/// A client whose downloads are redirected.
fn near(method: &str, target: &str) -> Ask {
    ask(method, target).from("10.2.0.1")
}

#[tokio::test]
async fn network_and_size_decide() {
    let rig = rig().await;
    let (large, small) = (rig.blob("a", LARGE).await, rig.blob("a", SMALL).await);
    for (client, redirected) in [
        (Some("10.2.0.1"), true),
        (Some("::ffff:10.2.0.1"), true),
        (Some("2001:db9::1"), true),
        // In both lists.
        (Some("10.1.0.1"), false),
        (Some("::ffff:10.1.0.1"), false),
        (Some("2001:db8::1"), false),
        // In neither.
        (Some("11.0.0.1"), false),
        (Some("::1"), false),
        (None, false),
    ] {
        let asked = ask("GET", &format!("/v2/a/blobs/{large}"));
        let asked = match client {
            Some(address) => asked.from(address),
            None => asked,
        };
        let answer = rig.send(asked).await;
        if redirected {
            check_redirect(&answer, &large);
        } else {
            assert_eq!((answer.status, answer.text().as_str()), (200, LARGE), "{client:?}");
        }
    }
    let answer = rig.send(near("GET", &format!("/v2/a/blobs/{small}"))).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, SMALL));
    let empty = rig.blob("a", "").await;
    assert_eq!(rig.send(near("GET", &format!("/v2/a/blobs/{empty}"))).await.status, 200);
}

/// A method, headers, and the status.
type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], u16);

#[tokio::test]
async fn what_the_storage_would_answer_otherwise_is_answered_here() {
    let rig = rig().await;
    let digest = rig.blob("a", LARGE).await;
    let (tag, other) = (format!("\"{digest}\""), format!("\"{}\"", sha256(b"x")));
    let rows: &[Row] = &[
        ("GET", &[], 307),
        ("GET", &[("range", "bytes=0-0")], 307),
        ("GET", &[("range", "bytes=5-")], 307),
        ("GET", &[("range", "bytes=-1")], 307),
        ("GET", &[("range", "items=0-1")], 307),
        ("GET", &[("range", "bytes=10-")], 416),
        ("GET", &[("range", "bytes=0-0,4-5")], 206),
        // Several ranges that come to one, or to everything.
        ("GET", &[("range", "bytes=0-0,20-30")], 206),
        ("GET", &[("range", "bytes=0-9,0-9")], 200),
        ("GET", &[("range", "bytes=0-0"), ("if-range", &tag)], 206),
        ("GET", &[("range", "bytes=0-0"), ("if-range", &other)], 200),
        ("GET", &[("if-match", &tag)], 200),
        ("GET", &[("if-none-match", &tag)], 304),
        ("GET", &[("if-none-match", "*")], 304),
        ("GET", &[("if-none-match", &other)], 307),
        ("HEAD", &[], 200),
        ("HEAD", &[("if-none-match", &tag)], 304),
    ];
    for (method, headers, status) in rows {
        let mut ask = near(method, &format!("/v2/a/blobs/{digest}"));
        for (name, value) in *headers {
            ask = ask.header(name, value);
        }
        let answer = rig.send(ask).await;
        assert_eq!(answer.status, *status, "{method} {headers:?}");
        if *status == 307 {
            check_redirect(&answer, &digest);
        } else {
            assert_eq!((answer.header("etag"), answer.header("location")), (tag.clone(), String::new()));
        }
    }
    let many: String = (0..65).map(|_| "0-0,").collect();
    let answer =
        rig.send(near("GET", &format!("/v2/a/blobs/{digest}")).header("range", &format!("bytes={many}"))).await;
    assert_eq!(answer.status, 400);
    let head = rig.send(near("HEAD", &format!("/v2/a/blobs/{digest}"))).await;
    assert_eq!(head.header("content-length"), "10");
}

#[tokio::test]
async fn without_an_address_everything_streams() {
    let rig = rig_with(None).await;
    let digest = rig.blob("a", LARGE).await;
    let answer = rig.send(near("GET", &format!("/v2/a/blobs/{digest}"))).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, LARGE));
}

#[tokio::test]
async fn only_members_of_the_repository_are_located() {
    let rig = rig().await;
    let digest = rig.blob("a", LARGE).await;
    let answer = rig.send(near("GET", &format!("/v2/b/blobs/{digest}"))).await;
    assert_eq!((answer.status, answer.code().as_str()), (404, "BLOB_UNKNOWN"));
    let guarded = Rig::with(|plan| (plan.guarded, plan.locator) = (true, Some(network()))).await;
    let answer = guarded.send(near("GET", &format!("/v2/a/blobs/{digest}"))).await;
    assert_eq!((answer.status, answer.header("location").as_str()), (401, ""));
}

/// The key is that of the content, however a client or an older registry names it.
#[tokio::test]
async fn sha512_is_located_where_it_lies() {
    let rig = rig().await;
    let digest = sha512(LARGE.as_bytes());
    let post = ask("POST", &format!("/v2/a/blobs/uploads/?digest={digest}")).body(LARGE);
    assert_eq!(rig.send(post).await.status, 201);
    check_redirect(&rig.send(near("GET", &format!("/v2/a/blobs/{digest}"))).await, &digest);

    let kept = rig.blob("a", LARGE).await;
    let hex = digest.strip_prefix("sha512:").unwrap();
    let link: Key = format!("docker/registry/v2/repositories/a/_layers/sha512/{hex}/link").parse().unwrap();
    rig.store.put(&link, vec![kept.clone().into()], Precondition::Always).await.unwrap();
    let answer = rig.send(near("GET", &format!("/v2/a/blobs/{digest}"))).await;
    assert_eq!((answer.status, answer.header("location")), (307, address_of(&kept)));
    assert_eq!(answer.header("docker-content-digest"), digest);
}

/// Another process may collect what is remembered here: nobody is sent to where it was for longer than a minute.
#[tokio::test]
async fn what_was_collected_is_unknown_within_a_minute() {
    let rig = rig().await;
    let digest = rig.blob("a", LARGE).await;
    let target = format!("/v2/a/blobs/{digest}");
    check_redirect(&rig.send(near("GET", &target)).await, &digest);
    let data: Key = address_of(&digest).split_once("/registry/").unwrap().1.parse().unwrap();
    rig.store.delete(&[data]).await.unwrap();
    rig.clock.advance(Duration::from_mins(1));
    check_redirect(&rig.send(near("GET", &target)).await, &digest);
    rig.clock.advance(Duration::from_secs(1));
    for _ in 0..2 {
        let answer = rig.send(near("GET", &target)).await;
        assert_eq!((answer.status, answer.code().as_str()), (404, "BLOB_UNKNOWN"));
    }
    // Pushed again, it is there at once.
    rig.blob("a", LARGE).await;
    check_redirect(&rig.send(near("GET", &target)).await, &digest);
}

/// Has no credentials.
#[derive(Debug)]
struct Locked;

#[async_trait]
impl Locate for Locked {
    async fn locate(&self, key: &Key, _: &Visitor) -> StoreResult<Option<Uri>> {
        Err(Error::new(Operation::Locate, key, Kind::Denied).with_source("no credentials"))
    }
}

#[tokio::test]
async fn who_cannot_be_sent_away_is_served() {
    let rig = rig_with(Some(Arc::new(Locked))).await;
    let digest = rig.blob("a", LARGE).await;
    let answer = rig.send(near("GET", &format!("/v2/a/blobs/{digest}")).header("range", "bytes=1-2")).await;
    assert_eq!((answer.status, answer.text().as_str()), (206, "12"));
    assert_eq!(answer.log.failure, None);
}

/// The binary itself, with the middleware of the old configuration in front of a directory.
#[tokio::test]
async fn the_binary_redirects_and_logs_no_address() {
    let directory = tempfile::tempdir().unwrap();
    let (address, digest) = (free_address(), sha256(LARGE.as_bytes()));
    let hex = digest.strip_prefix("sha256:").unwrap();
    let root = directory.path().join("docker/registry/v2");
    for (path, content) in [
        (format!("blobs/sha256/{}/{hex}/data", &hex[..2]), LARGE),
        (format!("repositories/a/_layers/sha256/{hex}/link"), digest.as_str()),
    ] {
        fs::create_dir_all(root.join(&path).parent().unwrap()).unwrap();
        fs::write(root.join(path), content).unwrap();
    }
    let config = format!(
        "version: 0.1\nlog: {{level: debug}}\nauth: none\nhttp: {{addr: \"{address}\"}}\n\
         storage: {{filesystem: {{rootdirectory: {}}}}}\n\
         middleware: {{storage: [{{name: redirect, options: {{baseurl: \"https://cdn.example.com/registry\"}}}}]}}\n\
         edge: {{downloads: {{inline_max: 8, forward_networks: [127.0.0.2]}}}}\n",
        directory.path().display()
    );
    let path = directory.path().join("config.yml");
    fs::write(&path, config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_pierhead"));
    let log = directory.path().join("log");
    let mut process = Process::start(command.arg("serve").arg(&path).env_clear(), &log);
    process.wait_for_port(address);

    let redirected = fetch("127.0.0.1", address, &digest).await;
    assert!(redirected.starts_with("HTTP/1.1 307") && redirected.contains(&address_of(&digest)), "{redirected}");
    let forwarded = fetch("127.0.0.2", address, &digest).await;
    assert!(forwarded.starts_with("HTTP/1.1 200") && forwarded.ends_with(LARGE), "{forwarded}");
    process.wait_until("both access lines", || {
        let log = fs::read_to_string(&log).unwrap();
        log.contains("\" 307 ") && log.contains("\" 200 ")
    });
    assert!(!process.log().contains("cdn.example.com"), "{}", process.log());
}

/// The whole answer to a client with this address.
async fn fetch(client: &str, server: SocketAddr, digest: &str) -> String {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(client.parse().unwrap(), 0)).unwrap();
    let mut stream = socket.connect(server).await.unwrap();
    let request = format!("GET /v2/a/blobs/{digest} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// Signed addresses must reach no log: nothing of a redirect shows where it leads.
#[tokio::test]
async fn the_address_is_for_the_client_only() {
    let rig = rig().await;
    let digest = rig.blob("a", LARGE).await;
    let answer = rig.send(near("GET", &format!("/v2/a/blobs/{digest}"))).await;
    check_redirect(&answer, &digest);
    let shown = format!("{answer:?}");
    assert!(shown.contains("307") && !shown.contains("cdn.example.com"), "{shown}");
}
