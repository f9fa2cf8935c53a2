//! What is read again, handed over, written down and stopped.

use super::*;
use crate::config::edge::access_log::{Format, Target};

#[test]
fn an_access_log_has_a_form_and_a_place() {
    let read = |c: &Config| (c.edge.access_log.format, c.edge.access_log.target.clone());
    check("edge: {}", read, (Format::Combined, Target::Stdout));
    let file = Target::File("/var/log/pierhead/access.log".into());
    check("edge: {access_log: {path: /var/log/pierhead/access.log, format: JSON}}", read, (Format::Json, file));
    check("edge: {access_log: {format: gitlab}}", read, (Format::Gitlab, Target::Stdout));
    refused("edge: {access_log: {format: nginx}}", "f.yml:4: edge.access_log.format is \"nginx\"; it must be one of");
    refused("edge: {access_log: {path: ''}}", "f.yml:4: edge.access_log.path must be stdout or a file");
    refused("edge: {access_log: {path: /var/log/}}", "edge.access_log.path must be stdout or a file");
}

#[test]
fn ends_have_their_time() {
    let read = |c: &Config| {
        let (shutdown, upgrade) = (c.edge.shutdown, c.edge.upgrade);
        (c.http.drain_timeout, shutdown.lame_duck, upgrade.ready_timeout, upgrade.drain_timeout)
    };
    let (minute, hour) = (Duration::from_mins(1), Duration::from_hours(1));
    check("edge: {}", read, (5 * minute, Duration::ZERO, minute, hour));
    let written = "edge: {shutdown: {lame_duck: 15s}, upgrade: {ready_timeout: 2m, drain_timeout: 30m}}";
    check(written, read, (5 * minute, Duration::from_secs(15), 2 * minute, 30 * minute));
    check("http: {draintimeout: 0}", |c| c.http.drain_timeout, Duration::ZERO);
    refused("edge: {shutdown: {lame_duck: 15}}", "edge.shutdown.lame_duck must be 0 or at least 1ms");
    refused("edge: {upgrade: {ready_timeout: 0}}", "edge.upgrade.ready_timeout must be at least 1ms");
    refused("edge: {upgrade: {drain_timeout: 0s}}", "edge.upgrade.drain_timeout must be at least 1ms");
}
