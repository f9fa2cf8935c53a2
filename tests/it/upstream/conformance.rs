//! The conformance suite through our front ends case by case as it does at docker-registry itself.

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

#[test]
fn the_front_conforms_as_what_is_behind_it() {
    if !tools::present(&["conformance", "docker-registry"]) {
        return;
    }
    let Some(pair) = Pair::set(&[], Auth::Token, "", |_| "auth: none\n".to_owned(), |_| None) else { return };
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    let storage = Storage::directory(&here.join("data"));
    let alone =
        Registry::start_on(&Program::distribution(), &here.join("alone"), &storage, Transport::Tls, Auth::Token);
    let run = |registry: &Registry, name: &str| {
        let place = here.join(name);
        std::fs::create_dir(&place).unwrap();
        outcomes(&report(registry, "1.1", &place))
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
    assert_eq!(through.len(), itself.len());
    if through == itself {
        return;
    }
    // The registry is not quite the same at each time: a case may end in each way in which it ends at the registry itself.
    let again = ["once more", "and again"].map(|name| run(&alone, name));
    for (name, ended) in &through {
        let allowed: Vec<_> = [&itself, &again[0], &again[1]].into_iter().map(|run| run.get(name)).collect();
        assert!(allowed.contains(&Some(ended)), "{name}: {ended} through the front, {allowed:?} without it");
        if itself.get(name) != Some(ended) {
            println!("{name}: {ended} through the front, {allowed:?} without it");
        }
    }
}
