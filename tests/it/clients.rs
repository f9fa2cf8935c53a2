//! The clients that people use, over TLS and with tokens, against the real binary: each pushes an image and pulls it
//! back, and what comes back is what went in, digest by digest.
//!
//! What a client does is a [`Play`]: it knows nothing of where the registry keeps its content.

use std::{fs, path::PathBuf, process::Command, time::Duration};

use serde_json::{Value, json};

use crate::{
    stage::{Stage, TAG, assert_same_blobs, credentials},
    support::{
        certificate::HOST_NAME,
        command::{command, run, run_refused},
        daemons::{Containerd, Docker},
        image::Layout,
        registry::{Auth, Storage},
        tokens::{DEVELOPER, GUEST},
        tools,
    },
};

/// What one client does with a registry.
pub(crate) struct Play {
    /// What it takes beside skopeo.
    programs: &'static [&'static str],
    needs_root: bool,
    act: fn(&Stage),
}

pub(crate) const SKOPEO: Play = Play { programs: &[], needs_root: false, act: skopeo };
pub(crate) const DOCKER: Play =
    Play { programs: &["docker", "dockerd", "containerd", "runc", "unshare"], needs_root: true, act: docker };
pub(crate) const PODMAN: Play = Play { programs: &["podman"], needs_root: true, act: podman };
pub(crate) const BUILDAH: Play = Play { programs: &["buildah"], needs_root: true, act: buildah };
pub(crate) const CTR: Play = Play { programs: &["containerd", "ctr"], needs_root: true, act: ctr };
pub(crate) const CRANE: Play = Play { programs: &["crane"], needs_root: false, act: crane };
pub(crate) const ORAS: Play = Play { programs: &["oras"], needs_root: false, act: oras };
pub(crate) const REGCTL: Play = Play { programs: &["regctl"], needs_root: false, act: regctl };

impl Play {
    /// What it takes beside skopeo.
    pub(crate) const fn programs(&self) -> &'static [&'static str] {
        self.programs
    }

    /// Over that storage, or a directory.
    pub(crate) fn run(&self, storage: Option<&Storage>) {
        if let Some(stage) = Stage::set_with(self.programs, storage, Auth::Token) {
            self.run_on(&stage);
        }
    }

    pub(crate) fn run_on(&self, stage: &Stage) {
        if !self.needs_root || tools::root() {
            (self.act)(stage);
        }
    }
}

#[test]
fn skopeo_copies_an_image_and_an_index_in_and_out() {
    SKOPEO.run(None);
}

fn skopeo(stage: &Stage) {
    let index = stage.image.add_index("multi", 7);
    for (tag, digest) in [(TAG, &stage.digest), ("multi", &index)] {
        let reference = format!("{}/team/skopeo:{tag}", stage.registry.host());
        stage.skopeo_copy(&stage.image.reference(tag), &format!("docker://{reference}"));
        assert_eq!(&stage.stored_digest(&reference), digest);
        stage.skopeo_copy(
            &format!("docker://{reference}"),
            &format!("oci:{}:{tag}", stage.path().join("back").display()),
        );
    }
    assert_same_blobs(&stage.image, &Layout { directory: stage.path().join("back") });
}

#[test]
fn only_those_who_may_come_in() {
    let Some(stage) = Stage::set(&[]) else { return };
    let reference = format!("docker://{}", stage.reference("private"));
    stage.skopeo_copy(&stage.image.reference(TAG), &reference);
    let skopeo = |arguments: &[&str]| {
        let mut skopeo = command("skopeo", arguments);
        stage.without_log_in(&mut skopeo);
        skopeo
    };
    let trust = stage.registry.certificate.directory.to_str().unwrap();
    let inspect = ["inspect", "--raw", "--cert-dir", trust];

    run(skopeo(&inspect).args(["--creds", &credentials(&GUEST), &reference]));
    let anonymous = run_refused(skopeo(&inspect).args(["--no-creds", &reference]));
    assert!(anonymous.contains("authentication required"), "{anonymous}");
    let wrong = run_refused(skopeo(&inspect).args(["--creds", "developer:wrong", &reference]));
    assert!(wrong.contains("403"), "{wrong}");
    let untrusted = run_refused(skopeo(&["inspect", "--raw"]).args(["--creds", &credentials(&GUEST), &reference]));
    assert!(untrusted.contains("x509"), "{untrusted}");

    let elsewhere = format!("docker://{}", stage.reference("guests-own"));
    let mut push = skopeo(&["copy", "--dest-cert-dir", trust, "--dest-creds", &credentials(&GUEST)]);
    let refused = run_refused(push.args([&stage.image.reference(TAG), &elsewhere]));
    assert!(refused.contains("denied") || refused.contains("authentication required"), "{refused}");
}

#[test]
fn a_password_file_lets_its_users_in() {
    let Some(stage) = Stage::set_with(&["htpasswd"], None, Auth::Htpasswd) else { return };
    let reference = stage.reference("passwords");
    stage.skopeo_copy(&stage.image.reference(TAG), &format!("docker://{reference}"));
    assert_same_blobs(&stage.image, &stage.pull(&reference, "back"));
    let mut guest = command("skopeo", ["inspect", "--raw", "--cert-dir"]);
    guest.arg(&stage.registry.certificate.directory).args(["--creds", &credentials(&GUEST)]);
    let refused = run_refused(guest.arg(format!("docker://{reference}")));
    assert!(refused.contains("invalid username/password") || refused.contains("unauthorized"), "{refused}");
}

#[test]
fn docker_logs_in_pushes_and_pulls() {
    DOCKER.run(None);
}

fn docker(stage: &Stage) {
    let docker = Docker::start(stage.path(), stage.registry.address, &stage.registry.certificate);
    let host = format!("{HOST_NAME}:{}", stage.registry.address.port());
    let reference = format!("{host}/team/docker:{TAG}");
    let log_in = |user: &str, password: &str| docker.command(["login", "-u", user, "-p", password, &host]);

    run_refused(&mut log_in(DEVELOPER.name, "wrong"));
    run(&mut log_in(DEVELOPER.name, DEVELOPER.password));
    stage.skopeo_copy(&stage.image.reference(TAG), &format!("docker://{}", stage.reference("seed")));
    let seed = format!("{host}/team/seed:{TAG}");
    run(&mut docker.command(["pull", &seed]));

    // A layer that the registry has not seen goes up by PATCH without a length.
    run(docker.command(["import"]).arg(root_file_system(stage)).arg(&reference));
    let image_id = docker_image_id(&docker, &reference);
    let pushed = run(&mut docker.command(["push", &reference]));
    run(&mut docker.command(["rmi", &reference]));
    let pulled = run(&mut docker.command(["pull", &reference]));
    assert_eq!(docker_image_id(&docker, &reference), image_id);
    let digest = stage.stored_digest(&stage.reference("docker"));
    assert!(pushed.contains(&digest), "{digest} not in: {pushed}");
    assert!(pulled.contains(&digest), "{digest} not in: {pulled}");

    // A mount: the same layers in another repository.
    let mounted = format!("{host}/team/mounted:{TAG}");
    run(&mut docker.command(["tag", &reference, &mounted]));
    let pushed = run(&mut docker.command(["push", &mounted]));
    assert!(pushed.contains("Mounted from team/docker"), "{pushed}");
}

fn docker_image_id(docker: &Docker, reference: &str) -> String {
    run(&mut docker.command(["image", "inspect", "--format", "{{.Id}}", reference]))
}

#[test]
fn podman_pushes_and_pulls() {
    PODMAN.run(None);
}

fn podman(stage: &Stage) {
    let reference = stage.reference("podman");
    let local = run(own_store(stage, "podman", &["import", "--quiet"]).arg(root_file_system(stage)));
    let local = local.trim_start_matches("sha256:");
    push_from_containers_store(stage, "podman", local, &reference);
    let image_id = run(&mut own_store(stage, "podman", &["pull", "--quiet", &reference]));
    assert_eq!(image_id, local, "the same configuration must come back");
}

/// A tar archive that an engine can make an image of: the test image's own files do.
fn root_file_system(stage: &Stage) -> PathBuf {
    let archive = stage.path().join("root.tar");
    run(command("tar", ["-cf"]).arg(&archive).arg("-C").arg(&stage.image.directory).arg("blobs"));
    archive
}

#[test]
fn buildah_builds_pushes_and_pulls() {
    BUILDAH.run(None);
}

fn buildah(stage: &Stage) {
    let reference = stage.reference("buildah");
    let store = |arguments: &[&str]| own_store(stage, "buildah", arguments);
    let container = run(&mut store(&["from", "scratch"]));
    run(store(&["copy", &container]).arg(tools::path("busybox")).arg("/bin/busybox"));
    let local = run(&mut store(&["commit", "--quiet", "--rm", &container, "localhost/built:v1"]));
    push_from_containers_store(stage, "buildah", &local, &reference);
    let image_id = run(&mut store(&["pull", "--quiet", &reference]));
    assert_eq!(image_id, local.trim_start_matches("sha256:"), "the same configuration must come back");
}

/// Pushes, compares the digest that the client computed with the one stored, and forgets the local image.
fn push_from_containers_store(stage: &Stage, program: &str, local: &str, reference: &str) {
    let digest_file = stage.path().join("pushed-digest");
    let mut push = own_store(stage, program, &["push", "--quiet", "--digestfile"]);
    run(push.arg(&digest_file).args([local, &format!("docker://{reference}")]));
    assert_eq!(stage.stored_digest(reference), fs::read_to_string(&digest_file).unwrap().trim());
    run(&mut own_store(stage, program, &["rmi", "--force", local]));
}

/// podman or buildah over a store of this test; the log-in goes to the verbs that talk to the registry.
fn own_store(stage: &Stage, program: &str, arguments: &[&str]) -> Command {
    let mut client = command(program, ["--storage-driver=vfs", "--root"]);
    client.arg(stage.path().join("store")).arg("--runroot").arg(stage.path().join("run")).arg(arguments[0]);
    stage.without_log_in(&mut client);
    if ["push", "pull"].contains(&arguments[0]) {
        client.args(["--creds", &credentials(&DEVELOPER), "--cert-dir"]).arg(&stage.registry.certificate.directory);
    }
    client.args(&arguments[1..]);
    client
}

#[test]
fn ctr_pushes_and_pulls() {
    CTR.run(None);
}

fn ctr(stage: &Stage) {
    let containerd = Containerd::start(stage.path());
    let reference = stage.reference("ctr");
    // ctr speaks plain HTTP to loopback unless a file says otherwise.
    let hosts = stage.path().join("hosts.d");
    let host = stage.registry.host();
    fs::create_dir_all(hosts.join(&host)).unwrap();
    let authority = stage.registry.certificate.authority.display();
    let file = format!("server = \"https://{host}\"\n[host.\"https://{host}\"]\nca = '{authority}'\n");
    fs::write(hosts.join(&host).join("hosts.toml"), file).unwrap();
    let talk = |verb: &str| {
        let mut ctr = containerd.command(["images", verb, "--user", &credentials(&DEVELOPER), "--hosts-dir"]);
        ctr.arg(&hosts);
        ctr
    };
    let base = reference.rsplit_once(':').unwrap().0;
    run(containerd.command(["images", "import", "--no-unpack", "--base-name", base]).arg(stage.image.archive()));
    run(talk("push").arg(&reference));
    assert_eq!(stage.stored_digest(&reference), stage.digest);
    assert_same_blobs(&stage.image, &stage.pull(&reference, "back"));

    run(&mut containerd.command(["images", "rm", "--sync", &reference]));
    run(talk("pull").args(["--snapshotter", "native", &reference]));
    let images = run(&mut containerd.command(["images", "ls"]));
    assert!(images.contains(&reference) && images.contains(&stage.digest), "{images}");
}

#[test]
fn crane_pushes_pulls_and_copies() {
    CRANE.run(None);
}

fn crane(stage: &Stage) {
    let reference = stage.reference("crane");
    run(stage.go_client("crane", ["push"]).arg(&stage.image.directory).arg(&reference));
    assert_eq!(stage.stored_digest(&reference), stage.digest);
    let back = stage.path().join("back");
    run(stage.go_client("crane", ["pull", "--format=oci", &reference]).arg(&back));
    assert_same_blobs(&stage.image, &Layout { directory: back });
    let copy = stage.reference("crane-copy");
    run(&mut stage.go_client("crane", ["copy", &reference, &copy]));
    assert_eq!(run(&mut stage.go_client("crane", ["digest", &copy])), stage.digest);
    assert_eq!(run(&mut stage.go_client("crane", ["ls", copy.rsplit_once(':').unwrap().0])), TAG);
}

#[test]
fn oras_attaches_and_discovers() {
    ORAS.run(None);
}

fn oras(stage: &Stage) {
    // oras sends a password to a private network only under the registry's own host name, which the token server
    // shares; and to localhost it speaks plain HTTP unless told otherwise.
    let reference = format!("{}/team/oras:{TAG}", stage.local_host());
    let layout = format!("{}:{TAG}", stage.image.directory.display());
    run(&mut stage.go_client("oras", ["copy", "--to-plain-http=false", "--from-oci-layout", &layout, &reference]));
    assert_eq!(stage.stored_digest(&stage.reference("oras")), stage.digest);

    fs::write(stage.path().join("sbom.json"), r#"{"packages": []}"#).unwrap();
    let artifact = ["--artifact-type", "application/vnd.example.sbom", &reference, "sbom.json:application/json"];
    run(stage.go_client("oras", ["attach", "--plain-http=false"]).args(artifact).current_dir(stage.path()));
    let referrers =
        run(&mut stage.go_client("oras", ["discover", "--plain-http=false", "--format", "json", &reference]));
    let referrers: Value = serde_json::from_str(&referrers).unwrap();
    let referrer = &referrers["referrers"][0];
    assert_eq!(referrer["artifactType"], "application/vnd.example.sbom", "{referrers}");

    let attached = referrer["reference"].as_str().unwrap();
    let back = stage.path().join("back");
    run(stage.go_client("oras", ["pull", "--plain-http=false", attached, "--output"]).arg(&back));
    assert_eq!(fs::read_to_string(back.join("sbom.json")).unwrap(), r#"{"packages": []}"#);
}

#[test]
fn regctl_pushes_in_chunks_and_pulls() {
    REGCTL.run(None);
}

fn regctl(stage: &Stage) {
    let reference = stage.reference("regctl");
    let host = json!({
        "tls": "enabled",
        "regcert": fs::read_to_string(&stage.registry.certificate.authority).unwrap(),
        "user": DEVELOPER.name,
        "pass": DEVELOPER.password,
        "blobChunk": 1 << 20,
        // A blob above this goes up in chunks from the start.
        "blobMax": 1 << 10,
    });
    let config = stage.path().join("regctl.json");
    fs::write(&config, json!({"hosts": {stage.registry.host(): host}}).to_string()).unwrap();
    let copy = |from: &str, to: &str| {
        run(command("regctl", ["image", "copy", from, to]).env("REGCTL_CONFIG", &config));
    };
    copy(&format!("ocidir://{}:{TAG}", stage.image.directory.display()), &reference);
    assert_eq!(stage.stored_digest(&reference), stage.digest);
    let back = stage.path().join("back");
    copy(&reference, &format!("ocidir://{}:{TAG}", back.display()));
    assert_same_blobs(&stage.image, &Layout { directory: back });
}

/// A layer of 3 GiB goes up by PATCH and comes back, and the server's memory does not follow its size.
#[test]
fn large_layer_takes_little_memory() {
    const LAYER: u64 = 3 << 30;
    const PEAK_MAX_KIB: u64 = 40 << 10;
    if !tools::large() {
        return;
    }
    let Some(stage) = Stage::set(&[]) else { return };
    let large = Layout::create(&stage.path().join("large"));
    let digest = large.add_large(TAG, LAYER);
    let reference = format!("docker://{}", stage.reference("large"));
    let started = std::time::Instant::now();
    // Uncompressed as it is: the digests stay, and skopeo sends it by PATCH.
    stage.skopeo_copy(&large.reference(TAG), &reference);
    let pushed = started.elapsed();
    let back = stage.path().join("back");
    stage.skopeo_copy(&reference, &format!("oci:{}:{TAG}", back.display()));
    let pulled = started.elapsed().saturating_sub(pushed);
    assert_eq!(Layout { directory: back }.digest(TAG), digest);
    let usage = stage.registry.usage();
    let seconds = |duration: Duration| duration.as_secs_f64();
    println!(
        "3 GiB layer: pushed in {:.1} s, pulled in {:.1} s, peak resident {} KiB, {:.1} CPU seconds",
        seconds(pushed),
        seconds(pulled),
        usage.resident_peak_kib,
        usage.cpu_seconds
    );
    assert!(usage.resident_peak_kib < PEAK_MAX_KIB, "peak {} KiB", usage.resident_peak_kib);
}
