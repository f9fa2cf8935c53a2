//! Names that other servers answer for.

use super::*;
use crate::config::edge::passthrough::Announcement;

/// `edge` with these keys, a certificate and an address for each kind of traffic.
fn edge(keys: &str) -> String {
    format!(
        "edge: {{tls: {{development: true}}, external_url: 'https://registry.example.com:5050', \
         listen: [':443', {{address: '127.0.0.1:5010', tls: off}}], {keys}}}"
    )
}

fn one(rule: &str) -> String {
    edge(&format!("passthrough: [{{{rule}}}]"))
}

/// Each rule as a line.
fn rules(config: &Config) -> Vec<String> {
    let line = |rule: &edge::passthrough::Rule| {
        let target = |target: &Option<edge::passthrough::Target>| {
            target.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string)
        };
        let announcement = match rule.announcement {
            Announcement::Off => "off",
            Announcement::V1 => "v1",
            Announcement::V2 => "v2",
        };
        let (names, connect, idle) = (rule.names.join(","), rule.connect_timeout, rule.idle_timeout);
        format!("{names} {} {} {announcement} {connect:?} {idle:?}", target(&rule.tls), target(&rule.http))
    };
    config.http.passthrough.iter().map(line).collect()
}

#[test]
fn rules_are_what_is_written() {
    let written = |text: &str, expected: &[&str]| {
        check(text, rules, expected.iter().map(|line| (*line).to_owned()).collect());
        assert_eq!(parse(&with(text)).unwrap().warnings, []);
    };
    written(&edge("strict: false"), &[]);
    written(&edge("passthrough: []"), &[]);
    written(
        &one("names: [GitLab.example.com, '*.pages.example.com'], tls: '127.0.0.1:8443'"),
        &["gitlab.example.com,*.pages.example.com 127.0.0.1:8443 - off 5s 3600s"],
    );
    written(
        &edge(
            "passthrough: [{names: [a], tls: 'b.example.com:443', http: 'unix:/run/a', proxy_protocol: v2, \
             connect_timeout: 1s, idle_timeout: 10m}, {names: ['*'], http: '[::1]:81', proxy_protocol: V1}]",
        ),
        &["a b.example.com:443 unix:/run/a v2 1s 600s", "* - [::1]:81 v1 5s 3600s"],
    );
}

#[test]
fn rules_that_cannot_be_are_refused() {
    let refused = |rule: &str, expected: &str| refused(&one(rule), expected);
    let rule = "edge.passthrough.0";
    refused("", &format!("f.yml:4: {rule} must have names"));
    refused("names: [], tls: 'a:1'", &format!("{rule} must have names"));
    refused("names: [a]", &format!("{rule} must have tls, http, or both"));
    for name in ["", "a b", "a..b", ".a", "a.", "a:443", "*.*.a", "a*", "https://a", "127.0.0.1", "[::1]", "ä"] {
        refused(&format!("names: ['{name}'], tls: 'a:1'"), &format!("{rule}.names.0 is \"{name}\"; it must be a name"));
    }
    refused(&format!("names: [{}], tls: 'a:1'", "a".repeat(64)), "it must be a name");
    refused(&format!("names: [{}a], tls: 'a:1'", "a.".repeat(127)), "it must be a name");
    for target in ["a", ":443", "a:0", "https://a:1", "a:http"] {
        refused(&format!("names: [a], tls: '{target}'"), &format!("{rule}.tls must be an address with host and port"));
    }
    refused("names: [a], http: 'unix:run'", &format!("{rule}.http must be the path of a socket"));
    refused("names: [a], tls: 'a:1', proxy_protocol: v3", &format!("{rule}.proxy_protocol is \"v3\""));
    refused("names: [a], tls: 'a:1', connect_timeout: 5", &format!("{rule}.connect_timeout must be at least 1ms"));
    refused("names: [a], tls: 'a:1', idle_timeout: 0", &format!("{rule}.idle_timeout must be at least 1ms"));
    refused("name: [a]", &format!("{rule}.name: there is no such key"));
    super::refused(
        &edge("passthrough: [{names: [b], tls: 'a:1'}, {names: [a, B], tls: 'a:2'}]"),
        "f.yml:4: edge.passthrough.1.names.1 is b, which stands in edge.passthrough.0.names.0 (f.yml:4) already",
    );
}

#[test]
fn the_registry_keeps_its_name_somewhere() {
    let own = "passthrough: [{names: [Registry.example.com], tls: 'a:1'}]";
    refused(&edge(own), "edge.passthrough.0.names.0 is registry.example.com, the host of the external URL");
    let elsewhere = "edge: {tls: {development: true}, external_url: 'https://registry.example.com:5050', \
                     listen: [':443', {address: ':5050', passthrough: off}], ";
    check(&format!("{elsewhere}{own}}}"), |config| config.http.passthrough.len(), 1);
    let on = |config: &Config| config.http.listeners.iter().map(|listener| listener.passthrough).collect::<Vec<_>>();
    check(&format!("{elsewhere}{own}}}"), on, vec![true, false]);
}

#[test]
fn what_would_come_back_is_refused() {
    let keys = |target: &str| {
        format!("redirect_http_to_https: {{address: '0.0.0.0:80'}}, passthrough: [{{names: [a], tls: '{target}'}}]")
    };
    for target in ["127.0.0.1:443", "localhost:443", "[::1]:443", "0.0.0.0:443", "127.0.0.1:5010", "127.0.0.1:80"] {
        refused(&edge(&keys(target)), &format!("edge.passthrough.0.tls is {target}, but "));
    }
    for target in ["127.0.0.1:444", "10.0.0.1:443", "other.example.com:443", "[::1]:5011"] {
        check(&edge(&keys(target)), |config| config.http.passthrough.len(), 1);
    }
    refused(
        "edge: {tls: {development: true}, listen: ['unix:/run/a'], passthrough: [{names: [a], http: 'unix:/run/a'}]}",
        "edge.passthrough.0.http is unix:/run/a, but unix:/run/a is listened on here: it would loop",
    );
}

#[test]
fn rules_that_nothing_can_reach_are_warned_about() {
    let text = "edge: {tls: {development: true}, listen: [':443', {address: '127.0.0.1:1', tls: off, passthrough: off}], \
                passthrough: [{names: [a], http: 'a:1'}]}";
    warned(text, "edge.passthrough.0.http", "no address that passes on speaks plain HTTP");
    let text = "edge: {listen: ['127.0.0.1:1'], passthrough: [{names: [a], tls: 'a:1'}]}";
    warned(text, "edge.passthrough.0.tls", "no address that passes on speaks TLS");
}
