//! Figures beside nginx and docker-registry on the same machine in the same run: printed, never judged.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use crate::support::{
    certificate::Certificate,
    command::{command, run},
    daemons::Nginx,
    image::{self, Layout},
    process::Usage,
    registry::{Auth, Program, Registry, Storage, Transport},
    tools,
};

pub(crate) const GIBIBYTE: u64 = 1 << 30;
const LOAD_SECONDS: f64 = 10.0;

/// What answers at `host`, and what all its processes have used.
pub(crate) struct Peer {
    pub(crate) name: String,
    host: String,
    certificate: Certificate,
    usage: Box<dyn Fn() -> Usage>,
}

impl Peer {
    pub(crate) fn new(
        name: &str,
        host: String,
        certificate: &Certificate,
        usage: impl Fn() -> Usage + 'static,
    ) -> Self {
        Self { name: name.to_owned(), host, certificate: certificate.clone(), usage: Box::new(usage) }
    }
}

/// Who is counted of those that answer together.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Counted {
    Both,
    /// Only who stands in front.
    Front,
}

#[test]
fn large_figures_beside_nginx_and_docker_registry() {
    compare(&[alone, behind_nginx]);
}

/// Measures them one after the other, each over a storage of its own: what one knows already would not be pushed.
pub(crate) fn compare(starts: &[fn(&Path, &Storage) -> Peer]) {
    if !tools::large() {
        return;
    }
    let programs = ["skopeo", "curl", "wrk", "nginx", "docker-registry"];
    if !tools::present(&[image::PROGRAMS, &programs].concat()) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    let images = Layout::create(&here.join("images"));
    images.add_image("small", 1);
    images.add_large("large", GIBIBYTE);
    for start in starts {
        let here = tempfile::tempdir_in(here).unwrap();
        let here = here.path();
        measure(&start(here, &Storage::directory(&here.join("data"))), &images, here);
    }
}

/// Ours, in its release build where there is one.
pub(crate) fn ours() -> Program {
    Program::pierhead_release().unwrap_or_else(Program::pierhead)
}

pub(crate) fn alone(here: &Path, storage: &Storage) -> Peer {
    let program = ours();
    let registry = Registry::start_on(&program, &here.join("server"), storage, Transport::Tls, Auth::None);
    let certificate = registry.certificate.clone();
    Peer::new(program.name, registry.host(), &certificate, move || registry.usage())
}

/// What ours is compared with.
pub(crate) fn behind_nginx(here: &Path, storage: &Storage) -> Peer {
    before_distribution(here, storage, Counted::Both, nginx)
}

/// What `front` starts before docker-registry.
pub(crate) fn before_distribution(
    here: &Path,
    storage: &Storage,
    counted: Counted,
    front: fn(&Path, &Registry) -> Peer,
) -> Peer {
    let program = Program::distribution();
    let registry = Registry::start_on(&program, &here.join("server"), storage, Transport::Plain, Auth::None);
    let Peer { name, host, certificate, usage } = front(here, &registry);
    let name = match counted {
        Counted::Both => format!("{name} + {}", program.name),
        Counted::Front => format!("{name} alone"),
    };
    let all = move || match counted {
        Counted::Both => usage() + registry.usage(),
        Counted::Front => usage(),
    };
    Peer::new(&name, host, &certificate, all)
}

pub(crate) fn nginx(here: &Path, registry: &Registry) -> Peer {
    let nginx = Nginx::start(here, registry.address, &registry.certificate);
    Peer::new("nginx", nginx.address.to_string(), &registry.certificate, move || nginx.usage())
}

fn measure(peer: &Peer, images: &Layout, here: &Path) {
    push(peer, images, "small");
    report(peer, "push of 1 GiB (skopeo, PATCH)", || push(peer, images, "large"));
    pull(peer, images, here);
    load(peer);
}

pub(crate) fn push(peer: &Peer, images: &Layout, tag: &str) {
    let reference = format!("docker://{}/peers/image:{tag}", peer.host);
    let mut skopeo = command("skopeo", ["copy", "--preserve-digests", "--dest-cert-dir"]);
    run(skopeo.arg(&peer.certificate.directory).args([&images.reference(tag), &reference]));
}

/// Pulls the large layer, wherever the peer sends its clients.
pub(crate) fn pull(peer: &Peer, images: &Layout, here: &Path) {
    let digest = large_layer(images);
    let blob = format!("https://{}/v2/peers/image/blobs/{digest}", peer.host);
    for protocol in ["--http1.1", "--http2"] {
        report(peer, &format!("pull of 1 GiB (curl {protocol})"), || {
            let mut curl = command("curl", ["--silent", "--show-error", "--fail", "--location", protocol, "--cacert"]);
            run(curl.arg(&peer.certificate.authority).arg("--output").arg(here.join("blob")).arg(&blob));
        });
        assert_eq!(here.join("blob").metadata().unwrap().len(), images_blob_size(images, &digest));
    }
}

/// Manifest GETs over kept connections, as fast as they go.
fn load(peer: &Peer) {
    let before = (peer.usage)();
    let seconds = format!("{LOAD_SECONDS}s");
    let manifest = format!("https://{}/v2/peers/image/manifests/small", peer.host);
    let accept = "Accept: application/vnd.oci.image.manifest.v1+json";
    let output = run(&mut command("wrk", ["-t1", "-c32", "-d", &seconds, "--latency", "-H", accept, &manifest]));
    let cpu = (peer.usage)().cpu_seconds - before.cpu_seconds;
    let rate = output.lines().find_map(|line| line.strip_prefix("Requests/sec:")).unwrap();
    let rate: f64 = rate.trim().parse().unwrap();
    assert!(!output.contains("Non-2xx"), "{output}");
    let micros = cpu / (rate * LOAD_SECONDS) * 1e6;
    println!("{}: manifest GET: {rate:.0} requests/s, {micros:.0} us CPU each", peer.name);
}

fn report(peer: &Peer, what: &str, act: impl FnOnce()) {
    let (before, started) = ((peer.usage)(), Instant::now());
    act();
    let took: Duration = started.elapsed();
    let after = (peer.usage)();
    println!(
        "{}: {what}: {:.1} s, {:.2} CPU seconds, peak resident {:.1} MiB",
        peer.name,
        took.as_secs_f64(),
        after.cpu_seconds - before.cpu_seconds,
        f64::from(u32::try_from(after.resident_peak_kib).unwrap()) / 1024.0
    );
}

/// The digest of the layout's largest blob.
fn large_layer(images: &Layout) -> String {
    let blobs = fs::read_dir(images.directory.join("blobs/sha256")).unwrap().map(|entry| entry.unwrap());
    let largest = blobs.max_by_key(|entry| entry.metadata().unwrap().len()).unwrap();
    format!("sha256:{}", largest.file_name().display())
}

fn images_blob_size(images: &Layout, digest: &str) -> u64 {
    let hex = crate::support::digest::hex(digest);
    images.directory.join("blobs/sha256").join(hex).metadata().unwrap().len()
}
