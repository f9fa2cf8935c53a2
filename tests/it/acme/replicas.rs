//! Three processes on one bucket behind a balancer that knows nothing: one order, and all of them show it.

use std::{fs, net::SocketAddr};

use crate::{
    acme::rig::{Client, NAME, Plan, Server, Watch, said, until},
    support::{
        balancer::Balancer,
        pebble::{self, Pebble},
        process::free_address,
        s3::{ACCESS_KEY, REGION, SECRET_KEY, seaweed},
        tools,
    },
};

pub(super) const SECRET: &str = "a secret of these tests that is long enough";

pub(super) fn storage(port: u16, bucket: &str) -> String {
    format!(
        "  s3:\n    accesskey: {ACCESS_KEY}\n    secretkey: {SECRET_KEY}\n    region: {REGION}\n    \
         regionendpoint: http://localhost:{port}\n    bucket: {bucket}\n"
    )
}

fn shared(challenge: &str) {
    if !tools::present(pebble::PROGRAMS) {
        return;
    }
    let Some(seaweed) = seaweed::shared() else { return };
    let bucket = seaweed.bucket();
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    let http: Vec<SocketAddr> = (0..3).map(|_| free_address()).collect();
    let plans: Vec<Plan> = http
        .iter()
        .map(|http| Plan {
            address: free_address(),
            storage: storage(seaweed.address.port(), &bucket.name),
            acme: format!(
                "names: [{NAME}]\nstate: storage\nsecret: {SECRET}\nchallenge: {challenge}\nhttp_address: {http}"
            ),
        })
        .collect();
    // The authority comes to any of them, and never twice in a row to the same.
    let tls = Balancer::start(plans.iter().map(|plan| plan.address).collect());
    let plain = Balancer::start(http);
    let pebble = Pebble::start(&here.join("pebble"), pebble::Plan::new(plain.address, tls.address));
    let servers: Vec<Server> = ["one", "two", "three"]
        .iter()
        .zip(&plans)
        .map(|(name, plan)| Server::start(&here.join(name), &pebble, plan))
        .collect();

    let client = Client::of(&pebble);
    let first = client.until_trusted(servers[0].address);
    let all_show =
        |serial: &str| servers.iter().all(|server| client.look(server.address, NAME).as_deref() == Ok(serial));
    until("all show it", || all_show(&first));
    assert_eq!((pebble.orders(), pebble.issued(), pebble.accounts()), (1, 1, 1), "{challenge}");

    let watch = Watch::start(&client, vec![tls.address]);
    let second = servers[1].renew();
    until("all show the second", || all_show(&second));
    until("the client has seen it", || watch.has_seen(&second));
    watch.end(challenge);
    assert_eq!((pebble.orders(), pebble.issued(), pebble.accounts()), (2, 2, 1), "{challenge}");

    // No key can be read by who reads the bucket, and nobody goes on with another secret.
    let kept = bucket.objects("docker/registry/v2/_pierhead/acme/");
    assert!(kept.iter().any(|(key, _)| key.contains("/certificates/")), "{kept:?}");
    for (key, _) in &kept {
        let text = String::from_utf8(bucket.get(key).unwrap_or_default()).unwrap();
        assert!(!text.contains("PRIVATE") && !text.contains(NAME), "{key}: {text}");
    }
    let config = fs::read_to_string(here.join("one/config.yml")).unwrap();
    let other = here.join("other.yml");
    fs::write(&other, config.replace(SECRET, "another secret of these tests, long enough")).unwrap();
    for command in [&["acme", "status"][..], &["serve"][..]] {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_pierhead")).args(command).arg(&other).output();
        let output = output.unwrap();
        let text = said(&output);
        assert!(!output.status.success() && text.contains("edge.acme.secret is not the one"), "{command:?}: {text}");
        assert!(!text.contains("long enough"), "{text}");
    }
}

#[test]
fn share_a_certificate_that_is_proven_by_handshakes() {
    shared("tls-alpn-01");
}

#[test]
fn share_a_certificate_that_is_proven_by_texts() {
    shared("http-01");
}
