//! How often each limit was met.

use std::sync::atomic::{AtomicU64, Ordering};

/// A limit, as metrics name it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// A connection or a request that the access lists refuse.
    Access,
    /// A connection that waited for its client, closed for the sake of a new one.
    ConnectionsShed,
    ConnectionsPerAddress,
    RequestsPerAddress,
    RequestsPerSubject,
    /// A pause in a transfer.
    BytesPerAddress,
    BytesPerSubject,
    /// An HTTP/2 connection on which too many streams were reset.
    Resets,
}

impl Kind {
    pub const ALL: [Self; 8] = [
        Self::Access,
        Self::ConnectionsShed,
        Self::ConnectionsPerAddress,
        Self::RequestsPerAddress,
        Self::RequestsPerSubject,
        Self::BytesPerAddress,
        Self::BytesPerSubject,
        Self::Resets,
    ];

    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::ConnectionsShed => "connections_shed",
            Self::ConnectionsPerAddress => "connections_per_address",
            Self::RequestsPerAddress => "requests_per_address",
            Self::RequestsPerSubject => "requests_per_subject",
            Self::BytesPerAddress => "bytes_per_address",
            Self::BytesPerSubject => "bytes_per_subject",
            Self::Resets => "http2_resets",
        }
    }
}

/// Totals since the start.
#[derive(Debug, Default)]
pub struct Tally([AtomicU64; Kind::ALL.len()]);

impl Tally {
    pub fn add(&self, kind: Kind) {
        self.0[kind as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub fn total(&self, kind: Kind) -> u64 {
        self.0[kind as usize].load(Ordering::Relaxed)
    }
}
