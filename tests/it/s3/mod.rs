//! The registry over an object store: `SeaweedFS` in a bucket of each test, in both ways of delivery.

mod abandoned;
mod clients;
mod conformance;
mod counted;
mod faults;
mod figures;
mod foreign;
mod interchange;
mod large;
mod memory;
mod replicas;

use std::{thread, time::Duration};

use crate::support::{
    registry::{Auth, Delivery, Program, Registry, Storage, Transport},
    s3::{client::Bucket, proxy::Proxy, seaweed, sink::Sink},
};

/// Both ways in which content comes to clients.
const DELIVERIES: [Delivery; 2] = [Delivery::Redirect, Delivery::Forward];

/// A fresh bucket of the store, and a storage in it; `None`, with a line about it, where the store is not on this
/// machine.
fn stored(delivery: Delivery) -> Option<(Bucket, Storage)> {
    let seaweed = seaweed::shared()?;
    let bucket = seaweed.bucket();
    let storage = Storage::s3(seaweed.address.port(), &bucket.name, delivery);
    Some((bucket, storage))
}

/// The same behind a proxy of its own.
fn proxied(delivery: Delivery) -> Option<(Bucket, Proxy, Storage)> {
    let seaweed = seaweed::shared()?;
    let (bucket, proxy) = (seaweed.bucket(), Proxy::start(seaweed.address));
    let storage = Storage::s3(proxy.address.port(), &bucket.name, delivery);
    Some((bucket, proxy, storage))
}

/// Lets a process purge everything that is unfinished, once.
fn purge(storage: &Storage) {
    // By then it is older than the age below.
    thread::sleep(Duration::from_secs(2));
    let purging = "maintenance:\n  uploadpurging:\n    enabled: true\n    age: 1s\n    interval: 1s";
    let directory = tempfile::tempdir().unwrap();
    let storage = storage.clone().with(purging);
    let mut purger = Registry::start_on(&Program::pierhead(), directory.path(), &storage, Transport::Plain, Auth::None);
    purger.wait_for_log("unfinished uploads were purged");
}

/// A storage that forgets.
fn sunk() -> (Sink, Storage) {
    let sink = Sink::start();
    let storage = Storage::s3(sink.address.port(), "sink", Delivery::Redirect);
    (sink, storage)
}
