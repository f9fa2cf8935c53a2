//! Each proof: a certificate is issued, and renewed while clients connect.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use crate::{
    acme::rig::{Client, NAME, Plan, Server, Watch, said, until},
    support::{
        certificate::write_private,
        pebble::{self, EAB_KEY, EAB_KID, PROFILE, Pebble},
        process::free_address,
        tools,
    },
};

/// Issues, renews by hand, and sees both.
fn renewed(what: &str, server: &Server, pebble: &Pebble) {
    let client = Client::of(pebble);
    let first = client.until_trusted(server.address);
    let watch = Watch::start(&client, vec![server.address]);
    let second = server.renew();
    assert_ne!(first, second);
    until("the new certificate is shown", || watch.has_seen(&second));
    assert!(watch.has_seen(&first));
    watch.end(what);
    assert_eq!((pebble.orders(), pebble.issued(), pebble.accounts()), (2, 2, 1));
    let status = server.status();
    for line in [&format!("certificate: {second}\n"), "days left: 90.0\n", "last error: none\n"] {
        assert!(status.contains(line), "{line} in {status}");
    }
    assert_private(&server.directory.join("state"));
}

/// Nobody else may read what lies there.
fn assert_private(directory: &Path) {
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(directory), 0o700, "{}", directory.display());
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            assert_private(&path);
        } else {
            assert_eq!(mode(&path), 0o600, "{}", path.display());
        }
    }
}

#[test]
fn by_a_handshake() {
    if !tools::present(pebble::PROGRAMS) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    let plan = Plan::new(here, &format!("names: [{NAME}, alt.{NAME}, 127.0.0.1]\nemails: [admin@{NAME}]"));
    let pebble = Pebble::start(&here.join("pebble"), pebble::Plan::new(free_address(), plan.address));
    let server = Server::start(here, &pebble, &plan);
    renewed("tls-alpn-01", &server, &pebble);
    let client = Client::of(&pebble);
    for name in [NAME, "alt.registry.test", "127.0.0.1"] {
        assert!(client.look(server.address, name).is_ok(), "{name}");
    }
    // Of the plain listener of others, and of what is configured later.
    assert!(client.look(server.address, "other.test").is_err());
}

#[test]
fn by_a_text_at_a_path() {
    if !tools::present(pebble::PROGRAMS) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    let http = free_address();
    let acme = format!("names: [{NAME}]\nchallenge: http-01\nhttp_address: {http}\nkey_type: rsa\nkey_size: 2048");
    let plan = Plan::new(here, &acme);
    let pebble = Pebble::start(&here.join("pebble"), pebble::Plan::new(http, free_address()));
    let server = Server::start(here, &pebble, &plan);
    renewed("http-01", &server, &pebble);
}

#[test]
fn by_a_record_that_a_command_makes() {
    if !tools::present(pebble::PROGRAMS) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    let pebble = Pebble::start(&here.join("pebble"), pebble::Plan::new(free_address(), free_address()));
    let hook = here.join("hook.sh");
    write_private(
        &hook,
        "curl=$1 server=$2 action=$3 record=$5 value=$6\n\
         echo \"$action $4 $record\" >>\"$(dirname \"$0\")/hook.log\"\n\
         case $action in\n\
         present) exec \"$curl\" -sf -d \"{\\\"host\\\":\\\"$record.\\\",\\\"value\\\":\\\"$value\\\"}\" \"http://$server/set-txt\" ;;\n\
         cleanup) exec \"$curl\" -sf -d \"{\\\"host\\\":\\\"$record.\\\"}\" \"http://$server/clear-txt\" ;;\n\
         esac\nexit 1\n",
    );
    let command = ["sh".into(), hook.display().to_string(), tools::path("curl").display().to_string()];
    let hook = format!("[{}, \"{}\"]", command.join(", "), pebble.names);
    let acme = format!("names: [{NAME}, \"*.{NAME}\"]\nchallenge: dns-01\ndns_hook: {hook}\nec_curve: secp384r1");
    let server = Server::start(here, &pebble, &Plan::new(here, &acme));
    renewed("dns-01", &server, &pebble);
    assert!(Client::of(&pebble).look(server.address, "any.registry.test").is_ok());
    let calls = fs::read_to_string(here.join("hook.log")).unwrap();
    for action in ["present", "cleanup"] {
        let line = format!("{action} {NAME} _acme-challenge.{NAME}");
        assert_eq!(calls.lines().filter(|it| *it == line).count(), 4, "{calls}");
    }
}

#[test]
fn by_a_file_for_another_server() {
    if !tools::present(&[pebble::PROGRAMS, &["nginx"]].concat()) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    let http = free_address();
    let root = here.join("www");
    fs::create_dir(&root).unwrap();
    // Debian's runs its workers as another user, who may come in here and read.
    fs::set_permissions(here, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).unwrap();
    let paths = here.display();
    let config = format!(
        "daemon off; pid {paths}/nginx.pid; error_log {paths}/nginx.log; events {{}} http {{ access_log off; \
         client_body_temp_path {paths}/b; proxy_temp_path {paths}/p; fastcgi_temp_path {paths}/f; \
         uwsgi_temp_path {paths}/u; scgi_temp_path {paths}/s; server {{ listen {http}; root {paths}/www; }} }}"
    );
    write_private(&here.join("nginx.conf"), &config);
    let mut nginx = crate::support::command::command("nginx", ["-c"]);
    let mut nginx = crate::support::process::Process::start(
        nginx.arg(here.join("nginx.conf")).args(["-e", "stderr"]),
        &here.join("nginx.out"),
    );
    nginx.wait_for_port(http);
    let acme = format!("names: [{NAME}]\nchallenge: http-01\nwebroot: {}", root.display());
    let pebble = Pebble::start(&here.join("pebble"), pebble::Plan::new(http, free_address()));
    let server = Server::start(here, &pebble, &Plan::new(here, &acme));
    renewed("http-01 by a webroot", &server, &pebble);
    // They go when the certificate is there already.
    let left = || fs::read_dir(root.join(".well-known/acme-challenge")).unwrap().count();
    until("the files are gone", || left() == 0);
}

/// Without anybody's hand: the life is short, and the authority's window lies within it.
#[test]
fn renewed_by_itself() {
    if !tools::present(pebble::PROGRAMS) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    let plan = Plan::new(here, &format!("names: [{NAME}]"));
    let pebble = pebble::Plan { validity: 45, ..pebble::Plan::new(free_address(), plan.address) };
    let pebble = Pebble::start(&here.join("pebble"), pebble);
    let server = Server::start(here, &pebble, &plan);
    let client = Client::of(&pebble);
    client.until_trusted(server.address);
    let watch = Watch::start(&client, vec![server.address]);
    until("two renewals", || watch.serials() >= 3);
    watch.end("renewed by itself");
    assert!(server.log().contains("as its authority wants it"), "{}", server.log());
    assert!(pebble.logged("is a replacement of") > 0, "no order says what it replaces");
}

/// What an operator asks for is what the authority hears.
#[test]
fn with_an_account_of_the_operators_and_a_profile() {
    if !tools::present(pebble::PROGRAMS) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    let eab = format!("eab:\n  kid: {EAB_KID}\n  key: {EAB_KEY}");
    let plan = Plan::new(here, &format!("names: [{NAME}]\nprofile: {PROFILE}\n{eab}"));
    let pebble = pebble::Plan { binding: true, ..pebble::Plan::new(free_address(), plan.address) };
    let pebble = Pebble::start(&here.join("pebble"), pebble);
    let mut server = Server::start(here, &pebble, &plan);
    Client::of(&pebble).until_trusted(server.address);
    assert_eq!(pebble.logged("Successful newAccount Binding"), 1);
    assert!(!server.log().contains(EAB_KEY), "a secret is in the log");

    server.stop();
    let config = fs::read_to_string(here.join("config.yml")).unwrap();
    fs::write(here.join("config.yml"), config.replace(&format!("profile: {PROFILE}"), "profile: missing")).unwrap();
    let refused = said(&server.acme(&["renew"]));
    assert!(refused.contains("edge.acme.profile is \"missing\"; the authority offers "), "{refused}");
}
