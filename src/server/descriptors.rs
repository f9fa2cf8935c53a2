//! How many connections the process has descriptors for.
//!
//! A connection of a client takes one, or two where it may go on to another server, and what is read or written for it
//! another. Connections to upstreams are counted by themselves: many requests come over one connection of HTTP/2. Where
//! there are none left, files of the storage cannot be opened for anybody; so connections never take all. Not counted are
//! the files of a storage on disk that the streams of one connection of HTTP/2 read at once.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What the process takes for itself: logs, listeners, keys, checks of health, connections to stores.
const OWN: u64 = 64;

/// What connections take.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Costs {
    /// Descriptors for each connection of a client, from 1.
    pub each: usize,
    /// Most connections to upstreams.
    pub upstream: usize,
}

/// How many connections there may be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Share {
    /// Of clients.
    pub clients: usize,
    /// To upstreams, not more than was asked for.
    pub upstream: usize,
}

/// Raises the limit of descriptors as far as the system lets it, and says how many connections fit below it. Upstreams get
/// what they cost, or half; of the rest clients get three of four, so that the storage has its share.
#[must_use]
pub fn share(costs: Costs) -> Share {
    let limits = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limits.maximum, maximum: limits.maximum };
    // Where that is refused the limit of before holds.
    let current = if setrlimit(Resource::Nofile, raised).is_ok() { limits.maximum } else { limits.current };
    divide(current.unwrap_or(u64::MAX), costs)
}

fn divide(descriptors: u64, costs: Costs) -> Share {
    let left = usize::try_from(descriptors.saturating_sub(OWN)).unwrap_or(usize::MAX);
    let upstream = costs.upstream.min((left / 2).max(1));
    let clients = left.saturating_sub(upstream) / 4 * 3 / costs.each.max(1);
    Share { clients: clients.max(1), upstream }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_are_kept() {
        let check = |descriptors, each, wanted, clients, upstream| {
            let costs = Costs { each, upstream: wanted };
            assert_eq!(divide(descriptors, costs), Share { clients, upstream }, "{descriptors} {costs:?}");
        };
        check(1024, 1, 0, 720, 0);
        check(20_064, 1, 0, 15_000, 0);
        check(10, 1, 0, 1, 0);
        // Where connections go on to other servers.
        check(1024, 2, 0, 360, 0);
        check(65_536, 1, 4096, 46_032, 4096);
        check(1024, 1, 4096, 360, 480);
        check(1024, 2, 100, 322, 100);
        check(10, 2, 4096, 1, 1);
        check(u64::MAX, 1, 4096, (usize::MAX - 64 - 4096) / 4 * 3, 4096);
    }
}
