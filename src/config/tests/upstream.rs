//! `edge.upstream` and `edge.shadow`, and what has no effect beside them.

use super::*;
use crate::config::edge::upstream::{Balance, Server, Upstream};

/// Without a storage, before a registry.
fn before(upstream: &str) -> String {
    format!("version: 0.1\nauth: none\nedge:\n  tls: {{development: true}}\n  upstream: {upstream}\n")
}

#[track_caller]
fn read(upstream: &str) -> Upstream {
    let loaded = parse(&before(upstream)).unwrap_or_else(|error| panic!("{upstream}: {error:#}"));
    assert_eq!(loaded.warnings, [], "{upstream}");
    assert!(matches!(loaded.config.storage.driver, Driver::None), "{upstream}");
    loaded.config.edge.upstream.unwrap()
}

#[track_caller]
fn fails(text: &str, expected: &str) {
    match parse(text) {
        Ok(_) => panic!("{text} was not refused"),
        Err(error) => assert!(format!("{error:#}").contains(expected), "{text}: {error:#}"),
    }
}

#[test]
fn an_address_is_enough() {
    let http = |authority: &str| Server::Http(authority.parse().unwrap());
    for (text, servers) in [
        ("http://registry:5000", vec![http("registry:5000")]),
        ("[http://a, 'http://b:1/']", vec![http("a"), http("b:1")]),
        ("{servers: http://a}", vec![http("a")]),
        ("{servers: ['https://[::1]:443']}", vec![Server::Https("[::1]:443".parse().unwrap())]),
        ("unix:/run/registry.sock", vec![Server::Unix("/run/registry.sock".into())]),
    ] {
        assert_eq!(read(text).servers, servers, "{text}");
    }
    let least = read("http://a");
    assert_eq!((least.balance, least.verify_tokens, least.host), (Balance::RoundRobin, false, None));
    assert_eq!((least.connect_timeout.as_secs(), least.read_timeout.as_secs()), (10, 900));
    assert_eq!(least.connections_max.get(), 4096);
    let health = least.health.unwrap();
    assert_eq!((health.path.as_str(), health.schedule.interval.as_secs(), health.schedule.threshold), ("/v2/", 10, 2));
    assert_eq!(read("{servers: http://a, health: {interval: 0}}").health, None);
    let more = read("{servers: http://a, balance: least_connections, host_header: 'r:5000', ca: /ca.pem}");
    assert_eq!((more.balance, more.host.unwrap().to_str().unwrap()), (Balance::LeastConnections, "r:5000"));
}

#[test]
fn the_environment_names_it_as_well() {
    let upstream = |variables: &[(&str, &str)]| {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let text = "version: 0.1\nauth: none\nedge: {tls: {development: true}}\n";
        Config::parse(text, "f.yml", &variables.collect()).unwrap().config.edge.upstream.unwrap()
    };
    let short = upstream(&[("REGISTRY_EDGE_UPSTREAM", "http://a")]);
    assert_eq!(short.servers, [Server::Http("a".parse().unwrap())]);
    let long = upstream(&[("REGISTRY_EDGE_UPSTREAM", "http://a"), ("REGISTRY_EDGE_UPSTREAM_READ_TIMEOUT", "5s")]);
    assert_eq!((long.servers.len(), long.read_timeout.as_secs()), (1, 5));
}

#[test]
fn what_makes_no_upstream_is_refused() {
    for (text, expected) in [
        ("{}", "edge.upstream.servers is required"),
        ("[]", "f.yml:5: edge.upstream.servers must name from 1 to 64 servers"),
        ("registry:5000", "f.yml:5: edge.upstream.servers must"),
        ("http://a/v2/", "edge.upstream.servers must be a scheme and a host, without a path"),
        ("http://u:canary@a", "must not carry a user name or a password"),
        ("[http://a, http://a]", "edge.upstream.servers.1 stands here twice"),
        ("'unix:relative'", "must be the whole path of a socket"),
        ("{servers: http://a, host_header: 'a b'}", "edge.upstream.host_header must be a host"),
        ("{servers: http://a, health: {path: v2}}", "edge.upstream.health.path must be a path"),
        ("{servers: http://a, balance: dice}", "must be one of round_robin, least_connections"),
        ("{servers: http://a, read_timeout: 0}", "edge.upstream.read_timeout must be at least 1ms"),
        ("{servers: http://a, connections_max: 0}", "edge.upstream.connections_max must be at least 1"),
        ("{servers: http://a, sample: 1}", "edge.upstream.sample: there is no such key"),
        ("{servers: http://a, verify_tokens: true}", "asks for tokens to be verified, and there is no auth"),
    ] {
        fails(&before(text), expected);
    }
    let text = before("http://u:canary@a");
    assert!(!format!("{:#}", parse(&text).unwrap_err()).contains("canary"));
}

#[test]
fn a_shadow_needs_both() {
    let beside = |shadow: &str| format!("{}  shadow: {shadow}\n", before("http://a"));
    fails(&beside("{}"), "storage names no driver");
    fails("version: 0.1\nauth: none\nstorage: inmemory\nedge: {shadow: {}}\n", "edge.shadow needs edge.upstream");
    let whole = |shadow: &str| format!("{}storage: inmemory\n", beside(shadow));
    let loaded = parse(&whole("{}")).unwrap();
    assert_eq!(loaded.warnings, []);
    let shadow = loaded.config.edge.shadow.unwrap();
    assert_eq!((shadow.sample, shadow.concurrency.get()), (1.0, 16));
    for sample in ["1.5", "-1", "half", "nan"] {
        fails(&whole(&format!("{{sample: {sample}}}")), "edge.shadow.sample must be a number from 0 to 1");
    }
    fails(&whole("{concurrency: 0}"), "edge.shadow.concurrency must be at least 1");
}

#[test]
fn what_has_no_effect_is_named() {
    let keys =
        |text: &str| -> Vec<String> { parse(text).unwrap().warnings.into_iter().map(|warning| warning.key).collect() };
    let more = "storage: {filesystem: }\ncatalog: {maxentries: 5}\nhttp: {secret: s}\nvalidation: {disabled: true}\n";
    let mut proxied = keys(&format!("{}{more}", before("http://a")));
    proxied.sort();
    assert_eq!(proxied, ["catalog", "http.secret", "storage", "validation"]);
    let shadowed = before("http://a").replace("  tls:", "  shadow: {}\n  uploads: {memory: 1GiB}\n  tls:");
    assert_eq!(keys(&format!("{shadowed}{more}")), ["edge.uploads"]);
    let token = "auth: {token: {realm: https://r, service: s, issuer: i, rootcertbundle: /c}}";
    assert_eq!(keys(&before("http://a").replace("auth: none", token)), ["auth"]);
    let rates = "{requests: {per_subject: 1/s, per_address: 1/s}, bytes_out: {per_subject: 1MiB/s}}";
    let limited = before("http://a").replace("  tls:", &format!("  rates: {rates}\n  tls:"));
    assert_eq!(keys(&limited), ["edge.rates.requests.per_subject", "edge.rates.bytes_out.per_subject"]);
    let alone =
        format!("version: 0.1\nauth: none\nstorage: inmemory\nedge: {{tls: {{development: true}}, rates: {rates}}}\n");
    assert_eq!(keys(&alone), [""; 0]);
    let verified = before("{servers: http://a, verify_tokens: true}").replace("auth: none", token);
    assert_eq!(keys(&verified), [""; 0]);
}
