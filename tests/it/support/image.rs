//! Images made here, as OCI layouts on disk: real root file systems around Debian's static busybox.

use std::{
    fs::{self, File},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use crate::support::{
    command::{command, run},
    digest,
    random::write_random,
    tools,
};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const PLAIN_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// The programs that making an image takes.
pub(crate) const PROGRAMS: &[&str] = &["busybox", "tar", "gzip"];

/// An OCI image layout: a directory with `oci-layout`, `index.json` and `blobs/`.
#[derive(Debug)]
pub(crate) struct Layout {
    pub directory: PathBuf,
}

impl Layout {
    pub(crate) fn create(directory: &Path) -> Self {
        fs::create_dir_all(directory.join("blobs/sha256")).unwrap();
        fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        let layout = Self { directory: directory.to_path_buf() };
        layout.write_entries(&[]);
        layout
    }

    /// Adds an image of three compressed layers (busybox, links, 3 MiB that no compression shrinks); images of
    /// different seeds share the first two. Gives its manifest's digest.
    pub(crate) fn add_image(&self, tag: &str, seed: u64) -> String {
        let manifest = self.write_image("amd64", seed);
        self.add_entry(&manifest, tag)
    }

    /// Adds an index of two images. Gives its digest.
    pub(crate) fn add_index(&self, tag: &str, seed: u64) -> String {
        let manifests = [("amd64", seed), ("arm64", seed + 1)].map(|(architecture, seed)| {
            let mut descriptor = self.write_image(architecture, seed);
            descriptor["platform"] = json!({"architecture": architecture, "os": "linux"});
            descriptor
        });
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
        let index = self.write_json(INDEX, &index);
        self.add_entry(&index, tag)
    }

    /// Adds an image of one uncompressed layer of random bytes. Gives its manifest's digest.
    pub(crate) fn add_large(&self, tag: &str, layer_bytes: u64) -> String {
        let tree = self.directory.join("tree");
        fs::create_dir(&tree).unwrap();
        let mut file = File::create(tree.join("random")).unwrap();
        write_random(&mut file, 1, layer_bytes);
        let layer = self.write_plain_layer(&tree);
        let manifest = self.write_manifest("amd64", &[layer]);
        self.add_entry(&manifest, tag)
    }

    /// Every blob of the layout, manifests too: digests and bytes.
    pub(crate) fn blobs(&self) -> Vec<(String, Vec<u8>)> {
        let mut blobs: Vec<_> = fs::read_dir(self.directory.join("blobs/sha256"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| (format!("sha256:{}", path.file_name().unwrap().display()), fs::read(path).unwrap()))
            .collect();
        blobs.sort();
        blobs
    }

    /// The digest that `index.json` has for a tag, or for the only entry.
    pub(crate) fn digest(&self, tag: &str) -> String {
        let entries = self.entries();
        let entry = entries.iter().find(|entry| entry["annotations"]["org.opencontainers.image.ref.name"] == tag);
        entry.unwrap_or(&entries[0])["digest"].as_str().unwrap().to_owned()
    }

    /// What clients call `oci:DIRECTORY:TAG`.
    pub(crate) fn reference(&self, tag: &str) -> String {
        format!("oci:{}:{tag}", self.directory.display())
    }

    /// A tar archive of the layout, as `docker load` and `ctr import` want it.
    pub(crate) fn archive(&self) -> PathBuf {
        let archive = self.directory.with_extension("tar");
        run(command("tar", ["-cf"]).arg(&archive).arg("-C").arg(&self.directory).arg("."));
        archive
    }

    fn write_image(&self, architecture: &str, seed: u64) -> Value {
        let layers = [base(), links(), random(seed)].map(|make| self.write_layer(make));
        self.write_manifest(architecture, &layers)
    }

    fn write_manifest(&self, architecture: &str, layers: &[(Value, String)]) -> Value {
        let diff_ids: Vec<&String> = layers.iter().map(|(_, diff_id)| diff_id).collect();
        let config = json!({
            "architecture": architecture,
            "os": "linux",
            "config": {"Cmd": ["/bin/sh"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = self.write_json(CONFIG, &config);
        let layers: Vec<&Value> = layers.iter().map(|(descriptor, _)| descriptor).collect();
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers});
        self.write_json(MANIFEST, &manifest)
    }

    /// Packs what `make` puts into an empty directory: the compressed layer's descriptor, and its diff id.
    fn write_layer(&self, make: impl FnOnce(&Path)) -> (Value, String) {
        let tree = self.directory.join("tree");
        fs::create_dir(&tree).unwrap();
        make(&tree);
        let archive = self.pack(&tree);
        let diff_id = digest::of_file(&archive);
        run(command("gzip", ["-n", "-f"]).arg(&archive));
        let layer = fs::read(archive.with_extension("tar.gz")).unwrap();
        fs::remove_file(archive.with_extension("tar.gz")).unwrap();
        (self.write_blob(LAYER, &layer), diff_id)
    }

    fn write_plain_layer(&self, tree: &Path) -> (Value, String) {
        let archive = self.pack(tree);
        let digest = digest::of_file(&archive);
        let size = archive.metadata().unwrap().len();
        fs::rename(archive, self.blob(&digest)).unwrap();
        (json!({"mediaType": PLAIN_LAYER, "digest": digest, "size": size}), digest)
    }

    /// A tar archive that depends on the tree's content alone; the tree is gone afterwards.
    fn pack(&self, tree: &Path) -> PathBuf {
        let archive = self.directory.join("layer.tar");
        let fixed = ["--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner", "-cf"];
        run(command("tar", fixed).arg(&archive).arg("-C").arg(tree).arg("."));
        fs::remove_dir_all(tree).unwrap();
        archive
    }

    fn write_json(&self, media_type: &str, value: &Value) -> Value {
        self.write_blob(media_type, &serde_json::to_vec(value).unwrap())
    }

    fn write_blob(&self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = digest::of(bytes);
        fs::write(self.blob(&digest), bytes).unwrap();
        json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
    }

    fn blob(&self, digest: &str) -> PathBuf {
        self.directory.join("blobs/sha256").join(digest::hex(digest))
    }

    fn add_entry(&self, descriptor: &Value, tag: &str) -> String {
        let mut entry = descriptor.clone();
        entry["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
        let mut entries = self.entries();
        entries.push(entry);
        self.write_entries(&entries);
        descriptor["digest"].as_str().unwrap().to_owned()
    }

    fn entries(&self) -> Vec<Value> {
        let index: Value = serde_json::from_slice(&fs::read(self.directory.join("index.json")).unwrap()).unwrap();
        index["manifests"].as_array().unwrap().clone()
    }

    fn write_entries(&self, entries: &[Value]) {
        let index = json!({"schemaVersion": 2, "manifests": entries});
        fs::write(self.directory.join("index.json"), index.to_string()).unwrap();
    }
}

type Make = Box<dyn FnOnce(&Path)>;

fn base() -> Make {
    Box::new(|tree| {
        fs::create_dir(tree.join("bin")).unwrap();
        fs::copy(tools::path("busybox"), tree.join("bin/busybox")).unwrap();
    })
}

fn links() -> Make {
    Box::new(|tree| {
        fs::create_dir(tree.join("bin")).unwrap();
        for name in ["sh", "ls", "cat"] {
            symlink("busybox", tree.join("bin").join(name)).unwrap();
        }
    })
}

fn random(seed: u64) -> Make {
    Box::new(move |tree| {
        let mut file = File::create(tree.join("random")).unwrap();
        write_random(&mut file, seed, 3 << 20);
    })
}
