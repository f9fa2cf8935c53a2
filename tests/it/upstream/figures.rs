//! Figures of the front beside nginx, in front of the same registry, in the same run: printed, never judged.

use std::path::Path;

use crate::{
    peers::{Counted, Peer, before_distribution, compare, nginx, ours},
    support::{
        certificate::Certificate,
        registry::{Plan, Registry, Transport},
    },
};

#[test]
fn large_figures_before_the_same_registry_beside_nginx() {
    compare(&[
        |here, storage| before_distribution(here, storage, Counted::Front, nginx),
        |here, storage| before_distribution(here, storage, Counted::Front, front),
    ]);
}

fn front(here: &Path, registry: &Registry) -> Peer {
    let certificate = Certificate::create(here);
    let sections = format!("auth: none\nedge:\n  upstream: http://{}\n", registry.address);
    let plan =
        Plan { storage: None, transport: Transport::Tls, certificate: &certificate, http: "", sections: &sections };
    let program = ours();
    let front = Registry::start_as(&program, &here.join("front"), &plan);
    Peer::new(program.name, front.host(), &certificate, move || front.usage())
}
