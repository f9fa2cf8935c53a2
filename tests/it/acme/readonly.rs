//! A storage that is not to be written: nothing is ordered into it.

use std::{collections::BTreeMap, fs, path::Path, process::Command, thread, time::Duration};

use crate::{
    acme::{
        replicas::SECRET,
        rig::{Client, NAME, Plan, Server, said, until},
    },
    support::{
        pebble::{self, Pebble},
        process::free_address,
        tools,
    },
};

/// Every file below, with when it was written.
fn files(directory: &Path, found: &mut BTreeMap<String, std::time::SystemTime>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else {
            found.insert(path.display().to_string(), fs::metadata(&path).unwrap().modified().unwrap());
        }
    }
}

/// Without anybody's hand, as in `issued`: a certificate that lives for less than a minute.
#[test]
fn renewals_rest_while_the_storage_is_read_only() {
    if !tools::present(pebble::PROGRAMS) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    let data = here.join("data");
    let plan = Plan {
        address: free_address(),
        storage: format!("  filesystem:\n    rootdirectory: {}\n", data.display()),
        acme: format!("names: [{NAME}]\nstate: storage\nsecret: {SECRET}"),
    };
    let pebble = pebble::Plan { validity: 45, ..pebble::Plan::new(free_address(), plan.address) };
    let pebble = Pebble::start(&here.join("pebble"), pebble);
    let server = Server::start(here, &pebble, &plan);
    let client = Client::of(&pebble);
    client.until_trusted(server.address);

    let config = fs::read_to_string(here.join("config.yml")).unwrap();
    server.reload(&config.replace("storage:\n", "storage:\n  maintenance: {readonly: {enabled: true}}\n"));
    until("it is told", || server.log().contains("no certificate is ordered or renewed"));
    let written = || {
        let mut found = BTreeMap::new();
        files(&data, &mut found);
        found
    };
    let (before, orders, shown) = (written(), pebble.orders(), client.look(server.address, NAME).unwrap());
    until("a renewal is due", || server.status().contains("next order: now"));
    // Many rounds more.
    thread::sleep(Duration::from_secs(2));
    assert_eq!((written(), pebble.orders()), (before, orders));
    assert_eq!(client.look(server.address, NAME).unwrap(), shown);
    let told = server.log().matches("no certificate is ordered or renewed").count();
    assert_eq!(told, 1, "{}", server.log());
    for arguments in [&["renew"][..], &["renew", "--force"]] {
        let refused = server.acme(arguments);
        assert!(!refused.status.success(), "{}", said(&refused));
        assert!(said(&refused).contains("edge.acme.state is storage, but storage.maintenance.readonly"), "{refused:?}");
    }
    assert_eq!(pebble.orders(), orders);

    server.reload(&config);
    until("another is shown", || client.look(server.address, NAME).is_ok_and(|serial| serial != shown));
    assert!(server.log().contains("certificates are ordered again"), "{}", server.log());
}

/// Beside another registry the storage is somebody else's, whoever compares.
#[test]
fn the_storage_of_a_shadow_is_not_written() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    let (data, config) = (here.join("data"), here.join("config.yml"));
    let text = |upstream: &str, readonly: bool| {
        format!(
            "version: 0.1\nauth: none\nstorage:\n  filesystem: {{rootdirectory: {}}}\n  \
             maintenance: {{readonly: {{enabled: {readonly}}}}}\nedge:\n{upstream}  acme:\n    enabled: true\n    \
             names: [{NAME}]\n    state: storage\n    secret: {SECRET}\n",
            data.display()
        )
    };
    let beside = "  upstream: http://127.0.0.1:1\n  shadow: {}\n";
    for (upstream, readonly, expected) in [
        (beside, false, "edge.acme.state is storage, but with edge.upstream another registry answers"),
        ("", true, "edge.acme.state is storage, but storage.maintenance.readonly keeps"),
    ] {
        fs::write(&config, text(upstream, readonly)).unwrap();
        for command in [&["acme", "renew", "--force"][..], &["check"]] {
            let output = Command::new(env!("CARGO_BIN_EXE_pierhead")).args(command).arg(&config).output().unwrap();
            assert!(!output.status.success() && said(&output).contains(expected), "{command:?}: {}", said(&output));
            assert!(!data.exists(), "{command:?} made something");
        }
    }
}

/// The list of those who may come in shuts out the authority, which is told, and not where only challenges are answered.
#[test]
fn proofs_at_an_address_of_their_own_are_for_everybody() {
    if !tools::present(pebble::PROGRAMS) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    let http = free_address();
    let acme = format!("names: [{NAME}]\nchallenge: http-01\nhttp_address: {http}");
    let plan = Plan::new(here, &acme);
    let pebble = Pebble::start(&here.join("pebble"), pebble::Plan::new(http, free_address()));
    // Nobody of this machine.
    let server = Server::start_with(here, &pebble, &plan, "  access: {allow: [192.0.2.0/24]}\n");
    until("a certificate is issued", || server.status().contains("days left: "));
    assert!(Client::of(&pebble).look(server.address, NAME).is_err(), "the list holds for everything else");
    assert!(!server.log().contains("edge.access.allow"), "{}", server.log());
}
