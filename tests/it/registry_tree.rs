//! A registry over a tree of objects that tests can look into, and content to put there.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
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
    store::{
        self, Depth, Entry, Limits, Listing, Meta, Multipart, Object, Page, Part, Parts, Pending, Precondition, Slot,
        Store, Writers,
        error::{Kind, Operation},
        key::Key,
    },
};
use time::OffsetDateTime;

pub(crate) const ROOT: &str = "docker/registry/v2";

/// Whole objects in memory: all that the tests of manifests, tags and lists need of a store.
#[derive(Debug)]
pub(crate) struct Tree {
    limits: Limits,
    objects: Mutex<BTreeMap<String, Bytes>>,
}

impl Tree {
    pub(crate) fn new() -> Arc<Self> {
        let limits = Limits { parts: Parts::Appended, parts_max: 1 };
        Arc::new(Self { limits, objects: Mutex::default() })
    }

    pub(crate) fn objects(&self) -> BTreeMap<String, Bytes> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Bytes>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes below `docker/registry/v2`.
    pub(crate) fn write(&self, path: &str, content: impl Into<Bytes>) {
        self.write_raw(&format!("{ROOT}/{path}"), content);
    }

    pub(crate) fn write_raw(&self, key: &str, content: impl Into<Bytes>) {
        self.lock().insert(key.to_owned(), content.into());
    }

    pub(crate) fn remove(&self, path: &str) {
        assert!(self.lock().remove(&format!("{ROOT}/{path}")).is_some(), "{path} is not there");
    }

    /// What lies below `docker/registry/v2`, except our own records.
    pub(crate) fn paths(&self) -> Vec<String> {
        let objects = self.objects();
        let paths = objects.keys().filter_map(|key| key.strip_prefix(ROOT)).map(|path| path[1..].to_owned());
        paths.filter(|path| !path.starts_with("_pierhead")).collect()
    }

    fn find(&self, operation: Operation, key: &Key) -> store::Result<Bytes> {
        let found = self.objects().get(key.as_str()).cloned();
        found.ok_or_else(|| store::error::Error::new(operation, key, Kind::NotFound))
    }
}

fn meta(content: &Bytes) -> Meta {
    Meta { size: content.len() as u64, modified: OffsetDateTime::UNIX_EPOCH }
}

fn unsupported<T>(operation: Operation, key: &Key) -> store::Result<T> {
    Err(store::error::Error::new(operation, key, Kind::Denied))
}

#[async_trait]
impl Store for Tree {
    fn limits(&self) -> &Limits {
        &self.limits
    }

    async fn head(&self, key: &Key) -> store::Result<Meta> {
        self.find(Operation::Head, key).map(|content| meta(&content))
    }

    /// In chunks of seven bytes, so that nobody takes the first for the whole.
    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> store::Result<Object> {
        let whole = self.find(Operation::Get, key)?;
        let meta = meta(&whole);
        let range = range.unwrap_or(0..meta.size);
        let index = |at: u64| usize::try_from(at).expect("it lies within memory");
        let content = whole.slice(index(range.start)..index(range.end));
        let chunks: Vec<_> = content.chunks(7).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
        Ok(Object { meta, content: stream::iter(chunks).boxed() })
    }

    async fn put(&self, key: &Key, content: Vec<Bytes>, precondition: Precondition) -> store::Result<()> {
        let mut objects = self.lock();
        if precondition == Precondition::Absent && objects.contains_key(key.as_str()) {
            return Err(store::error::Error::new(Operation::Put, key, Kind::AlreadyExists));
        }
        objects.insert(key.to_string(), content.concat().into());
        Ok(())
    }

    async fn delete(&self, keys: &[Key]) -> store::Result<()> {
        let mut objects = self.lock();
        for key in keys {
            objects.remove(key.as_str());
        }
        Ok(())
    }

    async fn list(&self, listing: &Listing) -> store::Result<Page> {
        let prefix = format!("{}/", listing.prefix);
        let mut entries = BTreeMap::new();
        for (key, content) in self.objects() {
            let Some(name) = key.strip_prefix(&prefix) else { continue };
            let entry = match (listing.depth, name.split_once('/')) {
                (Depth::Children, Some((name, _))) => Entry::Prefix { name: name.to_owned() },
                _ => Entry::Object { name: name.to_owned(), meta: meta(&content) },
            };
            entries.insert(entry.name().to_owned(), entry);
        }
        let after = listing.after.clone().unwrap_or_default();
        let mut entries = entries.into_values().filter(|entry| entry.name() > after.as_str());
        let page: Vec<Entry> = entries.by_ref().take(listing.limit).collect();
        Ok(Page { entries: page, more: entries.next().is_some() })
    }

    async fn begin(&self, key: &Key) -> store::Result<Multipart> {
        unsupported(Operation::Begin, key)
    }

    async fn put_part(&self, upload: &Multipart, _: Slot, _: Vec<Bytes>) -> store::Result<Part> {
        unsupported(Operation::PutPart, &upload.key)
    }

    async fn flush(&self, upload: &Multipart) -> store::Result<()> {
        unsupported(Operation::Flush, &upload.key)
    }

    async fn complete(&self, upload: &Multipart, _: &[Part], _: Writers) -> store::Result<()> {
        unsupported(Operation::Complete, &upload.key)
    }

    async fn abort(&self, upload: &Multipart) -> store::Result<()> {
        unsupported(Operation::Abort, &upload.key)
    }

    async fn pending(&self, _: &Key) -> store::Result<Vec<Pending>> {
        Ok(Vec::new())
    }

    async fn promote(&self, _: &[Key], to: &Key) -> store::Result<()> {
        unsupported(Operation::Promote, to)
    }
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
        signing: Signing::Shared,
    }
}

pub(crate) async fn open(tree: &Arc<Tree>, settings: Settings) -> Result<Registry, OpenError> {
    Registry::open(Arc::clone(tree) as Arc<dyn Store>, Arc::new(SystemClock), settings).await
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
