//! What a pushed blob costs at the store, counted there: ours beside Debian's docker-registry, on one store in one run.

use std::collections::BTreeMap;

use crate::{
    replicas::runtime,
    s3::proxied,
    support::{
        push::{Content, Family, Flow, Pace, Pusher},
        registry::{Auth, Delivery, Program, Registry, Transport},
        s3::{
            operation::Operation,
            proxy::{Call, Proxy},
        },
        tools,
    },
};

const MIB: u64 = 1 << 20;

/// Of a link's content: `sha256:` and 64 digits.
const LINK: u64 = 71;

const FLOWS: [Flow; 4] = [Flow::Put, Flow::Patch, Flow::Chunks(5 * MIB), Flow::Chunks(MIB)];

/// Below one part of either program, and several parts.
const LENGTHS: [u64; 2] = [3 * MIB, 40 * MIB];

const REPOSITORY: &str = "counted/app";

/// What one push made a program ask of the store.
struct Cost {
    flow: Flow,
    length: u64,
    calls: Vec<Call>,
}

impl Cost {
    fn requests(&self, concerns: impl Fn(Operation) -> bool) -> u64 {
        self.calls.iter().filter(|call| concerns(call.operation)).count() as u64
    }

    fn sent(&self) -> u64 {
        self.calls.iter().map(|call| call.sent).sum()
    }

    fn received(&self) -> u64 {
        self.calls.iter().map(|call| call.received).sum()
    }

    /// `PutObject 2, UploadPart 3`.
    fn operations(&self) -> String {
        let mut counts = BTreeMap::<Operation, u64>::new();
        self.calls.iter().for_each(|call| *counts.entry(call.operation).or_default() += 1);
        counts.iter().map(|(operation, count)| format!("{operation} {count}")).collect::<Vec<_>>().join(", ")
    }

    fn print(&self, program: &str) {
        #[expect(clippy::cast_precision_loss, reason = "for people")]
        let times = |bytes: u64| bytes as f64 / self.length as f64;
        println!(
            "{program:<22} {:<15} {:>3} MiB: {:>3} writes {:>3} reads, {:.2} x sent {:.2} x received: {}",
            format!("{:?}", self.flow),
            self.length / MIB,
            self.requests(Operation::writes),
            self.requests(|operation| !operation.writes()),
            times(self.sent()),
            times(self.received()),
            self.operations(),
        );
    }
}

#[test]
fn a_pushed_blob_costs_what_was_promised() {
    if !tools::present(&["docker-registry"]) {
        return;
    }
    let Some(ours) = costs(&Program::pierhead()) else { return };
    let Some(theirs) = costs(&Program::distribution()) else { return };
    for (ours, theirs) in ours.iter().zip(&theirs) {
        ours.print("pierhead");
        theirs.print("docker-registry 2.8.2");
    }
    for cost in &ours {
        check(cost);
    }
}

/// Of every flow and length.
fn costs(program: &Program) -> Option<Vec<Cost>> {
    let (_bucket, proxy, storage) = proxied(Delivery::Redirect)?;
    let directory = tempfile::tempdir().unwrap();
    let registry = Registry::start_on(program, directory.path(), &storage, Transport::Plain, Auth::None);
    let pusher = Pusher::new(registry.address, REPOSITORY);
    let mut costs = Vec::new();
    for length in LENGTHS {
        let family = Family::new(length);
        for (number, flow) in FLOWS.into_iter().enumerate() {
            let content = family.member(number as u64);
            let calls = cost(&pusher, &proxy, &content, flow);
            costs.push(Cost { flow, length, calls });
        }
    }
    Some(costs)
}

/// What is done beside a push, such as looking after the store's format, is not its cost.
fn cost(pusher: &Pusher, proxy: &Proxy, content: &Content, flow: Flow) -> Vec<Call> {
    proxy.forget();
    runtime().block_on(pusher.push(content, flow, &Pace::Full)).unwrap();
    let (_, hex) = content.digest.split_once(':').unwrap();
    let concerns =
        |call: &Call| call.key.is_empty() || call.key.contains(hex) || call.key.contains(&format!("/{REPOSITORY}/"));
    proxy.calls().into_iter().filter(concerns).collect()
}

fn check(cost: &Cost) {
    let context = format!("{:?} of {} bytes: {}", cost.flow, cost.length, cost.operations());
    let count = |wanted: Operation| cost.requests(|operation| operation == wanted);
    let copies = count(Operation::CopyObject) + count(Operation::UploadPartCopy);
    match cost.flow {
        // Data and link, nothing else, and nothing twice.
        Flow::Put => {
            assert_eq!(cost.sent_content(), cost.length + LINK, "{context}");
            assert_eq!(copies + count(Operation::DeleteObject) + count(Operation::DeleteObjects), 0, "{context}");
            if cost.length < 16 * MIB {
                assert_eq!(cost.requests(Operation::writes), 2, "{context}");
                assert_eq!(count(Operation::PutObject), 2, "{context}");
            }
        }
        // A byte goes up once, or twice where it was too little for a part; copies stay inside the store.
        Flow::Patch | Flow::Chunks(_) => {
            let patches = if let Flow::Chunks(size) = cost.flow { cost.length.div_ceil(size) } else { 1 };
            let records = (patches + 2) * RECORDS_MAX;
            assert!(cost.sent_content() <= 2 * cost.length + records, "{context}: {} sent", cost.sent_content());
        }
    }
}

/// What the journal of one request may take, in bytes.
const RECORDS_MAX: u64 = 32 << 10;

impl Cost {
    /// Without what only names parts.
    fn sent_content(&self) -> u64 {
        let names = [Operation::CompleteMultipartUpload, Operation::DeleteObjects];
        self.calls.iter().filter(|call| !names.contains(&call.operation)).map(|call| call.sent).sum()
    }
}
