//! One blob of any size: memory does not follow it, and its end does not wait for a copy of its bytes by us.

use crate::{
    replicas::runtime,
    support::{
        push::{Family, Flow, Pace, Pusher, Took},
        registry::{Auth, Delivery, Program, Registry, Storage, Transport},
        s3::{operation::Operation, proxy::Proxy, seaweed},
        tools,
    },
};

const GIB: u64 = 1 << 30;

/// What the server may have in memory at most, in KiB.
const MEMORY_MAX_KIB: u64 = 200 << 10;

const FLOWS: [Flow; 2] = [Flow::Patch, Flow::Put];

#[test]
fn large_blob_of_12_gib() {
    if !tools::large() {
        return;
    }
    for flow in FLOWS {
        push(flow, 12 * GIB);
    }
}

#[test]
fn large_blobs_end_soon() {
    if !tools::large() {
        return;
    }
    for length in [GIB / 10, GIB, 8 * GIB] {
        for flow in FLOWS {
            push(flow, length);
        }
    }
}

/// Into a store of its own: what is deleted from one stays on the disk for a while.
fn push(flow: Flow, length: u64) {
    let Some(seaweed) = seaweed::fresh() else { return };
    let (bucket, proxy) = (seaweed.bucket(), Proxy::start(seaweed.address));
    let storage = Storage::s3(proxy.address.port(), &bucket.name, Delivery::Redirect);
    let directory = tempfile::tempdir().unwrap();
    let program = Program::pierhead_release().unwrap_or_else(Program::pierhead);
    let registry = Registry::start_on(&program, directory.path(), &storage, Transport::Plain, Auth::None);
    let content = Family::new(length).member(1);
    proxy.forget();
    let pusher = Pusher::new(registry.address, "large/app");
    let Took { whole, end } = runtime().block_on(pusher.push(&content, flow, &Pace::Full)).unwrap();

    let tallies = proxy.tallies();
    let count = |operation: Operation| tallies.get(&operation).map_or(0, |tally| tally.requests);
    let usage = registry.usage();
    println!(
        "{flow:?} of {:.1} GiB: {:.1} s, its end {:.2} s, peak resident {} MiB, {:.1} CPU seconds, {} parts, {} copies",
        f64::from(u32::try_from(length >> 20).unwrap()) / 1024.0,
        whole.as_secs_f64(),
        end.as_secs_f64(),
        usage.resident_peak_kib >> 10,
        usage.cpu_seconds,
        count(Operation::UploadPart),
        count(Operation::UploadPartCopy) + count(Operation::CopyObject),
    );
    assert!(usage.resident_peak_kib < MEMORY_MAX_KIB, "{flow:?}: peak {} KiB", usage.resident_peak_kib);
    let (_, hex) = content.digest.split_once(':').unwrap();
    let data = format!("docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]);
    assert_eq!(bucket.objects("docker/registry/v2/blobs/"), [(data, length)]);
    assert_eq!(bucket.unfinished(), []);
    let copied = count(Operation::UploadPartCopy);
    match flow {
        Flow::Put => assert_eq!(copied + count(Operation::CopyObject), 0, "its key is known from the start"),
        // S3 copies nothing above 5 GiB in one request.
        _ if length > 5 * GIB => assert!(copied > 1, "{tallies:?}"),
        _ => {}
    }
}
