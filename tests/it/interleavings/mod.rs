//! Every interleaving of the upload protocol at small bounds, over the transitions that the server itself runs.
//!
//! Some attempts (PATCH, PUT, DELETE, each with bytes of its own making) race on one upload whose whole content is
//! three bytes; any of them may crash between any two steps, and any answer may be lost. The machines are those of
//! `registry::session`; only the store is a model ([`world`]). The rules that the protocol rests on are then removed
//! one at a time, and each removal must be seen to break a promise.

use std::{
    collections::{HashMap, HashSet, VecDeque, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
};

mod process;
mod world;

use world::{Bounds, Medium, Rule, World};

/// What an exploration came to.
struct Explored {
    states: usize,
    /// The broken promise and the steps that lead there.
    broken: Option<(String, Vec<String>)>,
}

/// Two independent 64-bit hashes: the chance that two of a few million states share both is below 10^-24.
fn fingerprint(world: &World) -> u128 {
    let hash = |salt: u64| {
        let mut hasher = DefaultHasher::new();
        salt.hash(&mut hasher);
        world.hash(&mut hasher);
        hasher.finish()
    };
    u128::from(hash(1)) << 64 | u128::from(hash(2))
}

/// Breadth first, so that the first broken promise is reached on a shortest way. Where each state came from is kept
/// only when a way is asked for.
fn explore(bounds: Bounds) -> Explored {
    let traced = bounds.without.is_some();
    let start = World::new(bounds);
    let mut origin: HashMap<u128, (u128, String)> = HashMap::new();
    let mut seen = HashSet::from([fingerprint(&start)]);
    let mut queue = VecDeque::from([start]);
    while let Some(world) = queue.pop_front() {
        let from = fingerprint(&world);
        for (step, next) in world.successors() {
            let to = fingerprint(&next);
            if !seen.insert(to) {
                continue;
            }
            if traced {
                origin.insert(to, (from, step.clone()));
            }
            if let Some(promise) = next.broken_promise() {
                let mut way = vec![step];
                let mut at = from;
                while let Some((earlier, step)) = origin.get(&at) {
                    way.push(step.clone());
                    at = *earlier;
                }
                way.reverse();
                return Explored { states: seen.len(), broken: Some((promise, way)) };
            }
            queue.push_back(next);
        }
    }
    Explored { states: seen.len(), broken: None }
}

fn safe(name: &str, bounds: Bounds) {
    let explored = explore(bounds);
    println!("{name}: {} states", explored.states);
    if let Some((promise, way)) = explored.broken {
        panic!("{name}: {promise}\n  {}", way.join("\n  "));
    }
}

#[test]
fn no_interleaving_breaks_a_promise_with_equal_parts() {
    safe("equal parts, two attempts, one crash", Bounds::new(Medium::EqualParts, 2).crashes(1));
    safe("equal parts, three attempts", Bounds::new(Medium::EqualParts, 3).crashes(0).one_kind_of_bytes());
}

#[test]
fn no_interleaving_breaks_a_promise_on_a_file_system() {
    safe("appended parts, two attempts, one crash", Bounds::new(Medium::Appended, 2).crashes(1));
    safe("appended parts, three attempts", Bounds::new(Medium::Appended, 3).crashes(0).one_kind_of_bytes());
}

#[test]
fn every_rule_is_needed() {
    for rule in Rule::ALL {
        let explored = explore(rule.shown_by());
        let Some((promise, way)) = explored.broken else {
            panic!("without {rule:?} nothing breaks within {} states: the exploration is too weak", explored.states);
        };
        println!("without {rule:?}: {promise} after {} steps, {} states", way.len(), explored.states);
    }
}
