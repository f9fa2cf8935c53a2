//! What goes wrong on the way: the old certificate goes on serving, and the new one comes in the end.

use std::{fs, time::Duration};

use crate::{
    acme::{
        replicas::{SECRET, storage},
        rig::{Client, NAME, Plan, Server, Watch, said, until},
    },
    support::{
        pebble::{self, Pebble},
        process::free_address,
        s3::{
            operation::Operation,
            proxy::{Fault, Proxy, Rule, Turn},
            seaweed,
        },
        tools,
    },
};

const CERTIFICATES: &str = "_pierhead/acme/certificates/";

#[test]
fn an_authority_that_is_down_is_waited_for() {
    if !tools::present(pebble::PROGRAMS) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    let plan = Plan::new(here, &format!("names: [{NAME}]"));
    let mut pebble = Pebble::start(&here.join("pebble"), pebble::Plan::new(free_address(), plan.address));
    pebble.stop();
    let mut server = Server::start(here, &pebble, &plan);
    until("the failure is written down", || server.status().contains("last error: 20"));
    pebble.resume();
    let client = Client::of(&pebble);
    let first = client.until_trusted(server.address);
    assert!(server.status().contains("last error: none"), "{}", server.status());

    let watch = Watch::start(&client, vec![server.address]);
    pebble.stop();
    let failed = server.acme(&["renew", "--force"]);
    assert!(!failed.status.success(), "{}", said(&failed));
    until("the client has seen the first for a while", || watch.has_seen(&first) && watch.handshakes() > 20);
    watch.end("the authority is down");
    // It comes back and has forgotten accounts, orders and what it issued; its root is another one, too.
    pebble.resume();
    let second = server.renew();
    assert_eq!(Client::of(&pebble).until_trusted(server.address), second);

    // What was issued is there after a restart without the authority.
    pebble.stop();
    server.stop();
    server.restart();
    assert!(server.log().contains("is shown from now on"), "{}", server.log());
}

#[test]
fn half_of_all_nonces_are_refused() {
    if !tools::present(pebble::PROGRAMS) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    let plan = Plan::new(here, &format!("names: [{NAME}, a.{NAME}, b.{NAME}]"));
    let pebble = pebble::Plan { nonces_refused: 50, ..pebble::Plan::new(free_address(), plan.address) };
    let pebble = Pebble::start(&here.join("pebble"), pebble);
    let server = Server::start(here, &pebble, &plan);
    let client = Client::of(&pebble);
    client.until_trusted(server.address);
    let watch = Watch::start(&client, vec![server.address]);
    let second = server.renew();
    until("the second is shown", || watch.has_seen(&second));
    watch.end("half of all nonces are refused");
    assert_eq!((pebble.orders(), pebble.issued(), pebble.accounts()), (2, 2, 1));
}

/// A server on a bucket behind a proxy, and the authority.
fn behind(proxy: &Proxy, bucket: &str, here: &std::path::Path) -> (Pebble, Server) {
    let plan = Plan {
        address: free_address(),
        storage: storage(proxy.address.port(), bucket),
        acme: format!("names: [{NAME}]\nstate: storage\nsecret: {SECRET}"),
    };
    let pebble = Pebble::start(&here.join("pebble"), pebble::Plan::new(free_address(), plan.address));
    let server = Server::start(&here.join("server"), &pebble, &plan);
    (pebble, server)
}

#[test]
fn a_store_that_fails_between_issue_and_storing_costs_no_second_order() {
    if !tools::present(pebble::PROGRAMS) {
        return;
    }
    let Some(seaweed) = seaweed::shared() else { return };
    let (bucket, proxy) = (seaweed.bucket(), Proxy::start(seaweed.address));
    let directory = tempfile::tempdir().unwrap();
    let fault = Rule::new(&[Operation::PutObject], Turn::Each, Fault::Denied).about(CERTIFICATES);
    proxy.inject(fault);
    let (pebble, server) = behind(&proxy, &bucket.name, directory.path());
    until("a certificate was issued and not stored", || {
        pebble.issued() == 1 && server.log().contains("no certificate was issued")
    });
    proxy.heal();
    Client::of(&pebble).until_trusted(server.address);
    assert_eq!((pebble.orders(), pebble.issued(), pebble.accounts()), (1, 1, 1));
}

#[test]
fn a_death_between_issue_and_storing_costs_no_second_order() {
    if !tools::present(pebble::PROGRAMS) {
        return;
    }
    let Some(seaweed) = seaweed::shared() else { return };
    let (bucket, proxy) = (seaweed.bucket(), Proxy::start(seaweed.address));
    let directory = tempfile::tempdir().unwrap();
    let delay = Fault::Delay(Duration::from_mins(10));
    proxy.inject(Rule::new(&[Operation::PutObject], Turn::Each, delay).about(CERTIFICATES));
    let (pebble, mut server) = behind(&proxy, &bucket.name, directory.path());
    until("a certificate was issued", || pebble.issued() == 1);
    server.kill();
    proxy.heal();
    assert!(!bucket.objects("docker/registry/v2").iter().any(|(key, _)| key.contains(CERTIFICATES)));
    // The dead one's right to order ends by the store's clock.
    server.restart();
    Client::of(&pebble).until_trusted(server.address);
    assert_eq!((pebble.orders(), pebble.issued(), pebble.accounts()), (1, 1, 1));
    assert!(server.log().contains("an order for a certificate is continued"), "{}", server.log());
}

/// The kill comes at each of many moments; there is never a second account, and always a certificate in the end.
#[test]
fn deaths_at_any_moment_leave_one_account() {
    if !tools::present(pebble::PROGRAMS) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    let plan = Plan::new(here, &format!("names: [{NAME}]"));
    let pebble = Pebble::start(&here.join("pebble"), pebble::Plan::new(free_address(), plan.address));
    let mut server = Server::start(here, &pebble, &plan);
    for moment in 0..12 {
        std::thread::sleep(Duration::from_millis(moment * 40));
        server.kill();
        // The dead one's right to order is taken away by hand: waiting for its end is another test's.
        let _ = fs::remove_dir_all(here.join("state/acme/lease"));
        server.restart();
    }
    Client::of(&pebble).until_trusted(server.address);
    assert_eq!(pebble.accounts(), 1);
    assert!(pebble.issued() <= 2, "{} certificates", pebble.issued());
}

/// What is configured is not what is proven: it is said, and tried again later and later.
#[test]
fn a_name_that_cannot_be_proven_is_told_with_the_authoritys_words() {
    if !tools::present(pebble::PROGRAMS) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    let plan = Plan::new(here, &format!("names: [{NAME}]\nchallenge: http-01"));
    let nobody = free_address();
    let pebble = Pebble::start(&here.join("pebble"), pebble::Plan::new(nobody, plan.address));
    let server = Server::start(here, &pebble, &plan);
    until("the failure is written down", || server.status().contains("last error: 20"));
    let status = server.status();
    assert!(status.contains("did not take the http-01 proof") && status.contains("refused"), "{status}");
    assert!(status.contains("(failures: 1)") && status.contains("certificate: none yet"), "{status}");
    let orders = pebble.orders();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(pebble.orders(), orders, "it tries again at once");
}
