//! What is written past the page cache is what was sent, however it is cut.

use crate::support::{
    digest::{self, hex},
    process::free_address,
    push::{Family, Flow, Pace, Pusher},
    registry::{Auth, Program, Registry, Storage},
};

#[tokio::test]
async fn what_is_kept_out_of_the_page_cache_is_stored_whole() {
    whole("drop").await;
}

#[tokio::test]
async fn what_is_kept_in_it_in_part_is_stored_whole() {
    whole("2MiB").await;
}

async fn whole(kept: &str) {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("data");
    let registry = Registry::start_with(
        &Program::pierhead(),
        &directory.path().join("server"),
        &Storage::directory(&root),
        Auth::None,
        free_address(),
        |_| format!("edge:\n  uploads:\n    page_cache: {kept}\n"),
    );
    let pusher = Pusher::new(registry.address, "team/app");
    // Whole MiB and a rest, less than one, parts that end on no page, and parts that do.
    let flows = [Flow::Put, Flow::Patch, Flow::Chunks(700_001), Flow::Chunks(2 << 20)];
    for (number, flow) in flows.into_iter().enumerate() {
        for length in [5 << 20, (5 << 20) + 4097, 70_000] {
            let content = Family::new(length).member(number as u64);
            pusher.push(&content, flow, &Pace::Full).await.unwrap();
            let blob = hex(&content.digest);
            let data = root.join(format!("docker/registry/v2/blobs/sha256/{}/{blob}/data", &blob[..2]));
            assert_eq!(digest::of_file(&data), content.digest, "{flow:?} of {length} bytes");
        }
    }
}
