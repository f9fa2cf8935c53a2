//! One directory, two programs: what Debian's docker-registry wrote is served by ours, and the other way round, and
//! both write the same tree.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use crate::support::{
    command::{command, run},
    image::{self, Layout},
    registry::{Auth, Program, Registry, Storage, Transport},
    tools,
};

const TAGS: [&str; 2] = ["v1", "multi"];

#[test]
fn ours_serves_what_docker_registry_wrote() {
    let data = tempfile::tempdir().unwrap();
    check(Program::distribution, Program::pierhead, &Storage::directory(data.path()));
}

#[test]
fn docker_registry_serves_what_ours_wrote() {
    let data = tempfile::tempdir().unwrap();
    check(Program::pierhead, Program::distribution, &Storage::directory(data.path()));
}

/// What one program wrote into a storage comes out of it through the other, byte for byte, and grows.
pub(crate) fn check(writer: fn() -> Program, reader: fn() -> Program, storage: &Storage) {
    if !present() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    let images = images(&here.join("images"));
    write(&writer(), here, storage, &images);

    let registry = start(&reader(), here, storage);
    let back = Layout::create(&here.join("back"));
    for tag in TAGS {
        copy(&registry, &docker(&registry, tag), &back.reference(tag));
    }
    assert_eq!(back.blobs(), images.blobs());
    for tag in TAGS {
        assert_eq!(back.digest(tag), images.digest(tag));
    }
    // What one program wrote, the other goes on with: the shared layers are known, a new tag joins the old ones.
    images.add_image("later", 20);
    copy(&registry, &images.reference("later"), &docker(&registry, "later"));
    let mut tags = command("skopeo", ["list-tags", "--cert-dir"]);
    let listed = run(tags.arg(&registry.certificate.directory).arg(docker_repository(&registry)));
    for tag in ["v1", "multi", "later"] {
        assert!(listed.contains(&format!("\"{tag}\"")), "{tag} not in {listed}");
    }
}

#[test]
fn both_write_the_same_tree() {
    if !present() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let images = images(&directory.path().join("images"));
    let [ours, theirs] = [("ours", Program::pierhead()), ("theirs", Program::distribution())].map(|(name, program)| {
        let data = directory.path().join(name);
        write(&program, directory.path(), &Storage::directory(&data), &images);
        tree(&data)
    });
    assert!(!theirs.is_empty());
    assert_eq!(ours, theirs);
}

pub(crate) fn present() -> bool {
    tools::present(&[image::PROGRAMS, &["skopeo", "docker-registry"]].concat())
}

/// An image of several layers, and an index of two more that share some of them.
pub(crate) fn images(directory: &Path) -> Layout {
    let images = Layout::create(directory);
    images.add_image(TAGS[0], 1);
    images.add_index(TAGS[1], 10);
    images
}

/// Lets a program write the images into a storage, and ends it.
pub(crate) fn write(program: &Program, here: &Path, storage: &Storage, images: &Layout) {
    let registry = start(program, here, storage);
    for tag in TAGS {
        copy(&registry, &images.reference(tag), &docker(&registry, tag));
    }
}

fn start(program: &Program, here: &Path, storage: &Storage) -> Registry {
    // Kept only until the test's own directory around it goes.
    let directory = tempfile::tempdir_in(here).unwrap().keep();
    Registry::start_on(program, &directory, storage, Transport::Tls, Auth::None)
}

fn copy(registry: &Registry, from: &str, to: &str) {
    let trust = &registry.certificate.directory;
    let mut skopeo = command("skopeo", ["copy", "--all", "--preserve-digests"]);
    run(skopeo.arg("--src-cert-dir").arg(trust).arg("--dest-cert-dir").arg(trust).args([from, to]));
}

fn docker_repository(registry: &Registry) -> String {
    format!("docker://{}/group/project", registry.host())
}

fn docker(registry: &Registry, tag: &str) -> String {
    format!("{}:{tag}", docker_repository(registry))
}

/// Relative paths of all files with their contents, a blob's data by its size (its name is its hash); without what
/// lasts only while an upload runs, and without our own records.
fn tree(root: &Path) -> BTreeMap<PathBuf, String> {
    let registry = root.join("docker/registry/v2");
    let mut found = BTreeMap::new();
    let mut pending = vec![registry.clone()];
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let inside = path.strip_prefix(&registry).unwrap().to_path_buf();
        if inside.starts_with("_pierhead") || inside.iter().any(|part| part == "_uploads") {
            continue;
        }
        let content = if inside.ends_with("data") {
            format!("{} bytes", path.metadata().unwrap().len())
        } else {
            fs::read_to_string(&path).unwrap()
        };
        found.insert(inside, content);
    }
    found
}
