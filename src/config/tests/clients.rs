//! What clients may take: access, limits and rates.

use super::*;

#[test]
fn mistakes_are_named() {
    let check =
        |keys: &str, expected: &str| refused(&format!("edge: {{tls: {{development: true}}, {keys}}}"), expected);
    check("access: {allow: [10.0.0.0/33]}", "edge.access.allow.0 is \"10.0.0.0/33\"; it must be a network");
    check("access: {deny: [everybody]}", "edge.access.deny.0 is \"everybody\"; it must be a network");
    check("access: {allow: 10.0.0.0/8}", "edge.access.allow must be a list");
    check("access: {block: []}", "edge.access.block: there is no such key");
    check("limits: {connections: 0}", "edge.limits.connections must be at least 1");
    check("limits: {connections_per_address: 0}", "edge.limits.connections_per_address must be at least 1");
    check("limits: {header_size_max: 1KiB}", "edge.limits.header_size_max must be from 16KiB to 512KiB");
    check("limits: {uri_size_max: 1GiB}", "edge.limits.uri_size_max must be from 4KiB to 512KiB");
    check("limits: {write_rate_min: 4GiB}", "edge.limits.write_rate_min must be less than 4GiB");
    check("limits: {http2_streams: 0}", "edge.limits.http2_streams must be from 1 to 1000");
    check("limits: {http2_resets: 5}", "edge.limits.http2_resets is \"5\"; it must be a rate such as 100/s");
    check("rates: {requests: {per_address: 0/s}}", "edge.rates.requests.per_address is \"0/s\"; it must be a rate");
    check("rates: {bytes_in: {per_subject: 1/s}}", "edge.rates.bytes_in.per_subject must be at least 1KiB/s");
    check("rates: {bytes_out: {per_address: 100}}", "it must be a rate such as 50MiB/s burst 1GiB, with /s, /m or /h");
    check("rates: {requests: {per_user: 1/s}}", "edge.rates.requests.per_user: there is no such key");
    check("rates: {clients_max: 0}", "edge.rates.clients_max must be at least 1");
}

#[test]
fn nobody_is_limited_by_default() {
    let edge = parse(BASE).unwrap().config.edge;
    assert!(edge.access.allow.networks.is_empty() && edge.access.deny.networks.is_empty());
    let none = edge::rates::Both::default();
    assert_eq!((edge.rates.requests, edge.rates.bytes_in, edge.rates.bytes_out), (none, none, none));
    assert_eq!(edge.limits.connections_per_address, None);
}
