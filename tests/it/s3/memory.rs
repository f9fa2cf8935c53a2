//! Many uploads at once, of which none fails, in memory that does not follow them.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use tokio::task::JoinHandle;

use crate::{
    s3::{stored, sunk},
    support::{
        digest,
        push::{Content, Family, Flow, Pace, Pusher, Took},
        registry::{Auth, Delivery, Program, Registry, Storage, Transport},
        s3::sink::{Object, Piece},
        tools,
    },
};

const MIB: u64 = 1 << 20;
const CLIENTS: u64 = 200;

/// What the server may have in memory at most, in KiB.
const MEMORY_MAX_KIB: u64 = 512 << 10;

/// Of a client on a bad line, in bytes a second.
const SLOW: u64 = 64 << 10;

/// The fast ones are never held up for so long.
const PATIENCE: Duration = Duration::from_mins(30);

#[test]
fn large_many_uploads_with_slow_ones_among_them() {
    if !tools::large() {
        return;
    }
    let uploads = uploads(256 * MIB);
    // What the slow ones cost the others is seen beside a run without them.
    let alone: Vec<_> = uploads.iter().filter(|upload| !upload.is_slow).cloned().collect();
    let peak_alone = push_all(&sunk().1, &alone, "256 MiB to a sink, fast clients alone");
    let (sink, storage) = sunk();
    let peak = push_all(&storage, &uploads, "256 MiB to a sink");
    let (objects, mut shared) = (sink.objects(), HashMap::new());
    for Upload { content, .. } in &uploads {
        check(&objects, content, &mut shared);
    }
    assert_eq!(sink.complaints(), [""; 0]);
    assert_eq!(sink.unfinished(), [""; 0]);
    println!("the sink took {} MiB", sink.taken() / MIB);
    assert!(peak.max(peak_alone) < MEMORY_MAX_KIB, "peaks {peak_alone} and {peak} KiB");
}

#[test]
fn large_many_uploads_to_a_real_store() {
    if !tools::large() {
        return;
    }
    let Some((bucket, storage)) = stored(Delivery::Redirect) else { return };
    let uploads = uploads(16 * MIB);
    let peak = push_all(&storage, &uploads, "16 MiB to SeaweedFS");
    let data: Vec<_> = bucket.objects("docker/registry/v2/blobs/").into_iter().map(|(_, size)| size).collect();
    assert_eq!(data, [16 * MIB; 200]);
    assert_eq!(bucket.unfinished(), []);
    assert!(peak < MEMORY_MAX_KIB, "peak {peak} KiB");
}

/// What one client pushes, and how.
#[derive(Clone)]
struct Upload {
    number: u64,
    content: Content,
    flow: Flow,
    is_slow: bool,
}

/// Each third is slow; half go up by PUT, half by PATCH.
fn uploads(length: u64) -> Vec<Upload> {
    let family = Family::new(length);
    let upload = |number| Upload {
        number,
        content: family.member(number),
        flow: if number % 2 == 0 { Flow::Put } else { Flow::Patch },
        is_slow: number % 3 == 0,
    };
    (0..CLIENTS).map(upload).collect()
}

/// Pushes all at once, the slow ones slowly until all others are done. Gives the server's highest resident set, in KiB.
fn push_all(storage: &Storage, uploads: &[Upload], what: &str) -> u64 {
    let directory = tempfile::tempdir().unwrap();
    let program = Program::pierhead_release().unwrap_or_else(Program::pierhead);
    let registry = Registry::start_on(&program, directory.path(), storage, Transport::Plain, Auth::None);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let hurry = Arc::new(AtomicBool::new(false));
    let (started, before) = (Instant::now(), registry.usage());
    let (mut slow, mut fast) = (Vec::new(), Vec::new());
    for Upload { number, content, flow, is_slow } in uploads.iter().cloned() {
        let pace = if is_slow { Pace::Slow(SLOW, Arc::clone(&hurry)) } else { Pace::Full };
        let pusher = Pusher::new(registry.address, &format!("memory/{number}"));
        let push = runtime.spawn(async move {
            pusher.push(&content, flow, &pace).await.map_err(|stopped| format!("{number}: {stopped:?}"))
        });
        if is_slow { &mut slow } else { &mut fast }.push(push);
    }
    runtime.block_on(async {
        tokio::time::timeout(PATIENCE, finish(fast)).await.expect("slow clients hold up the others");
        println!("{what}: the fast ones took {:.1} s", started.elapsed().as_secs_f64());
        hurry.store(true, Ordering::Relaxed);
        finish(slow).await;
    });
    let usage = registry.usage();
    println!(
        "{what}: {} uploads in {:.1} s, {:.1} CPU seconds, peak resident {} MiB",
        uploads.len(),
        started.elapsed().as_secs_f64(),
        usage.cpu_seconds - before.cpu_seconds,
        usage.resident_peak_kib >> 10
    );
    usage.resident_peak_kib
}

/// None has failed.
async fn finish(pushes: Vec<JoinHandle<Result<Took, String>>>) {
    let ended = join_all(pushes).await.into_iter();
    let failed: Vec<String> = ended.filter_map(|push| push.unwrap().err()).collect();
    assert_eq!(failed, [""; 0]);
}

/// What stands at the blob's key is the content, part by part as far as parts were seen whole.
fn check(objects: &BTreeMap<String, Object>, content: &Content, shared: &mut HashMap<(u64, u64), String>) {
    let (_, hex) = content.digest.split_once(':').unwrap();
    let key = format!("docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]);
    let object = &objects[&key];
    assert_eq!(object.size(), content.length, "{key}");
    let mut start = 0;
    for Piece { length, hash } in &object.pieces {
        let end = start + length;
        let hashed = || digest::of(&content.pieces(start, end).collect::<Vec<_>>().concat());
        // The contents differ at their ends only.
        let expected =
            if end == content.length { hashed() } else { shared.entry((start, end)).or_insert_with(hashed).clone() };
        if let Some(hash) = hash {
            assert_eq!(hash, digest::hex(&expected), "{key} from byte {start}");
        }
        start = end;
    }
}
