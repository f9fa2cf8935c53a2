//! What the tests of clients begin with: a registry over TLS, one image, and the means to look at what is stored.

use std::{fs, path::Path, process::Command};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;
use tempfile::TempDir;

use crate::support::{
    command::{command, run},
    digest,
    image::{self, Layout},
    registry::{Auth, Program, Registry, Storage, Transport},
    tokens::{DEVELOPER, User},
    tools,
};

/// A registry of our own and one image to push.
pub(crate) struct Stage {
    pub(crate) registry: Registry,
    pub(crate) image: Layout,
    /// Of the image's manifest.
    pub(crate) digest: String,
    directory: TempDir,
}

pub(crate) const TAG: &str = "v1";

impl Stage {
    /// Over a directory; `None`, with one line about it, when a program is missing.
    pub(crate) fn set(programs: &[&str]) -> Option<Self> {
        Self::set_with(programs, None, Auth::Token)
    }

    /// Over that storage, or a directory.
    pub(crate) fn set_with(programs: &[&str], storage: Option<&Storage>, auth: Auth) -> Option<Self> {
        if !tools::present(&[image::PROGRAMS, &["skopeo"], programs].concat()) {
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let here = directory.path();
        let storage = storage.map_or_else(|| Storage::directory(&here.join("data")), Clone::clone);
        let server = here.join("server");
        let registry = Registry::start_on(&Program::pierhead(), &server, &storage, Transport::Tls, auth);
        Some(Self::around(registry, directory))
    }

    /// With a registry that runs already.
    pub(crate) fn around(registry: Registry, directory: TempDir) -> Self {
        let image = Layout::create(&directory.path().join("image"));
        let digest = image.add_image(TAG, 1);
        Self { registry, image, digest, directory }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// `127.0.0.1:PORT/team/NAME:v1`.
    pub(crate) fn reference(&self, name: &str) -> String {
        format!("{}/team/{name}:{TAG}", self.registry.host())
    }

    /// `localhost:PORT`.
    pub(crate) fn local_host(&self) -> String {
        format!("localhost:{}", self.registry.address.port())
    }

    /// Copies with skopeo, either side an OCI layout or `docker://…`.
    pub(crate) fn skopeo_copy(&self, from: &str, to: &str) {
        run(self.skopeo("copy", &["--src-", "--dest-"]).args(["--preserve-digests", "--all", from, to]));
    }

    /// The digest of what stands at a reference, computed from its bytes.
    pub(crate) fn stored_digest(&self, reference: &str) -> String {
        let mut inspect = self.skopeo("inspect", &["--"]);
        let output = inspect.args(["--raw", &format!("docker://{reference}")]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        digest::of(&output.stdout)
    }

    /// Pulls by skopeo into a fresh layout.
    pub(crate) fn pull(&self, reference: &str, name: &str) -> Layout {
        let layout = Layout::create(&self.path().join(name));
        self.skopeo_copy(&format!("docker://{reference}"), &layout.reference(TAG));
        layout
    }

    fn skopeo(&self, verb: &str, prefixes: &[&str]) -> Command {
        let mut skopeo = command("skopeo", [verb]);
        for prefix in prefixes {
            skopeo.arg(format!("{prefix}cert-dir")).arg(&self.registry.certificate.directory);
            skopeo.arg(format!("{prefix}creds")).arg(credentials(&DEVELOPER));
        }
        self.without_log_in(&mut skopeo);
        skopeo
    }

    /// Hides the developer's own log-in from skopeo, podman and buildah, which would find it first.
    pub(crate) fn without_log_in(&self, client: &mut Command) {
        let file = self.path().join("no-log-in.json");
        fs::write(&file, "{}").unwrap();
        client.env("REGISTRY_AUTH_FILE", file);
    }

    /// A directory with Docker's `config.json`, which Go clients read.
    fn docker_config(&self) -> String {
        let directory = self.path().join("docker-config");
        fs::create_dir_all(&directory).unwrap();
        let auth = STANDARD.encode(credentials(&DEVELOPER));
        let config = json!({"auths": {self.registry.host(): {"auth": auth}, self.local_host(): {"auth": auth}}});
        fs::write(directory.join("config.json"), config.to_string()).unwrap();
        directory.display().to_string()
    }

    /// A Go client that trusts the test's authority and is logged in.
    pub(crate) fn go_client<const N: usize>(&self, program: &str, arguments: [&str; N]) -> Command {
        let mut client = command(program, arguments);
        client.env("SSL_CERT_FILE", &self.registry.certificate.authority).env("DOCKER_CONFIG", self.docker_config());
        client
    }
}

pub(crate) fn credentials(user: &User) -> String {
    format!("{}:{}", user.name, user.password)
}

/// Every blob of `pushed` lies in `pulled`, byte for byte.
pub(crate) fn assert_same_blobs(pushed: &Layout, pulled: &Layout) {
    let pulled = pulled.blobs();
    for blob in pushed.blobs() {
        assert!(pulled.contains(&blob), "{} did not come back as it was", blob.0);
    }
}
