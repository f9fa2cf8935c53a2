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
    let [through, itself] = [(&pair.stage.registry, "through"), (&alone, "itself")].map(|(registry, name)| {
        let place = here.join(name);
        std::fs::create_dir(&place).unwrap();
        outcomes(&report(registry, "1.1", &place))
    });
    let count = |status: &str| itself.values().filter(|ended| *ended == status).count();
    println!(
        "docker-registry 2.8.2, itself and through the front: {} cases, {} passed, {} failed, {} skipped",
        itself.len(),
        count("passed"),
        count("failure"),
        count("skipped")
    );
    assert!(itself.len() >= TESTS_MIN, "only {} cases", itself.len());
    for (name, ended) in &itself {
        assert_eq!(through.get(name), Some(ended), "{name}");
    }
    assert_eq!(through.len(), itself.len());
}
