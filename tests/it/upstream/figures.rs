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
    for start in [nginx, front] {
        let place = tempfile::tempdir_in(here).unwrap();
        let here = place.path();
        // A registry of its own for each: what it knows already would not be pushed.
        let storage = Storage::directory(&here.join("data"));
        let program = Program::distribution();
        let registry = Registry::start_on(&program, &here.join("back"), &storage, Transport::Plain, Auth::None);
        measure(&start(here, &registry), &images, here);
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
