//! Every flow, broken off at each of its calls to the store and taken up again by another replica as clients do it.
//!
//! A call fails before its effect (the request was lost), after it (the answer was lost), or never comes back and the
//! request is dropped (the process died). The client then asks how far the upload is and goes on from there.

use std::{future::ready, ops::Range, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt as _;
use pierhead::{
    oci::{digest::Digest, name::RepositoryName},
    registry::{
        Registry,
        blobs::Blob,
        error::Error as RegistryError,
        manifests::Incoming,
        uploads::{Error, Hint, Progress},
    },
    store::{
        Limits, Listing, Meta, Multipart, Object, Page, Part, Pending, Precondition, Result as StoreResult, Slot,
        Store, Writers,
        error::{Error as StoreError, Kind, Operation},
        faulty::{Faulty, Plan, When},
        key::Key,
    },
};
use tokio::sync::Semaphore;

use crate::{
    meddling::Meddling,
    registry_tree::{name, tag},
    upload_bed::{APPENDED, Bed, Chunks, EQUAL, content, long, read, settings, sha256},
};

/// Longer than any flow's list of calls.
const CALLS_MAX: u64 = 400;

const CONTENT_LEN: usize = 400;

/// A way of changing the registry.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Flow {
    /// POST, a PATCH for each of these lengths, PUT with what is left.
    Patches(&'static [usize]),
    /// The same, and another version stored the hash after the first PATCH.
    OtherVersion(&'static [usize]),
    /// POST, PUT with a body.
    Put,
    /// POST with the digest and a body.
    Post,
    /// The same with a body that is too slow to be waited for in memory.
    SlowPost,
    Mount,
    Cancel,
    Manifest,
    DeleteTag,
    DeleteManifest,
    DeleteBlob,
}

/// All that need no time.
const FLOWS: [Flow; 12] = [
    Flow::Patches(&[100, 37, 64, 199]),
    Flow::Patches(&[100, 36, 64]),
    Flow::Patches(&[CONTENT_LEN]),
    Flow::OtherVersion(&[150, 50]),
    Flow::Put,
    Flow::Post,
    Flow::Mount,
    Flow::Cancel,
    Flow::Manifest,
    Flow::DeleteTag,
    Flow::DeleteManifest,
    Flow::DeleteBlob,
];

/// What a client remembers between its requests.
struct Client {
    flow: Flow,
    name: RepositoryName,
    other: RepositoryName,
    content: Bytes,
    /// Where its upload is, by the last answer.
    at: Option<Progress>,
    /// Whether it tried before, so that what it wants may have happened.
    again: bool,
}

type Outcome = Result<(), String>;

impl Client {
    fn new(flow: Flow) -> Self {
        let content = content(CONTENT_LEN);
        Self { flow, name: name("g/app"), other: name("g/other"), content, at: None, again: false }
    }

    /// What stood before the flow.
    async fn prepare(&mut self, bed: &Bed, registry: &Registry) {
        if let Flow::OtherVersion(lengths) = self.flow {
            self.patch(registry, lengths[0]).await.unwrap();
            bed.forget_hash(self.at.as_ref().expect("begun").id).await;
        }
        if self.flow == Flow::Mount {
            store(registry, &self.other, &self.content).await.unwrap();
        }
        if !self.patches() {
            store(registry, &self.name, &Bytes::from_static(b"{}")).await.unwrap();
            store(registry, &self.name, &Bytes::from_static(b"layer")).await.unwrap();
        }
        if matches!(self.flow, Flow::DeleteTag | Flow::DeleteManifest) {
            self.put_manifest(registry).await.unwrap();
        }
    }

    const fn patches(&self) -> bool {
        matches!(self.flow, Flow::Patches(_) | Flow::OtherVersion(_) | Flow::Put | Flow::Cancel)
    }

    /// Goes on to the end of the flow.
    async fn run(&mut self, registry: &Registry) -> Outcome {
        match self.flow {
            Flow::Patches(lengths) | Flow::OtherVersion(lengths) => self.push(registry, lengths).await,
            Flow::Put => self.push(registry, &[]).await,
            Flow::Post => store(registry, &self.name, &self.content).await,
            Flow::SlowPost => {
                let mut body = Chunks::of(&self.content, 30).every(Duration::from_secs(11));
                let uploads = registry.uploads(&self.name);
                let stored = uploads.store(&self.digest(), long(self.content.len()), &mut body).await;
                stored.map(drop).map_err(|error| error.to_string())
            }
            Flow::Mount => {
                let mounted = registry.blobs(&self.name).mount(&self.digest(), &self.other).await;
                mounted.map(drop).map_err(told)
            }
            Flow::Cancel => self.cancel(registry).await,
            Flow::Manifest => self.put_manifest(registry).await,
            Flow::DeleteTag => self.absent(registry.tags(&self.name).delete(&tag("latest")).await),
            Flow::DeleteManifest => {
                self.absent(registry.manifests(&self.name).delete(&sha256(MANIFEST.as_bytes())).await.map(drop))
            }
            Flow::DeleteBlob => self.absent(registry.blobs(&self.name).delete(&sha256(b"layer")).await),
        }
    }

    fn digest(&self) -> Digest {
        sha256(&self.content)
    }

    async fn push(&mut self, registry: &Registry, lengths: &[usize]) -> Outcome {
        let mut end = 0;
        for length in lengths {
            end += length;
            self.patch(registry, end).await?;
        }
        let hint = self.hint(registry)?;
        let rest = self.content.slice(self.offset()..);
        let body = &mut Chunks::of(&rest, 50);
        let digest = self.digest();
        match registry.uploads(&self.name).resume(hint).complete(&digest, long(rest.len()), body).await {
            Ok(blob) => {
                assert_eq!((blob.digest, blob.size), (digest, CONTENT_LEN as u64));
                Ok(())
            }
            Err(error @ (Error::Store(_) | Error::Unknown)) => Err(error.to_string()),
            Err(error) => panic!("{:?}: {error}", self.flow),
        }
    }

    /// Sends what is missing up to this byte.
    async fn patch(&mut self, registry: &Registry, end: usize) -> Outcome {
        let hint = self.hint(registry)?;
        if self.offset() >= end {
            return Ok(());
        }
        let chunk = self.content.slice(self.offset()..end);
        let body = &mut Chunks::of(&chunk, 50);
        let upload = registry.uploads(&self.name).resume(hint);
        let progress = upload.append(long(chunk.len()), None, body).await.map_err(|error| error.to_string())?;
        assert_eq!(progress.offset, end as u64, "{:?}", self.flow);
        self.at = Some(progress);
        Ok(())
    }

    async fn cancel(&mut self, registry: &Registry) -> Outcome {
        if !self.again {
            self.patch(registry, 100).await?;
        }
        let hint = self.hint(registry)?;
        match registry.uploads(&self.name).resume(hint.clone()).abort().await {
            Err(Error::Unknown) if self.again => {}
            aborted => aborted.map_err(|error| error.to_string())?,
        }
        let status = registry.uploads(&self.name).resume(hint).status(None).await;
        match status {
            Err(Error::Unknown) => Ok(()),
            Err(error) => Err(error.to_string()),
            Ok(progress) => panic!("cancelled, and still at {}", progress.offset),
        }
    }

    async fn put_manifest(&self, registry: &Registry) -> Outcome {
        let incoming = Incoming {
            reference: "latest".parse().unwrap(),
            tags: Vec::new(),
            immutable: Vec::new(),
            content_type: None,
            raw: Bytes::from_static(MANIFEST.as_bytes()),
        };
        registry.manifests(&self.name).put(incoming).await.map(drop).map_err(told)
    }

    /// A second attempt may find nothing left to delete.
    fn absent(&self, deleted: Result<(), RegistryError>) -> Outcome {
        match deleted {
            Err(RegistryError::ManifestUnknown(_) | RegistryError::BlobUnknown(_)) if self.again => Ok(()),
            deleted => deleted.map_err(told),
        }
    }

    fn offset(&self) -> usize {
        self.at.as_ref().map_or(0, |at| usize::try_from(at.offset).unwrap())
    }

    /// From the Location that the client holds; it starts an upload when it holds none.
    fn hint(&mut self, registry: &Registry) -> Result<Hint, String> {
        let uploads = registry.uploads(&self.name);
        let at = self.at.get_or_insert_with(|| uploads.start(None, None));
        uploads.verify(&at.id.to_string(), &at.state).map_err(|error| error.to_string())
    }

    /// Asks how far the upload is, after a failure.
    async fn ask(&mut self, registry: &Registry, context: &str) {
        self.again = true;
        if self.at.is_none() {
            return;
        }
        let hint = self.hint(registry).unwrap();
        match registry.uploads(&self.name).resume(hint).status(None).await {
            Ok(progress) => {
                let offset = usize::try_from(progress.offset).unwrap();
                assert!((self.offset()..=CONTENT_LEN).contains(&offset), "{context}: at {offset}");
                self.at = Some(progress);
            }
            // Its PUT or DELETE came through, only the answer did not: the same request again says so.
            Err(Error::Unknown) => {}
            Err(error) => panic!("{context}: {error}"),
        }
    }

    async fn check_done(&self, registry: &Registry, context: &str) {
        let manifest = registry.manifests(&self.name).get(&"latest".parse().unwrap()).await;
        match self.flow {
            Flow::Patches(_) | Flow::OtherVersion(_) | Flow::Put | Flow::Post | Flow::SlowPost | Flow::Mount => {
                assert_eq!(read(registry, &self.name, &self.digest()).await, self.content, "{context}");
            }
            Flow::Cancel => {}
            Flow::Manifest => assert_eq!(manifest.unwrap().raw, MANIFEST, "{context}"),
            Flow::DeleteTag | Flow::DeleteManifest => assert!(manifest.is_err(), "{context}"),
            Flow::DeleteBlob => {
                assert!(registry.blobs(&self.name).stat(&sha256(b"layer")).await.is_err(), "{context}");
            }
        }
    }
}

/// Of the two blobs that [`Client::prepare`] stores.
const MANIFEST: &str = concat!(
    r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","#,
    r#""config":{"mediaType":"application/vnd.oci.image.config.v1+json","size":2,"#,
    r#""digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"},"layers":[]}"#
);

async fn store(registry: &Registry, name: &RepositoryName, content: &Bytes) -> Outcome {
    let body = &mut Chunks::of(content, 50);
    let stored = registry.uploads(name).store(&sha256(content), long(content.len()), body).await;
    stored.map(drop).map_err(|error| error.to_string())
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err takes")]
fn told(error: RegistryError) -> String {
    error.to_string()
}

/// Calls that opening a registry makes; the flow's come after them.
async fn calls_to_open(bed: &Bed) -> u64 {
    let counting =
        Arc::new(Faulty::new(Arc::clone(&bed.store), Plan { call: 0, when: When::Before, kind: Kind::Full }));
    bed.replica_over(Arc::clone(&counting) as Arc<dyn Store>, settings()).await;
    counting.calls()
}

/// Breaks a flow off at one call; whether there was such a call.
async fn fail(bed: &Bed, flow: Flow, call: u64, when: When) -> bool {
    let mut client = Client::new(flow);
    client.prepare(bed, &bed.replica().await).await;
    let plan = Plan { call: calls_to_open(bed).await + call, when, kind: Kind::Unavailable };
    let faulty = Arc::new(Faulty::new(Arc::clone(&bed.store), plan));
    let broken = bed.replica_over(Arc::clone(&faulty) as Arc<dyn Store>, settings()).await;
    let outcome = client.run(&broken).await;
    let reached = faulty.calls() >= plan.call;
    let context = match faulty.operations().get(usize::try_from(plan.call).unwrap() - 1) {
        Some((operation, key)) => format!("{flow:?}, call {call}, {operation} {key} fails {when:?}"),
        None => format!("{flow:?}, no fault"),
    };
    assert!(reached || outcome.is_ok(), "{context}: {outcome:?}");
    recover(bed, client, outcome.is_ok(), &context).await;
    reached
}

/// Another replica takes over.
async fn recover(bed: &Bed, mut client: Client, done: bool, context: &str) {
    bed.check_visible(context).await;
    let other = bed.replica().await;
    if !done {
        client.ask(&other, context).await;
        let outcome = client.run(&other).await;
        assert_eq!(outcome, Ok(()), "{context}");
    }
    client.check_done(&other, context).await;
    bed.check_visible(context).await;
    bed.check_purged(context).await;
    client.check_done(&other, context).await;
}

async fn every_fault(limits: Limits) {
    let mut calls = 0;
    for flow in FLOWS {
        calls += every_fault_of(flow, &limits).await;
    }
    println!("{limits:?}: {calls} faults survived");
}

/// How many there are.
async fn every_fault_of(flow: Flow, limits: &Limits) -> u64 {
    let mut calls = 0;
    for when in [When::Before, When::After] {
        let mut call = 1;
        while fail(&Bed::memory(limits.clone()), flow, call, when).await {
            call += 1;
            assert!(call < CALLS_MAX, "{flow:?} never ends");
        }
        calls += call - 1;
    }
    calls
}

#[tokio::test(start_paused = true)]
async fn every_lost_request_and_answer_of_a_slow_push() {
    for limits in [EQUAL, APPENDED] {
        let calls = every_fault_of(Flow::SlowPost, &limits).await;
        println!("{limits:?}: {calls} faults survived by a slow push");
    }
}

#[tokio::test]
async fn every_lost_request_and_answer_with_equal_parts() {
    every_fault(EQUAL).await;
}

#[tokio::test]
async fn every_lost_request_and_answer_with_appended_parts() {
    every_fault(APPENDED).await;
}

#[tokio::test]
async fn every_lost_request_and_answer_on_a_file_system() {
    for flow in [Flow::Patches(&[100, 36, 64]), Flow::Put, Flow::Cancel] {
        for when in [When::Before, When::After] {
            let mut call = 1;
            while fail(&Bed::filesystem(), flow, call, when).await {
                call += 1;
                assert!(call < CALLS_MAX, "{flow:?} never ends");
            }
        }
    }
}

/// Every process that dies in the middle of a request: memory never waits, so a flow that waits has met the halt.
async fn every_death(limits: Limits) {
    for flow in FLOWS {
        for when in [When::Before, When::After] {
            for call in 1.. {
                let bed = Bed::memory(limits.clone());
                let mut client = Client::new(flow);
                client.prepare(&bed, &bed.replica().await).await;
                let halting = Arc::new(Halting::new(Arc::clone(&bed.store), when, CALLS_MAX));
                let dying = bed.replica_over(Arc::clone(&halting) as Arc<dyn Store>, settings()).await;
                halting.allow(call - 1);
                // Unconstrained, or the runtime would make it wait now and then for fairness.
                let outcome = tokio::task::unconstrained(client.run(&dying)).now_or_never();
                let context = format!("{flow:?}, halted {when:?} call {call}");
                recover(&bed, client, outcome == Some(Ok(())), &context).await;
                if outcome.is_some() {
                    assert_eq!(outcome, Some(Ok(())), "{context}");
                    assert!(call > 1);
                    break;
                }
            }
        }
    }
}

#[tokio::test]
async fn every_death_with_equal_parts() {
    every_death(EQUAL).await;
}

#[tokio::test]
async fn every_death_with_appended_parts() {
    every_death(APPENDED).await;
}

/// Passes so many calls on; the next ones never come back.
#[derive(Debug)]
struct Halting {
    inner: Arc<dyn Store>,
    when: When,
    allowed: Semaphore,
}

impl Halting {
    fn new(inner: Arc<dyn Store>, when: When, calls: u64) -> Self {
        Self { inner, when, allowed: Semaphore::new(usize::try_from(calls).unwrap()) }
    }

    fn allow(&self, calls: u64) {
        self.allowed.forget_permits(usize::MAX);
        self.allowed.add_permits(usize::try_from(calls).unwrap());
    }

    async fn pass<T>(&self, call: impl Future<Output = StoreResult<T>>) -> StoreResult<T> {
        if let Ok(permit) = self.allowed.try_acquire() {
            permit.forget();
            return call.await;
        }
        if self.when == When::After {
            // Its outcome is what the caller never learns.
            let _lost = call.await;
        }
        std::future::pending().await
    }
}

#[async_trait]
impl Store for Halting {
    fn limits(&self) -> &Limits {
        self.inner.limits()
    }

    async fn head(&self, key: &Key) -> StoreResult<Meta> {
        self.pass(self.inner.head(key)).await
    }

    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> StoreResult<Object> {
        self.pass(self.inner.get(key, range)).await
    }

    async fn put(&self, key: &Key, content: Vec<Bytes>, precondition: Precondition) -> StoreResult<()> {
        self.pass(self.inner.put(key, content, precondition)).await
    }

    async fn delete(&self, keys: &[Key]) -> StoreResult<()> {
        self.pass(self.inner.delete(keys)).await
    }

    async fn list(&self, listing: &Listing) -> StoreResult<Page> {
        self.pass(self.inner.list(listing)).await
    }

    async fn begin(&self, key: &Key) -> StoreResult<Multipart> {
        self.pass(self.inner.begin(key)).await
    }

    async fn put_part(&self, upload: &Multipart, slot: Slot, content: Vec<Bytes>) -> StoreResult<Part> {
        self.pass(self.inner.put_part(upload, slot, content)).await
    }

    async fn flush(&self, upload: &Multipart) -> StoreResult<()> {
        self.pass(self.inner.flush(upload)).await
    }

    async fn complete(&self, upload: &Multipart, parts: &[Part], writers: Writers) -> StoreResult<()> {
        self.pass(self.inner.complete(upload, parts, writers)).await
    }

    async fn abort(&self, upload: &Multipart) -> StoreResult<()> {
        self.pass(self.inner.abort(upload)).await
    }

    async fn pending(&self, prefix: &Key) -> StoreResult<Vec<Pending>> {
        self.pass(self.inner.pending(prefix)).await
    }

    async fn promote(&self, sources: &[Key], to: &Key) -> StoreResult<()> {
        self.pass(self.inner.promote(sources, to)).await
    }
}

/// Where taking the parts back fails as well, the purge finds them.
#[tokio::test]
async fn a_failed_direct_push_whose_abort_fails_is_found_by_the_purge() {
    for (bed, length) in
        [(Bed::memory(EQUAL), 300), (Bed::memory(APPENDED), (1 << 20) + 1), (Bed::filesystem(), (1 << 20) + 1)]
    {
        for failing in [Operation::PutPart, Operation::Complete] {
            let store = Meddling::new(&bed.store, move |when, operation, key| {
                let fails = when == When::Before && (operation == failing || operation == Operation::Abort);
                let fault = StoreError::new(operation, key, Kind::Unavailable);
                ready(if fails { Err(fault) } else { Ok(()) }).boxed()
            });
            let registry = bed.replica_over(Arc::new(store), settings()).await;
            let whole = content(length);
            let stored = store_at(&registry, &name("g/app"), &whole).await;
            assert!(matches!(&stored, Err(Error::Store(error)) if error.kind == Kind::Unavailable), "{stored:?}");
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            assert_eq!(bed.pending().await, 1, "{failing}");
            bed.check_visible("a failed push").await;
            bed.check_purged("a failed push").await;
        }
    }
}

async fn store_at(registry: &Registry, name: &RepositoryName, content: &Bytes) -> Result<Blob, Error> {
    registry.uploads(name).store(&sha256(content), long(content.len()), &mut Chunks::of(content, 50_000)).await
}

/// Not at the purge's next round but at once.
#[tokio::test]
async fn a_broken_off_direct_push_takes_its_parts_back() {
    let bed = Bed::memory(EQUAL);
    let registry = bed.replica().await;
    let app = name("g/app");
    let content = content(300);
    let uploads = registry.uploads(&app);
    let digest = sha256(&content);
    {
        let mut stalled = Chunks::of(&content, 100).then(None);
        let push = uploads.store(&digest, long(301), &mut stalled);
        assert!(tokio::time::timeout(Duration::from_millis(20), push).await.is_err());
        assert_eq!(bed.pending().await, 1);
    }
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert_eq!(bed.pending().await, 0);
    bed.check_visible("a dropped push").await;
}
