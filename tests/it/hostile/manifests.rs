//! Manifests that are too large, too deep, ambiguous, or about blobs that are not there.

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use crate::{
    hostile::{
        client::{Headers, answer, request},
        target::{IMAGE, Target, image},
    },
    support::digest,
};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const TAG: &str = "/v2/hostile/manifests/x";

/// The same manifest with one member replaced, or added.
fn with(manifest: &Value, pointer: &str, value: Value) -> String {
    let mut changed = manifest.clone();
    match changed.pointer_mut(pointer) {
        Some(member) => *member = value,
        None => changed[&pointer[1..]] = value,
    }
    changed.to_string()
}

/// Rows that differ in their bytes alone.
fn malformed(good: &Value) -> Vec<(&'static str, Vec<u8>)> {
    let text = good.to_string();
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let keys: Vec<String> = (0..200_000).map(|n| format!("\"{n}\":0")).collect();
    let wide = |n: usize| format!("{},\"annotations\":{{{}}}}}", &text[..text.len() - 1], keys[..n].join(","));
    [
        ("nothing", String::new()),
        ("a byte order mark", format!("\u{feff}{text}")),
        ("trailing garbage", format!("{text}x")),
        ("two documents", text.repeat(2)),
        ("half a document", text[..text.len() / 2].to_owned()),
        ("a list", "[]".to_owned()),
        ("10 000 levels", format!("{},\"x\":{}}}", &text[..text.len() - 1], nested(10_000))),
        ("a million levels", nested(1_000_000)),
        // A million of them are more than 4 MiB.
        ("200 000 members", wide(200_000)),
        ("NaN", text.replacen(":2", ":NaN", 1)),
        ("a lone surrogate", format!("{},\"x\":\"\\ud800\"}}", &text[..text.len() - 1])),
        ("a name that stands twice", format!("{},\"config\":{{}}}}", &text[..text.len() - 1])),
        ("schemaVersion 1", with(good, "/schemaVersion", json!(1))),
        ("schemaVersion 3", with(good, "/schemaVersion", json!(3))),
        ("schemaVersion as text", with(good, "/schemaVersion", json!("2"))),
        ("layers and manifests", with(good, "/manifests", json!([]))),
        ("another mediaType", with(good, "/mediaType", json!(INDEX))),
        ("a negative size", with(good, "/layers/0/size", json!(-1))),
        ("a size of 2^63", with(good, "/layers/0/size", json!(9_223_372_036_854_775_808_u64))),
        ("a size that is not the blob's", with(good, "/layers/0/size", json!(7))),
        ("a digest that is none", with(good, "/config/digest", json!("sha256:../../x"))),
        ("layers that are no list", with(good, "/layers", json!({}))),
    ]
    .into_iter()
    .map(|(row, text)| (row, text.into_bytes()))
    .chain([("bytes that are no UTF-8", vec![b'{', b'"', 0xff, b'"', b':', b'1', b'}'])])
    .collect()
}

#[tokio::test]
async fn refused() {
    let target = Target::start("").await;
    let good: Value = serde_json::from_str(&target.image("hostile", b"layer").await).unwrap();
    for (row, body) in malformed(&good) {
        let raw = target.request("PUT", TAG, &[("Content-Type", IMAGE)], &body);
        target.check(row, &raw, 400, "MANIFEST_INVALID").await;
    }
    let elsewhere = target.blob("hostile/other", b"elsewhere").await;
    let missing = digest::of(b"missing");
    let config = digest::of(b"{}");
    let good = good.to_string();
    let by_digest = format!("/v2/hostile/manifests/{missing}");
    let rows: &[(&str, &str, Headers<'_>, String, u16, &str)] = &[
        // 400, as CNCF Distribution answers; the specification's table has 404.
        (
            "a blob that is missing",
            TAG,
            &[("Content-Type", IMAGE)],
            image(&config, &missing, 7).to_string(),
            400,
            "MANIFEST_BLOB_UNKNOWN",
        ),
        (
            "a blob of another repository",
            TAG,
            &[("Content-Type", IMAGE)],
            image(&config, &elsewhere, 9).to_string(),
            400,
            "MANIFEST_BLOB_UNKNOWN",
        ),
        ("another digest", &by_digest, &[("Content-Type", IMAGE)], good.clone(), 400, "DIGEST_INVALID"),
        ("sent as an index", TAG, &[("Content-Type", INDEX)], good.clone(), 400, "MANIFEST_INVALID"),
        ("sent as text", TAG, &[("Content-Type", "text/html")], good.clone(), 400, "MANIFEST_INVALID"),
        ("encoded", TAG, &[("Content-Type", IMAGE), ("Content-Encoding", "gzip")], good.clone(), 415, "UNSUPPORTED"),
    ];
    for (row, path, headers, body, status, code) in rows {
        let raw = target.request("PUT", path, headers, body.as_bytes());
        target.check(row, &raw, *status, code).await;
    }
    let tags = target.get("/v2/hostile/tags/list").await;
    assert!(tags.status == 404 || tags.json()["tags"] == json!([]), "{tags:?}");
    target.finish().await;
}

/// CVE-2020-15157 and its kind: where a layer says that it can be fetched is never asked. Such a manifest is taken, as
/// in CNCF Distribution, until the configuration says which addresses may stand in one.
#[tokio::test]
async fn layers_that_are_elsewhere() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/latest", listener.local_addr().unwrap());
    let rules = "validation:\n  enabled: true\n  manifests:\n    urls:\n      allow: ['^https://mirror\\.test/']\n";
    for (sections, status, code) in [("", 201, ""), (rules, 400, "MANIFEST_INVALID")] {
        let target = Target::start(sections).await;
        let config = target.blob("hostile", b"{}").await;
        let mut foreign = image(&config, &digest::of(b"elsewhere"), 9);
        foreign["layers"][0]["mediaType"] = json!("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip");
        foreign["layers"][0]["urls"] = json!([url]);
        let raw = target.request("PUT", TAG, &[("Content-Type", IMAGE)], foreign.to_string().as_bytes());
        target.check(sections, &raw, status, code).await;
        let asked = tokio::time::timeout(std::time::Duration::from_millis(200), listener.accept()).await;
        assert!(asked.is_err(), "somebody fetched it");
        target.finish().await;
    }
}

/// CVE-2017-11468: of a manifest of any size, little more than the limit is read.
#[tokio::test]
async fn ten_gibibytes() {
    const LIMIT: u64 = (4 << 20) + (64 << 10);
    let target = Target::start("").await;
    let before = target.resident_kib();
    let announced = target.request("PUT", TAG, &[("Content-Length", "10737418240")], b"");
    let answer_announced = target.check("announced", &announced, 413, "MANIFEST_INVALID").await;
    assert!(answer_announced.says_close());

    let stream = target.connect("http/1.1").await;
    let (mut reader, mut writer) = tokio::io::split(stream);
    let head = target.request("PUT", TAG, &[("Transfer-Encoding", "chunked")], b"");
    let chunk = [b"10000\r\n".as_slice(), &vec![b' '; 64 << 10], b"\r\n"].concat();
    let write = async {
        writer.write_all(&head).await.unwrap();
        for _ in 0..(10_u64 << 30 >> 16) {
            if writer.write_all(&chunk).await.is_err() {
                break;
            }
        }
        std::future::pending::<()>().await;
    };
    let answer = tokio::select! {
        answer = answer(&mut reader) => answer,
        () = write => unreachable!("never ends"),
    };
    assert_eq!((answer.status, answer.code().as_str()), (413, "MANIFEST_INVALID"));
    let growth = target.resident_kib().saturating_sub(before);
    assert!(growth < 24 << 10, "grew by {growth} KiB");
    target.unharmed("10 GiB in chunks").await;
    let log = target.finish().await;
    let refused: Vec<u64> = log
        .iter()
        .filter(|line| line["http.response.status"] == 413)
        .map(|line| line["http.request.contentlength"].as_u64().unwrap())
        .collect();
    assert!(refused.len() == 2 && refused.iter().all(|read| *read <= LIMIT), "{refused:?}");
}

/// What is odd and legal comes back as it came.
#[tokio::test]
async fn odd_and_accepted() {
    let target = Target::start("").await;
    let good: Value = serde_json::from_str(&target.image("hostile", b"layer").await).unwrap();
    let evil = "</script>\r\nX-Evil: 1\u{1b}[2J";
    let rows = [
        ("whitespace", serde_json::to_string_pretty(&good).unwrap() + "\n\n  "),
        ("annotations like headers", with(&good, "/annotations", json!({ evil: evil }))),
        (
            "a subject that is missing",
            with(&good, "/subject", json!({"mediaType": IMAGE, "digest": digest::of(b"subject"), "size": 7})),
        ),
        ("no mediaType", with(&good, "/mediaType", json!(""))),
    ];
    for (row, body) in &rows {
        let put = target.ask("PUT", TAG, &[("Content-Type", IMAGE)], body.as_bytes()).await;
        assert_eq!(
            (put.status, put.header("docker-content-digest")),
            (201, digest::of(body.as_bytes()).as_str()),
            "{row}: {put:?}"
        );
        let got = target.get(TAG).await;
        assert_eq!(got.body, body.as_bytes(), "{row}");
        assert!(!got.head.contains("X-Evil"), "{row}: {}", got.head);
        target.unharmed(row).await;
    }
    let listed = target.get(&format!("/v2/hostile/referrers/{}", digest::of(b"subject"))).await;
    assert_eq!(listed.json()["manifests"].as_array().map(Vec::len), Some(1), "{listed:?}");

    // Whatever a client says that it takes, it gets what is there.
    let types: Vec<String> = (0..1000).map(|n| format!("application/x{n};q=NaN")).collect();
    for accept in ["*", "*/*;q=NaN", &types.join(",")] {
        let bearer = format!("Bearer {}", target.token);
        let raw = request("GET", TAG, &[("Accept", accept), ("Authorization", &bearer)], b"");
        target.check("Accept", &raw, 200, "").await;
    }
    target.finish().await;
}

/// A hundred thousand would take minutes to push: the pages are filled by descriptors that are large instead.
#[tokio::test]
async fn referrers_come_in_pages() {
    const COUNT: usize = 120;
    let target = Target::start("").await;
    let mut artifact: Value = serde_json::from_str(&target.image("hostile", b"layer").await).unwrap();
    let subject = digest::of(b"subject");
    artifact["subject"] = json!({"mediaType": IMAGE, "digest": subject, "size": 7});
    for at in 0..COUNT {
        artifact["annotations"] = json!({"at": at.to_string(), "pad": "x".repeat(100_000)});
        let body = artifact.to_string();
        let path = format!("/v2/hostile/manifests/{}", digest::of(body.as_bytes()));
        assert_eq!(target.ask("PUT", &path, &[("Content-Type", IMAGE)], body.as_bytes()).await.status, 201);
    }
    let (mut seen, mut pages) = (std::collections::BTreeSet::new(), 0);
    let mut next = format!("/v2/hostile/referrers/{subject}");
    while !next.is_empty() {
        let page = target.get(&next).await;
        assert!(page.status == 200 && page.body.len() < 8 << 20, "{} bytes", page.body.len());
        for descriptor in page.json()["manifests"].as_array().unwrap() {
            assert!(seen.insert(descriptor["digest"].as_str().unwrap().to_owned()), "listed twice");
        }
        pages += 1;
        next = page.header("link").split(['<', '>']).nth(1).unwrap_or_default().to_owned();
        target.unharmed("a page").await;
    }
    assert!(seen.len() == COUNT && pages > 1, "{} on {pages} pages", seen.len());
    target.finish().await;
}
