//! The plays of the clients through our front, before Debian's docker-registry with tokens.

use crate::{
    clients::{BUILDAH, CRANE, CTR, DOCKER, ORAS, PODMAN, REGCTL, SKOPEO},
    support::registry::Auth,
    upstream::front::Pair,
};

#[test]
fn skopeo_through_the_front() {
    Pair::play(&SKOPEO);
}

#[test]
fn docker_through_the_front() {
    Pair::play(&DOCKER);
}

#[test]
fn podman_through_the_front() {
    Pair::play(&PODMAN);
}

#[test]
fn buildah_through_the_front() {
    Pair::play(&BUILDAH);
}

#[test]
fn ctr_through_the_front() {
    Pair::play(&CTR);
}

#[test]
fn crane_through_the_front() {
    Pair::play(&CRANE);
}

#[test]
fn oras_through_the_front() {
    Pair::play(&ORAS);
}

#[test]
fn regctl_through_the_front() {
    Pair::play(&REGCTL);
}

/// Tokens pass our gate first, and the upstream's behind it.
#[test]
fn clients_through_both_gates() {
    for play in [&SKOPEO, &CRANE] {
        let verified = "    verify_tokens: true\n";
        let Some(pair) = Pair::set(play.programs(), Auth::Token, verified, str::to_owned, |_| None) else { return };
        play.run_on(&pair.stage);
    }
}
