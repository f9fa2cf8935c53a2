//! One bucket, two programs: what the S3 driver of Debian's docker-registry wrote is served by ours, and the other way
//! round, and both write the same objects.

use std::collections::BTreeMap;

use crate::{
    dropin,
    s3::{DELIVERIES, stored},
    support::{
        registry::{Delivery, Program},
        s3::client::Bucket,
    },
};

const ROOT: &str = "docker/registry/v2/";

#[test]
fn ours_serves_what_docker_registry_wrote() {
    for delivery in DELIVERIES {
        let Some((_bucket, storage)) = stored(delivery) else { return };
        dropin::check(Program::distribution, Program::pierhead, &storage);
    }
}

#[test]
fn docker_registry_serves_what_ours_wrote() {
    for delivery in DELIVERIES {
        let Some((_bucket, storage)) = stored(delivery) else { return };
        dropin::check(Program::pierhead, Program::distribution, &storage);
    }
}

#[test]
fn both_write_the_same_objects() {
    if !dropin::present() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let images = dropin::images(&directory.path().join("images"));
    let written = |program: &Program| {
        let (bucket, storage) = stored(Delivery::Redirect)?;
        dropin::write(program, directory.path(), &storage, &images);
        Some(contents(&bucket))
    };
    let Some(theirs) = written(&Program::distribution()) else { return };
    assert!(!theirs.is_empty());
    assert_eq!(written(&Program::pierhead()), Some(theirs));
}

/// All keys below the registry's root with their contents, a blob's data by its size; without what lasts only while
/// an upload runs, and without our own records.
fn contents(bucket: &Bucket) -> BTreeMap<String, String> {
    let objects = bucket.objects(ROOT);
    let inside = objects.iter().map(|(key, size)| (key, &key[ROOT.len()..], size));
    let lasting = inside.filter(|(_, inside, _)| !inside.starts_with("_pierhead/") && !inside.contains("/_uploads/"));
    let content = |key: &str, size: u64| {
        let text = || String::from_utf8(bucket.get(key).unwrap()).unwrap();
        if key.ends_with("/data") { format!("{size} bytes") } else { text() }
    };
    lasting.map(|(key, inside, size)| (inside.to_owned(), content(key, *size))).collect()
}
