//! What a store says about itself, and who may open it.

use pierhead::{
    registry::format::{OpenError, Signing},
    secret::Secret,
};

use crate::registry_tree::{ROOT, Tree, open, settings};

#[tokio::test]
async fn the_first_start_makes_the_records_and_later_ones_keep_them() {
    let tree = Tree::new();
    let registry = open(&tree, settings()).await.unwrap();
    let made = tree.objects();
    assert_eq!(made[&format!("{ROOT}/_pierhead/format")], r#"{"version":1,"layout":1,"min_writer":1}"#);
    assert!(made.contains_key(&format!("{ROOT}/_pierhead/secret")));
    open(&tree, settings()).await.unwrap();
    registry.recheck().await.unwrap();
    assert_eq!(tree.objects(), made);
    assert_eq!(made.len(), 2);
}

#[tokio::test]
async fn a_configured_secret_is_never_stored() {
    let tree = Tree::new();
    let signing = Signing::Configured(Secret::new(b"canary".to_vec()));
    let registry = open(&tree, pierhead::registry::Settings { signing, ..settings() }).await.unwrap();
    assert_eq!(tree.objects().len(), 1);
    assert!(!format!("{registry:?}").contains("canary"));
}

#[tokio::test]
async fn a_newer_version_locks_us_out() {
    let check = async |record: &str, refused: fn(&OpenError) -> bool| {
        let tree = Tree::new();
        let registry = open(&tree, settings()).await.unwrap();
        tree.write("_pierhead/format", record.to_owned());
        for result in [registry.recheck().await, open(&tree, settings()).await.map(drop)] {
            assert!(result.as_ref().is_err_and(refused), "{record}: {result:?}");
        }
    };
    check(r#"{"version":1,"layout":1,"min_writer":2}"#, |e| matches!(e, OpenError::NewerWriter { min_writer: 2 }))
        .await;
    check(r#"{"version":1,"layout":2,"min_writer":1}"#, |e| matches!(e, OpenError::NewerLayout { found: 2 })).await;
    check(r#"{"version":2,"layout":1,"min_writer":1}"#, |e| matches!(e, OpenError::Unreadable { .. })).await;
    check("junk", |e| matches!(e, OpenError::Unreadable { .. })).await;
    // Members that a later version adds do not lock us out by themselves.
    let tree = Tree::new();
    tree.write("_pierhead/format", r#"{"version":1,"layout":1,"min_writer":1,"more":true}"#);
    open(&tree, settings()).await.unwrap();
}

#[tokio::test]
async fn a_damaged_secret_is_not_replaced_behind_the_other_replicas() {
    for junk in ["", r#"{"version":1,"secret":""}"#, r#"{"version":9,"secret":"x"}"#] {
        let tree = Tree::new();
        tree.write("_pierhead/secret", junk);
        let result = open(&tree, settings()).await;
        assert!(matches!(result, Err(OpenError::Unreadable { .. })), "{junk}: {result:?}");
    }
}

#[tokio::test]
async fn a_store_whose_tags_are_in_a_database_is_refused() {
    let tree = Tree::new();
    tree.write_raw("docker/registry/lockfiles/database-in-use", "");
    let result = open(&tree, settings()).await;
    assert!(matches!(result, Err(OpenError::DatabaseInUse { .. })), "{result:?}");
    assert_eq!(tree.objects().len(), 1, "nothing is written into a store that is not ours");
}
