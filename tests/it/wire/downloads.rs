//! The real gateway behind the rim: redirects as clients see them, and downloads that the storage breaks off.

use std::{fs, path::PathBuf, sync::Arc};

use async_trait::async_trait;
use http::Request;
use pierhead::{
    api::{self, Reply, gateway::Gateway},
    auth::authority::Authority,
    clock::SystemClock,
    registry::Registry,
    server::{Handler, exchange::Ending},
    store::{
        Store,
        filesystem::Filesystem,
        locate::{Locate, base::Base, redirect::Redirect},
    },
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    gateway::{api as settings, sha256},
    registry_tree,
    wire::rig::{Plan, Rig, status, until},
};

/// More than what may lie between the storage and a client that does not read.
const SIZE: usize = 64 << 20;

struct Site(Gateway);

#[async_trait]
impl Handler for Site {
    async fn handle(&self, request: api::Request) -> Reply {
        self.0.handle(request).await
    }
}

/// A directory with one blob in repository `a`.
struct Stored {
    directory: tempfile::TempDir,
    digest: String,
}

impl Stored {
    fn new(content: &[u8]) -> Self {
        let stored = Self { directory: tempfile::tempdir().unwrap(), digest: sha256(content) };
        let link = format!("repositories/a/_layers/sha256/{}/link", stored.hex());
        for (path, bytes) in [(stored.data(), content), (stored.path(&link), stored.digest.as_bytes())] {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        stored
    }

    fn hex(&self) -> &str {
        self.digest.strip_prefix("sha256:").unwrap()
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.directory.path().join("docker/registry/v2").join(relative)
    }

    fn data(&self) -> PathBuf {
        self.path(&format!("blobs/sha256/{}/{}/data", &self.hex()[..2], self.hex()))
    }

    async fn serve(&self, plan: Plan, locator: Option<Arc<dyn Locate>>) -> Rig {
        let store: Arc<dyn Store> = Arc::new(Filesystem::open(self.directory.path()).unwrap());
        let mut registry = Registry::open(store, Arc::new(SystemClock), registry_tree::settings()).await.unwrap();
        if let Some(locator) = locator {
            registry = registry.with_locator(locator);
        }
        let open = Arc::new(Authority::Open);
        let gateway = Gateway::new(Arc::new(registry), open, settings(), Arc::default(), Arc::default());
        Rig::serve(plan, |_| Arc::new(Site(gateway)))
    }

    fn target(&self) -> String {
        format!("/v2/a/blobs/{}", self.digest)
    }
}

fn network() -> Arc<dyn Locate> {
    Arc::new(Redirect::new(Base::new("https://cdn.example.com").unwrap()))
}

#[tokio::test]
async fn a_redirect_is_a_head_and_nothing_else() {
    let stored = Stored::new(b"0123456789");
    let (hex, target) = (stored.hex(), stored.target());
    let address = format!("https://cdn.example.com/docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]);

    let rig = stored.serve(Plan::default(), Some(network())).await;
    let request = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
    let last = format!("GET {target} HTTP/1.1\r\nHost: a\r\nRange: bytes=0-0,2-2\r\nConnection: close\r\n\r\n");
    let answers = rig.say(format!("{request}{request}{last}")).await;
    let (first, rest) = answers.split_once("\r\n\r\n").unwrap();
    let head = first.to_lowercase();
    assert!(status(first) == 307 && first.contains(&address), "{first}");
    assert!(head.contains("content-length: 0") && head.contains("cache-control: no-store"), "{first}");
    // The connection goes on right behind the head.
    let (second, third) = rest.split_once("\r\n\r\n").unwrap();
    assert_eq!((status(second), status(third)), (307, 206));

    let rig = stored.serve(Plan::secure(), Some(network())).await;
    let mut client = rig.http2().await;
    let request = Request::get(format!("https://localhost{target}")).body(()).unwrap();
    let answer = client.send_request(request, true).unwrap().0.await.unwrap();
    assert_eq!((answer.status().as_u16(), &answer.headers()["content-length"]), (307, &"0".parse().unwrap()));
    assert_eq!(answer.headers()["location"], address);
    assert!(answer.into_body().is_end_stream());
}

#[tokio::test]
async fn a_download_that_the_storage_breaks_off_resets_http1() {
    let stored = Stored::new(&vec![0; SIZE]);
    let rig = stored.serve(Plan::default(), None).await;
    let mut stream = rig.plain().await;
    stream.write_all(format!("GET {} HTTP/1.1\r\nHost: a\r\n\r\n", stored.target()).as_bytes()).await.unwrap();
    let head = until(&mut stream, "\r\n\r\n").await;
    assert!(head.to_lowercase().contains(&format!("content-length: {SIZE}")), "{head}");
    fs::File::options().write(true).open(stored.data()).unwrap().set_len(0).unwrap();
    let mut bytes = Vec::new();
    let end = stream.read_to_end(&mut bytes).await;
    assert!(end.is_err() && bytes.len() < SIZE, "ended cleanly after {} bytes", bytes.len());
    rig.probe.until("the end", |probe| !probe.endings.lock().unwrap().is_empty()).await;
    assert_eq!(rig.probe.endings.lock().unwrap()[0].1, Ending::Cut);
}

#[tokio::test]
async fn a_download_that_the_storage_breaks_off_resets_its_http2_stream() {
    let stored = Stored::new(&vec![0; SIZE]);
    let rig = stored.serve(Plan::secure(), None).await;
    let mut client = rig.http2().await;
    let request = Request::get(format!("https://localhost{}", stored.target())).body(()).unwrap();
    let answer = client.send_request(request, true).unwrap().0.await.unwrap();
    assert_eq!(answer.headers()["content-length"], SIZE.to_string());
    fs::File::options().write(true).open(stored.data()).unwrap().set_len(0).unwrap();
    let mut body = answer.into_body();
    let error = loop {
        match body.data().await {
            Some(Ok(chunk)) => body.flow_control().release_capacity(chunk.len()).unwrap(),
            Some(Err(error)) => break error,
            None => panic!("ended cleanly"),
        }
    };
    assert!(error.is_reset(), "{error}");
    let unknown = Request::get("https://localhost/v2/").body(()).unwrap();
    assert_eq!(client.send_request(unknown, true).unwrap().0.await.unwrap().status(), 200);
}
