//! A shadow beside docker-registry, on the same tree: it says nothing while clients do what they do, and finds what was
//! planted.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use http::{HeaderValue, Method, header};
use tokio::time::sleep;

use crate::{
    clients::{BUILDAH, CRANE, CTR, DOCKER, ORAS, PODMAN, Play, REGCTL, SKOPEO},
    dropin,
    support::{
        certificate::Certificate,
        http::{empty, send},
        image::Layout,
        registry::{Auth, Plan, Program, Registry, Storage, Transport},
    },
    upstream::{
        front::{Front, Pair, Setting},
        scripted::PATIENCE,
    },
};

/// Nothing is left out.
const ALL: &str = "  shadow: {sample: 1.0, concurrency: 256}\n";

/// What the shadow counted.
#[derive(Debug, Default, PartialEq)]
struct Counts {
    same: f64,
    explained: f64,
    different: f64,
    left_out: f64,
}

async fn counts(debug: std::net::SocketAddr) -> Counts {
    let answer = send(debug, empty(Method::GET, "/metrics")).await.unwrap();
    let text = String::from_utf8_lossy(answer.body()).into_owned();
    let count = |outcome: &str| {
        let line = format!("pierhead_shadow_requests_total{{outcome=\"{outcome}\"}} ");
        text.lines().find_map(|found| found.strip_prefix(&line)?.parse().ok()).unwrap_or(0.0)
    };
    Counts {
        same: count("same"),
        explained: count("explained"),
        different: count("different"),
        left_out: count("behind") + count("late"),
    }
}

/// The counts when nothing has been added to them for a while.
async fn settled(debug: std::net::SocketAddr) -> Counts {
    let deadline = Instant::now() + PATIENCE;
    let mut last = counts(debug).await;
    loop {
        // Longer than the wait before a second look.
        sleep(Duration::from_secs(3)).await;
        let next = counts(debug).await;
        if next == last || Instant::now() > deadline {
            return next;
        }
        last = next;
    }
}

fn plays(plays: &[&Play]) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for play in plays {
        let told = |auth: &str| auth.to_owned();
        let same_tree = |data: &Path| Some(Storage::directory(data));
        let Some(pair) = Pair::set(play.programs(), Auth::Token, ALL, told, same_tree) else { return };
        play.run_on(&pair.stage);
        let counts = runtime.block_on(settled(pair.front.debug()));
        let log = pair.stage.registry.log();
        let said: Vec<_> = log.lines().filter(|line| line.contains("shadow: ")).collect();
        println!("{:?}: {counts:?}", play.programs());
        assert!(counts.same > 0.0, "nothing was compared: {counts:?}");
        assert_eq!((counts.different, counts.left_out), (0.0, 0.0), "{counts:?}\n{}", said.join("\n"));
    }
}

#[test]
fn go_clients_see_no_difference() {
    plays(&[&SKOPEO, &CRANE, &ORAS, &REGCTL]);
}

#[test]
fn engines_see_no_difference() {
    plays(&[&DOCKER, &PODMAN, &BUILDAH, &CTR]);
}

/// docker-registry over one tree, and a shadow over a copy of it that differs in what was planted.
struct Planted {
    front: Front,
    /// What the shadow reads.
    copy: PathBuf,
    images: Layout,
    _back: Registry,
    _directory: tempfile::TempDir,
}

impl Planted {
    fn set(edge: &str) -> Option<Self> {
        if !dropin::present() {
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let here = directory.path();
        let (data, copy) = (here.join("data"), here.join("copy"));
        let stored = Storage::directory(&data);
        let images = dropin::images(&here.join("images"));
        dropin::write(&Program::distribution(), here, &stored, &images);
        copy_tree(&data, &copy);
        let certificate = Certificate::create(here);
        let plan = Plan {
            storage: Some(&stored),
            transport: Transport::Plain,
            certificate: &certificate,
            http: "",
            sections: "",
        };
        let back = Registry::start_as(&Program::distribution(), &here.join("back"), &plan);
        let edge = format!("  upstream: http://{}\n{edge}", back.address);
        let copied = Storage::directory(&copy);
        let sections = "auth: none\n";
        let setting = Setting { transport: Transport::Plain, edge: &edge, sections, storage: Some(&copied) };
        let front = Front::start(&here.join("front"), &certificate, &setting);
        Some(Self { front, copy, images, _back: back, _directory: directory })
    }

    async fn ask(&self, path: &str) -> (u16, String) {
        let mut request = empty(Method::GET, path);
        // Without it, docker-registry hides manifests of the specification.
        let accept = HeaderValue::from_static(
            "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json",
        );
        request.headers_mut().insert(header::ACCEPT, accept);
        let answer = send(self.front.address(), request).await.unwrap();
        (answer.status().as_u16(), String::from_utf8_lossy(answer.body()).into_owned())
    }

    /// Asks, and waits until this kind of difference was counted and told.
    async fn finds(&self, path: &str, kind: &str) {
        assert_eq!(self.ask(path).await.0, 200, "{path}");
        let labels = [format!("kind=\"{kind}\""), "explained=\"\"".to_owned()];
        let labels: Vec<_> = labels.iter().map(String::as_str).collect();
        self.front.await_metric("pierhead_shadow_differences_total", &labels, |count| count >= 1.0).await;
        let told = format!("shadow: GET {} differs: ", path.split('?').next().unwrap());
        let deadline = Instant::now() + PATIENCE;
        let line = loop {
            let log = self.front.registry.log();
            match log.lines().find(|line| line.contains(&told)) {
                Some(line) => break line.to_owned(),
                None => assert!(Instant::now() < deadline, "{told} not in {log}"),
            }
            sleep(Duration::from_millis(50)).await;
        };
        assert!(line.contains(&format!("{kind}: theirs ")) && line.contains("ours "), "{line}");
    }
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let there = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_tree(&entry.path(), &there);
        } else {
            fs::copy(entry.path(), there).unwrap();
        }
    }
}

const REPOSITORY: &str = "docker/registry/v2/repositories/group/project";

#[tokio::test]
async fn a_tag_that_leads_elsewhere_is_found() {
    let Some(planted) = Planted::set(ALL) else { return };
    let index = planted.images.digest("multi");
    fs::write(planted.copy.join(REPOSITORY).join("_manifests/tags/v1/current/link"), index).unwrap();
    planted.finds("/v2/group/project/manifests/v1", "digest").await;
}

#[tokio::test]
async fn a_blob_of_other_bytes_is_found() {
    let Some(planted) = Planted::set(ALL) else { return };
    let blobs = planted.images.blobs();
    let (digest, bytes) = blobs.iter().max_by_key(|(_, bytes)| bytes.len()).unwrap();
    let hex = digest.strip_prefix("sha256:").unwrap();
    let data = planted.copy.join(format!("docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]));
    let mut other = bytes.clone();
    other[1000] ^= 1;
    fs::write(data, other).unwrap();
    planted.finds(&format!("/v2/group/project/blobs/{digest}"), "body").await;
}

#[tokio::test]
async fn what_is_missing_or_more_is_found() {
    let Some(planted) = Planted::set(ALL) else { return };
    let tags = planted.copy.join(REPOSITORY).join("_manifests/tags");
    fs::remove_dir_all(tags.join("multi")).unwrap();
    planted.finds("/v2/group/project/tags/list", "body").await;
    planted.finds("/v2/group/project/manifests/multi", "status").await;
    copy_tree(&planted.copy.join(REPOSITORY), &planted.copy.join(REPOSITORY).with_file_name("other"));
    planted.finds("/v2/_catalog", "body").await;
}

/// The shadow reads: nothing appears in its tree, not even our own records.
#[tokio::test]
async fn a_shadow_writes_nothing() {
    let Some(planted) = Planted::set(ALL) else { return };
    let digest = planted.images.digest("v1");
    for path in ["manifests/v1", &format!("manifests/{digest}"), "tags/list", &format!("referrers/{digest}")] {
        planted.ask(&format!("/v2/group/project/{path}")).await;
    }
    let start = format!("/v2/group/project/blobs/uploads/?mount={digest}&from=group/project");
    let posted = send(planted.front.address(), empty(Method::POST, &start)).await.unwrap();
    assert!(posted.status().is_success(), "{posted:?}");
    planted.front.await_metric("pierhead_shadow_requests_total", &[], |count| count >= 4.0).await;
    let tree = |root: &Path| {
        let (mut found, mut pending) = (Vec::new(), vec![root.to_path_buf()]);
        while let Some(path) = pending.pop() {
            if path.is_dir() {
                pending.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
            found.push(path.strip_prefix(root).unwrap().to_path_buf());
        }
        found.sort();
        found
    };
    let theirs = tree(&planted.copy.with_file_name("data"));
    let without_uploads = |paths: Vec<PathBuf>| -> Vec<PathBuf> {
        paths.into_iter().filter(|path| !path.iter().any(|part| part == "_uploads")).collect()
    };
    assert_eq!(without_uploads(tree(&planted.copy)), without_uploads(theirs));
}

#[tokio::test]
async fn a_sample_of_nothing_compares_nothing() {
    let Some(planted) = Planted::set("  shadow: {sample: 0}\n") else { return };
    for _ in 0..20 {
        assert_eq!(planted.ask("/v2/group/project/tags/list").await.0, 200);
    }
    assert!(planted.front.metric("pierhead_shadow_requests_total", &[]).await < 1.0);
}
