//! Names that other servers answer for: from the configuration to the rules of the rim, and what is told of them.

use std::{collections::HashSet, sync::Arc};

use arc_swap::ArcSwapOption;

use crate::{
    config::{
        Config,
        edge::passthrough::{Announcement as Configured, Rule as Written, Target as Place},
    },
    server::passthrough::{
        OwnNames, Ownership, Passthrough, Rule,
        passage::{Ending, Kind, Passage},
        target::{Announcement, Target},
    },
    telemetry,
    tls::certificates::{Certificates, Cover},
};

/// What is passed on, and which names are not.
pub(super) struct Passing {
    pub(super) rim: Arc<Passthrough>,
    pub(super) own: Arc<Own>,
}

/// `None` where nothing is passed on.
pub(super) fn build(config: &Config, certificates: Option<&Arc<Certificates>>) -> Option<Passing> {
    let written = &config.http.passthrough;
    if written.is_empty() {
        return None;
    }
    for rule in written {
        report(rule);
    }
    let issued = config.http.acme.iter().flat_map(|acme| &acme.names).map(|name| name.to_ascii_lowercase()).collect();
    let own = Own { host: ArcSwapOption::from(host(config)), issued, certificates: certificates.cloned() };
    let own = Arc::new(own);
    let rim = Arc::new(Passthrough::new(written.iter().map(rule).collect(), Arc::clone(&own) as _));
    Some(Passing { rim, own })
}

fn host(config: &Config) -> Option<Arc<String>> {
    let host = config.http.external_url.as_ref().and_then(|url| url.uri().host());
    host.map(|host| Arc::new(host.to_ascii_lowercase()))
}

fn report(rule: &Written) {
    let to = |kind, target: &Option<Place>| target.as_ref().map(|target| format!("{kind} to {target}"));
    let ways: Vec<_> = to("TLS", &rule.tls).into_iter().chain(to("plain HTTP", &rule.http)).collect();
    tracing::info!("passing on {}: {}", rule.names.join(", "), ways.join(", "));
}

fn rule(written: &Written) -> Rule {
    Rule {
        names: written.names.clone(),
        tls: written.tls.as_ref().map(target),
        http: written.http.as_ref().map(target),
        announcement: match written.announcement {
            Configured::Off => Announcement::None,
            Configured::V1 => Announcement::Line,
            Configured::V2 => Announcement::Binary,
        },
        connect_timeout: written.connect_timeout,
        idle_timeout: written.idle_timeout,
    }
}

fn target(place: &Place) -> Target {
    match place {
        Place::Tcp(address) => Target::Tcp { host: address.host.clone(), port: address.port },
        Place::Unix(path) => Target::Unix(path.clone()),
    }
}

/// The host that clients call us, the names that certificates are asked for, and those of the certificates in force.
#[derive(Debug)]
pub(super) struct Own {
    host: ArcSwapOption<String>,
    /// The same as long as the process lives, as the keys that they come from.
    issued: HashSet<String>,
    certificates: Option<Arc<Certificates>>,
}

impl Own {
    /// Goes by another configuration from now on. Certificates change by themselves.
    pub(super) fn follow(&self, config: &Config) {
        self.host.store(host(config));
    }
}

impl OwnNames for Own {
    fn ownership(&self, name: &str) -> Ownership {
        if self.issued.contains(name) || self.host.load().as_ref().is_some_and(|host| *host.as_ref() == name) {
            return Ownership::Named;
        }
        match self.certificates.as_ref().map_or(Cover::None, |certificates| certificates.cover(name)) {
            Cover::Name => Ownership::Named,
            Cover::Wildcard => Ownership::Covered,
            Cover::None => Ownership::None,
        }
    }
}

pub(super) const fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Tls => "tls",
        Kind::Http => "http",
    }
}

/// What is counted of one, and written down for whoever looks closely: the access log has the requests of plain HTTP.
pub(super) fn passage<'a>(passage: &Passage<'a>) -> telemetry::passthrough::Passage<'a> {
    let outcome = match passage.ending {
        Ending::Complete => "complete",
        Ending::Cut => "cut",
        Ending::Idle => "idle",
        Ending::Unreachable => "unreachable",
    };
    if passage.kind == Kind::Tls {
        tracing::debug!(
            rule = passage.rule,
            name = passage.name,
            peer = ?passage.connection.peer,
            received = passage.received,
            sent = passage.sent,
            duration = ?passage.elapsed,
            outcome,
            "a connection was passed on"
        );
    }
    telemetry::passthrough::Passage {
        rule: passage.rule,
        kind: kind(passage.kind),
        outcome,
        received: passage.received,
        sent: passage.sent,
    }
}
