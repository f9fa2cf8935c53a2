//! Three processes behind a round-robin balancer share a bucket and nothing else: pushes go to all of them in turn, one
//! dies in the middle of each, and no acknowledged byte is lost.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use http::{Method, StatusCode};
use serde_json::json;
use tokio::runtime::Runtime;

use crate::{
    replicas::{Push, Sizes, assert_stored, disturbed, runtime, seed},
    s3::{purge, stored},
    support::{
        balancer::Balancer,
        command::command,
        http::{empty, send},
        image::{self, Layout},
        random::Random,
        registry::{Auth, Delivery, Program, Registry, Storage, Transport},
        tools,
    },
};

const ROUNDS: u64 = 200;

/// Within which time after a push began one process is killed; about as long as a push takes.
const KILL_WITHIN_MS: u64 = 300;

/// How often a program is run again that gave up: people, and their pipelines, do it.
const ATTEMPTS: u32 = 5;

const TAG: &str = "v1";

/// Parts as small as S3 allows, so that a push of little has some.
const PART: &str = "5242880";

const SMALL: Sizes = Sizes { content_max: 1 << 20, chunk_max: 256 << 10 };
const LARGE: Sizes = Sizes { content_max: 16 << 20, chunk_max: 7 << 20 };

/// Who pushes in a round.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Client {
    Ours(Sizes),
    Regctl,
    Skopeo,
}

impl Client {
    fn of(round: u64) -> Self {
        match round % 8 {
            1 => Self::Regctl,
            5 => Self::Skopeo,
            3 | 7 => Self::Ours(LARGE),
            _ => Self::Ours(SMALL),
        }
    }
}

/// `PIERHEAD_SEED` repeats a run.
#[test]
fn every_push_survives_the_death_of_a_replica() {
    if !tools::present(&[image::PROGRAMS, &["skopeo", "regctl"]].concat()) {
        return;
    }
    let Some((bucket, storage)) = stored(Delivery::Forward) else { return };
    let storage = storage.parameter("chunksize", PART);
    let seed = seed("replicas on S3");
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    let mut replicas = ["one", "two", "three"].map(|name| {
        let storage = storage.clone().with("maintenance:\n  uploadpurging:\n    enabled: false");
        start(&here.join(name), &storage)
    });
    let balancer = Balancer::start(replicas.iter().map(|replica| replica.address).collect());
    let stage = Stage { balancer, here: here.to_path_buf(), runtime: runtime() };

    let (mut disturbances, mut again) = (0, 0);
    for round in 0..ROUNDS {
        let mut random = Random(seed.wrapping_add(round));
        let victim = usize::try_from(random.below(replicas.len() as u64)).unwrap();
        let delay = Duration::from_millis(random.below(KILL_WITHIN_MS));
        let origin = format!("PIERHEAD_SEED={seed} round {round}");
        match Client::of(round) {
            Client::Ours(sizes) => {
                let mut push = Push::new(stage.balancer.address, random, sizes, origin);
                disturbed(&mut replicas[victim], delay, || stage.runtime.block_on(push.run()));
                for replica in &replicas {
                    assert_stored(&stage.runtime, replica.address, &push);
                }
                disturbances += u64::from(push.failures > 0);
            }
            client => {
                let image = Layout::create(&here.join("image"));
                image.add_image(TAG, random.next());
                let repository = format!("team/{round}");
                disturbed(&mut replicas[victim], delay, || again += stage.push(client, &image, &repository, &origin));
                for replica in &replicas {
                    stage.assert_image(replica, &image, &repository, &origin);
                }
                fs::remove_dir_all(&image.directory).unwrap();
            }
        }
    }
    let served = stage.balancer.served();
    println!(
        "replicas on S3: {ROUNDS} pushes, {disturbances} of ours met a failure, programs were run again {again} times; \
         connections {served:?}"
    );
    assert!(served.iter().all(|count| *count > usize::try_from(ROUNDS).unwrap()), "{served:?}");
    assert!(disturbances > 0, "no push was ever disturbed");

    println!("replicas on S3: {} uploads in parts were left before a purge", bucket.unfinished().len());
    purge(&storage);
    assert_eq!(bucket.unfinished(), []);
}

fn start(directory: &Path, storage: &Storage) -> Registry {
    Registry::start_on(&Program::pierhead(), directory, storage, Transport::Plain, Auth::None)
}

/// What programs push through.
struct Stage {
    balancer: Balancer,
    here: PathBuf,
    runtime: Runtime,
}

impl Stage {
    /// Pushes an image; how often the program had to be run again.
    fn push(&self, client: Client, image: &Layout, repository: &str, origin: &str) -> u32 {
        for attempt in 0..ATTEMPTS {
            let output = self.program(client, image, repository).output().unwrap();
            if output.status.success() {
                return attempt;
            }
            println!("{origin}: {client:?}: {}", String::from_utf8_lossy(&output.stderr).trim_end());
        }
        panic!("{origin}: {client:?} gave up {ATTEMPTS} times");
    }

    fn program(&self, client: Client, image: &Layout, repository: &str) -> Command {
        let reference = format!("{}/{repository}:{TAG}", self.balancer.address);
        if client == Client::Skopeo {
            let from = image.reference(TAG);
            let mut skopeo = command("skopeo", ["copy", "--preserve-digests", "--dest-tls-verify=false"]);
            skopeo.args([&from, &format!("docker://{reference}")]);
            return skopeo;
        }
        let config = self.here.join("regctl.json");
        let host = json!({"tls": "disabled", "blobChunk": 1 << 20, "blobMax": 1 << 10});
        fs::write(&config, json!({"hosts": {self.balancer.address.to_string(): host}}).to_string()).unwrap();
        let from = format!("ocidir://{}:{TAG}", image.directory.display());
        let mut regctl = command("regctl", ["image", "copy", &from, &reference]);
        regctl.env("REGCTL_CONFIG", config);
        regctl
    }

    /// Every byte of the image is there.
    fn assert_image(&self, replica: &Registry, image: &Layout, repository: &str, origin: &str) {
        let manifest = image.digest(TAG);
        for (digest, content) in image.blobs() {
            let kind = if digest == manifest { "manifests" } else { "blobs" };
            let path = format!("/v2/{repository}/{kind}/{digest}");
            let reply = self.runtime.block_on(send(replica.address, empty(Method::GET, &path))).unwrap();
            assert_eq!(reply.status(), StatusCode::OK, "{origin}: {path}");
            assert!(reply.body() == &content, "{origin}: {path} has other bytes");
        }
    }
}
