//! The order in which servers are tried: a pure choice.

use crate::upstream::Balance;

/// What is known of one server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::upstream) struct Standing {
    pub(in crate::upstream) fitness: Fitness,
    /// Requests on their way.
    pub(in crate::upstream) busy: usize,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::upstream) enum Fitness {
    Fit,
    /// A connection failed a moment ago. A guess: where nothing better is there it is asked all the same.
    Doubtful,
    /// Its check fails.
    Unfit,
}

/// The places of the servers to try, the best first; none where none is worth it.
pub(in crate::upstream) fn order(standings: &[Standing], balance: Balance, turn: usize) -> Vec<usize> {
    let of = |fitness| -> Vec<usize> {
        let count = standings.len();
        (0..count).map(|step| (turn + step) % count).filter(|at| standings[*at].fitness == fitness).collect()
    };
    let mut order = of(Fitness::Fit);
    if order.is_empty() {
        order = of(Fitness::Doubtful);
    }
    if balance == Balance::LeastConnections {
        // Stable: those that are equally busy stay in their turn.
        order.sort_by_key(|at| standings[*at].busy);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(balance: Balance, turn: usize, servers: &[(Fitness, usize)], expected: &[usize]) {
        let standings: Vec<_> = servers.iter().map(|&(fitness, busy)| Standing { fitness, busy }).collect();
        assert_eq!(order(&standings, balance, turn), expected, "{balance:?} {turn} {servers:?}");
    }

    #[test]
    fn turns_go_round_those_that_are_fit() {
        use Balance::RoundRobin;
        use Fitness::{Doubtful, Fit, Unfit};
        check(RoundRobin, 0, &[(Fit, 9), (Fit, 0), (Fit, 0)], &[0, 1, 2]);
        check(RoundRobin, 4, &[(Fit, 9), (Fit, 0), (Fit, 0)], &[1, 2, 0]);
        check(RoundRobin, 1, &[(Fit, 0), (Unfit, 0), (Doubtful, 0)], &[0]);
        check(RoundRobin, 0, &[(Unfit, 0), (Doubtful, 0)], &[1]);
        check(RoundRobin, 0, &[(Unfit, 0)], &[]);
        check(RoundRobin, 3, &[], &[]);
    }

    #[test]
    fn the_least_busy_comes_first() {
        use Balance::LeastConnections;
        use Fitness::{Fit, Unfit};
        check(LeastConnections, 0, &[(Fit, 2), (Fit, 1), (Fit, 2)], &[1, 0, 2]);
        check(LeastConnections, 2, &[(Fit, 2), (Fit, 1), (Fit, 2)], &[1, 2, 0]);
        check(LeastConnections, 0, &[(Unfit, 0), (Fit, 7)], &[1]);
    }
}
