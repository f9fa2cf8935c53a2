//! How many connections the process has descriptors for.
//!
//! A connection takes one, and what is read or written for it another. Where there are none left, files of the storage
//! cannot be opened for anybody; so connections never take all.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What the process takes for itself: logs, listeners, keys, connections to stores.
const OWN: u64 = 64;

/// Raises the limit of descriptors as far as the system lets it, and says how many connections fit below it: three of
/// four, so that the storage has its share.
pub fn connections_max() -> usize {
    let limits = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limits.maximum, maximum: limits.maximum };
    // Where that is refused the limit of before holds.
    let current = if setrlimit(Resource::Nofile, raised).is_ok() { limits.maximum } else { limits.current };
    current.map_or(usize::MAX, |current| usize::try_from(share(current)).unwrap_or(usize::MAX))
}

fn share(descriptors: u64) -> u64 {
    (descriptors.saturating_sub(OWN) / 4 * 3).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_are_kept() {
        let check = |descriptors, connections| assert_eq!(share(descriptors), connections);
        check(1024, 720);
        check(20_064, 15_000);
        check(10, 1);
    }
}
