//! The plays of the clients, with the content in a bucket.

use crate::{
    clients::{BUILDAH, CRANE, CTR, DOCKER, ORAS, PODMAN, Play, REGCTL, SKOPEO},
    s3::{DELIVERIES, stored},
    stage::Stage,
    support::{
        daemons::Nginx,
        process::free_address,
        registry::{Auth, Delivery},
        s3::seaweed,
        tools,
    },
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

/// It refuses to be sent from https to http. So nginx ends TLS in front of the store, under the name that clients are
/// told (`redirectendpoint`).
#[test]
fn regctl_is_redirected() {
    let (Some(seaweed), Some((_bucket, storage))) = (seaweed::shared(), stored(Delivery::Redirect)) else { return };
    let front = free_address();
    let storage = storage.parameter("redirectendpoint", &format!("https://localhost:{}", front.port()));
    let Some(stage) = Stage::set_with(&["regctl", "nginx"], Some(&storage), Auth::Token) else { return };
    let _nginx = Nginx::start_at(front, stage.path(), seaweed.address, &stage.registry.certificate);
    REGCTL.run_on(&stage);
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
