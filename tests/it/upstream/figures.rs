//! Figures of the front beside nginx, in front of the same registry, in the same run: printed, never judged.

use std::path::Path;

use crate::{
    peers::{GIBIBYTE, Peer, measure},
    support::{
        certificate::Certificate,
        daemons::Nginx,
        image::{self, Layout},
        registry::{Auth, Plan, Program, Registry, Storage, Transport},
        tools,
    },
};

#[test]
fn large_figures_before_the_same_registry_beside_nginx() {
    if !tools::large() {
        return;
    }
    let programs = ["skopeo", "curl", "wrk", "nginx", "docker-registry"];
    if !tools::present(&[image::PROGRAMS, &programs].concat()) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    let images = Layout::create(&here.join("images"));
    images.add_image("small", 1);
    images.add_large("large", GIBIBYTE);
    let storage = Storage::directory(&here.join("data"));
    let back = here.join("back");
    let registry = Registry::start_on(&Program::distribution(), &back, &storage, Transport::Plain, Auth::None);
    for start in [nginx, front] {
        let place = tempfile::tempdir_in(here).unwrap();
        measure(&start(place.path(), &registry), &images, place.path());
    }
}

/// Only what stands in front is counted.
fn nginx(here: &Path, registry: &Registry) -> Peer {
    let nginx = Nginx::start(here, registry.address, &registry.certificate);
    Peer::new("nginx alone", nginx.address.to_string(), &registry.certificate, move || nginx.usage())
}

fn front(here: &Path, registry: &Registry) -> Peer {
    let certificate = Certificate::create(here);
    let sections = format!("auth: none\nedge:\n  upstream: http://{}\n", registry.address);
    let plan =
        Plan { storage: None, transport: Transport::Tls, certificate: &certificate, http: "", sections: &sections };
    let program = Program::pierhead_release().unwrap_or_else(Program::pierhead);
    let front = Registry::start_as(&program, &here.join("front"), &plan);
    Peer::new(&format!("{} alone", program.name), front.host(), &certificate, move || front.usage())
}
