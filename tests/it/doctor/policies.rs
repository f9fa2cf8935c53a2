//! Bucket policies that take one action away, on the real store.

use std::net::{Ipv4Addr, SocketAddr};

use serde_json::json;

use crate::{
    doctor::{Configuration, Examined, assert_clean, stored},
    support::s3::client::{Bucket, Client},
};

const BUCKET: &str = "arn:aws:s3:::";

/// Examines a bucket whose policy denies these actions on what its name goes on with; the policy is gone afterwards.
fn without(bucket: &Bucket, port: u16, actions: &[&str], on: &[&str], condition: &serde_json::Value) -> Examined {
    let client = Client::to(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let name = &bucket.name;
    let resources: Vec<_> = on.iter().map(|rest| format!("{BUCKET}{name}{rest}")).collect();
    let policy = json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Deny", "Principal": "*", "Action": actions, "Condition": condition,
    "Resource": resources,
        }],
    });
    let path = format!("/{name}");
    let put = client.send("PUT", &path, &[("policy", "")], policy.to_string().as_bytes());
    assert!(matches!(put.status, 200 | 204), "{}", String::from_utf8_lossy(&put.body));
    let examined = Configuration::of(port, name).examine();
    let removed = client.send("DELETE", &path, &[("policy", "")], b"");
    assert!(matches!(removed.status, 200 | 204), "{}", String::from_utf8_lossy(&removed.body));
    examined
}

fn denied(actions: &[&str]) -> Option<(Bucket, Examined)> {
    let (bucket, port) = stored()?;
    let examined = without(&bucket, port, actions, &["", "/*"], &json!({}));
    Some((bucket, examined))
}

fn on_bucket(bucket: &Bucket) -> String {
    format!("{BUCKET}{}", bucket.name)
}

fn on_objects(bucket: &Bucket) -> String {
    format!("{BUCKET}{}/images/*", bucket.name)
}

#[test]
fn everything_is_allowed() {
    let Some((bucket, port)) = stored() else { return };
    let examined = Configuration::of(port, &bucket.name).examine();
    examined.passes();
    for (step, words) in [
        ("credentials", "accesskey"),
        ("connection", "accepts"),
        ("bucket", "can be listed"),
        ("put", "bytes"),
        ("head, missing", "404"),
        ("get, range", "a part of it"),
        ("put, create only", "a second writer is refused"),
        ("put part", "5 MiB"),
        ("complete parts", "become an object"),
        ("copy part", "copied as a part"),
        ("list parts", "found"),
        ("list", "in order"),
        ("versioning", "off"),
        ("redirect", "presigned"),
        ("delete, missing", "no error"),
    ] {
        examined.says("ok", step, words);
    }
    assert_clean(&bucket);
}

#[test]
fn put_object_is_missing() {
    let Some((bucket, examined)) = denied(&["s3:PutObject"]) else { return };
    let objects = on_objects(&bucket);
    examined.says("FAIL", "put", &format!("s3:PutObject on {objects} is not granted"));
    examined.says("FAIL", "begin parts", "s3:PutObject");
    examined.says("-", "get", "nothing could be written");
    // This store lets nobody list unfinished uploads who may not begin one.
    let itself = on_bucket(&bucket);
    examined.fails_for_want_of(&[("s3:PutObject", &objects), ("s3:ListBucketMultipartUploads", &itself)]);
    assert_clean(&bucket);
}

/// The administrator's case: a push succeeds, and HEAD gives 403.
#[test]
fn get_object_is_missing() {
    let Some((bucket, examined)) = denied(&["s3:GetObject"]) else { return };
    let objects = on_objects(&bucket);
    let sentence = format!("403 for HEAD of an object that was just written: s3:GetObject on {objects} is not granted");
    examined.says("FAIL", "head", &sentence);
    examined.says("FAIL", "head, missing", "s3:GetObject");
    examined.says("FAIL", "get", "s3:GetObject");
    examined.says("ok", "delete", "removed");
    examined.fails_for_want_of(&[("s3:GetObject", &objects)]);
    assert_clean(&bucket);
}

#[test]
fn list_bucket_is_missing() {
    let Some((bucket, examined)) = denied(&["s3:ListBucket"]) else { return };
    let itself = on_bucket(&bucket);
    examined.says("FAIL", "bucket", &format!("s3:ListBucket on {itself} is not granted"));
    examined.says("ok", "put", "bytes");
    examined.says("ok", "get", "comes back");
    examined.fails_for_want_of(&[("s3:ListBucket", &itself)]);
    assert_clean(&bucket);
}

#[test]
fn delete_object_is_missing() {
    let Some((bucket, examined)) = denied(&["s3:DeleteObject"]) else { return };
    let objects = on_objects(&bucket);
    examined.says("FAIL", "delete", &format!("s3:DeleteObject on {objects} is not granted"));
    examined.fails_for_want_of(&[("s3:DeleteObject", &objects)]);
    let stayed = bucket.objects("");
    assert!(!stayed.is_empty());
    for (key, _) in stayed {
        assert!(key.starts_with("images/"), "{key}");
        examined.says("warn", "clean-up", &key);
    }
    assert_eq!(bucket.unfinished(), []);
}

#[test]
fn abort_multipart_upload_is_missing() {
    let Some((bucket, examined)) = denied(&["s3:AbortMultipartUpload"]) else { return };
    let objects = on_objects(&bucket);
    examined.says("FAIL", "abort parts", &format!("s3:AbortMultipartUpload on {objects} is not granted"));
    examined.says("warn", "clean-up", "the unfinished upload of images/");
    examined.fails_for_want_of(&[("s3:AbortMultipartUpload", &objects)]);
    assert_eq!(bucket.objects(""), []);
}

#[test]
fn list_bucket_multipart_uploads_is_missing() {
    let Some((bucket, examined)) = denied(&["s3:ListBucketMultipartUploads"]) else { return };
    let itself = on_bucket(&bucket);
    examined.says("FAIL", "list parts", &format!("s3:ListBucketMultipartUploads on {itself} is not granted"));
    examined.says("-", "abandoned parts", "cannot be listed");
    examined.fails_for_want_of(&[("s3:ListBucketMultipartUploads", &itself)]);
    assert_clean(&bucket);
}

/// Nobody but this examination needs it.
#[test]
fn get_bucket_versioning_is_missing() {
    let Some((bucket, examined)) = denied(&["s3:GetBucketVersioning"]) else { return };
    examined.passes().says("ok", "versioning", "s3:GetBucketVersioning");
    assert!(!examined.text.contains("Statement"), "{}", examined.text);
    assert_clean(&bucket);
}

#[test]
fn all_that_is_missing_is_asked_for_at_once() {
    let some = ["s3:ListBucket", "s3:PutObject", "s3:DeleteObject"];
    let Some((bucket, examined)) = denied(&some) else { return };
    examined.says("FAIL", "bucket", "s3:ListBucket").says("FAIL", "put", "s3:PutObject");
    examined.says("FAIL", "delete", "s3:DeleteObject");
    let (itself, objects) = (on_bucket(&bucket), on_objects(&bucket));
    examined.fails_for_want_of(&[
        ("s3:DeleteObject", &objects),
        ("s3:ListBucket", &itself),
        ("s3:ListBucketMultipartUploads", &itself),
        ("s3:PutObject", &objects),
    ]);
}

#[test]
fn the_bucket_takes_encrypted_objects_only() {
    let Some((bucket, port)) = stored() else { return };
    let unless = json!({"StringNotEquals": {"s3:x-amz-server-side-encryption": "AES256"}});
    // This store looks for the header also in requests that only end an upload: one object stands for all.
    let examined = without(&bucket, port, &["s3:PutObject"], &["/*/a-first"], &unless);
    examined.says("FAIL", "put", "write encrypt: true").says("ok", "get", "comes back");
    examined.says("ok", "encryption", "AES256");
    examined.fails();
    assert_clean(&bucket);
}
