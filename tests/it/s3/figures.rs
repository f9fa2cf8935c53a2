//! Pulls of a large layer out of a bucket, beside nginx and docker-registry without redirects, in one run: printed,
//! never judged.

use std::path::Path;

use crate::{
    peers::{GIBIBYTE, Peer, alone, behind_nginx, pull, push},
    s3::stored,
    support::{
        image::{self, Layout},
        registry::{Delivery, Storage},
        tools,
    },
};

type Start = fn(&Path, &Storage) -> Peer;

#[test]
fn large_figures_of_pulls_from_a_bucket() {
    if !tools::large() {
        return;
    }
    let programs = ["skopeo", "curl", "nginx", "docker-registry"];
    if !tools::present(&[image::PROGRAMS, &programs].concat()) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let images = Layout::create(&directory.path().join("images"));
    images.add_large("large", GIBIBYTE);
    let starts: [(Start, Delivery); 3] =
        [(alone, Delivery::Forward), (alone, Delivery::Redirect), (behind_nginx, Delivery::Forward)];
    for (start, delivery) in starts {
        let Some((_bucket, storage)) = stored(delivery) else { return };
        let here = tempfile::tempdir_in(directory.path()).unwrap();
        let mut peer = start(here.path(), &storage);
        peer.name = format!("{}, {delivery:?}", peer.name);
        push(&peer, &images, "large");
        pull(&peer, &images, here.path());
    }
}
