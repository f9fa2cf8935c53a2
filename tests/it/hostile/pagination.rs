//! Numbers of entries that are none, and pages while the list changes.

use std::collections::BTreeSet;

use crate::{
    hostile::target::{IMAGE, Target},
    support::digest,
};

/// The catalog refuses what it will not give; a list of tags gives what it can, because clients ask for "all" so.
#[tokio::test]
async fn numbers() {
    let target = Target::start("").await;
    let rows: &[(&str, u16, u16)] = &[
        // n, the catalog's status, the tags' status
        ("n=-1", 400, 400),
        ("n=a", 400, 400),
        ("n=", 400, 400),
        ("n=1e3", 400, 400),
        ("n=%2B1", 400, 400),
        ("n=0x10", 400, 400),
        ("n=2147483648", 400, 200),
        ("n=1000000000", 400, 200),
        ("n=9223372036854775808", 400, 200),
        ("n=18446744073709551616", 400, 200),
        // An empty page.
        ("n=0", 200, 200),
        // The first counts.
        ("n=1&n=-1", 200, 200),
        ("n=1&last=../../../etc", 200, 200),
        ("n=1&last=%00%ff", 200, 200),
    ];
    for (query, catalog, tags) in rows {
        for (path, status) in [("/v2/_catalog", *catalog), ("/v2/canary/tags/list", *tags)] {
            let code = if status == 400 { "PAGINATION_NUMBER_INVALID" } else { "" };
            let raw = target.request("GET", &format!("{path}?{query}"), &[], b"");
            let answer = target.check(&format!("{path}?{query}"), &raw, status, code).await;
            assert!(answer.body.len() < 1000, "{path}?{query}: {} bytes", answer.body.len());
        }
    }
    target.finish().await;
}

/// Every tag that is there all the time is listed exactly once, whatever is pushed and deleted meanwhile.
#[tokio::test]
async fn pages_while_others_push() {
    let target = Target::start("").await;
    let manifest = target.image("hostile", b"layer").await;
    let by_digest = format!("/v2/hostile/manifests/{}", digest::of(manifest.as_bytes()));
    let steady: BTreeSet<String> = (0..1000).map(|at| format!("steady-{at:04}")).collect();
    for tags in steady.iter().collect::<Vec<_>>().chunks(100) {
        let query: Vec<String> = tags.iter().map(|tag| format!("tag={tag}")).collect();
        let path = format!("{by_digest}?{}", query.join("&"));
        assert_eq!(target.ask("PUT", &path, &[("Content-Type", IMAGE)], manifest.as_bytes()).await.status, 201);
    }
    let mut seen = BTreeSet::new();
    let mut next = "/v2/hostile/tags/list?n=37".to_owned();
    let mut page = 0;
    while !next.is_empty() {
        let brief = format!("/v2/hostile/manifests/steady-{:04}x", page * 53 % 1000);
        assert_eq!(target.ask("PUT", &brief, &[("Content-Type", IMAGE)], manifest.as_bytes()).await.status, 201);
        let answer = target.get(&next).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        for tag in answer.json()["tags"].as_array().unwrap() {
            assert!(seen.insert(tag.as_str().unwrap().to_owned()), "{tag} is listed twice");
        }
        if page % 2 == 0 {
            assert_eq!(target.ask("DELETE", &brief, &[], b"").await.status, 202);
        }
        page += 1;
        next = answer.header("link").split(['<', '>']).nth(1).unwrap_or_default().to_owned();
    }
    assert!(steady.is_subset(&seen), "missing: {:?}", steady.difference(&seen).collect::<Vec<_>>());
    target.finish().await;
}
