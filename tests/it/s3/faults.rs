//! Faults between the registry and its store, and how each flow ends: the table of fault, flow and result.
//!
//! A fault that passes by is never the client's affair: whichever request it befalls, the flow ends well. One that
//! stays ends the flow with an error that says what to do, and leaves nothing half done: when it is over, the same
//! client tries again and succeeds.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, thread,
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::{
    replicas::runtime,
    s3::{proxied, purge},
    support::{
        digest,
        http::{Failure, send},
        push::{Content, Family, Flow as Way, Pace, Pusher, Stopped},
        registry::{Auth, Delivery, Program, Registry, Storage, Transport},
        s3::{
            client::Bucket,
            operation::Operation,
            proxy::{Fault, Proxy, Rule, Turn},
        },
        tools,
    },
};

const MIB: u64 = 1 << 20;

/// The smallest parts there are, so that little content makes several.
const PART: u64 = 5 * MIB;

/// What befalls one request and passes by.
const PASSING: [Fault; 5] =
    [Fault::Delay(Duration::from_millis(200)), Fault::Lost, Fault::Unanswered, Fault::Internal, Fault::SlowDown];

/// What befalls every request until somebody does something about it.
const STAYING: [Fault; 4] = [Fault::Lost, Fault::Internal, Fault::SlowDown, Fault::Denied];

/// Something that a client does with the registry.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Flow {
    /// A blob of less than a part, its digest known.
    Small,
    /// One of several parts, its digest known.
    Parts,
    /// One of several parts, its digest known at its end.
    Patch,
    /// The same in chunks.
    Chunks,
    Manifest,
    Pull,
    Tags,
    DeleteManifest,
}

const FLOWS: [Flow; 8] =
    [Flow::Small, Flow::Parts, Flow::Patch, Flow::Chunks, Flow::Manifest, Flow::Pull, Flow::Tags, Flow::DeleteManifest];

/// How one attempt ended.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Ending {
    Done,
    /// An answer that says no, in the registry's words.
    Refused {
        status: u16,
        retry_after: bool,
    },
    /// No answer, or one that broke off.
    Broken,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::Refused { status, retry_after: true } => write!(f, "{status} with Retry-After"),
            Self::Refused { status, .. } => write!(f, "{status}"),
            Self::Broken => f.write_str("reset"),
        }
    }
}

/// A registry of one flow's own, whose store is behind a proxy.
struct Bench {
    flow: Flow,
    proxy: Proxy,
    registry: Registry,
    runtime: Runtime,
    family: Family,
    bucket: Bucket,
    storage: Storage,
    _directory: tempfile::TempDir,
}

#[test]
fn every_flow_ends_as_promised() {
    let rows = thread::scope(|scope| {
        let threads = FLOWS.map(|flow| scope.spawn(move || Bench::set(flow).map_or_else(Vec::new, Bench::rows)));
        threads.map(|thread| thread.join().unwrap()).concat()
    });
    for row in rows {
        println!("{row}");
    }
}

/// Which of so many requests of one kind go wrong: all where there is time, else some.
fn turns(count: u32) -> BTreeSet<u32> {
    if tools::thorough() { (1..=count).collect() } else { [1, count.div_ceil(2), count].into() }
}

impl Bench {
    fn set(flow: Flow) -> Option<Self> {
        let (bucket, proxy, storage) = proxied(Delivery::Forward)?;
        let storage = storage.parameter("chunksize", &PART.to_string());
        let directory = tempfile::tempdir().unwrap();
        let registry =
            Registry::start_on(&Program::pierhead(), directory.path(), &storage, Transport::Plain, Auth::None);
        let length = if flow == Flow::Small { MIB } else { 2 * PART + MIB };
        let family = Family::new(length);
        Some(Self { flow, proxy, registry, runtime: runtime(), family, bucket, storage, _directory: directory })
    }

    /// Lines of the table.
    fn rows(self) -> Vec<String> {
        let asked = self.trace();
        let mut rows = Vec::new();
        let mut number = 1;
        for fault in PASSING.into_iter().chain(asked.contains_key(&Operation::GetObject).then_some(Fault::Cut(1000))) {
            let mut endings = BTreeMap::<Ending, u64>::new();
            for (operation, count) in &asked {
                if matches!(fault, Fault::Cut(_)) && *operation != Operation::GetObject {
                    continue;
                }
                for turn in turns(*count) {
                    let context = format!("{:?}: {fault:?} at {operation} {turn} of {count}", self.flow);
                    let ending = self.passing(number, Rule::new(&[*operation], Turn::Only(turn), fault), &context);
                    *endings.entry(ending).or_default() += 1;
                    number += 1;
                }
            }
            rows.push(self.row(&format!("{fault:?} once"), &endings));
        }
        for fault in STAYING {
            let ending = self.staying(number, &[Rule::new(&[], Turn::Each, fault)]);
            number += 1;
            rows.push(self.row(&format!("{fault:?} always"), &BTreeMap::from([(ending, 1)])));
        }
        if self.flow == Flow::Pull {
            // The head has gone out by then: what can be told is only that the rest does not come.
            let content = |turn, fault| Rule::new(&[Operation::GetObject], turn, fault).about("/blobs/");
            let rules = [content(Turn::Only(1), Fault::Cut(MIB)), content(Turn::Each, Fault::Lost)];
            let ending = self.staying(number, &rules);
            rows.push(self.row("Cut, then Lost always", &BTreeMap::from([(ending, 1)])));
        }
        // Where the answer to a beginning or an end was lost, nobody but a purge can know what is left.
        purge(&self.storage);
        assert_eq!(self.bucket.unfinished(), [], "{:?}: uploads in parts are left", self.flow);
        rows
    }

    fn row(&self, fault: &str, endings: &BTreeMap<Ending, u64>) -> String {
        let endings: Vec<_> = endings.iter().map(|(ending, count)| format!("{count} x {ending}")).collect();
        format!("{:<16} {fault:<38} {}", format!("{:?}", self.flow), endings.join(", "))
    }

    /// How often the flow asks the store for what.
    fn trace(&self) -> BTreeMap<Operation, u32> {
        self.prepare(0);
        self.proxy.forget();
        assert_eq!(self.attempt(0), Ending::Done, "{:?}", self.flow);
        let mut asked = BTreeMap::new();
        for call in self.proxy.calls() {
            *asked.entry(call.operation).or_default() += 1;
        }
        asked
    }

    /// One request goes wrong; the client does not notice.
    fn passing(&self, number: u64, rule: Rule, context: &str) -> Ending {
        self.prepare(number);
        self.proxy.inject(rule);
        let ending = self.attempt(number);
        self.proxy.heal();
        assert_eq!(ending, Ending::Done, "{context}");
        self.check(number, context);
        ending
    }

    /// All requests go wrong; the client hears of it, and succeeds when that is over.
    fn staying(&self, number: u64, rules: &[Rule]) -> Ending {
        let fault = rules[0].fault;
        let context = format!("{:?}: {fault:?} always", self.flow);
        self.prepare(number);
        for rule in rules {
            self.proxy.inject(rule.clone());
        }
        let ending = self.attempt(number);
        self.proxy.heal();
        match (fault, ending) {
            (Fault::SlowDown, Ending::Refused { status, retry_after }) => {
                assert_eq!((status, retry_after), (503, true), "{context}");
            }
            (Fault::Cut(_), _) => assert_eq!(ending, Ending::Broken, "{context}"),
            (_, Ending::Refused { status, .. }) => assert!(status >= 500 || status == 403, "{context}: {status}"),
            (_, Ending::Done | Ending::Broken) => panic!("{context}: {ending}"),
        }
        assert_eq!(self.attempt(number), Ending::Done, "{context}: and once more");
        self.check(number, &context);
        ending
    }

    /// A blob, and a repository of its own.
    fn content(&self, number: u64) -> Content {
        self.family.member(number)
    }

    fn pusher(&self, number: u64) -> Pusher {
        Pusher::new(self.registry.address, &format!("faults/{number}"))
    }

    /// What the flow finds there.
    fn prepare(&self, number: u64) {
        let pusher = self.pusher(number);
        let push = |content: &Content| {
            self.runtime.block_on(pusher.push(content, Way::Put, &Pace::Full)).unwrap();
        };
        match self.flow {
            Flow::Small | Flow::Parts | Flow::Patch | Flow::Chunks => {}
            Flow::Pull => push(&self.content(number)),
            Flow::Manifest => push(&config()),
            Flow::Tags | Flow::DeleteManifest => {
                push(&config());
                assert_eq!(self.put_manifest(number), Ending::Done);
            }
        }
    }

    fn attempt(&self, number: u64) -> Ending {
        let content = self.content(number);
        let push = |way| {
            let pushed = self.runtime.block_on(self.pusher(number).push(&content, way, &Pace::Full));
            match pushed {
                Ok(_) => Ending::Done,
                Err(Stopped::Answer(answer)) => ending(Ok(*answer)),
                Err(Stopped::Broken(failure)) => ending(Err(failure)),
            }
        };
        match self.flow {
            Flow::Small | Flow::Parts => push(Way::Put),
            Flow::Patch => push(Way::Patch),
            Flow::Chunks => push(Way::Chunks(3 * MIB)),
            Flow::Manifest => self.put_manifest(number),
            Flow::Pull => self.pull(number, &content),
            Flow::Tags => self.ask(number, Method::GET, "tags/list"),
            // A second attempt may find it gone already.
            Flow::DeleteManifest => match self.ask(number, Method::DELETE, &manifest_path(number)) {
                Ending::Refused { status: 404, .. } => Ending::Done,
                ending => ending,
            },
        }
    }

    /// What must be true at the end of the flow.
    fn check(&self, number: u64, context: &str) {
        match self.flow {
            Flow::Small | Flow::Parts | Flow::Patch | Flow::Chunks | Flow::Pull => {
                let pulled = self.pull(number, &self.content(number));
                assert_eq!(pulled, Ending::Done, "{context}: is it stored?");
            }
            Flow::Manifest | Flow::Tags => {
                let got = self.ask(number, Method::GET, "manifests/latest");
                assert_eq!(got, Ending::Done, "{context}: is it stored?");
            }
            Flow::DeleteManifest => {
                let got = self.ask(number, Method::GET, "manifests/latest");
                assert_eq!(got, Ending::Refused { status: 404, retry_after: false }, "{context}: is it gone?");
            }
        }
    }

    fn pull(&self, number: u64, content: &Content) -> Ending {
        let pusher = self.pusher(number);
        match self.runtime.block_on(pusher.ask(Method::GET, &format!("blobs/{}", content.digest))) {
            Ok(answer) if answer.status() == StatusCode::OK => {
                assert_eq!(digest::of(answer.body()), content.digest, "wrong bytes that ended in order");
                Ending::Done
            }
            answer => ending(answer),
        }
    }

    fn put_manifest(&self, number: u64) -> Ending {
        let target = format!("/v2/faults/{number}/manifests/latest");
        let put = Request::put(target).header(header::CONTENT_TYPE, MANIFEST_TYPE);
        let body = Full::new(Bytes::from(manifest(number))).boxed();
        ending(self.runtime.block_on(send(self.registry.address, put.body(body).unwrap())))
    }

    fn ask(&self, number: u64, method: Method, what: &str) -> Ending {
        ending(self.runtime.block_on(self.pusher(number).ask(method, what)))
    }
}

const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

fn config() -> Content {
    Family::new(64).member(0)
}

fn manifest(number: u64) -> String {
    format!(
        "{{\"schemaVersion\":2,\"mediaType\":\"{MANIFEST_TYPE}\",\"annotations\":{{\"number\":\"{number}\"}},\"config\":\
         {{\"mediaType\":\"application/vnd.oci.image.config.v1+json\",\"size\":64,\"digest\":\"{}\"}},\"layers\":[]}}",
        config().digest
    )
}

fn manifest_path(number: u64) -> String {
    format!("manifests/{}", digest::of(manifest(number).as_bytes()))
}

/// A refusal must be one of the registry's: JSON with an error code.
fn ending(answer: Result<Response<Bytes>, Failure>) -> Ending {
    let Ok(answer) = answer else { return Ending::Broken };
    if answer.status().is_success() {
        return Ending::Done;
    }
    let said: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
    assert!(said["errors"][0]["code"].is_string(), "not in the registry's words: {answer:?}");
    let retry_after = answer.headers().contains_key(header::RETRY_AFTER);
    Ending::Refused { status: answer.status().as_u16(), retry_after }
}
