//! Referrers: recorded with each manifest, and found where older clients listed them.

use pierhead::{
    oci::digest::Digest,
    registry::{manifests::Accepted, page::Window, referrers::Referrer},
};
use serde_json::{Value, json};

use crate::registry_tree::{Fixture, revision, sha256};

const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";

async fn list(fixture: &Fixture, subject: &Digest, artifact_type: Option<&str>) -> Vec<Value> {
    let (items, more) = page(fixture, subject, artifact_type, None, 1000).await;
    assert!(!more);
    items.iter().map(|referrer| serde_json::from_str(referrer.descriptor.get()).expect("JSON")).collect()
}

async fn page(
    fixture: &Fixture,
    subject: &Digest,
    artifact_type: Option<&str>,
    after: Option<String>,
    limit: usize,
) -> (Vec<Referrer>, bool) {
    let referrers = fixture.registry.referrers(&fixture.name);
    let page = referrers.list(subject, artifact_type, &Window { after, limit }).await.expect("the tree never fails");
    (page.items, page.more)
}

fn about(subject: &Digest, extra: &str) -> String {
    format!(r#","subject":{{"mediaType":"{IMAGE}","digest":"{subject}","size":9}}{extra}"#)
}

async fn attach(fixture: &Fixture, subject: &Digest, text: &str, extra: &str) -> Accepted {
    let manifest = fixture.image_text(text, &about(subject, extra));
    let digest = sha256(&manifest);
    fixture.put(&digest.to_string(), &manifest).await.expect("a good artifact")
}

#[tokio::test]
async fn descriptors_tell_type_and_annotations() {
    let fixture = Fixture::new().await;
    let subject = sha256("not pushed yet");
    assert_eq!(list(&fixture, &subject, None).await, Vec::<Value>::new());
    let extra = r#","artifactType":"sbom/x","annotations":{"k":"<v>\r\n"}"#;
    let accepted = attach(&fixture, &subject, "sbom", extra).await;
    assert_eq!(accepted.subject.as_ref(), Some(&subject));
    let expected = json!({
        "mediaType": IMAGE,
        "digest": accepted.digest.to_string(),
        "size": accepted.size,
        "artifactType": "sbom/x",
        "annotations": {"k": "<v>\r\n"},
    });
    assert_eq!(list(&fixture, &subject, None).await, [expected]);
}

#[tokio::test]
async fn filtered_and_paged_by_digest() {
    let fixture = Fixture::new().await;
    let subject = sha256("subject");
    let mut digests = Vec::new();
    for number in 0..30 {
        let kind = if number % 3 == 0 { r#","artifactType":"a/a""# } else { "" };
        digests.push(attach(&fixture, &subject, &number.to_string(), kind).await.digest);
    }
    digests.sort();
    for limit in [1, 4, 29, 30, 31] {
        let mut found: Vec<Digest> = Vec::new();
        loop {
            let after = found.last().map(ToString::to_string);
            let (items, more) = page(&fixture, &subject, None, after, limit).await;
            found.extend(items.into_iter().map(|referrer| referrer.digest));
            assert_eq!(more, found.len() < 30, "limit {limit}");
            if !more {
                break;
            }
        }
        assert_eq!(found, digests);
    }
    assert_eq!(list(&fixture, &subject, Some("a/a")).await.len(), 10);
    assert_eq!(list(&fixture, &subject, Some("c/c")).await.len(), 20);
    assert_eq!(list(&fixture, &subject, Some("no/such")).await.len(), 0);
    assert!(!page(&fixture, &subject, Some("a/a"), None, 10).await.1);
    assert!(page(&fixture, &subject, Some("a/a"), None, 9).await.1);
}

#[tokio::test]
async fn a_record_counts_only_while_its_manifest_stands() {
    let fixture = Fixture::new().await;
    let subject = sha256("subject");
    let (kept, gone) =
        (attach(&fixture, &subject, "kept", "").await.digest, attach(&fixture, &subject, "gone", "").await.digest);
    fixture.tree.remove(&revision(&fixture.name, &gone));
    assert_eq!(list(&fixture, &subject, None).await.len(), 1);
    fixture.registry.manifests(&fixture.name).delete(&kept).await.unwrap();
    assert_eq!(list(&fixture, &subject, None).await.len(), 0);
    let records = fixture.tree.paths().into_iter().filter(|path| path.contains("/referrers/")).collect::<Vec<_>>();
    assert_eq!(records.len(), 1, "a deleted manifest takes its record along: {records:?}");
    assert!(records[0].ends_with(gone.hex()));
}

/// As an older registry and its clients leave it: no records, but an index under the subject's tag.
#[tokio::test]
async fn the_referrers_tag_of_old_is_read() {
    let fixture = Fixture::new().await;
    let subject = sha256("subject");
    let old = attach(&fixture, &subject, "old", "").await;
    let stranger = attach(&fixture, &sha256("another subject"), "stranger", "").await;
    for path in fixture.tree.paths().iter().filter(|path| path.contains("/referrers/")) {
        fixture.tree.remove(path);
    }
    let child = |accepted: &Accepted| {
        format!(r#"{{"mediaType":"{IMAGE}","digest":"{}","size":{}}}"#, accepted.digest, accepted.size)
    };
    let index = format!(r#"{{"schemaVersion":2,"manifests":[{},{}]}}"#, child(&old), child(&stranger));
    fixture.put(&format!("sha256-{}", subject.hex()), &index).await.unwrap();
    let new = attach(&fixture, &subject, "new", "").await;

    let mut expected = [old.digest.to_string(), new.digest.to_string()];
    expected.sort();
    let digests = |found: Vec<Value>| found.iter().map(|found| found["digest"].clone()).collect::<Vec<_>>();
    assert_eq!(digests(list(&fixture, &subject, None).await), expected);
    // In both places, and listed once.
    attach(&fixture, &subject, "old", "").await;
    assert_eq!(digests(list(&fixture, &subject, None).await), expected);
    let after = Some(expected[0].clone());
    let (rest, more) = page(&fixture, &subject, None, after, 9).await;
    assert_eq!((rest.len(), more), (1, false));
}

#[tokio::test]
async fn records_that_we_do_not_understand_are_made_up_for_by_the_manifest() {
    let fixture = Fixture::new().await;
    let subject = sha256("subject");
    let accepted = attach(&fixture, &subject, "a", "").await;
    let expected = list(&fixture, &subject, None).await;
    let path = fixture.tree.paths().into_iter().find(|path| path.contains("/referrers/")).unwrap();
    for junk in ["", "{}", r#"{"version":2,"descriptor":null}"#] {
        fixture.tree.write(&path, junk);
        assert_eq!(list(&fixture, &subject, None).await, expected);
    }
    // A record under a subject that the manifest does not name.
    let other = sha256("other");
    fixture.tree.write(&path.replacen(subject.hex(), other.hex(), 1), "{}");
    assert_eq!(list(&fixture, &other, None).await.len(), 0);
    assert_eq!(accepted.tags, []);
}

#[tokio::test]
async fn large_annotations_end_a_page_early_and_lose_nothing() {
    let fixture = Fixture::new().await;
    let subject = sha256("subject");
    let large = "x".repeat(2 << 20);
    for number in 0..5 {
        attach(&fixture, &subject, &number.to_string(), &format!(r#","annotations":{{"k":"{large}"}}"#)).await;
    }
    let (mut found, mut more) = (Vec::new(), true);
    while more {
        let after = found.last().map(|referrer: &Referrer| referrer.digest.to_string());
        let (items, follow) = page(&fixture, &subject, None, after, 100).await;
        assert!(!items.is_empty() && items.len() < 4, "{}", items.len());
        found.extend(items);
        more = follow;
    }
    assert_eq!(found.len(), 5);
}
