//! Names, ports and proxies.

use super::*;
use crate::config::{
    edge::listen::{Encryption, ProxyProtocol},
    environment::PassedBy,
};

/// Each listener as a line: `place tls|plain off|required`.
fn listeners(config: &Config) -> Vec<String> {
    let line = |listener: &edge::listen::Listener| {
        let encryption = if listener.encryption == Encryption::Tls { "tls" } else { "plain" };
        let proxy = if listener.proxy_protocol == ProxyProtocol::Required { "required" } else { "off" };
        format!("{} {encryption} {proxy}", listener.place)
    };
    config.http.listeners.iter().map(line).collect()
}

fn strings<const N: usize>(lines: [&str; N]) -> Vec<String> {
    lines.map(str::to_owned).into()
}

/// `edge` with a development certificate and these keys.
fn edge(keys: &str) -> String {
    format!("edge: {{tls: {{development: true}}, {keys}}}")
}

#[test]
fn listeners_are_what_is_written() {
    let check_listeners = |keys: &str, expected: Vec<String>| check(&edge(keys), listeners, expected);
    check_listeners("strict: false", strings([":5000 tls off"]));
    check_listeners("listen: [':443', '*:444']", strings([":443 tls off", ":444 tls off"]));
    check_listeners(
        "listen: [{address: '0.0.0.0:443'}, {address: '[::]:443', tls: on}, {address: '127.0.0.1:5010', tls: off}]",
        strings(["0.0.0.0:443 tls off", "[::]:443 tls off", "127.0.0.1:5010 plain off"]),
    );
    check_listeners(
        "trusted_proxies: [10.0.0.0/8], listen: [{address: 'localhost:0', proxy_protocol: required}, 'localhost:0']",
        strings(["localhost:0 tls required", "localhost:0 tls off"]),
    );
    check_listeners(
        "listen: ['unix:/run/a', 'systemd:web.socket']",
        strings(["unix:/run/a tls off", "systemd:web.socket tls off"]),
    );
    let mode = |config: &Config| match config.http.listeners[0].place {
        Place::Unix { mode, .. } => mode,
        _ => 0,
    };
    for (text, expected) in [("0660", 0o660), ("'660'", 0o660), ("0o600", 0o600), ("~", 0o666)] {
        check(&edge(&format!("listen: [{{address: 'unix:./a', mode: {text}}}]")), mode, expected);
    }
    let environment = [("REGISTRY_EDGE_LISTEN_0_ADDRESS", ":1"), ("REGISTRY_EDGE_LISTEN_1_PROXY_PROTOCOL", "off")];
    let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter().collect();
    let text = with(&edge("listen: [{address: ':443'}, {address: ':444'}]"));
    let loaded = Config::parse(&text, "f.yml", &environment).unwrap();
    assert_eq!(listeners(&loaded.config), strings([":1 tls off", ":444 tls off"]));
}

#[test]
fn listeners_that_cannot_be_are_refused() {
    let refused_keys = |keys: &str, expected: &str| refused(&edge(keys), expected);
    refused_keys("listen: []", "f.yml:4: edge.listen must list one address at least");
    refused_keys("listen: ':443'", "f.yml:4: edge.listen must be a list");
    refused_keys("listen: [{}]", "edge.listen.0.address is required");
    for address in ["443", "*", "*443", "host", "::1:80", "tcp:http", "http://h:1", ""] {
        refused_keys(&format!("listen: ['{address}']"), "edge.listen.0 must be an address such as :443");
    }
    refused_keys("listen: ['unix:run']", "edge.listen.0 must be the path of a socket");
    for name in ["", "a b", "a:b"] {
        refused_keys(&format!("listen: ['systemd:{name}']"), "edge.listen.0 must name a socket");
    }
    refused_keys("listen: [{address: ':1', mode: 0600}]", "edge.listen.0.mode is for sockets of the file system");
    for mode in ["0999", "rw", "''", "01777", "+7"] {
        refused_keys(&format!("listen: [{{address: 'unix:/a', mode: {mode}}}]"), "it must be permissions such as 0660");
    }
    refused_keys("listen: [{address: ':1', proxy_protocol: optional}]", "edge.listen.0.proxy_protocol is \"optional\"");
    refused_keys(
        "listen: [{address: ':1', proxy_protocol: required}]",
        "f.yml:4: edge.listen requires the PROXY protocol, but edge.trusted_proxies names nobody",
    );
    refused_keys("listen: [{adress: ':1'}]", "edge.listen.0.adress: there is no such key; this section knows address");
    refused("edge: {listen: [{address: ':1', tls: on}]}", "edge.listen.0.tls asks for TLS, but no certificate");
}

#[test]
fn one_address_is_listened_on_once() {
    refused(
        "edge:\n  tls: {development: true}\n  listen:\n    - address: :443\n    - address: 127.0.0.1:443\n",
        "f.yml:8: edge.listen.1.address is 127.0.0.1:443, but edge.listen.0.address (f.yml:7) listens on :443 already",
    );
    refused(&edge("listen: ['unix:/a', 'unix:/a']"), "edge.listen.1 is unix:/a, but edge.listen.0 (f.yml:4)");
    refused(&edge("listen: ['systemd:a', 'systemd:a']"), "edge.listen.1 is systemd:a, but edge.listen.0");
    refused(
        "http: {addr: ':5000', debug: {addr: 'localhost:5000'}}",
        "f.yml:5: http.debug.addr is localhost:5000, but http.addr (f.yml:5) listens on :5000 already",
    );
    refused(
        &edge("external_url: 'https://r', redirect_http_to_https: {port: 5000}"),
        "edge.redirect_http_to_https.port is :5000, but http.addr (default) listens on :5000 already",
    );
}

#[test]
fn plain_http_is_warned_about_unless_it_is_meant() {
    let warnings = |text: &str| parse(&with(text)).unwrap().warnings;
    warned("edge: {listen: [':80', ':81']}", "edge.listen.1", "unencrypted");
    assert_eq!(warnings("edge: {listen: [{address: ':80', tls: off}, '127.0.0.1:1', 'unix:/a']}"), []);
    warned("edge: {listen: ['localhost:80']}\nhttp: {addr: ':1'}", "http.addr", "has no effect beside edge.listen");
}

#[test]
fn redirects_lead_to_the_external_url() {
    let redirect = |config: &Config| {
        config.http.redirect.as_ref().map(|redirect| format!("{} {}", redirect.place, redirect.authority))
    };
    let check_redirect = |value: &str, expected: Option<&str>| {
        let keys = format!("external_url: 'https://r.example.com:5050/', redirect_http_to_https: {value}");
        check(&edge(&keys), redirect, expected.map(str::to_owned));
    };
    check_redirect("true", Some(":80 r.example.com:5050"));
    check_redirect("{}", Some(":80 r.example.com:5050"));
    check_redirect("false", None);
    check_redirect("~", None);
    check_redirect("{port: 8080}", Some(":8080 r.example.com:5050"));
    check_redirect("{address: '[::1]:8080'}", Some("[::1]:8080 r.example.com:5050"));
    check_redirect("{address: 'systemd:plain'}", Some("systemd:plain r.example.com:5050"));
    let key = "edge.redirect_http_to_https";
    refused(&edge("redirect_http_to_https: true"), &format!("f.yml:4: {key} needs edge.external_url"));
    refused(
        &edge("external_url: 'http://r', redirect_http_to_https: true"),
        &format!("{key} needs an edge.external_url with https"),
    );
    let with_url = |value: &str| edge(&format!("external_url: 'https://r', redirect_http_to_https: {value}"));
    refused(&with_url("80"), &format!("{key} must be true or false"));
    refused(&with_url("{port: 65536}"), &format!("{key}.port must be a port"));
    refused(&with_url("{port: 81, address: ':82'}"), &format!("{key}.port contradicts the address"));
    refused(&with_url("{proxy_protocol: required}"), &format!("{key} requires the PROXY protocol, but"));
}

#[test]
fn proxies() {
    let read = |config: &Config| {
        let proxies = &config.edge.proxies;
        let networks: Vec<_> = proxies.networks.iter().map(ToString::to_string).collect();
        format!("{} {} {} {}", networks.join(","), proxies.unix, proxies.header, proxies.recursive)
    };
    let check_read = |keys: &str, expected: &str| check(&edge(keys), read, expected.to_owned());
    check_read("strict: false", " false x-forwarded-for true");
    check_read("trusted_proxies: [10.1.2.3/8, 'fd00::1', unix]", "10.0.0.0/8,fd00::1/128 true x-forwarded-for true");
    check_read("trusted_proxies: [unix], real_ip: {header: Forwarded, recursive: off}", " true forwarded false");
    refused(&edge("trusted_proxies: [proxy.example.com]"), "edge.trusted_proxies.0 is \"proxy.example.com\"");
    refused(&edge("real_ip: {header: 'a b'}"), "edge.real_ip.header is \"a b\", which is not a name");
    warned(&edge("real_ip: {header: X-Real-IP}"), "edge.real_ip.header", "without edge.trusted_proxies");
    warned(&edge("trusted_proxies: ['::/0']"), "edge.trusted_proxies.0", "is everybody");
    warned("http: {relativeurls: false}", "http.relativeurls", "http.host or edge.trusted_proxies");
    let trusting = edge("trusted_proxies: [10.0.0.0/8]") + "\nhttp: {relativeurls: false}";
    assert_eq!(parse(&with(&trusting)).unwrap().warnings, []);
    check(&trusting, |c| (c.http.relative_urls, c.http.external_url.is_some()), (false, false));
}

#[test]
fn passed_sockets_have_names() {
    let names = |variables: &[(&str, &str)]| {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        variables
            .collect::<Environment>()
            .passed_sockets(7)
            .map(|passed| passed.names)
            .map_err(|error| error.to_string())
    };
    assert_eq!(names(&[]), Ok(vec![]));
    let (mine, other) = (("LISTEN_PID", "7"), ("LISTEN_PID", "8"));
    assert_eq!(names(&[("LISTEN_FDS", "1")]), Ok(vec![]));
    assert_eq!(names(&[other, ("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", "a")]), Ok(vec![]));
    assert_eq!(names(&[mine]), Ok(vec![]));
    assert_eq!(names(&[mine, ("LISTEN_FDS", "2"), ("LISTEN_FDNAMES", "a:b")]), Ok(strings(["a", "b"])));
    assert_eq!(names(&[mine, ("LISTEN_FDS", "2")]), Ok(strings(["unknown", "unknown"])));
    for count in ["x", "-1", "100000"] {
        assert!(names(&[mine, ("LISTEN_FDS", count)]).unwrap_err().starts_with("LISTEN_FDS: is "));
    }
    let error = names(&[mine, ("LISTEN_FDS", "2"), ("LISTEN_FDNAMES", "a")]).unwrap_err();
    assert_eq!(error, "LISTEN_FDNAMES: names 1 sockets, but LISTEN_FDS says 2");
}

fn of(variables: &[(&str, &str)]) -> Environment {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn a_predecessor_passes_addresses() {
    let passed = |variables: &[(&str, &str)]| of(variables).passed_sockets(7).unwrap();
    let names = ("LISTEN_FDNAMES", "pierhead-handover:127%2E0%2E0%2E1%3A5000:web");
    let found = passed(&[("LISTEN_FDS", "3"), names]);
    assert_eq!(found.by, PassedBy::Predecessor);
    assert_eq!(found.names, strings(["pierhead-handover", "127.0.0.1:5000", "web"]));
    // What a child of ours inherits: the names alone.
    assert_eq!(passed(&[names]), Passed::default());
    assert_eq!(passed(&[("LISTEN_PID", "8"), ("LISTEN_FDS", "3"), names]), Passed::default());
}

#[test]
fn a_manager_may_want_to_hear_from_us() {
    let manager = |variables: &[(&str, &str)]| of(variables).manager(7).map_err(|error| error.to_string());
    assert_eq!(manager(&[]), Ok(Manager::default()));
    assert_eq!(manager(&[("NOTIFY_SOCKET", "@a")]).unwrap().socket.as_deref(), Some("@a"));
    let watchdog = |variables: &[(&str, &str)]| manager(variables).unwrap().watchdog.map(|period| period.as_millis());
    let period = ("WATCHDOG_USEC", "30000");
    assert_eq!(watchdog(&[period]), Some(30));
    assert_eq!(watchdog(&[period, ("WATCHDOG_PID", "7")]), Some(30));
    assert_eq!(watchdog(&[period, ("WATCHDOG_PID", "8")]), None);
    let successor = [("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", "pierhead-handover")];
    assert_eq!(watchdog(&[period, ("WATCHDOG_PID", "8"), successor[0], successor[1]]), Some(30));
    assert!(manager(&[("WATCHDOG_USEC", "soon")]).unwrap_err().starts_with("WATCHDOG_USEC: is \"soon\""));
}
