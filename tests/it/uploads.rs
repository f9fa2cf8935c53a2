//! The upload pipeline as its callers see it: whatever way bytes come in, what is stored is what was sent.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{FutureExt as _, future::join_all};
use pierhead::{
    oci::{
        digest::{Algorithm, Digest},
        hasher::Hasher,
        name::RepositoryName,
    },
    registry::{
        Registry,
        uploads::{
            Error, Extent, Hint, Interrupted, Progress,
            purge::{Mode, Purged},
        },
    },
    store::{
        Distance, Limits, Listing, Meta, Multipart, Object, PAGE_BYTES, Page, Part, Parts, Pending, Precondition,
        Result as StoreResult, Slot, Store, Writers, error::Operation, faulty::When, key::Key,
    },
};
use proptest::prelude::*;

use crate::{
    meddling::Meddling,
    registry_tree::name,
    upload_bed::{APPENDED, Bed, Chunks, EQUAL, content, long, read, settings, sha256},
};

const MIB: usize = 1 << 20;

fn hint(registry: &Registry, name: &RepositoryName, at: &Progress) -> Hint {
    registry.uploads(name).verify(&at.id.to_string(), &at.state).unwrap()
}

async fn patch(
    registry: &Registry,
    name: &RepositoryName,
    at: &Progress,
    extent: Extent,
    mut body: Chunks,
) -> Result<Progress, Error> {
    registry.uploads(name).resume(hint(registry, name, at)).append(extent, None, &mut body).await
}

async fn put(
    registry: &Registry,
    name: &RepositoryName,
    at: &Progress,
    digest: &Digest,
    last: &Bytes,
) -> Result<(), Error> {
    let upload = registry.uploads(name).resume(hint(registry, name, at));
    upload.complete(digest, long(last.len()), &mut Chunks::whole(last)).await.map(drop)
}

async fn status(registry: &Registry, name: &RepositoryName, at: &Progress) -> Result<Progress, Error> {
    registry.uploads(name).resume(hint(registry, name, at)).status(None).await
}

/// One PATCH of a random push.
#[derive(Clone, Debug)]
struct Piece {
    length: usize,
    chunk_len: usize,
    ranged: bool,
    /// After this share of its bytes, in percent.
    breaks_off: Option<usize>,
}

#[derive(Clone, Debug)]
struct Push {
    limits: Limits,
    /// Of the second replica.
    other_limits: Limits,
    pieces: Vec<Piece>,
    /// With the PUT.
    last: usize,
    /// What is named at POST, and at PUT.
    algorithms: (Option<Algorithm>, Algorithm),
    checkpoint: u64,
}

fn pieces() -> impl Strategy<Value = Vec<Piece>> {
    let length = prop_oneof![0..200_usize, Just(64), Just(128), Just(192), Just(1)];
    let piece = (length, 1..90_usize, any::<bool>(), proptest::option::weighted(0.3, 0..100_usize));
    let piece = piece.prop_map(|(length, chunk_len, ranged, breaks_off)| Piece {
        length,
        chunk_len,
        ranged: ranged && length > 0,
        breaks_off,
    });
    proptest::collection::vec(piece, 0..8)
}

fn pushes() -> impl Strategy<Value = Push> {
    let limits = prop_oneof![
        Just(APPENDED),
        Just(EQUAL),
        Just(Limits { parts: Parts::Equal { size: 64 }, parts_max: 3, distance: Distance::Here }),
        Just(Limits { parts: Parts::Equal { size: 1 }, parts_max: 50, distance: Distance::Here }),
    ];
    let limits = (limits, prop_oneof![Just(None), proptest::sample::select(vec![1, 16, 64, 100]).prop_map(Some)]);
    let limits = limits.prop_map(|(limits, other)| match (limits.parts, other) {
        (Parts::Equal { .. }, Some(size)) => {
            (limits, Limits { parts: Parts::Equal { size }, parts_max: 50, distance: Distance::Here })
        }
        _ => (limits.clone(), limits),
    });
    let algorithms = prop_oneof![
        Just((None, Algorithm::Sha256)),
        Just((Some(Algorithm::Sha512), Algorithm::Sha512)),
        Just((None, Algorithm::Sha512)),
        Just((Some(Algorithm::Sha512), Algorithm::Sha256)),
    ];
    let last = prop_oneof![Just(0), 1..300_usize];
    let checkpoint = prop_oneof![Just(1 << 30), 1..200_u64];
    (limits, pieces(), last, algorithms, checkpoint).prop_map(
        |((limits, other_limits), pieces, last, algorithms, checkpoint)| Push {
            limits,
            other_limits,
            pieces,
            last,
            algorithms,
            checkpoint,
        },
    )
}

async fn check_push(push: Push) {
    let bed = Bed::memory(push.limits.clone());
    let settings = pierhead::registry::Settings { upload_checkpoint: push.checkpoint, ..settings() };
    let replicas = [
        bed.replica_cutting(push.limits, settings.clone()).await,
        bed.replica_cutting(push.other_limits, settings).await,
    ];
    let app = name("g/app");
    let whole = content(push.pieces.iter().map(|piece| piece.length).sum::<usize>() + push.last);
    let digest = Hasher::digest(push.algorithms.1, &whole);
    let mut at = replicas[0].uploads(&app).start(push.algorithms.0, None);
    let (mut sent, mut turn) = (0, 0);
    for piece in &push.pieces {
        let end = sent + piece.length;
        let mut breaks_off = piece.breaks_off;
        loop {
            turn += 1;
            let replica = &replicas[turn % 2];
            let offset = usize::try_from(at.offset).unwrap();
            let bytes = whole.slice(offset..end);
            let range = (piece.ranged && offset < end).then(|| (at.offset, end as u64 - 1));
            let extent = Extent { range, length: Some(bytes.len() as u64).filter(|_| turn % 3 > 0) };
            if let Some(share) = breaks_off.take() {
                let arriving = bytes.slice(..bytes.len() * share / 100);
                let body = Chunks::of(&arriving, piece.chunk_len).then(Some(Interrupted::Disconnected));
                let broken = patch(replica, &app, &at, extent, body).await;
                assert!(matches!(broken, Err(Error::Interrupted(_))), "{broken:?}");
                at = status(replica, &app, &at).await.unwrap();
                assert_eq!(at.offset, (offset + arriving.len()) as u64, "what arrived is kept");
                continue;
            }
            at = patch(replica, &app, &at, extent, Chunks::of(&bytes, piece.chunk_len)).await.unwrap();
            assert_eq!(at.offset, end as u64);
            break;
        }
        sent = end;
    }
    let last = whole.slice(sent..);
    for _ in 0..2 {
        put(&replicas[turn % 2], &app, &at, &digest, &last).await.unwrap();
        assert_eq!(read(&replicas[turn % 2], &app, &digest).await, whole);
    }
    bed.check_visible("a random push").await;
    bed.check_purged("a random push").await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn whatever_was_sent_is_stored(push in pushes()) {
        runtime().block_on(check_push(push));
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Counts bytes and calls on their way in.
#[derive(Debug)]
struct Scale {
    inner: Arc<dyn Store>,
    calls: AtomicU64,
    /// By `put` into tails and by `put_part`.
    bytes: AtomicU64,
    promoted: AtomicU64,
    begun: AtomicU64,
}

impl Scale {
    fn over(inner: &Arc<dyn Store>) -> Arc<Self> {
        let zero = AtomicU64::default;
        Arc::new(Self { inner: Arc::clone(inner), calls: zero(), bytes: zero(), promoted: zero(), begun: zero() })
    }

    fn count(&self) -> &dyn Store {
        self.calls.fetch_add(1, Ordering::Relaxed);
        &*self.inner
    }

    fn weigh(&self, content: &[Bytes]) {
        self.bytes.fetch_add(content.iter().map(|chunk| chunk.len() as u64).sum(), Ordering::Relaxed);
    }
}

#[async_trait]
impl Store for Scale {
    fn limits(&self) -> &Limits {
        self.inner.limits()
    }

    async fn head(&self, key: &Key) -> StoreResult<Meta> {
        self.count().head(key).await
    }

    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> StoreResult<Object> {
        self.count().get(key, range).await
    }

    async fn put(&self, key: &Key, content: Vec<Bytes>, precondition: Precondition) -> StoreResult<()> {
        if key.as_str().contains("/tail/") || key.as_str().ends_with("/data") {
            self.weigh(&content);
        }
        self.count().put(key, content, precondition).await
    }

    async fn delete(&self, keys: &[Key]) -> StoreResult<()> {
        self.count().delete(keys).await
    }

    async fn list(&self, listing: &Listing) -> StoreResult<Page> {
        self.count().list(listing).await
    }

    async fn begin(&self, key: &Key) -> StoreResult<Multipart> {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.count().begin(key).await
    }

    async fn put_part(&self, upload: &Multipart, slot: Slot, content: Vec<Bytes>) -> StoreResult<Part> {
        self.weigh(&content);
        self.count().put_part(upload, slot, content).await
    }

    async fn flush(&self, upload: &Multipart) -> StoreResult<()> {
        self.count().flush(upload).await
    }

    async fn complete(&self, upload: &Multipart, parts: &[Part], writers: Writers) -> StoreResult<()> {
        self.count().complete(upload, parts, writers).await
    }

    async fn abort(&self, upload: &Multipart) -> StoreResult<()> {
        self.count().abort(upload).await
    }

    async fn pending(&self, prefix: &Key) -> StoreResult<Vec<Pending>> {
        self.count().pending(prefix).await
    }

    async fn promote(&self, sources: &[Key], to: &Key) -> StoreResult<()> {
        for source in sources {
            self.promoted.fetch_add(self.inner.head(source).await?.size, Ordering::Relaxed);
        }
        self.count().promote(sources, to).await
    }
}

#[tokio::test]
async fn small_patches_cost_two_writes_per_byte_and_the_promotion() {
    let bed = Bed::memory(EQUAL);
    let scale = Scale::over(&bed.store);
    let registry = bed.replica_over(Arc::clone(&scale) as Arc<dyn Store>, settings()).await;
    let (app, whole) = (name("g/app"), content(64 * 20));
    let mut at = registry.uploads(&app).start(None, None);
    let mut calls_max = 0;
    for start in (0..whole.len()).step_by(4) {
        let before = scale.calls.load(Ordering::Relaxed);
        at = patch(&registry, &app, &at, long(4), Chunks::whole(&whole.slice(start..start + 4))).await.unwrap();
        if start % 64 < 48 {
            calls_max = calls_max.max(scale.calls.load(Ordering::Relaxed) - before);
        }
    }
    put(&registry, &app, &at, &sha256(&whole), &Bytes::new()).await.unwrap();
    assert_eq!(read(&registry, &app, &sha256(&whole)).await, whole);
    let (written, promoted) = (scale.bytes.load(Ordering::Relaxed), scale.promoted.load(Ordering::Relaxed));
    assert!(written <= 2 * whole.len() as u64, "{written} bytes written for {}", whole.len());
    assert_eq!(promoted, whole.len() as u64);
    assert!(calls_max <= 9, "{calls_max} calls to the store for a PATCH that makes no part");
}

#[tokio::test]
async fn a_blob_of_one_part_is_one_put_and_no_upload_in_parts() {
    for (limits, length, begun) in
        [(EQUAL, 0, 0), (EQUAL, 1, 0), (EQUAL, 64, 0), (EQUAL, 65, 1), (APPENDED, 100, 0), (APPENDED, MIB + 1, 1)]
    {
        let bed = Bed::memory(limits);
        let scale = Scale::over(&bed.store);
        let registry = bed.replica_over(Arc::clone(&scale) as Arc<dyn Store>, settings()).await;
        let (app, whole) = (name("g/app"), content(length));
        let before = scale.calls.load(Ordering::Relaxed);
        let body = &mut Chunks::of(&whole, 1000);
        registry.uploads(&app).store(&sha256(&whole), long(length), body).await.unwrap();
        assert_eq!(scale.begun.load(Ordering::Relaxed), begun, "{length}");
        if begun == 0 {
            // Whether it stands, its data, its link.
            assert_eq!(scale.calls.load(Ordering::Relaxed) - before, 3, "{length}");
        }
        assert_eq!(scale.bytes.load(Ordering::Relaxed), length as u64);
        assert_eq!(read(&registry, &app, &sha256(&whole)).await, whole);
    }
}

#[tokio::test]
async fn more_parts_than_an_upload_may_have() {
    let limits = Limits { parts: Parts::Equal { size: 64 }, parts_max: 3, distance: Distance::Here };
    let (app, whole) = (name("g/app"), content(500));
    let digest = sha256(&whole);
    let bed = Bed::memory(limits);
    let registry = bed.replica().await;
    let stored = registry.uploads(&app).store(&digest, long(500), &mut Chunks::of(&whole, 77)).await;
    assert_eq!(stored.unwrap().size, 500);
    assert_eq!(read(&registry, &app, &digest).await, whole);

    let other = name("g/other");
    let at = registry.uploads(&other).start(None, None);
    put(&registry, &other, &at, &digest, &whole).await.unwrap();
    assert_eq!(read(&registry, &other, &digest).await, whole);

    // Without an announced length nothing says in advance that it will not fit.
    let third = content(501);
    let stored = registry.uploads(&app).store(&sha256(&third), Extent::default(), &mut Chunks::of(&third, 77)).await;
    assert!(matches!(stored, Err(Error::TooLarge { limit: 192 })), "{stored:?}");
    bed.check_visible("too many parts").await;
    bed.check_purged("too many parts").await;
}

#[tokio::test]
async fn an_interrupted_direct_push_leaves_nothing() {
    for limits in [EQUAL, APPENDED] {
        for (arriving, announced, end) in
            [(300, 400, Some(Interrupted::Disconnected)), (300, 301, None), (300, 299, None), (20, 64, None)]
        {
            let bed = Bed::memory(limits.clone());
            let registry = bed.replica().await;
            let (app, whole) = (name("g/app"), content(400));
            let mut body = Chunks::of(&whole.slice(..arriving), 50);
            if end.is_some() {
                body = body.then(end);
            }
            let before = bed.objects().await.len();
            let stored = registry.uploads(&app).store(&sha256(&whole), long(announced), &mut body).await;
            assert!(matches!(stored, Err(Error::Interrupted(_) | Error::SizeMismatch)), "{stored:?}");
            assert_eq!((bed.objects().await.len(), bed.pending().await), (before, 0));
        }
    }
}

#[tokio::test]
async fn what_a_patch_may_say_about_its_bytes() {
    let (app, whole) = (name("g/app"), content(100));
    for limits in [EQUAL, APPENDED] {
        let bed = Bed::memory(limits);
        let registry = bed.replica_with(|settings| settings.upload_size_max = Some(150)).await;
        let start = registry.uploads(&app).start(None, None);
        let send = async |at: &Progress, range, length, arriving: usize| {
            let body = Chunks::of(&whole.slice(..arriving), 30);
            patch(&registry, &app, at, Extent { range, length }, body).await
        };
        for (range, length) in [(Some((9, 0)), None), (Some((0, 9)), Some(9)), (Some((0, u64::MAX)), None)] {
            let refused = send(&start, range, length, 10).await;
            assert!(matches!(refused, Err(Error::SizeMismatch)), "{range:?} {length:?} {refused:?}");
        }
        let ahead = send(&start, Some((10, 19)), Some(10), 10).await;
        assert!(matches!(&ahead, Err(Error::OutOfOrder { committed }) if committed.offset == 0), "{ahead:?}");
        // Too short and too long: what was announced and came is kept.
        let short = send(&start, Some((0, 99)), None, 60).await;
        assert!(matches!(short, Err(Error::SizeMismatch)), "{short:?}");
        let at = status(&registry, &app, &start).await.unwrap();
        assert_eq!(at.offset, 60);
        let stale = send(&start, None, Some(100), 100).await;
        assert!(matches!(&stale, Err(Error::OutOfOrder { committed }) if committed.offset == 60), "{stale:?}");
        let long_body = send(&at, Some((60, 69)), None, 30).await;
        assert!(matches!(long_body, Err(Error::SizeMismatch)), "{long_body:?}");
        let at = status(&registry, &app, &at).await.unwrap();
        assert_eq!(at.offset, 70);
        // 150 bytes are the limit.
        let announced = send(&at, None, Some(151), 100).await;
        assert!(matches!(announced, Err(Error::TooLarge { limit: 150 })), "{announced:?}");
        let large = send(&at, None, None, 100).await;
        assert!(matches!(large, Err(Error::TooLarge { limit: 150 })), "{large:?}");
        let at = status(&registry, &app, &at).await.unwrap();
        assert_eq!(at.offset, 130, "whole chunks below the limit are kept");
    }
}

#[tokio::test]
async fn more_bodies_than_allowed() {
    let bed = Bed::memory(EQUAL);
    let registry = bed.replica_with(|settings| settings.upload_bodies_max = Some(1)).await;
    let (app, whole) = (name("g/app"), content(10));
    let at = registry.uploads(&app).start(None, None);
    {
        let stalled = patch(&registry, &app, &at, Extent::default(), Chunks::of(&whole, 5).then(None));
        let mut stalled = std::pin::pin!(stalled);
        assert!((&mut stalled).now_or_never().is_none());
        let other = registry.uploads(&app).start(None, None);
        let busy = patch(&registry, &app, &other, Extent::default(), Chunks::whole(&whole)).await;
        assert!(matches!(busy, Err(Error::Busy)), "{busy:?}");
        status(&registry, &app, &at).await.expect("questions are no bodies");
    }
    patch(&registry, &app, &at, Extent::default(), Chunks::whole(&whole)).await.expect("its place was given back");
}

#[tokio::test]
async fn finished_and_cancelled_uploads_stay_so() {
    for limits in [EQUAL, APPENDED] {
        let bed = Bed::memory(limits);
        let registry = bed.replica().await;
        let (app, whole) = (name("g/app"), content(100));
        let digest = sha256(&whole);
        let start = registry.uploads(&app).start(None, None);
        let at = patch(&registry, &app, &start, long(100), Chunks::whole(&whole)).await.unwrap();
        for _ in 0..3 {
            put(&registry, &app, &at, &digest, &Bytes::new()).await.unwrap();
        }
        let cancelled = registry.uploads(&app).start(None, None);
        registry.uploads(&app).resume(hint(&registry, &app, &cancelled)).abort().await.unwrap();
        for (upload, wanted) in [(&at, sha256(b"other")), (&cancelled, digest.clone())] {
            let more = patch(&registry, &app, upload, long(100), Chunks::whole(&whole)).await;
            assert!(matches!(more, Err(Error::Unknown)), "{more:?}");
            let completed = put(&registry, &app, upload, &wanted, &Bytes::new()).await;
            assert!(matches!(completed, Err(Error::Unknown)), "{completed:?}");
            assert!(matches!(status(&registry, &app, upload).await, Err(Error::Unknown)));
            let aborted = registry.uploads(&app).resume(hint(&registry, &app, upload)).abort().await;
            assert!(matches!(aborted, Err(Error::Unknown)), "{aborted:?}");
        }
        // Their last records go after a while.
        bed.clock.advance(Duration::from_mins(61));
        assert_eq!(registry.erase_finished().await.unwrap(), 2);
        assert!(!bed.objects().await.iter().any(|(name, _)| name.contains("/_uploads/")));
    }
}

#[tokio::test]
async fn an_upload_belongs_to_its_repository_and_ends_with_its_age() {
    let bed = Bed::memory(EQUAL);
    let registry = bed.replica().await;
    let (app, other, whole) = (name("g/app"), name("g/other"), content(100));
    let start = registry.uploads(&app).start(None, None);
    let at = patch(&registry, &app, &start, long(100), Chunks::whole(&whole)).await.unwrap();
    let id = at.id.to_string();
    let stranger = registry.uploads(&other).verify(&id, &at.state);
    assert!(matches!(stranger, Err(Error::StateInvalid)), "{stranger:?}");
    assert!(matches!(registry.uploads(&other).status(&id, None).await, Err(Error::Unknown)));
    let swapped = registry.uploads(&app).verify(&registry.uploads(&app).start(None, None).id.to_string(), &at.state);
    assert!(matches!(swapped, Err(Error::StateInvalid)), "{swapped:?}");
    for state in ["", "x", &at.state[1..], &format!("{}A", at.state), &"A".repeat(5000)] {
        assert!(matches!(registry.uploads(&app).verify(&id, state), Err(Error::StateInvalid)), "{state}");
    }
    assert_eq!(registry.uploads(&app).status(&id, None).await.unwrap().offset, 100);
    assert!(matches!(registry.uploads(&app).status("../..", None).await, Err(Error::Unknown)));

    bed.clock.advance(settings().upload_lifetime);
    registry.uploads(&app).verify(&id, &at.state).expect("to its last second");
    bed.clock.advance(Duration::from_secs(1));
    assert!(matches!(registry.uploads(&app).verify(&id, &at.state), Err(Error::Unknown)));
    assert!(matches!(registry.uploads(&app).status(&id, None).await, Err(Error::Unknown)));
}

/// So that a file system may take them as they are, whatever came before.
#[tokio::test]
async fn parts_of_a_file_lie_on_whole_pages_of_file_and_memory() {
    let bed = Bed::memory(APPENDED);
    let (pages, odd) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let counted = (Arc::clone(&pages), Arc::clone(&odd));
    let is_whole = |number: usize| number.is_multiple_of(PAGE_BYTES);
    let store = Meddling::new(&bed.store, |_, _, _| async { Ok(()) }.boxed()).showing(move |slot, content| {
        let fits = |chunk: &Bytes| is_whole(chunk.as_ptr().addr()) && is_whole(chunk.len());
        let fits = is_whole(usize::try_from(slot.offset).unwrap()) && content.iter().all(fits);
        if fits { &counted.0 } else { &counted.1 }.fetch_add(1, Ordering::Relaxed);
    });
    let registry = bed.replica_over(Arc::new(store), settings()).await;
    let (app, whole) = (name("g/app"), content(5 * MIB));
    let mut at = registry.uploads(&app).start(None, None);
    for range in [0..777, 777..2 * MIB + 5, 2 * MIB + 5..5 * MIB] {
        let part = whole.slice(range);
        at = patch(&registry, &app, &at, long(part.len()), Chunks::of(&part, 10_007)).await.unwrap();
    }
    put(&registry, &app, &at, &sha256(&whole), &Bytes::new()).await.unwrap();
    assert_eq!(read(&registry, &app, &sha256(&whole)).await, whole);
    // What each PATCH begins and ends with, up to a whole MiB, and each whole MiB in between.
    assert_eq!((pages.load(Ordering::Relaxed), odd.load(Ordering::Relaxed)), (3, 4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_parallel_patches_at_one_offset_exactly_one_wins() {
    for limits in [EQUAL, APPENDED] {
        let bed = Bed::memory(limits);
        let registry = Arc::new(bed.replica().await);
        let (app, whole) = (name("g/app"), content(200));
        let start = registry.uploads(&app).start(None, None);
        let attempts = (0..8).map(|_| {
            let (registry, app, start) = (Arc::clone(&registry), app.clone(), start.clone());
            let body = Chunks::of(&whole, 7);
            tokio::spawn(async move { patch(&registry, &app, &start, long(200), body).await })
        });
        let outcomes: Vec<_> = join_all(attempts).await.into_iter().map(Result::unwrap).collect();
        let won: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().ok()).collect();
        assert!(won.len() <= 1, "{outcomes:?}");
        assert!(
            outcomes.iter().all(|outcome| matches!(outcome, Ok(_) | Err(Error::OutOfOrder { .. }))),
            "{outcomes:?}"
        );
        let at = status(&registry, &app, &start).await.unwrap();
        assert!(at.offset == 200 || won.is_empty(), "{outcomes:?}");
        let rest = whole.slice(usize::try_from(at.offset).unwrap()..);
        put(&registry, &app, &at, &sha256(&whole), &rest).await.unwrap();
        assert_eq!(read(&registry, &app, &sha256(&whole)).await, whole);
        bed.check_purged("a race").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_blob_pushed_by_many_at_once() {
    for limits in [EQUAL, APPENDED] {
        let bed = Bed::memory(limits);
        let registry = Arc::new(bed.replica().await);
        let whole = content(300);
        let pushes = (0..12).map(|number| {
            let (registry, whole) = (Arc::clone(&registry), whole.clone());
            tokio::spawn(async move {
                let (app, digest) = (name(&format!("g/app{}", number % 3)), sha256(&whole));
                let uploads = registry.uploads(&app);
                if number % 2 == 0 {
                    uploads.store(&digest, long(300), &mut Chunks::of(&whole, 11)).await.unwrap();
                } else {
                    let start = uploads.start(None, None);
                    let at = patch(&registry, &app, &start, long(300), Chunks::of(&whole, 11)).await.unwrap();
                    put(&registry, &app, &at, &digest, &Bytes::new()).await.unwrap();
                }
                assert_eq!(read(&registry, &app, &digest).await, whole);
            })
        });
        join_all(pushes).await.into_iter().for_each(Result::unwrap);
        bed.check_visible("many pushes").await;
        bed.check_purged("many pushes").await;
    }
}

/// Parts of 2 MiB, and memory for three of them.
const LARGE: Limits = Limits { parts: Parts::Equal { size: 2 << 20 }, parts_max: 1000, distance: Distance::Here };

#[tokio::test(start_paused = true)]
async fn a_body_that_trickles_gives_its_memory_back() {
    for limits in [LARGE, APPENDED] {
        let bed = Bed::memory(limits);
        let registry = bed.replica().await;
        let (app, whole) = (name("g/app"), content(100_000));
        let at = registry.uploads(&app).start(None, None);
        let stalled = patch(&registry, &app, &at, Extent::default(), Chunks::of(&whole, 50_000).then(None));
        let mut stalled = std::pin::pin!(stalled);
        for (secs, taken) in [(9, MIB as u64), (2, 0)] {
            assert!(tokio::time::timeout(Duration::from_secs(secs), &mut stalled).await.is_err());
            assert_eq!(registry.upload_memory_taken(), taken);
        }
    }
}

/// Uploads that hold all memory and send nothing more cannot stop others for long.
#[tokio::test(start_paused = true)]
async fn an_exhausted_budget_lets_one_finish() {
    let bed = Bed::memory(LARGE);
    let registry = bed.replica_with(|settings| settings.upload_memory = 4 << 20).await;
    let (app, whole) = (name("g/app"), content(5 * MIB));
    let stalls = (0..6).map(|_| async {
        let at = registry.uploads(&app).start(None, None);
        patch(&registry, &app, &at, Extent::default(), Chunks::of(&whole.slice(..MIB), 70_000).then(None)).await
    });
    let push = async {
        let at = registry.uploads(&app).start(None, None);
        let at = patch(&registry, &app, &at, long(whole.len()), Chunks::of(&whole, 64 << 10)).await.unwrap();
        put(&registry, &app, &at, &sha256(&whole), &Bytes::new()).await.unwrap();
    };
    tokio::select! {
        _ = join_all(stalls) => panic!("they never end"),
        () = async { tokio::time::sleep(Duration::from_secs(1)).await; push.await } => {}
        () = tokio::time::sleep(Duration::from_mins(1)) => panic!("nobody finishes"),
    }
    assert_eq!(read(&registry, &app, &sha256(&whole)).await, whole);
}

/// A fast client never waits, and what it holds is in flight: its parts must move on while it waits for memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fast_uploads_share_a_budget_of_less_than_their_parts() {
    let bed = Bed::memory(LARGE);
    let slow = Meddling::new(&bed.store, |when, operation, _| {
        let pause = Duration::from_millis(if (when, operation) == (When::Before, Operation::PutPart) { 5 } else { 0 });
        tokio::time::sleep(pause).map(Ok).boxed()
    });
    let settings = pierhead::registry::Settings { upload_memory: 3 << 20, ..settings() };
    let registry = Arc::new(bed.replica_over(Arc::new(slow), settings).await);
    let whole = content(9 * MIB);
    let pushes = (0..4).map(|number| {
        let (registry, whole, app) = (Arc::clone(&registry), whole.clone(), name(&format!("g/app{number}")));
        tokio::spawn(async move {
            let at = registry.uploads(&app).start(None, None);
            let body = Chunks::of(&whole, 64 << 10);
            let at = patch(&registry, &app, &at, long(whole.len()), body).await.unwrap();
            put(&registry, &app, &at, &sha256(&whole), &Bytes::new()).await.unwrap();
        })
    });
    let all = tokio::time::timeout(Duration::from_mins(1), join_all(pushes)).await.expect("no deadlock");
    all.into_iter().for_each(Result::unwrap);
    assert_eq!(registry.upload_memory_taken(), 0);
}

/// Slow bodies of every kind, more of them than there is memory for: those that only trickle, those that fill a slab in
/// time and no part, and those that stand still, on their way into journals and straight to their blobs.
#[tokio::test(start_paused = true)]
async fn slow_bodies_do_not_starve_others() {
    let bed = Bed::memory(LARGE);
    let registry = bed.replica().await;
    let push = async |number: usize, length: usize, chunk_len: usize, pause: Duration| {
        let whole = content(length);
        let (app, digest) = (name(&format!("g/app{number}")), sha256(&whole));
        let mut body = Chunks::of(&whole, chunk_len).every(pause);
        if number.is_multiple_of(2) {
            registry.uploads(&app).store(&digest, long(length), &mut body).await.unwrap();
        } else {
            let at = registry.uploads(&app).start(None, None);
            let at = patch(&registry, &app, &at, long(length), body).await.unwrap();
            put(&registry, &app, &at, &digest, &Bytes::new()).await.unwrap();
        }
        assert!(read(&registry, &app, &digest).await == whole);
    };
    let stand_still = join_all((0..12).map(async |number| {
        let whole = content(MIB + number);
        let mut body = Chunks::of(&whole, MIB).then(None);
        registry.uploads(&name("g/still")).store(&sha256(&whole), long(2 * MIB), &mut body).await
    }));
    let quarter = Duration::from_millis(250);
    let slow = (0..12).map(|number| push(number, 3 * MIB + number, 16 << 10, quarter));
    let middling = (12..16).map(|number| push(number, 3 * MIB + number, 40 << 10, quarter));
    let slow = async { (join_all(slow).await, join_all(middling).await) };
    let fast = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        join_all((16..28).map(|number| push(number, 5 * MIB + number, 64 << 10, Duration::ZERO))).await;
    };
    let all = async {
        let (in_time, _) = futures_util::join!(tokio::time::timeout(Duration::from_mins(1), fast), slow);
        in_time.expect("those that are fast finish soon");
    };
    tokio::select! {
        _ = stand_still => panic!("they never end"),
        () = all => {}
        () = tokio::time::sleep(Duration::from_mins(10)) => panic!("the slow ones do not finish"),
    }
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(registry.upload_memory_taken(), 0);
    assert!(!bed.objects().await.iter().any(|(name, _)| name.contains("/tail/")), "what was put aside is gone");
    bed.check_purged("slow bodies").await;
}

/// What a direct push cannot hold in memory is put aside, and goes with it, however it ends.
#[tokio::test(start_paused = true)]
async fn a_slow_direct_push() {
    for limits in
        [EQUAL, APPENDED, Limits { parts: Parts::Equal { size: 60 }, parts_max: 20, distance: Distance::Here }]
    {
        for length in [10, 20, 60, 61, 64, 65, 120, 128, 300] {
            let bed = Bed::memory(limits.clone());
            let registry = bed.replica().await;
            let (app, whole) = (name("g/app"), content(length));
            let slow = |whole: &Bytes| Chunks::of(whole, 20).every(Duration::from_secs(11));
            let stored = registry.uploads(&app).store(&sha256(&whole), long(length), &mut slow(&whole)).await;
            assert_eq!(stored.unwrap().size, length as u64);
            assert_eq!(read(&registry, &app, &sha256(&whole)).await, whole);
            let before = bed.objects().await;
            for other in [long(length + 1), long(length)] {
                let wrong = registry.uploads(&app).store(&sha256(b"other"), other, &mut slow(&whole)).await;
                assert!(matches!(wrong, Err(Error::DigestMismatch { .. } | Error::SizeMismatch)), "{wrong:?}");
            }
            {
                let (digest, mut body) = (sha256(b"other"), slow(&whole).then(None));
                let uploads = registry.uploads(&app);
                let dropped = uploads.store(&digest, long(length), &mut body);
                assert!(tokio::time::timeout(Duration::from_hours(1), dropped).await.is_err());
            }
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            assert_eq!((bed.objects().await, bed.pending().await), (before, 0), "{limits:?}, {length} bytes");
        }
    }
}

/// The hash of an upload may have been stored in a form that only another version knows: the content is read back.
#[tokio::test]
async fn an_upload_that_another_version_hashed() {
    let (app, whole) = (name("g/app"), content(300));
    let right = sha256(&whole);
    for bed in [Bed::memory(EQUAL), Bed::memory(APPENDED), Bed::filesystem()] {
        let registry = bed.replica().await;
        let begin = async |length: usize| {
            let at = registry.uploads(&app).start(None, None);
            let at = patch(&registry, &app, &at, long(length), Chunks::of(&whole.slice(..length), 50)).await.unwrap();
            bed.forget_hash(at.id).await;
            assert_eq!(status(&registry, &app, &at).await.unwrap().offset, length as u64);
            at
        };
        // Finished as it is.
        let at = begin(300).await;
        put(&registry, &app, &at, &right, &Bytes::new()).await.unwrap();
        assert_eq!(read(&registry, &app, &right).await, whole);
        let at = begin(300).await;
        let wrong = put(&registry, &app, &at, &sha256(b"other"), &Bytes::new()).await;
        assert!(matches!(&wrong, Err(Error::DigestMismatch { actual, .. }) if *actual == right), "{wrong:?}");
        // With more bytes: some, or none at first, which must not go on behind what was read back.
        for length in [150, 128] {
            let at = begin(length).await;
            put(&registry, &app, &at, &right, &whole.slice(length..)).await.unwrap();
            let at = begin(length).await;
            let broken = Chunks::default().then(Some(Interrupted::Disconnected));
            let broken = patch(&registry, &app, &at, Extent::default(), broken).await;
            assert!(matches!(broken, Err(Error::Interrupted(_))), "{broken:?}");
            let more = whole.slice(length..250);
            let at = patch(&registry, &app, &at, long(more.len()), Chunks::of(&more, 30)).await.unwrap();
            put(&registry, &app, &at, &right, &whole.slice(250..)).await.unwrap();
            let sha512 = Hasher::digest(Algorithm::Sha512, &whole);
            let at = begin(length).await;
            put(&registry, &app, &at, &sha512, &whole.slice(length..)).await.unwrap();
            assert_eq!(read(&registry, &app, &sha512).await, whole);
        }
        bed.check_visible("another version").await;
        bed.check_purged("another version").await;
    }
}

/// A tail of one replica can hold more than a part of another, and its segment cannot go on with smaller parts.
#[tokio::test]
async fn replicas_that_cut_parts_of_different_sizes() {
    let bed = Bed::memory(EQUAL);
    let cutting = async |size| {
        bed.replica_cutting(
            Limits { parts: Parts::Equal { size }, parts_max: 10_000, distance: Distance::Here },
            settings(),
        )
        .await
    };
    let replicas = [cutting(64).await, cutting(16).await, cutting(100).await];
    let (app, whole) = (name("g/app"), content(700));
    for order in [[0, 1, 2], [2, 1, 0], [2, 0, 1], [1, 2, 0]] {
        for step in [60, 99, 130] {
            let mut at = replicas[0].uploads(&app).start(None, None);
            for (start, replica) in (0..600).step_by(step).zip(order.into_iter().cycle()) {
                let chunk = whole.slice(start..start + step);
                at = patch(&replicas[replica], &app, &at, long(step), Chunks::of(&chunk, 33)).await.unwrap();
            }
            let rest = whole.slice(usize::try_from(at.offset).unwrap()..);
            let digest = sha256(&whole);
            put(&replicas[order[1]], &app, &at, &digest, &rest).await.unwrap();
            assert!(read(&replicas[0], &app, &digest).await == whole, "{order:?}, {step} bytes a step");
            replicas[0].blobs(&app).delete(&digest).await.unwrap();
        }
    }
    bed.check_visible("parts of different sizes").await;
    bed.check_purged("parts of different sizes").await;
}

/// Nobody's clock wrote these: the purge neither breaks on them nor keeps such an upload for ever.
#[tokio::test]
async fn a_start_that_cannot_be() {
    for forged in ["9999-12-31T23:59:59Z", "9999-12-31T23:59:59-23:59", "2090-01-01T00:00:00Z", "0000-01-01T00:00:00Z"]
    {
        let bed = Bed::memory(EQUAL);
        let registry = bed.replica().await;
        let (app, whole) = (name("g/app"), content(100));
        let at = registry.uploads(&app).start(None, None);
        patch(&registry, &app, &at, long(100), Chunks::whole(&whole)).await.unwrap();
        let key = format!("docker/registry/v2/repositories/g/app/_uploads/{}/startedat", at.id).parse().unwrap();
        bed.store.put(&key, vec![Bytes::from(forged)], Precondition::Always).await.unwrap();
        let week = settings().upload_lifetime;
        let abandoned = usize::from(forged.starts_with("0000"));
        let purged = registry.purge_uploads(week, Mode::Remove).await.unwrap();
        assert_eq!(purged, Purged { abandoned, ..Purged::default() }, "{forged}");
        assert_eq!(registry.purge_uploads(Duration::MAX, Mode::Remove).await.unwrap(), Purged::default(), "{forged}");
        bed.clock.advance(week + Duration::from_secs(1));
        let purged = registry.purge_uploads(week, Mode::Remove).await.unwrap();
        assert_eq!(purged.abandoned, 1 - abandoned, "{forged}");
        bed.check_purged(forged).await;
    }
}

#[tokio::test]
async fn a_purge_finds_what_has_no_start() {
    for bed in [Bed::memory(EQUAL), Bed::memory(APPENDED)] {
        let registry = bed.replica().await;
        let (app, whole) = (name("g/app"), content(100));
        let at = registry.uploads(&app).start(None, None);
        patch(&registry, &app, &at, long(100), Chunks::whole(&whole)).await.unwrap();
        let upload = format!("docker/registry/v2/repositories/g/app/_uploads/{}", at.id);
        bed.store.delete(&[format!("{upload}/startedat").parse().unwrap()]).await.unwrap();
        // And one that nothing but an upload in parts is left of.
        let lone = "docker/registry/v2/repositories/g/app/_uploads/00000000-0000-4000-8000-000000000000/data";
        bed.store.begin(&lone.parse().unwrap()).await.unwrap();
        let week = settings().upload_lifetime;
        assert_eq!(registry.purge_uploads(week, Mode::Remove).await.unwrap(), Purged::default());
        bed.clock.advance(week + Duration::from_secs(1));
        let purged = registry.purge_uploads(week, Mode::Remove).await.unwrap();
        assert_eq!((purged.abandoned, purged.unfinished_writes, purged.failed), (1, 1, 0));
        bed.check_purged("no start").await;
    }
}
