//! Manifests: stored only whole, served only true.

use std::{future::ready, sync::Arc};

use futures_util::FutureExt as _;
use pierhead::{
    clock::SystemClock,
    oci::{
        digest::{Algorithm, Digest},
        hasher::Hasher,
        reference::Reference,
    },
    registry::{
        Registry,
        error::Error,
        manifests::{
            Incoming,
            validation::{Children, Rules, Urls, Validation},
        },
        page::Window,
    },
    store::{
        Store,
        error::{Kind, Operation},
        faulty::When,
    },
};

use crate::{
    meddling::Meddling,
    registry_tree::{Fixture, Tree, data, layer, name, revision, settings, sha256, tag},
};

fn invalid<T: std::fmt::Debug>(result: Result<T, Error>, part: &str) {
    match result {
        Err(Error::ManifestInvalid(fault)) if fault.to_string().contains(part) => {}
        other => panic!("{other:?} instead of ManifestInvalid with '{part}'"),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "an outcome is judged where it is made")]
fn unknown<T: std::fmt::Debug>(result: Result<T, Error>) {
    assert!(matches!(result, Err(Error::ManifestUnknown(_))), "{result:?}");
}

fn lacking<T: std::fmt::Debug>(result: Result<T, Error>, expected: &[&Digest]) {
    match result {
        Err(Error::ManifestReferencesUnknown(missing)) => assert_eq!(missing.iter().collect::<Vec<_>>(), expected),
        other => panic!("{other:?} instead of ManifestReferencesUnknown"),
    }
}

fn index(children: &[(&Digest, usize, &str)]) -> String {
    let child = |(digest, size, arch): &(&Digest, usize, &str)| {
        format!(
            r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{digest}","size":{size},"platform":{{"architecture":"{arch}","os":"linux"}}}}"#
        )
    };
    let children: Vec<String> = children.iter().map(child).collect();
    format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, children.join(","))
}

#[tokio::test]
async fn what_is_pushed_is_pulled_byte_for_byte() {
    let fixture = Fixture::new().await;
    let text = fixture.image_text("a", "").replace(',', ",\n\t ");
    let accepted = fixture.put_as("v1", None, &["v2", "v1", "v3"], &text).await.unwrap();
    assert_eq!(accepted.digest, sha256(&text));
    assert_eq!(accepted.size, text.len() as u64);
    assert_eq!(accepted.tags, ["v1", "v2", "v3"].map(tag));
    for reference in ["v1", "v2", "v3", &accepted.digest.to_string()] {
        assert_eq!(fixture.get(reference).await.unwrap(), text);
    }
    unknown(fixture.get("v4").await);
    unknown(fixture.registry.manifests(&name("other")).get(&Reference::Digest(accepted.digest)).await.map(drop));
}

#[tokio::test]
async fn digests_bind() {
    let fixture = Fixture::new().await;
    let text = fixture.image_text("a", "");
    let sha512 = Hasher::digest(Algorithm::Sha512, text.as_bytes());
    let wrong = fixture.put(&sha256("other").to_string(), &text).await;
    assert!(matches!(wrong, Err(Error::DigestMismatch { .. })), "{wrong:?}");
    assert_eq!(fixture.put_as(&sha512.to_string(), None, &["t"], &text).await.unwrap().digest, sha512);
    assert_eq!(fixture.get("t").await.unwrap(), text);
    assert!(fixture.tree.paths().contains(&data(&sha512)));
    unknown(fixture.get(&sha256(&text).to_string()).await);
}

#[tokio::test]
async fn references_must_be_here() {
    let fixture = Fixture::new().await;
    let text = fixture.image_text("a", "");
    let (config, blob) = (sha256("config a"), sha256("layer a"));
    fixture.tree.remove(&layer(&fixture.name, &blob));
    lacking(fixture.put("t", &text).await, &[&blob]);
    fixture.tree.remove(&layer(&fixture.name, &config));
    lacking(fixture.put("t", &text).await, &[&config, &blob]);
    unknown(fixture.get("t").await);

    // A link whose data was collected, while the size is still remembered.
    let text = fixture.image_text("b", "");
    fixture.registry.blobs(&fixture.name).stat(&sha256("layer b")).await.unwrap();
    fixture.tree.remove(&data(&sha256("layer b")));
    lacking(fixture.put("t", &text).await, &[&sha256("layer b")]);

    let text = fixture.image_text("c", "").replace("\"size\":8", "\"size\":9");
    invalid(fixture.put("t", &text).await, "has 8 bytes, not 9");
}

#[tokio::test]
async fn children_must_be_here() {
    let fixture = Fixture::new().await;
    let image = fixture.image("amd", "amd").await;
    let size = usize::try_from(image.size).unwrap();
    let missing = sha256("missing");
    fixture.put("i", &index(&[(&image.digest, size, "amd64")])).await.unwrap();
    let sparse = index(&[(&image.digest, size, "amd64"), (&missing, 9, "arm64"), (&missing, 9, "arm64")]);
    lacking(fixture.put("i", &sparse).await, &[&missing]);
    // A layer is no child, unless the index calls it something that is no manifest.
    let blob = fixture.blob("cache");
    let cache = index(&[(&blob, 5, "amd64")]);
    lacking(fixture.put("i", &cache).await, &[&blob]);
    fixture.put("i", &cache.replace("oci.image.manifest", "oci.image.layer")).await.unwrap();

    let on = |children| settings_with(Validation::On(Rules { urls: Urls::default(), children }));
    let relaxed = Fixture::over(fixture.tree.clone(), on(Children::None)).await;
    relaxed.put("i", &sparse).await.unwrap();
    let amd64 = serde_json::from_str(r#"{"architecture":"amd64","os":"linux"}"#).unwrap();
    let listed = Fixture::over(fixture.tree.clone(), on(Children::For(vec![amd64]))).await;
    listed.put("i", &sparse).await.unwrap();
    lacking(listed.put("i", &sparse.replace("arm64", "amd64")).await, &[&missing]);
    let off = Fixture::over(Tree::new(), settings_with(Validation::Off)).await;
    off.put("i", &sparse).await.unwrap();
    // But an image without its blobs could never be pulled.
    let hollow = fixture.image_text("a", "");
    lacking(off.put("h", &hollow).await, &[&sha256("config a"), &sha256("layer a")]);
}

fn settings_with(validation: Validation) -> pierhead::registry::Settings {
    pierhead::registry::Settings { validation, ..settings() }
}

#[tokio::test]
async fn foreign_layers_lie_elsewhere_only_where_that_is_permitted() {
    let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    let standard = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
    let docker = r#","mediaType":"application/vnd.docker.distribution.manifest.v2+json""#;
    let elsewhere = |fixture: &Fixture, layer_type: &str, url: &str, extra: &str| {
        let text = fixture.image_text("a", extra).replace("l/l", layer_type).replace("\"size\":7", "\"size\":99");
        let (layer, away) = (sha256("layer a").to_string(), sha256("away").to_string());
        text.replace(&format!("\"{layer}\""), &format!("\"{away}\",\"urls\":[\"{url}\"]"))
    };
    let url = "https://store.example/x";

    let plain = Fixture::new().await;
    invalid(plain.put("t", &elsewhere(&plain, foreign, url, docker)).await, "URL");
    plain.put("t", &elsewhere(&plain, standard, url, "")).await.unwrap();
    invalid(plain.put("t", &elsewhere(&plain, standard, "file:///etc/passwd", "")).await, "URL");
    lacking(plain.put("t", &elsewhere(&plain, "l/l", url, "")).await, &[&sha256("away")]);

    let urls = Urls::new(["store.example"], ["169\\.254"]).unwrap();
    let rules = Validation::On(Rules { urls, children: Children::All });
    let strict = Fixture::over(Tree::new(), settings_with(rules)).await;
    strict.put("t", &elsewhere(&strict, foreign, url, docker)).await.unwrap();
    for (kind, extra) in [(foreign, docker), (standard, "")] {
        for url in ["http://169.254.169.254/store.example", "https://elsewhere.example/"] {
            invalid(strict.put("t", &elsewhere(&strict, kind, url, extra)).await, "URL");
        }
    }
}

#[tokio::test]
async fn bytes_that_do_not_hash_to_the_digest_are_never_served() {
    let fixture = Fixture::new().await;
    let text = fixture.image_text("a", "");
    let digest = fixture.put("t", &text).await.unwrap().digest;
    fixture.tree.write(&data(&digest), text.replace("l/l", "x/x"));
    // Another process, that has nothing in memory.
    let fresh = Fixture::over(fixture.tree.clone(), settings()).await;
    for reference in ["t", &digest.to_string()] {
        let result = fresh.get(reference).await;
        assert!(matches!(&result, Err(Error::Store(error)) if error.kind == Kind::Corrupt), "{result:?}");
    }
    // Pushing it again mends it.
    fresh.put("t", &text).await.unwrap();
    assert_eq!(fresh.get("t").await.unwrap(), text);

    fresh.tree.remove(&data(&digest));
    let fresh = Fixture::over(fixture.tree.clone(), settings()).await;
    unknown(fresh.get("t").await);
}

#[tokio::test]
async fn memory_never_says_that_a_repository_has_a_manifest() {
    let fixture = Fixture::new().await;
    let accepted = fixture.image("t", "a").await;
    fixture.get("t").await.unwrap();
    fixture.tree.remove(&revision(&fixture.name, &accepted.digest));
    unknown(fixture.get(&accepted.digest.to_string()).await);
    unknown(fixture.get("t").await);
}

#[tokio::test]
async fn a_deleted_manifest_takes_its_tags_along() {
    let fixture = Fixture::new().await;
    let first = fixture.image("a", "first").await;
    fixture.image("b", "first").await;
    fixture.image("c", "second").await;
    // d named the first once, and names the second now.
    fixture.image("d", "first").await;
    fixture.image("d", "second").await;
    let manifests = fixture.registry.manifests(&fixture.name);
    assert_eq!(manifests.delete(&first.digest).await.unwrap(), ["a", "b"].map(tag));
    unknown(manifests.delete(&first.digest).await);
    unknown(fixture.get("a").await);
    fixture.get("d").await.unwrap();
    let left = fixture.tree.paths().into_iter().filter(|path| path.contains("tags/a/") || path.contains("tags/b/"));
    assert_eq!(left.count(), 0);
}

/// Deleting a manifest looks its tags up many at a time and deletes them one by one: those that a push moves meanwhile
/// stay, and so does one that is pushed again while its history goes.
#[tokio::test]
async fn a_tag_that_moves_while_its_manifest_is_deleted_stays() {
    let fixture = Fixture::new().await;
    let first = fixture.image("a", "first").await;
    for tag in ["b", "c"] {
        fixture.image(tag, "first").await;
    }
    let second = fixture.image("other", "second").await;
    let (tree, digest) = (Arc::clone(&fixture.tree), second.digest.clone());
    let moves = move |when, operation, key: &str| {
        if operation == Operation::Delete && key.ends_with("/tags/a/current/link") {
            // Before `a` goes `b` is moved, and when it has gone it is pushed again.
            let moved = if when == When::Before { "b" } else { "a" };
            tree.write(&format!("repositories/g/app/_manifests/tags/{moved}/current/link"), digest.to_string());
        }
        ready(Ok(())).boxed()
    };
    let store: Arc<dyn Store> = Arc::clone(&fixture.tree.store) as Arc<dyn Store>;
    let meddling = Arc::new(Meddling::new(&store, moves));
    let registry = Registry::open(meddling, Arc::new(SystemClock), settings()).await.unwrap();
    let deleted = registry.manifests(&fixture.name).delete(&first.digest).await.unwrap();
    assert_eq!(deleted, ["a", "c"].map(tag), "and a is not what it was");
    for tag in ["a", "b"] {
        let stored = registry.manifests(&fixture.name).get(&tag.parse().unwrap()).await.unwrap();
        assert_eq!(stored.digest, second.digest, "{tag}");
    }
    unknown(fixture.get("c").await);
    unknown(fixture.get(&first.digest.to_string()).await);
}

#[tokio::test]
async fn an_immutable_tag_names_one_manifest() {
    let fixture = Fixture::new().await;
    let (first, second) = (fixture.image_text("first", ""), fixture.image_text("second", ""));
    let put = async |content: &str| {
        let incoming = Incoming {
            reference: "v1".parse().unwrap(),
            tags: vec![tag("free")],
            immutable: vec![tag("v1")],
            content_type: None,
            raw: content.to_owned().into(),
        };
        fixture.registry.manifests(&fixture.name).put(incoming).await
    };
    put(&first).await.unwrap();
    put(&first).await.expect("an attempt whose answer was lost");
    let taken = put(&second).await;
    assert!(matches!(&taken, Err(Error::TagTaken(taken)) if *taken == tag("v1")), "{taken:?}");
    assert_eq!(fixture.get("v1").await.unwrap(), first);
    assert_eq!(fixture.get("free").await.unwrap(), first);
    let history = |digest: &Digest| format!("_manifests/tags/v1/index/sha256/{}/link", digest.hex());
    let paths = fixture.tree.paths();
    assert!(paths.iter().any(|path| path.ends_with(&history(&sha256(&first)))));
    assert!(!paths.iter().any(|path| path.ends_with(&history(&sha256(&second)))), "who loses leaves no trace");
    // A damaged link names nothing.
    fixture.tree.write("repositories/g/app/_manifests/tags/v1/current/link", "junk");
    put(&second).await.unwrap();
    assert_eq!(fixture.get("v1").await.unwrap(), second);
}

#[tokio::test]
async fn old_schema_1_manifests_are_told_apart_from_missing_ones() {
    let fixture = Fixture::new().await;
    let text = r#"{"schemaVersion":1,"name":"g/app","tag":"t","fsLayers":[],"history":[]}"#;
    let digest = sha256(text);
    fixture.tree.write(&data(&digest), text);
    fixture.tree.write(&revision(&fixture.name, &digest), digest.to_string());
    invalid(fixture.get(&digest.to_string()).await, "Schema 1 manifest not supported");
    invalid(fixture.put("t", text).await, "Schema 1 manifest not supported");
}

/// Requests are served on whatever thread is free.
#[tokio::test]
async fn operations_may_move_between_threads() {
    fn movable<T>(operation: impl Future<Output = T> + Send) -> impl Future<Output = T> + Send {
        operation
    }
    let fixture = Fixture::new().await;
    let accepted = fixture.image("t", "a").await;
    let (registry, name) = (&fixture.registry, &fixture.name);
    let window = Window { after: None, limit: 1 };
    let layer = sha256("layer a");
    movable(registry.catalog().list(&window)).await.unwrap();
    movable(registry.tags(name).list(&window)).await.unwrap();
    movable(registry.referrers(name).list(&layer, None, &window)).await.unwrap();
    let blob = movable(registry.blobs(name).stat(&layer)).await.unwrap();
    movable(registry.blobs(name).open(&blob, None)).await.unwrap();
    movable(registry.blobs(name).mount(&layer, name)).await.unwrap();
    movable(fixture.put("u", "{}")).await.unwrap_err();
    movable(fixture.get("t")).await.unwrap();
    movable(registry.manifests(name).delete(&accepted.digest)).await.unwrap();
}
