//! A body that becomes parts in a store, which is memory here: copied into slabs or passed on, hashed, linked.
//!
//! `hashing` says how much of it is the hash. Where parts are appended, as to files, pieces from a size on are not copied;
//! an object store's are of one size.

use std::{collections::VecDeque, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use divan::{Bencher, counter::BytesCount};
use pierhead::{
    clock::{Clock, SystemClock},
    oci::{
        digest::{Algorithm, Digest},
        hasher::Hasher,
        name::RepositoryName,
    },
    registry::{
        Registry, Settings,
        format::Signing,
        manifests::validation::Validation,
        uploads::{Extent, Incoming, Interrupted},
    },
    store::{Distance, Limits, Parts, memory::Memory},
};
use tokio::runtime::{Builder, Runtime};

const BODY: usize = 32 << 20;
const PART: u64 = 16 << 20;

const CASES: [Case; 4] = [
    Case { parts: Parts::Appended, piece: 4 << 10 },
    Case { parts: Parts::Appended, piece: 16 << 10 },
    Case { parts: Parts::Equal { size: PART }, piece: 16 << 10 },
    Case { parts: Parts::Equal { size: PART }, piece: 256 << 10 },
];

#[derive(Clone, Copy)]
struct Case {
    parts: Parts,
    /// The bytes that come at once; 16 KiB is a TLS record.
    piece: usize,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = match self.parts {
            Parts::Appended => "appended",
            Parts::Equal { .. } => "equal",
        };
        write!(f, "{parts}, {} KiB", self.piece >> 10)
    }
}

/// `POST ?digest=` and the like: straight to the blob's key.
#[divan::bench(args = CASES, sample_size = 1, sample_count = 20)]
fn of_a_known_digest(bencher: Bencher<'_, '_>, case: Case) {
    let bench = Bench::new(case);
    let bencher = bencher.counter(BytesCount::new(BODY)).with_inputs(|| (bench.registry(), bench.body()));
    bencher.bench_local_refs(|(registry, body)| {
        let uploads = registry.uploads(&bench.repository);
        bench.runtime.block_on(uploads.store(&bench.digest, bench.extent(), body)).unwrap()
    });
}

/// One `PATCH`: segments below the upload, with records of how far it has come.
#[divan::bench(args = CASES, sample_size = 1, sample_count = 20)]
fn in_a_chunk(bencher: Bencher<'_, '_>, case: Case) {
    let bench = Bench::new(case);
    let bencher = bencher.counter(BytesCount::new(BODY)).with_inputs(|| (bench.registry(), bench.body()));
    bencher.bench_local_refs(|(registry, body)| {
        let uploads = registry.uploads(&bench.repository);
        let begun = uploads.start(None, None);
        let hint = uploads.verify(&begun.id.to_string(), &begun.state).unwrap();
        bench.runtime.block_on(uploads.resume(hint).append(bench.extent(), None, body)).unwrap()
    });
}

struct Bench {
    runtime: Runtime,
    repository: RepositoryName,
    case: Case,
    content: Bytes,
    digest: Digest,
}

impl Bench {
    fn new(case: Case) -> Self {
        let content = Bytes::from(vec![7; BODY]);
        Self {
            runtime: Builder::new_current_thread().enable_all().build().unwrap(),
            repository: "team/app".parse().unwrap(),
            case,
            digest: Hasher::digest(Algorithm::Sha256, &content),
            content,
        }
    }

    /// An empty one.
    fn registry(&self) -> Registry {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let limits = Limits { parts: self.case.parts, parts_max: 10_000, distance: Distance::Here };
        let store = Arc::new(Memory::new(limits, Arc::clone(&clock)));
        let settings = Settings {
            validation: Validation::default(),
            descriptor_cache: None,
            upload_lifetime: Duration::from_hours(168),
            upload_memory: 64 << 20,
            upload_checkpoint: 1 << 30,
            upload_size_max: None,
            upload_bodies_max: None,
            signing: Signing::Shared,
        };
        self.runtime.block_on(Registry::open(store, clock, settings)).unwrap()
    }

    fn body(&self) -> Body {
        let pieces = (0..BODY).step_by(self.case.piece);
        Body(pieces.map(|at| self.content.slice(at..BODY.min(at + self.case.piece))).collect())
    }

    fn extent(&self) -> Extent {
        Extent { range: None, length: Some(self.content.len() as u64) }
    }
}

/// The pieces that are still to come.
struct Body(VecDeque<Bytes>);

#[async_trait]
impl Incoming for Body {
    async fn chunk(&mut self) -> Result<Option<Bytes>, Interrupted> {
        Ok(self.0.pop_front())
    }
}
