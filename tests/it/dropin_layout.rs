//! One tree, two registries: what docker-registry 2.8.2 wrote is read, and what we write is what it wrote.
//!
//! `dropin_layout.json` maps every file below `docker/registry/v2` to its content, as docker-registry 2.8.2 left them
//! after pushes of: a Docker image as `group/app:1.0` and `group/app:latest`, an OCI image as `group/app:latest`, an
//! index of that one as `group/app:multi`, and the Docker image again as `solo:old`.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use pierhead::{
    oci::digest::Digest,
    registry::{manifests::Incoming, page::Window},
};

use crate::registry_tree::{Fixture, ROOT, Tree, name, settings};

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
        assert_eq!(
            content.concat(),
            files[&format!("blobs/sha256/{}/{}/data", &digest.hex()[..2], digest.hex())].as_bytes()
        );
    }
}

#[tokio::test]
async fn our_tree_is_theirs() {
    let files = golden();
    let content =
        |digest: &Digest| files[&format!("blobs/sha256/{}/{}/data", &digest.hex()[..2], digest.hex())].clone();
    let fixture = Fixture::over(Tree::new(), settings()).await;
    for repository in ["group/app", "solo"] {
        for digest in links(&files, &format!("repositories/{repository}/_layers/")) {
            // The bytes come with uploads; here only where they lie matters.
            fixture.tree.write(&format!("blobs/sha256/{}/{}/data", &digest.hex()[..2], digest.hex()), content(&digest));
            fixture.registry.blobs(&name(repository)).adopt(&digest).await.unwrap();
        }
    }
    let current = |repository: &str, tag: &str| -> Digest {
        files[&format!("repositories/{repository}/_manifests/tags/{tag}/current/link")].parse().unwrap()
    };
    let docker = current("group/app", "1.0");
    let image = current("group/app", "latest");
    let index = current("group/app", "multi");
    let pushes = [
        ("group/app", "1.0", &docker),
        ("group/app", "latest", &docker),
        ("group/app", "latest", &image),
        ("group/app", "multi", &index),
        ("solo", "old", &docker),
    ];
    for (repository, tag, digest) in pushes {
        let incoming = Incoming {
            reference: tag.parse().unwrap(),
            tags: Vec::new(),
            content_type: None,
            raw: content(digest).into(),
        };
        fixture.registry.manifests(&name(repository)).put(incoming).await.unwrap();
    }
    let ours: BTreeMap<String, Bytes> = fixture.tree.objects();
    let ours = ours.into_iter().filter(|(key, _)| !key.contains("/_pierhead/"));
    let ours: BTreeMap<String, String> = ours
        .map(|(key, content)| {
            let path = key.strip_prefix(ROOT).and_then(|path| path.strip_prefix('/')).expect("below the root");
            (path.to_owned(), String::from_utf8(content.to_vec()).expect("all content here is text"))
        })
        .collect();
    assert_eq!(ours, files);
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
