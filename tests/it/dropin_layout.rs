//! One tree, two registries: what docker-registry 2.8.2 wrote is read, and what we write is what it wrote.
//!
//! `dropin_layout.json` maps every file below `docker/registry/v2` to its content, as docker-registry 2.8.2 left them
//! after pushes of: a Docker image as `group/app:1.0` and `group/app:latest`, an OCI image as `group/app:latest`, an
//! index of that one as `group/app:multi`, and the Docker image again as `solo:old`.

use std::{collections::BTreeMap, error::Error, fs, path::Path, sync::Arc};

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use pierhead::{
    clock::SystemClock,
    oci::digest::Digest,
    registry::{Registry, error, manifests::Incoming, page::Window},
    store::{Precondition, Store, filesystem::Filesystem},
};

use crate::registry_tree::{Fixture, ROOT, Tree, data, name, settings, tag};

fn golden() -> BTreeMap<String, String> {
    serde_json::from_str(include_str!("dropin_layout.json")).expect("a map of files")
}

/// The digests that stand as directories below a path, `<hex>/link` in each.
fn links(files: &BTreeMap<String, String>, below: &str) -> Vec<Digest> {
    let links = files.iter().filter(|(path, _)| path.starts_with(below));
    links.map(|(_, text)| text.parse().expect("a link holds a digest")).collect()
}

async fn opened() -> Fixture {
    let tree = Tree::new();
    for (path, content) in golden() {
        tree.write(&path, content);
    }
    Fixture::over(tree, settings()).await
}

#[tokio::test]
async fn their_tree_is_read() {
    let fixture = opened().await;
    let window = Window { after: None, limit: 100 };
    let repositories = fixture.registry.catalog().list(&window).await.unwrap().items;
    assert_eq!(repositories, ["group/app", "solo"].map(name));

    let repository = &repositories[0];
    let tags = fixture.registry.tags(repository).list(&window).await.unwrap().items;
    assert_eq!(tags.iter().map(ToString::to_string).collect::<Vec<_>>(), ["1.0", "latest", "multi"]);
    let files = golden();
    for (tag, media_type) in tags.iter().zip([
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.oci.image.index.v1+json",
    ]) {
        let stored = fixture.registry.manifests(repository).get(&tag.to_string().parse().unwrap()).await.unwrap();
        let hex = stored.digest.hex();
        assert_eq!(stored.media_type, media_type);
        assert_eq!(stored.raw, files[&format!("blobs/sha256/{}/{hex}/data", &hex[..2])]);
    }
    let layers = links(&files, "repositories/group/app/_layers/");
    assert_eq!(layers.len(), 4);
    for digest in &layers {
        let blobs = fixture.registry.blobs(repository);
        let object = blobs.open(&blobs.stat(digest).await.unwrap(), None).await.unwrap();
        let content: Vec<Bytes> = object.content.try_collect().await.unwrap();
        assert_eq!(content.concat(), files[&data(digest)].as_bytes());
    }
}

/// Pushes what was pushed to docker-registry, in the same order.
async fn push_everything(store: Arc<dyn Store>) -> Result<(), Box<dyn Error>> {
    let files = golden();
    let content = |digest: &Digest| Bytes::from(files[&data(digest)].clone());
    let registry = Registry::open(Arc::clone(&store), Arc::new(SystemClock), settings()).await?;
    for repository in ["group/app", "solo"] {
        for digest in links(&files, &format!("repositories/{repository}/_layers/")) {
            // The bytes come with uploads; here only where they lie matters.
            let key = format!("{ROOT}/{}", data(&digest)).parse()?;
            store.put(&key, vec![content(&digest)], Precondition::Always).await?;
            registry.blobs(&name(repository)).adopt(&digest).await?;
        }
    }
    let current =
        |tag: &str| files[&format!("repositories/group/app/_manifests/tags/{tag}/current/link")].parse::<Digest>();
    let (docker, image, index) = (current("1.0")?, current("latest")?, current("multi")?);
    for (repository, tag, digest) in [
        ("group/app", "1.0", &docker),
        ("group/app", "latest", &docker),
        ("group/app", "latest", &image),
        ("group/app", "multi", &index),
        ("solo", "old", &docker),
    ] {
        let (reference, raw) = (tag.parse()?, content(digest));
        let incoming = Incoming { reference, tags: Vec::new(), immutable: Vec::new(), content_type: None, raw };
        registry.manifests(&name(repository)).put(incoming).await?;
    }
    Ok(())
}

/// Only what is ours alone may stand beside what they write.
fn assert_theirs(ours: impl IntoIterator<Item = (String, Vec<u8>)>) {
    let ours = ours.into_iter().filter(|(path, _)| !path.starts_with("_pierhead/"));
    let text = |content| String::from_utf8(content).expect("all content here is text");
    assert_eq!(ours.map(|(path, content)| (path, text(content))).collect::<BTreeMap<_, _>>(), golden());
}

#[tokio::test]
async fn our_tree_is_theirs() {
    let tree = Tree::new();
    push_everything(Arc::clone(&tree.store) as Arc<dyn Store>).await.unwrap();
    let below = |key: &str| key.strip_prefix(ROOT).and_then(|path| path.strip_prefix('/')).map(str::to_owned);
    assert_theirs(tree.objects().into_iter().map(|(key, content)| (below(&key).unwrap(), content.to_vec())));
}

#[tokio::test]
async fn our_files_are_theirs() {
    let directory = tempfile::tempdir().unwrap();
    push_everything(Arc::new(Filesystem::open(directory.path()).unwrap())).await.unwrap();
    let root = directory.path().join(ROOT);
    let (mut directories, mut files) = (vec![root.clone()], Vec::new());
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
            let list = if entry.file_type().unwrap().is_dir() { &mut directories } else { &mut files };
            list.push(entry.path());
        }
    }
    let below = |path: &Path| path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
    assert_theirs(files.iter().map(|path| (below(path), fs::read(path).unwrap())));
}

/// Empty directories stay behind where they and we delete.
#[tokio::test]
async fn their_files_are_read_and_deleted() {
    let directory = tempfile::tempdir().unwrap();
    for (path, content) in golden() {
        let path = directory.path().join(ROOT).join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    fs::create_dir_all(directory.path().join(ROOT).join("repositories/empty/_manifests/tags/none/current")).unwrap();
    let store: Arc<dyn Store> = Arc::new(Filesystem::open(directory.path()).unwrap());
    let registry = Registry::open(store, Arc::new(SystemClock), settings()).await.unwrap();
    let (app, solo) = (name("group/app"), name("solo"));
    let window = Window { after: None, limit: 100 };
    assert_eq!(registry.catalog().list(&window).await.unwrap().items, [app.clone(), solo.clone()]);
    assert_eq!(registry.tags(&app).list(&window).await.unwrap().items.len(), 3);
    assert!(matches!(registry.tags(&name("empty")).list(&window).await, Err(error::Error::RepositoryUnknown(_))));

    let digest = registry.tags(&solo).resolve(&tag("old")).await.unwrap();
    assert_eq!(registry.manifests(&solo).delete(&digest).await.unwrap(), [tag("old")]);
    registry.tags(&app).delete(&tag("multi")).await.unwrap();
    assert_eq!(registry.catalog().list(&window).await.unwrap().items, [name("group/app")]);
    assert_eq!(registry.tags(&app).list(&window).await.unwrap().items, ["1.0", "latest"].map(tag));
}

#[tokio::test]
async fn what_they_delete_is_gone_for_us() {
    let fixture = opened().await;
    // Their DELETE of a manifest: the revision's link, then the directories of its tags, whose parents stay.
    let app = name("group/app");
    let image = fixture.registry.tags(&app).resolve(&"latest".parse().unwrap()).await.unwrap();
    let gone = [format!("revisions/sha256/{}/link", image.hex()), "tags/latest/current/link".to_owned()];
    for path in gone {
        fixture.tree.remove(&format!("repositories/group/app/_manifests/{path}"));
    }
    let tags = fixture.registry.tags(&app).list(&Window { after: None, limit: 100 }).await.unwrap();
    assert_eq!(tags.items.iter().map(ToString::to_string).collect::<Vec<_>>(), ["1.0", "multi"]);
    assert!(fixture.registry.manifests(&app).get(&image.to_string().parse().unwrap()).await.is_err());
}
