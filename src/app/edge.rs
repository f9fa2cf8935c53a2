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
        descriptors::{self, Costs, Share},
    },
};

/// Who may come in at the start, and at which rate.
pub(super) fn admission(config: &Config) -> Arc<Admission> {
    Arc::new(Admission::new(settings(&config.edge), config.edge.rates.clients_max.get()))
}

/// How many connections the system has descriptors for, under the configuration of the start: what takes more than one for
/// a client, and upstreams, change with a restart alone.
pub(super) fn share(config: &Config) -> Share {
    let passes_on = !config.http.passthrough.is_empty();
    let upstream = config.edge.upstream.as_ref().map_or(0, |upstream| upstream.connections_max.get());
    descriptors::share(Costs { each: if passes_on { 2 } else { 1 }, upstream })
}

/// Tells of connections that the system has no descriptors for.
pub(super) fn complain(edge: &edge::Edge, share: Share) {
    let complain = |key, wanted, fit| {
        if fit < wanted {
            tracing::warn!(
                "{key} is {wanted}, but the system's limit of descriptors leaves {fit}: raise it (LimitNOFILE in the unit \
                 of systemd)"
            );
        }
    };
    complain("edge.limits.connections", edge.limits.connections.get(), share.clients);
    if let Some(upstream) = &edge.upstream {
        complain("edge.upstream.connections_max", upstream.connections_max.get(), share.upstream);
    }
}

/// What is in force together with everything else that requests go by.
pub(super) fn bounds(limits: &Limits, share: Share) -> (bounds::Limits, Deadlines) {
    let bounds = bounds::Limits {
        connections: limits.connections.get().min(share.clients),
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
