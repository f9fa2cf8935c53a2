//! Tags and repositories, page by page.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use pierhead::{
    clock::{Clock, SystemClock},
    registry::{
        Registry,
        error::Error,
        page::{Page, Window},
    },
    store::{
        Distance, Limits, Parts, Precondition, Store,
        memory::Memory,
        metered::{Metered, Observation},
    },
};
use proptest::prelude::{ProptestConfig, Strategy, TestCaseError, prop, prop_assert, prop_assert_eq, proptest};

use crate::registry_tree::{self, Fixture, name, sha256};

fn window(after: Option<&str>, limit: usize) -> Window {
    Window { after: after.map(str::to_owned), limit }
}

async fn tags(fixture: &Fixture, after: Option<&str>, limit: usize) -> Result<(Vec<String>, bool), Error> {
    let page = fixture.registry.tags(&fixture.name).list(&window(after, limit)).await?;
    Ok(texts(page))
}

async fn repositories(fixture: &Fixture, after: Option<&str>, limit: usize) -> (Vec<String>, bool) {
    texts(fixture.registry.catalog().list(&window(after, limit)).await.expect("the tree never fails"))
}

#[expect(clippy::needless_pass_by_value, reason = "an outcome is judged where it is made")]
fn texts<T: ToString>(page: Page<T>) -> (Vec<String>, bool) {
    (page.items.iter().map(ToString::to_string).collect(), page.more)
}

fn set_tag(fixture: &Fixture, tag: &str) {
    let path = format!("repositories/{}/_manifests/tags/{tag}/current/link", fixture.name);
    fixture.tree.write(&path, sha256("x").to_string());
}

fn add_repository(fixture: &Fixture, repository: &str) {
    let digest = sha256("x");
    let path = format!("repositories/{repository}/_manifests/revisions/sha256/{}/link", digest.hex());
    fixture.tree.write(&path, digest.to_string());
}

#[tokio::test]
async fn tags_in_the_order_of_their_bytes() {
    let fixture = Fixture::new().await;
    for tag in ["1.0-rc", "1", "latest", "1.0", "0.1.20", "0.1.2", "Z", "_x"] {
        set_tag(&fixture, tag);
    }
    let all = ["0.1.2", "0.1.20", "1", "1.0", "1.0-rc", "Z", "_x", "latest"].map(str::to_owned);
    let check = async |after, limit, expected: &[String], more| {
        assert_eq!(tags(&fixture, after, limit).await.unwrap(), (expected.to_vec(), more), "{after:?} {limit}");
    };
    check(None, usize::MAX, &all, false).await;
    check(None, 8, &all, false).await;
    check(None, 7, &all[..7], true).await;
    check(None, 0, &[], false).await;
    check(Some("1"), 2, &all[3..5], true).await;
    check(Some("1.0-"), 2, &all[4..6], true).await;
    check(Some("latest"), 2, &[], false).await;
    check(Some("zzz/../\u{0}"), 2, &[], false).await;
}

#[tokio::test]
async fn what_is_no_tag_is_not_listed() {
    let fixture = Fixture::new().await;
    let unknown = tags(&fixture, None, 9).await;
    assert!(matches!(unknown, Err(Error::RepositoryUnknown(_))), "{unknown:?}");
    set_tag(&fixture, "good");
    set_tag(&fixture, "-no-tag");
    let prefix = "repositories/g/app/_manifests/tags";
    // Left by a delete, by a synchronisation tool, by a stranger; damaged, but there.
    fixture.tree.write(&format!("{prefix}/gone/index/sha256/{}/link", sha256("x").hex()), sha256("x").to_string());
    fixture.tree.write(&format!("{prefix}/stray"), "");
    fixture.tree.write(&format!("{prefix}/damaged/current/link"), "");
    assert_eq!(tags(&fixture, None, 9).await.unwrap(), (vec!["damaged".to_owned(), "good".to_owned()], false));
    assert_eq!(tags(&fixture, None, 1).await.unwrap(), (vec!["damaged".to_owned()], true));
    let view = fixture.registry.tags(&fixture.name);
    view.delete(&"damaged".parse().unwrap()).await.unwrap();
    assert!(matches!(view.delete(&"gone".parse().unwrap()).await, Err(Error::ManifestUnknown(_))));
}

#[tokio::test]
async fn the_last_tag_deleted_leaves_an_empty_list() {
    let fixture = Fixture::new().await;
    let accepted = fixture.image("t", "a").await;
    fixture.registry.tags(&fixture.name).delete(&"t".parse().unwrap()).await.unwrap();
    assert_eq!(tags(&fixture, None, 9).await.unwrap(), (vec![], false));
    fixture.registry.manifests(&fixture.name).delete(&accepted.digest).await.unwrap();
    assert!(matches!(tags(&fixture, None, 9).await, Err(Error::RepositoryUnknown(_))));
}

#[tokio::test]
async fn repositories_component_by_component() {
    let fixture = Fixture::new().await;
    assert_eq!(repositories(&fixture, None, 9).await, (vec![], false));
    for repository in ["a", "a-b", "a/b", "a/b/c", "a/1", "b/c/d", "host:5000/x", "z"] {
        add_repository(&fixture, repository);
    }
    // Blobs alone, a marker without content, a file, a name that is none.
    fixture.blob("x");
    fixture.tree.write("repositories/m/_manifests/tags/marker", "");
    fixture.tree.write("repositories/file", "");
    add_repository(&fixture, "Bad/-name");
    let all = ["a", "a/1", "a/b", "a/b/c", "a-b", "b/c/d", "host:5000/x", "z"].map(str::to_owned);
    let check = async |after, limit, expected: &[String], more| {
        assert_eq!(repositories(&fixture, after, limit).await, (expected.to_vec(), more), "{after:?} {limit}");
    };
    check(None, usize::MAX, &all, false).await;
    check(None, 3, &all[..3], true).await;
    check(Some("a/b"), 2, &all[3..5], true).await;
    check(Some("a/b/c"), 9, &all[4..], false).await;
    check(Some("a/b/zz/zz"), 1, &all[4..5], true).await;
    check(Some("b"), 1, &all[5..6], true).await;
    check(Some("z"), 9, &[], false).await;
    check(Some("a//x"), 1, &all[1..2], true).await;
    check(Some("a/../../.."), 1, &all[1..2], true).await;
    check(Some("\u{0}"), 1, &all[..1], true).await;
    check(Some(&"z/".repeat(5000)), 9, &[], false).await;
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(future)
}

/// All pages of a list, one after the other.
fn pages(
    mut page: impl FnMut(Option<&str>) -> (Vec<String>, bool),
    limit: usize,
) -> Result<Vec<String>, TestCaseError> {
    let mut all: Vec<String> = Vec::new();
    loop {
        let (names, more) = page(all.last().map(String::as_str));
        prop_assert!(names.len() == limit || !more);
        all.extend(names);
        if !more {
            return Ok(all);
        }
    }
}

fn names() -> impl Strategy<Value = BTreeSet<String>> {
    prop::collection::btree_set("[ab1]([-._]?[ab1]){0,2}(/[ab1]([-._]?[ab1]){0,1}){0,2}", 0..20)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn pages_of_tags_are_the_sorted_set(names in names(), limit in 1_usize..6) {
        let tags_set: BTreeSet<String> = names.iter().map(|name| name.replace('/', "_")).collect();
        let fixture = block_on(Fixture::new());
        add_repository(&fixture, "g/app");
        for tag in &tags_set {
            set_tag(&fixture, tag);
        }
        let listed = pages(|after| block_on(tags(&fixture, after, limit)).expect("a repository"), limit)?;
        prop_assert_eq!(listed, tags_set.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn pages_of_the_catalog_are_the_sorted_set(names in names(), limit in 1_usize..6) {
        let fixture = block_on(Fixture::new());
        for repository in &names {
            add_repository(&fixture, repository);
        }
        let listed = pages(|after| block_on(repositories(&fixture, after, limit)), limit)?;
        let mut expected: Vec<String> = names.into_iter().collect();
        expected.sort_by(|a, b| a.split('/').cmp(b.split('/')));
        prop_assert_eq!(listed, expected);
    }
}

#[test]
fn names_are_repositories() {
    // The strategy above must not make names that the registry skips.
    for legal in ["a", "1.a", "a-b/1", "a_b/1.b/a"] {
        name(legal);
    }
}

/// Where a call is a round trip, a page of tags is not as many calls as it has tags: a few listings tell which names are
/// tags, and what only has a history is none.
#[tokio::test]
async fn a_page_of_tags_far_away_takes_few_calls() {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let limits = Limits { parts: Parts::Appended, parts_max: 1, distance: Distance::Away };
    let memory: Arc<dyn Store> = Arc::new(Memory::new(limits, Arc::clone(&clock)));
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let store: Arc<dyn Store> = Arc::new(Metered::new(Arc::clone(&memory), move |_: Observation| {
        counted.fetch_add(1, Ordering::Relaxed);
    }));
    let registry = Registry::open(store, clock, registry_tree::settings()).await.unwrap();
    let repository = "a/b".parse().unwrap();
    let mut expected = BTreeSet::new();
    for n in 0..700 {
        let tag = format!("v1.{n}");
        for path in [format!("{tag}/current/link"), format!("{tag}/index/sha256/{n:064}/link")] {
            let key = format!("docker/registry/v2/repositories/a/b/_manifests/tags/{path}").parse().unwrap();
            memory.put(&key, vec![sha256("x").to_string().into()], Precondition::Always).await.unwrap();
        }
        expected.insert(tag);
    }
    let moved_often = (0..3000).map(|n| format!("v1.300/index/sha256/{n:064}/link"));
    let half_removed = (0..3).map(|n| format!("v1.4-gone/index/sha256/{n:064}/link"));
    for path in moved_often.chain(half_removed).chain(["v1/current/link".to_owned()]) {
        let key = format!("docker/registry/v2/repositories/a/b/_manifests/tags/{path}").parse().unwrap();
        memory.put(&key, vec![sha256("x").to_string().into()], Precondition::Always).await.unwrap();
    }
    expected.insert("v1".to_owned());
    calls.store(0, Ordering::Relaxed);
    let page = registry.tags(&repository).list(&window(None, 10_000)).await.unwrap();
    let calls = calls.load(Ordering::Relaxed);
    assert_eq!(page.items.iter().map(ToString::to_string).collect::<Vec<_>>(), Vec::from_iter(expected));
    assert!(calls < 12, "{calls} calls");
}
