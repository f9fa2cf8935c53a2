//! How much and how long a client may take.

use std::{num::NonZeroU64, time::Duration};

use crate::admission::rate::Rate;

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Open connections over all listeners; for more, one that has long waited for its client is closed, and where none
    /// waits new ones do.
    pub connections: usize,
    /// Of one address, of IPv6 of one /64; those of trusted proxies do not count.
    pub connections_per_address: usize,
    /// Bytes of a request's head.
    pub head_bytes: usize,
    /// Bytes of a request's target.
    pub target_bytes: usize,
    /// Requests that run at once on one HTTP/2 connection.
    pub streams: u32,
    /// Requests on one HTTP/2 connection that its client takes back.
    pub resets: Rate,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 8192,
            connections_per_address: usize::MAX,
            head_bytes: 64 << 10,
            target_bytes: 8 << 10,
            streams: 100,
            resets: RESETS,
        }
    }
}

/// A client that no longer wants an image takes back the few requests that run; one that does nothing else does it to
/// keep us busy.
const RESETS: Rate = Rate::new(number(20), Duration::from_secs(1), number(500));

const fn number(number: u64) -> NonZeroU64 {
    NonZeroU64::new(number).expect("it is not zero")
}

/// How long a client may take.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// For the TLS handshake.
    pub handshake: Duration,
    /// From a head's first byte to its last.
    pub head: Duration,
    /// Between two requests on one connection.
    pub idle: Duration,
    /// For the next bytes of a body that is being read.
    pub body: Duration,
    /// Bytes per second that a body must bring on average over each `body` period of waiting for it; 0 for no rate.
    pub body_rate_min: u32,
    /// For the next bytes of an answer to be taken. It holds for connections that begin after it was set.
    pub write: Duration,
    /// Bytes per second of an answer that must be taken on average over each `write` period of waiting; 0 for no rate.
    pub write_rate_min: u32,
    /// For what a client still sends after it was answered early.
    pub linger: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            body: Duration::from_mins(1),
            body_rate_min: 1024,
            write: Duration::from_mins(1),
            write_rate_min: 1024,
            linger: Duration::from_secs(2),
        }
    }
}
