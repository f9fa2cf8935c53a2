//! The plays of the clients, with the content in a bucket.

use crate::{
    clients::{BUILDAH, CRANE, CTR, DOCKER, ORAS, PODMAN, Play, REGCTL, SKOPEO},
    s3::{DELIVERIES, stored},
    support::{registry::Delivery, tools},
};

fn run(play: &Play, delivery: Delivery) {
    let Some((_bucket, storage)) = stored(delivery) else { return };
    play.run(Some(&storage));
}

#[test]
fn skopeo_is_redirected() {
    run(&SKOPEO, Delivery::Redirect);
}

#[test]
fn skopeo_is_served() {
    run(&SKOPEO, Delivery::Forward);
}

#[test]
fn regctl_is_redirected() {
    run(&REGCTL, Delivery::Redirect);
}

#[test]
fn regctl_is_served() {
    run(&REGCTL, Delivery::Forward);
}

#[test]
fn ctr_is_redirected() {
    run(&CTR, Delivery::Redirect);
}

#[test]
fn ctr_is_served() {
    run(&CTR, Delivery::Forward);
}

/// Engines that start slowly, and what behaves like one of those above.
#[test]
fn large_all_other_clients() {
    if !tools::large() {
        return;
    }
    for delivery in DELIVERIES {
        for play in [&DOCKER, &PODMAN, &BUILDAH, &CRANE, &ORAS] {
            run(play, delivery);
        }
    }
}
