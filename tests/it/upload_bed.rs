//! A store on which several replicas work, bodies for their uploads, and what must always be true of the tree.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::TryStreamExt as _;
use pierhead::{
    clock::{Clock, ManualClock},
    oci::{
        digest::{Algorithm, Digest},
        hasher::Hasher,
        name::RepositoryName,
    },
    registry::{
        Registry, Settings,
        uploads::{Extent, Incoming, Interrupted, purge::Mode},
    },
    store::{
        Depth, Distance, Entry, Limits, Listing, Parts, Precondition, Store, filesystem::Filesystem, key::Key,
        memory::Memory,
    },
};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::registry_tree;

/// Files, or parts of any size.
pub(crate) const APPENDED: Limits = Limits { parts: Parts::Appended, parts_max: u32::MAX, distance: Distance::Here };

/// A very small S3.
pub(crate) const EQUAL: Limits =
    Limits { parts: Parts::Equal { size: 64 }, parts_max: 10_000, distance: Distance::Here };

pub(crate) struct Bed {
    pub(crate) store: Arc<dyn Store>,
    /// The same, where it is in memory.
    memory: Option<Arc<Memory>>,
    pub(crate) clock: Arc<ManualClock>,
    /// Of the file system's store.
    _directory: Option<tempfile::TempDir>,
}

impl Bed {
    pub(crate) fn memory(limits: Limits) -> Self {
        let clock = clock();
        let store = Arc::new(Memory::new(limits, Arc::clone(&clock) as Arc<dyn Clock>));
        Self { store: Arc::clone(&store) as Arc<dyn Store>, memory: Some(store), clock, _directory: None }
    }

    /// Files bear the time of day, so the clock begins with that.
    pub(crate) fn filesystem() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(Filesystem::open(directory.path()).unwrap());
        let clock = Arc::new(ManualClock::new(OffsetDateTime::now_utc()));
        Self { store, memory: None, clock, _directory: Some(directory) }
    }

    pub(crate) async fn replica(&self) -> Registry {
        self.replica_over(Arc::clone(&self.store), settings()).await
    }

    pub(crate) async fn replica_with(&self, change: impl FnOnce(&mut Settings)) -> Registry {
        let mut settings = settings();
        change(&mut settings);
        self.replica_over(Arc::clone(&self.store), settings).await
    }

    /// Over the same memory, cut otherwise.
    pub(crate) async fn replica_cutting(&self, limits: Limits, settings: Settings) -> Registry {
        let memory = self.memory.as_ref().expect("a bed in memory");
        self.replica_over(Arc::new(memory.with_limits(limits)), settings).await
    }

    /// Makes the hash in an upload's highest record one that another version might have stored.
    pub(crate) async fn forget_hash(&self, id: Uuid) {
        let below = format!("/{id}/journal/");
        let records = self.objects().await.into_iter().filter(|(name, _)| name.contains(&below));
        let (name, record) = records.max_by(|(a, _), (b, _)| a.cmp(b)).expect("a record");
        let mut record: serde_json::Value = serde_json::from_slice(&record).unwrap();
        record["contents"]["hash"]["state"] = "bm90IG91cnM=".into();
        let key: Key = format!("docker/{name}").parse().unwrap();
        self.store.put(&key, vec![record.to_string().into()], Precondition::Always).await.unwrap();
    }

    pub(crate) async fn replica_over(&self, store: Arc<dyn Store>, settings: Settings) -> Registry {
        Registry::open(store, Arc::clone(&self.clock) as Arc<dyn Clock>, settings).await.unwrap()
    }

    /// Everything stored, by key.
    pub(crate) async fn objects(&self) -> Vec<(String, Bytes)> {
        let root: Key = "docker".parse().unwrap();
        let listing = Listing { prefix: root.clone(), depth: Depth::All, after: None, limit: usize::MAX };
        let mut objects = Vec::new();
        for entry in self.store.list(&listing).await.unwrap().entries {
            if let Entry::Object { name, .. } = entry {
                let object = self.store.get(&root.join(&name).unwrap(), None).await.unwrap();
                let chunks: Vec<Bytes> = object.content.try_collect().await.unwrap();
                objects.push((name, chunks.concat().into()));
            }
        }
        objects
    }

    /// Every visible blob hashes to its digest, and every link leads to one.
    pub(crate) async fn check_visible(&self, context: &str) {
        let objects = self.objects().await;
        let mut blobs = Vec::new();
        for (name, content) in &objects {
            if let Some(path) = name.strip_prefix("registry/v2/blobs/") {
                let [algorithm, _, hex, "data"] = path.split('/').collect::<Vec<_>>()[..] else {
                    panic!("{context}: a stray object {name}");
                };
                let digest: Digest = format!("{algorithm}:{hex}").parse().unwrap();
                assert_eq!(Hasher::digest(digest.algorithm(), content), digest, "{context}: {name}");
                blobs.push(digest.to_string());
            }
        }
        for (name, content) in objects.iter().filter(|(name, _)| name.ends_with("/link")) {
            let target = String::from_utf8(content.to_vec()).unwrap();
            assert!(blobs.contains(&target), "{context}: {name} leads to {target}, which is not there");
        }
    }

    /// After a purge of everything, nothing of any upload is left.
    pub(crate) async fn check_purged(&self, context: &str) {
        // What a dropped request still has to do is done by tasks of its runtime.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        self.clock.advance(Duration::from_secs(10));
        let purged = self.replica().await.purge_uploads(Duration::ZERO, Mode::Remove).await.unwrap();
        assert_eq!(purged.failed, 0, "{context}: {purged:?}");
        let left: Vec<String> = self.objects().await.into_iter().map(|(name, _)| name).collect();
        assert!(!left.iter().any(|name| name.contains("/_uploads/")), "{context}: {left:?}");
        let pending = self.pending().await;
        assert_eq!(pending, 0, "{context}: {pending} uploads in parts are left");
    }

    /// Uploads in parts that are neither completed nor aborted.
    pub(crate) async fn pending(&self) -> usize {
        self.store.pending(&"docker".parse().unwrap()).await.unwrap().len()
    }
}

pub(crate) fn settings() -> Settings {
    Settings { upload_memory: 8 << 20, ..registry_tree::settings() }
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(OffsetDateTime::from_unix_timestamp(1_750_000_000).unwrap()))
}

/// Bytes of which no two short runs are alike.
pub(crate) fn content(length: usize) -> Bytes {
    let mut state = 0x9e37_79b9_u32;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    };
    std::iter::repeat_with(next).take(length).collect()
}

pub(crate) fn sha256(content: &[u8]) -> Digest {
    Hasher::digest(Algorithm::Sha256, content)
}

pub(crate) async fn read(registry: &Registry, name: &RepositoryName, digest: &Digest) -> Bytes {
    let blobs = registry.blobs(name);
    let blob = blobs.stat(digest).await.unwrap();
    let chunks: Vec<Bytes> = blobs.open(&blob, None).await.unwrap().content.try_collect().await.unwrap();
    assert_eq!(chunks.iter().map(|chunk| chunk.len() as u64).sum::<u64>(), blob.size);
    chunks.concat().into()
}

/// `Content-Length`, no `Content-Range`.
pub(crate) fn long(length: usize) -> Extent {
    Extent { range: None, length: Some(length as u64) }
}

/// Chunks of a body; `None` in the place of a chunk waits for ever.
#[derive(Default)]
pub(crate) struct Chunks {
    chunks: VecDeque<Option<Result<Bytes, Interrupted>>>,
    /// Before each of them.
    pause: Duration,
}

impl Chunks {
    pub(crate) fn of(content: &Bytes, chunk_len: usize) -> Self {
        let starts = (0..content.len()).step_by(chunk_len.max(1));
        let chunks = starts.map(|at| Some(Ok(content.slice(at..content.len().min(at + chunk_len))))).collect();
        Self { chunks, pause: Duration::ZERO }
    }

    /// As if each chunk took so long on its way.
    pub(crate) fn every(self, pause: Duration) -> Self {
        Self { pause, ..self }
    }

    pub(crate) fn whole(content: &Bytes) -> Self {
        Self::of(content, content.len())
    }

    pub(crate) fn then(mut self, end: Option<Interrupted>) -> Self {
        self.chunks.push_back(end.map(Err));
        self
    }
}

#[async_trait]
impl Incoming for Chunks {
    async fn chunk(&mut self) -> Result<Option<Bytes>, Interrupted> {
        if !self.pause.is_zero() {
            tokio::time::sleep(self.pause).await;
        }
        match self.chunks.pop_front() {
            None => Ok(None),
            Some(Some(chunk)) => chunk.map(Some),
            Some(None) => std::future::pending().await,
        }
    }
}
