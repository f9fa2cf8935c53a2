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
mod shared;
mod world;

use world::{Bounds, Goals, Medium, Rule, World};

use crate::support::tools;

/// What an exploration came to.
struct Explored {
    states: usize,
    /// The broken promise and the steps that lead there.
    broken: Option<(String, Vec<String>)>,
}

/// The chance that any two of a few million states share one is below one in a million.
fn fingerprint(world: &World) -> u64 {
    let mut hasher = DefaultHasher::new();
    world.hash(&mut hasher);
    hasher.finish()
}

/// Breadth first, so that the first broken promise is reached on a shortest way.
fn explore(bounds: Bounds) -> Explored {
    let start = World::new(bounds);
    let mut origin: HashMap<u64, (u64, usize)> = HashMap::new();
    let mut seen = HashSet::from([fingerprint(&start)]);
    let mut queue = VecDeque::from([(fingerprint(&start), start)]);
    while let Some((from, world)) = queue.pop_front() {
        for (number, (_, next)) in world.successors().into_iter().enumerate() {
            let to = fingerprint(&next);
            if !seen.insert(to) {
                continue;
            }
            origin.insert(to, (from, number));
            if let Some(promise) = next.broken_promise() {
                return Explored { states: seen.len(), broken: Some((promise, way(bounds, &origin, (from, number)))) };
            }
            queue.push_back((to, next));
        }
    }
    Explored { states: seen.len(), broken: None }
}

/// The steps to a state in words: gone again from the start, by their numbers.
fn way(bounds: Bounds, origin: &HashMap<u64, (u64, usize)>, last: (u64, usize)) -> Vec<String> {
    let steps = std::iter::successors(Some(last), |(from, _)| origin.get(from).copied());
    let mut numbers: Vec<usize> = steps.map(|(_, number)| number).collect();
    numbers.reverse();
    let mut world = World::new(Bounds { told: true, ..bounds });
    let mut words = Vec::new();
    for number in numbers {
        let (step, next) = world.successors().swap_remove(number);
        words.push(step);
        world = next;
    }
    words
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
}

#[test]
fn no_interleaving_breaks_a_promise_on_a_file_system() {
    safe("appended parts, two attempts, one crash", Bounds::new(Medium::Appended, 2).crashes(1));
}

#[test]
fn no_interleaving_of_three_appends_breaks_a_promise() {
    for medium in [Medium::EqualParts, Medium::Appended] {
        let bounds = Bounds::new(medium, 3).crashes(0).goals(Goals::Appends);
        safe(&format!("{medium:?}, three appends"), bounds.one_kind_of_bytes());
    }
}

/// Segments become objects in the middle of an upload, wherever its hash has to be made anew.
#[test]
fn no_interleaving_of_several_versions_breaks_a_promise() {
    for medium in [Medium::EqualParts, Medium::Appended] {
        let bounds = Bounds::new(medium, 2).crashes(1).goals(Goals::AppendsAndPut).of_several_versions();
        safe(&format!("{medium:?}, two attempts, one crash, two versions"), bounds);
    }
}

#[test]
fn large_three_attempts_with_equal_parts() {
    large(Medium::EqualParts);
}

#[test]
fn large_three_attempts_on_a_file_system() {
    large(Medium::Appended);
}

fn large(medium: Medium) {
    if tools::large() {
        safe(&format!("{medium:?}, three attempts"), Bounds::new(medium, 3).crashes(0).one_kind_of_bytes());
        let crashing = Bounds::new(medium, 3).crashes(1).one_kind_of_bytes();
        safe(&format!("{medium:?}, three attempts, one crash"), crashing.goals(Goals::AppendsAndPut));
        let versions = Bounds::new(medium, 3).crashes(0).goals(Goals::AppendsAndPut).of_several_versions();
        safe(&format!("{medium:?}, three attempts, two versions"), versions.one_kind_of_bytes());
    }
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
