//! Lists of tags and of repositories, page by page.

use serde_json::json;

use crate::gateway::{Answer, Rig, ask};

async fn tagged(rig: &Rig, tags: &[&str]) {
    for tag in tags {
        rig.image("g/app", tag, "layer").await;
    }
}

/// The target of the link to the next page.
fn next(answer: &Answer) -> Option<String> {
    let link = answer.header("link");
    let target = link.strip_prefix('<')?.strip_suffix(">; rel=\"next\"")?;
    Some(target.to_owned())
}

#[tokio::test]
async fn all_tags() {
    let rig = Rig::open().await;
    tagged(&rig, &["b", "a", "1.0-rc", "1", "1.0", "Z"]).await;
    let answer = rig.get("/v2/g/app/tags/list").await;
    assert_eq!((answer.status, answer.header("content-type").as_str()), (200, "application/json"));
    assert_eq!(answer.json(), json!({ "name": "g/app", "tags": ["1", "1.0", "1.0-rc", "Z", "a", "b"] }));
    assert_eq!(answer.header("link"), "");
    assert_eq!(rig.send(ask("HEAD", "/v2/g/app/tags/list")).await.status, 200);
    let unknown = rig.get("/v2/never/pushed/tags/list").await;
    assert_eq!((unknown.status, unknown.code().as_str()), (404, "NAME_UNKNOWN"));
    assert_eq!(unknown.json()["errors"][0]["detail"], json!({ "name": "never/pushed" }));
}

#[tokio::test]
async fn pages_of_tags() {
    let rig = Rig::open().await;
    tagged(&rig, &["a", "b", "c", "d", "e"]).await;
    let mut target = "/v2/g/app/tags/list?n=2".to_owned();
    let mut pages = Vec::new();
    loop {
        let answer = rig.get(&target).await;
        pages.push(answer.json()["tags"].clone());
        match next(&answer) {
            Some(next) => target = next,
            None => break,
        }
    }
    assert_eq!(pages, [json!(["a", "b"]), json!(["c", "d"]), json!(["e"])]);
    // A page that is full and the last says nothing of another.
    let exact = rig.get("/v2/g/app/tags/list?n=2&last=c").await;
    assert_eq!((exact.json()["tags"].clone(), next(&exact)), (json!(["d", "e"]), None));
    for (query, tags) in [
        ("last=bb", json!(["c", "d", "e"])),
        ("last=e", json!([])),
        ("n=0", json!([])),
        ("n=10000", json!(["a", "b", "c", "d", "e"])),
        ("n=18446744073709551616", json!(["a", "b", "c", "d", "e"])),
    ] {
        let answer = rig.get(&format!("/v2/g/app/tags/list?{query}")).await;
        assert_eq!((answer.json()["tags"].clone(), next(&answer)), (tags, None), "{query}");
    }
}

#[tokio::test]
async fn a_page_of_tags_has_a_limit() {
    let rig = Rig::with(|plan| plan.api.tags_max = 2).await;
    tagged(&rig, &["a", "b", "c"]).await;
    for query in ["", "?n=3", "?n=2147483648"] {
        let answer = rig.get(&format!("/v2/g/app/tags/list{query}")).await;
        assert_eq!(answer.json()["tags"], json!(["a", "b"]));
        assert_eq!(next(&answer).as_deref(), Some("/v2/g/app/tags/list?last=b&n=2"), "{query}");
    }
}

#[tokio::test]
async fn numbers_that_are_none() {
    let rig = Rig::open().await;
    tagged(&rig, &["a"]).await;
    for path in ["/v2/g/app/tags/list", "/v2/_catalog"] {
        for n in ["-1", "a", "1e3", "", "1.5"] {
            let answer = rig.get(&format!("{path}?n={n}")).await;
            assert_eq!((answer.status, answer.code().as_str()), (400, "PAGINATION_NUMBER_INVALID"), "{path} {n}");
            assert_eq!(answer.json()["errors"][0]["detail"], json!({ "n": n }));
        }
    }
}

#[tokio::test]
async fn catalog() {
    let rig = Rig::with(|plan| plan.api.catalog_max = 3).await;
    assert_eq!(rig.get("/v2/_catalog").await.json(), json!({ "repositories": [] }));
    for name in ["b", "a/b", "a", "a-b"] {
        rig.image(name, "v1", "layer").await;
    }
    // Blobs alone make no repository.
    rig.blob("c", "bytes").await;
    let first = rig.get("/v2/_catalog?n=2").await;
    assert_eq!(first.json()["repositories"].as_array().unwrap().len(), 2);
    let second = rig.get(&next(&first).unwrap()).await;
    let all = [first.json()["repositories"].clone(), second.json()["repositories"].clone()];
    let mut all: Vec<_> = all.iter().flat_map(|page| page.as_array().unwrap().clone()).collect();
    assert_eq!(next(&second), None);
    all.sort_by_key(ToString::to_string);
    assert_eq!(json!(all), json!(["a", "a-b", "a/b", "b"]));
    let more = rig.get("/v2/_catalog?n=4").await;
    assert_eq!((more.status, more.json()["errors"][0]["detail"].clone()), (400, json!({ "n": 4 })));
    assert_eq!(rig.get("/v2/_catalog?n=0").await.json(), json!({ "repositories": [] }));
    // Left to us, a page has what it may have.
    let usual = rig.get("/v2/_catalog").await;
    assert_eq!((usual.json()["repositories"].as_array().unwrap().len(), next(&usual).is_some()), (3, true));
}
