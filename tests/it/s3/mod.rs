//! The registry over an object store: `SeaweedFS` in a bucket of each test, in both ways of delivery.

mod clients;
mod conformance;
mod interchange;

use crate::support::{
    registry::{Delivery, Storage},
    s3::{client::Bucket, seaweed},
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
