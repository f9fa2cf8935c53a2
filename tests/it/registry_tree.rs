//! A registry over a tree of objects that tests can look into, and content to put there.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use futures_util::{FutureExt as _, TryStreamExt as _};
use pierhead::{
    clock::SystemClock,
    oci::{
        digest::{Algorithm, Digest},
        hasher::Hasher,
        name::RepositoryName,
        reference::Reference,
        tag::Tag,
    },
    registry::{
        Registry, Settings,
        error::Error,
        format::{OpenError, Signing},
        manifests::{Accepted, Incoming, validation::Validation},
    },
    store::{self, Depth, Distance, Entry, Limits, Listing, Parts, Precondition, Store, key::Key, memory::Memory},
};

pub(crate) const ROOT: &str = "docker/registry/v2";

/// A store in memory that tests can look into and write to without waiting.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) store: Arc<Memory>,
}

impl Tree {
    pub(crate) fn new() -> Arc<Self> {
        let limits = Limits { parts: Parts::Appended, parts_max: 1, distance: Distance::Here };
        Arc::new(Self { store: Arc::new(Memory::new(limits, Arc::new(SystemClock))) })
    }

    pub(crate) fn objects(&self) -> BTreeMap<String, Bytes> {
        let prefix = "docker".parse().expect("a key");
        let listing = Listing { prefix, depth: Depth::All, after: None, limit: usize::MAX };
        let page = at_once(self.store.list(&listing));
        page.entries.iter().map(|entry| (format!("docker/{}", entry.name()), self.read(entry))).collect()
    }

    fn read(&self, entry: &Entry) -> Bytes {
        let object = at_once(self.store.get(&key(&format!("docker/{}", entry.name())), None));
        at_once(object.content.try_collect::<Vec<_>>()).concat().into()
    }

    /// Writes below `docker/registry/v2`.
    pub(crate) fn write(&self, path: &str, content: impl Into<Bytes>) {
        self.write_raw(&format!("{ROOT}/{path}"), content);
    }

    /// In one chunk of seven bytes and others of a thousand, so that nobody takes the first for the whole.
    pub(crate) fn write_raw(&self, path: &str, content: impl Into<Bytes>) {
        let mut content: Bytes = content.into();
        let first = content.split_to(content.len().min(7));
        let chunks = std::iter::once(first).chain(content.chunks(1000).map(Bytes::copy_from_slice)).collect();
        at_once(self.store.put(&key(path), chunks, Precondition::Always));
    }

    pub(crate) fn remove(&self, path: &str) {
        let key = key(&format!("{ROOT}/{path}"));
        at_once(self.store.head(&key));
        at_once(self.store.delete(&[key]));
    }

    /// What lies below `docker/registry/v2`, except our own records.
    pub(crate) fn paths(&self) -> Vec<String> {
        let objects = self.objects();
        let paths = objects.keys().filter_map(|key| key.strip_prefix(ROOT)).map(|path| path[1..].to_owned());
        paths.filter(|path| !path.starts_with("_pierhead")).collect()
    }
}

fn key(text: &str) -> Key {
    text.parse().expect("a key")
}

fn at_once<T>(operation: impl Future<Output = store::Result<T>>) -> T {
    operation.now_or_never().expect("memory never waits").expect("memory never fails")
}

/// A registry, one of its repositories and the tree below both.
pub(crate) struct Fixture {
    pub tree: Arc<Tree>,
    pub registry: Registry,
    pub name: RepositoryName,
}

pub(crate) fn settings() -> Settings {
    Settings {
        validation: Validation::default(),
        descriptor_cache: Some(100),
        upload_lifetime: std::time::Duration::from_hours(168),
        upload_memory: 64 << 20,
        upload_checkpoint: 1 << 30,
        upload_size_max: None,
        upload_bodies_max: None,
        signing: Signing::Shared,
    }
}

pub(crate) async fn open(tree: &Arc<Tree>, settings: Settings) -> Result<Registry, OpenError> {
    Registry::open(Arc::clone(&tree.store) as Arc<dyn Store>, Arc::new(SystemClock), settings).await
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        Self::over(Tree::new(), settings()).await
    }

    pub(crate) async fn over(tree: Arc<Tree>, settings: Settings) -> Self {
        let registry = open(&tree, settings).await.expect("the tree is ours");
        Self { tree, registry, name: name("g/app") }
    }

    /// Makes content a blob of the repository, as an upload does.
    pub(crate) fn blob(&self, content: &str) -> Digest {
        self.blob_with(Algorithm::Sha256, content)
    }

    pub(crate) fn blob_with(&self, algorithm: Algorithm, content: &str) -> Digest {
        let digest = Hasher::digest(algorithm, content.as_bytes());
        self.tree.write(&data(&digest), content.to_owned());
        self.tree.write(&layer(&self.name, &digest), digest.to_string());
        digest
    }

    pub(crate) async fn put(&self, reference: &str, content: &str) -> Result<Accepted, Error> {
        self.put_as(reference, None, &[], content).await
    }

    pub(crate) async fn put_as(
        &self,
        reference: &str,
        content_type: Option<&str>,
        tags: &[&str],
        content: &str,
    ) -> Result<Accepted, Error> {
        let incoming = Incoming {
            reference: reference.parse().expect("a reference"),
            tags: tags.iter().map(|tag| tag.parse().expect("a tag")).collect(),
            immutable: Vec::new(),
            content_type: content_type.map(str::to_owned),
            raw: Bytes::copy_from_slice(content.as_bytes()),
        };
        self.registry.manifests(&self.name).put(incoming).await
    }

    /// Pushes an image of one config and one layer, told from others by `text`.
    pub(crate) async fn image(&self, reference: &str, text: &str) -> Accepted {
        let manifest = self.image_text(text, "");
        self.put(reference, &manifest).await.expect("a good image")
    }

    /// The manifest of such an image, its blobs in place; `extra` members begin with a comma.
    pub(crate) fn image_text(&self, text: &str, extra: &str) -> String {
        let (config, layer) = (self.blob(&format!("config {text}")), self.blob(&format!("layer {text}")));
        let size = (text.len() + 7, text.len() + 6);
        format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"c/c","digest":"{config}","size":{}}},"layers":[{{"mediaType":"l/l","digest":"{layer}","size":{}}}]{extra}}}"#,
            size.0, size.1
        )
    }

    pub(crate) async fn get(&self, reference: &str) -> Result<Bytes, Error> {
        let reference: Reference = reference.parse().expect("a reference");
        self.registry.manifests(&self.name).get(&reference).await.map(|stored| stored.raw)
    }
}

pub(crate) fn name(text: &str) -> RepositoryName {
    text.parse().expect("a repository name")
}

pub(crate) fn tag(text: &str) -> Tag {
    text.parse().expect("a tag")
}

pub(crate) fn sha256(content: &str) -> Digest {
    Hasher::digest(Algorithm::Sha256, content.as_bytes())
}

pub(crate) fn data(digest: &Digest) -> String {
    format!("blobs/{}/{}/{}/data", digest.algorithm(), &digest.hex()[..2], digest.hex())
}

pub(crate) fn layer(name: &RepositoryName, digest: &Digest) -> String {
    format!("repositories/{name}/_layers/{}/{}/link", digest.algorithm(), digest.hex())
}

pub(crate) fn revision(name: &RepositoryName, digest: &Digest) -> String {
    format!("repositories/{name}/_manifests/revisions/{}/{}/link", digest.algorithm(), digest.hex())
}
