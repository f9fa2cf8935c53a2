//! The referrers API.

use serde_json::{Value, json};

use crate::gateway::{IMAGE, INDEX, Rig, ask, sha256};

/// Pushes an artifact of a type that refers to a subject; its descriptor's digest.
async fn refer(rig: &Rig, subject: &str, artifact_type: &str, layer: &str) -> String {
    let mut manifest: Value = serde_json::from_str(&rig.manifest("g/app", layer).await).expect("a manifest");
    manifest["artifactType"] = json!(artifact_type);
    manifest["annotations"] = json!({ "made.by": layer });
    manifest["subject"] = json!({ "mediaType": IMAGE, "digest": subject, "size": 2 });
    let text = manifest.to_string();
    let digest = sha256(text.as_bytes());
    let put = ask("PUT", &format!("/v2/g/app/manifests/{digest}")).header("content-type", IMAGE).body(text);
    assert_eq!(rig.send(put).await.status, 201);
    digest
}

#[tokio::test]
async fn listed_and_filtered() {
    let rig = Rig::open().await;
    let subject = rig.image("g/app", "v1", "layer").await;
    let signature = refer(&rig, &subject, "application/x+signature", "one").await;
    let sbom = refer(&rig, &subject, "application/x+sbom", "two").await;
    let target = format!("/v2/g/app/referrers/{subject}");
    let answer = rig.get(&target).await;
    assert_eq!((answer.status, answer.header("content-type").as_str()), (200, INDEX));
    assert_eq!(answer.header("oci-filters-applied"), "");
    let index = answer.json();
    assert_eq!((&index["schemaVersion"], &index["mediaType"]), (&json!(2), &json!(INDEX)));
    let mut found: Vec<_> = index["manifests"].as_array().unwrap().iter().map(|d| d["digest"].clone()).collect();
    found.sort_by_key(ToString::to_string);
    let mut expected = vec![json!(signature), json!(sbom)];
    expected.sort_by_key(ToString::to_string);
    assert_eq!(found, expected);
    for filter in ["application/x%2Bsbom", "application/x+sbom"] {
        let answer = rig.get(&format!("{target}?artifactType={filter}")).await;
        assert_eq!(answer.header("oci-filters-applied"), "artifactType");
        let descriptors = answer.json()["manifests"].as_array().unwrap().clone();
        assert_eq!(descriptors.len(), 1);
        assert_eq!(descriptors[0]["digest"], json!(sbom));
        assert_eq!(descriptors[0]["artifactType"], "application/x+sbom");
        assert_eq!(descriptors[0]["annotations"], json!({ "made.by": "two" }));
    }
}

#[tokio::test]
async fn none() {
    let rig = Rig::open().await;
    for repository in ["g/app", "never/pushed"] {
        let answer = rig.get(&format!("/v2/{repository}/referrers/{}", sha256(b"unheard of"))).await;
        assert_eq!((answer.status, answer.json()["manifests"].clone()), (200, json!([])));
    }
    let answer = rig.get("/v2/g/app/referrers/latest").await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "DIGEST_INVALID"));
}

/// The subject may come later, or never.
#[tokio::test]
async fn of_a_missing_subject() {
    let rig = Rig::open().await;
    let subject = sha256(b"not pushed");
    let artifact = refer(&rig, &subject, "application/x", "one").await;
    let answer = rig.get(&format!("/v2/g/app/referrers/{subject}")).await;
    assert_eq!(answer.json()["manifests"][0]["digest"], json!(artifact));
    assert_eq!(rig.send(ask("DELETE", &format!("/v2/g/app/manifests/{artifact}"))).await.status, 202);
    assert_eq!(rig.get(&format!("/v2/g/app/referrers/{subject}")).await.json()["manifests"], json!([]));
}
