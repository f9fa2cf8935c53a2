//! The conformance suite through our front ends case by case as it does at docker-registry itself.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    conformance::{outcomes, report},
    support::{
        registry::{Auth, Program, Registry, Storage, Transport},
        tools,
    },
    upstream::front::Pair,
};

/// Fewer would mean that the suite broke off.
const TESTS_MIN: usize = 100;

/// The registry is not quite the same each time it is started: now and then a case ends in another way.
const ROUNDS_MAX: usize = 4;

/// How each case ended.
type Outcomes = BTreeMap<String, String>;

#[test]
fn the_front_conforms_as_what_is_behind_it() {
    if !tools::present(&["conformance", "docker-registry"]) {
        return;
    }
    let (mut through, mut itself) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS_MAX {
        let Some((front, alone)) = round() else { return };
        assert_eq!(front.len(), alone.len());
        through.push(front);
        itself.push(alone);
        let different: Vec<_> = itself[0].keys().filter(|name| !meet(name, &through, &itself)).collect();
        if different.is_empty() {
            return;
        }
        println!("not yet in the same way: {different:?}");
    }
    panic!("cases that never end in the same way through the front and without it");
}

/// Whether a case ended in the same way on both sides, in whichever rounds.
fn meet(name: &str, through: &[Outcomes], itself: &[Outcomes]) -> bool {
    let ended =
        |rounds: &[Outcomes]| rounds.iter().filter_map(|round| round.get(name).cloned()).collect::<BTreeSet<_>>();
    !ended(through).is_disjoint(&ended(itself))
}

/// The suite through a fresh front before a fresh registry, and at another fresh registry.
fn round() -> Option<(Outcomes, Outcomes)> {
    let pair = Pair::set(&[], Auth::Token, "", |_| "auth: none\n".to_owned(), |_| None)?;
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    let storage = Storage::directory(&here.join("data"));
    let alone =
        Registry::start_on(&Program::distribution(), &here.join("alone"), &storage, Transport::Tls, Auth::Token);
    let run = |registry: &Registry, name: &str| {
        let place = here.join(name);
        std::fs::create_dir(&place).unwrap();
        outcomes(&report(registry, "1.1", &place)).into_iter().collect::<Outcomes>()
    };
    let (through, itself) = (run(&pair.stage.registry, "through"), run(&alone, "itself"));
    let count = |status: &str| itself.values().filter(|ended| *ended == status).count();
    println!(
        "docker-registry 2.8.2, itself and through the front: {} cases, {} passed, {} failed, {} skipped",
        itself.len(),
        count("passed"),
        count("failure"),
        count("skipped")
    );
    assert!(itself.len() >= TESTS_MIN, "only {} cases", itself.len());
    Some((through, itself))
}
