//! How many instructions the server takes for what registries do most, held against `baseline.yml`.
//!
//! [`server`] is the binary under callgrind, [`client`] a client that keeps its connection, [`profile`] reads what callgrind
//! wrote. Counts repeat within a percent where times on a shared machine do not within a half: what a change
//! adds to each request or byte is seen here, however small the machine.
//!
//! They depend on how the binary was optimised, which it cannot say by itself: `tests/run` names the profile that it builds
//! in `PIERHEAD_PROFILE`. Without it nothing could be judged, and nothing is counted. They depend a little on the
//! compiler and on Valgrind, too: a new version of either may ask for new baselines.

mod client;
mod profile;
mod server;

use std::{collections::BTreeMap, env, fs, path::Path};

use serde_json::json;

use crate::{
    instructions::{
        client::Client,
        profile::Profile,
        server::{Counted, PROGRAMS, heaviest, judged, nameless},
    },
    replicas::runtime,
    support::{push::Family, tools},
};

const REPOSITORY: &str = "team/app";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// The blob that is pushed and pulled.
const BLOB_BYTES: u64 = 64 << 20;

/// Requests of a shorter and a longer series: what a series costs besides its requests is in both.
const SERIES: [u64; 2] = [50, 300];

/// In hundredths of the baseline. The same binary's counts lie within three of each other, on an idle machine and on a
/// busy one.
const MORE_MAX: u64 = 10;
const LESS_MAX: u64 = 25;

/// Counts by what was done.
type Counts = BTreeMap<String, u64>;

#[test]
fn instructions_are_no_more_than_they_were() {
    let Some(baseline) = baseline() else {
        return;
    };
    if !tools::present(PROGRAMS) {
        return;
    }
    let counts = runtime().block_on(count());
    println!("counted: {counts:#?}");
    assert!(counts.keys().eq(baseline.keys()), "baseline.yml has other names: {baseline:?}");
    let wrong: Vec<_> = counts.iter().filter_map(|(name, count)| judge(name, *count, baseline[name]).err()).collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// The baselines of the profile that the server was built with.
fn baseline() -> Option<Counts> {
    if !cfg!(target_arch = "x86_64") {
        println!("skipped: the baselines are those of x86-64");
        return None;
    }
    let Ok(profile) = env::var("PIERHEAD_PROFILE") else {
        println!("skipped: PIERHEAD_PROFILE does not say how the server was built (tests/run does)");
        return None;
    };
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/instructions/baseline.yml");
    let mut profiles: BTreeMap<String, Counts> = serde_yaml::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let baseline = profiles.remove(&profile);
    Some(baseline.unwrap_or_else(|| panic!("baseline.yml has nothing for PIERHEAD_PROFILE={profile}")))
}

async fn count() -> Counts {
    let mut server = Counted::start();
    let mut client = Client::connect(server.registry.address, &server.registry.certificate.authority).await;
    let manifest = push_image(&mut client).await;
    let large = Family::new(BLOB_BYTES).member(1);
    let blob = format!("/v2/{REPOSITORY}/blobs/{}", large.digest);

    let mut series = [0; 2];
    for (requests, counted) in SERIES.into_iter().zip(&mut series) {
        server.dump();
        for _ in 0..requests {
            client.get(&manifest).await;
        }
        *counted = take(&mut server, &format!("manifest_get, {requests} times"));
    }
    client.push(REPOSITORY, &large).await;
    let push = take(&mut server, "blob_push");
    let pieces = client.get(&blob).await;
    let pull = take(&mut server, "blob_pull");
    assert!(pieces.concat() == large.pieces(0, BLOB_BYTES).collect::<Vec<_>>().concat(), "other bytes");

    let get = (series[1] - series[0]) / (SERIES[1] - SERIES[0]);
    [("manifest_get", get), ("blob_pull", pull), ("blob_push", push)]
        .map(|(name, count)| (name.to_owned(), count))
        .into()
}

/// An image of two small blobs, each thing asked for once. Gives its manifest's path.
async fn push_image(client: &mut Client) -> String {
    let descriptors = [(1000, CONFIG), (2000, LAYER)].map(|(length, media_type)| {
        let blob = Family::new(length).member(0);
        let descriptor = json!({"mediaType": media_type, "digest": blob.digest, "size": length});
        (blob, descriptor)
    });
    for (blob, _) in &descriptors {
        client.push(REPOSITORY, blob).await;
        client.get(&format!("/v2/{REPOSITORY}/blobs/{}", blob.digest)).await;
    }
    let [(_, config), (_, layer)] = descriptors;
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]});
    let path = format!("/v2/{REPOSITORY}/manifests/latest");
    client.put_manifest(&path, MANIFEST, manifest.to_string()).await;
    client.get(&path).await;
    path
}

/// What was executed since the last time; shown in the test's output.
fn take(server: &mut Counted, what: &str) -> u64 {
    let profile: Profile = server.dump();
    let (all, judged, nameless) = (profile.functions.values().sum::<u64>(), judged(&profile), nameless(&profile));
    println!("{what}: {judged} instructions, {all} with what is left out\n{}", heaviest(&profile));
    assert!(nameless * 100 < judged, "{what}: {nameless} instructions of functions without names, of {judged}");
    judged
}

fn judge(name: &str, count: u64, baseline: u64) -> Result<(), String> {
    let account = format!("{name}: {count} instructions, {baseline} in baseline.yml");
    if count * 100 > baseline * (100 + MORE_MAX) {
        return Err(format!("{account}: more by over {MORE_MAX} %"));
    }
    if count * 100 < baseline * (100 - LESS_MAX) {
        return Err(format!("{account}: less by over {LESS_MAX} %: write the lower count there"));
    }
    Ok(())
}

#[test]
fn counts_are_judged() {
    for (count, sentence) in [(1101, Some("more")), (1100, None), (750, None), (749, Some("less"))] {
        let judgement = judge("x", count, 1000).err();
        assert_eq!(judgement.is_some(), sentence.is_some(), "{count}: {judgement:?}");
        assert!(judgement.unwrap_or_default().contains(sentence.unwrap_or_default()), "{count}");
    }
}
