//! What clients may take, as the server and the API hold it.

use std::sync::Arc;

use crate::{
    admission::{
        self, Admission,
        access::{Access, Places},
        rate::Rate,
    },
    config::{
        Config,
        edge::{self, limits::Limits},
    },
    server::{
        bounds::{self, Deadlines},
        descriptors,
    },
};

/// Who may come in at the start, and at which rate.
pub(super) fn admission(config: &Config) -> Arc<Admission> {
    Arc::new(Admission::new(settings(&config.edge), config.edge.rates.clients_max.get()))
}

/// Tells of connections that the system has no descriptors for.
pub(super) fn complain(limits: &Limits) {
    let (wanted, fit) = (limits.connections.get(), descriptors::connections_max());
    if fit < wanted {
        tracing::warn!(
            "edge.limits.connections is {wanted}, but the system's limit of descriptors leaves {fit}: raise it \
             (LimitNOFILE in the unit of systemd)"
        );
    }
}

/// What is in force together with everything else that requests go by.
pub(super) fn bounds(limits: &Limits) -> (bounds::Limits, Deadlines) {
    let bounds = bounds::Limits {
        connections: limits.connections.get().min(descriptors::connections_max()),
        connections_per_address: limits.connections_per_address.map_or(usize::MAX, std::num::NonZero::get),
        head_bytes: limits.header_size_max,
        target_bytes: limits.uri_size_max,
        streams: limits.http2_streams,
        resets: rate(&limits.http2_resets),
    };
    let deadlines = Deadlines {
        handshake: limits.handshake_timeout,
        head: limits.header_timeout,
        idle: limits.idle_timeout,
        body: limits.body_timeout,
        body_rate_min: limits.body_rate_min,
        write: limits.write_timeout,
        write_rate_min: limits.write_rate_min,
        ..Deadlines::default()
    };
    (bounds, deadlines)
}

/// What admission goes by.
pub(super) fn settings(edge: &edge::Edge) -> admission::Settings {
    let rates = |both: &edge::rates::Both| admission::Rates {
        per_address: both.per_address.as_ref().map(rate),
        per_subject: both.per_subject.as_ref().map(rate),
    };
    admission::Settings {
        access: Access { allow: places(&edge.access.allow), deny: places(&edge.access.deny) },
        requests: rates(&edge.rates.requests),
        received: rates(&edge.rates.bytes_in),
        sent: rates(&edge.rates.bytes_out),
    }
}

const fn rate(configured: &edge::rates::Rate) -> Rate {
    Rate::new(configured.amount, configured.period, configured.burst)
}

fn places(configured: &edge::access::Places) -> Places {
    let places = Places::new(&configured.networks);
    if configured.unix { places.with_unix() } else { places }
}
