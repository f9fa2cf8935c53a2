//! What the stores say, and what their operators should hear.

use std::time::Duration;

use http::Method;

use super::*;

const SKEWED: i64 = 3600;

fn place() -> Place {
    Place { bucket: "b".to_owned(), root: "r".to_owned(), region: "eu-west-1".to_owned(), key: Some("1-2".to_owned()) }
}

fn answer(status: u16, code: &str, message: &str) -> Failure {
    let answer = Answer { status, code: code.to_owned(), message: message.to_owned(), ..Answer::default() };
    Failure { method: Method::GET, trouble: Trouble::Answer(answer) }
}

#[track_caller]
fn check(step: Step, failure: &Failure, seen: &Seen, expected: &str, grants: &[&str]) {
    let advice = advise(step, failure, &place(), seen);
    assert!(advice.sentence.contains(expected), "{}", advice.sentence);
    assert!(!advice.sentence.contains('\n'), "one line: {}", advice.sentence);
    let actions: Vec<_> = advice.grants.iter().map(|grant| grant.action.as_str()).collect();
    assert_eq!(actions, grants, "{}", advice.sentence);
}

fn seen(list: Access, put: Access, head: Access, get: Access) -> Seen {
    Seen { list, put, head, get, ..Seen::default() }
}

#[test]
fn each_refusal_names_its_action() {
    let denied = answer(403, "AccessDenied", "Access Denied.");
    let all = seen(Access::Granted, Access::Granted, Access::Granted, Access::Granted);
    for (step, expected, action) in [
        (Step::Bucket, "s3:ListBucket on arn:aws:s3:::b is not granted", "s3:ListBucket"),
        (Step::List, "s3:ListBucket on arn:aws:s3:::b", "s3:ListBucket"),
        (Step::Put, "s3:PutObject on arn:aws:s3:::b/r/*", "s3:PutObject"),
        (Step::Begin, "s3:PutObject on arn:aws:s3:::b/r/*", "s3:PutObject"),
        (Step::Get, "s3:GetObject on arn:aws:s3:::b/r/*", "s3:GetObject"),
        (Step::Uploads, "s3:ListBucketMultipartUploads on arn:aws:s3:::b is", "s3:ListBucketMultipartUploads"),
        (Step::Abort, "s3:AbortMultipartUpload on arn:aws:s3:::b/r/*", "s3:AbortMultipartUpload"),
        (Step::Delete, "s3:DeleteObject on arn:aws:s3:::b/r/*", "s3:DeleteObject"),
        (Step::Create, "If-None-Match", "s3:PutObject"),
    ] {
        check(step, &denied, &all, expected, &[action]);
    }
    check(Step::Versioning, &denied, &all, "s3:GetBucketVersioning", &[]);
    assert_eq!(advise(Step::Versioning, &denied, &place(), &all).verdict, Verdict::Fine);
    check(Step::Redirect, &denied, &all, "redirectendpoint", &[]);
}

/// The administrator's case: a push succeeds, and then HEAD gives 403.
#[test]
fn a_head_that_is_refused_is_told_apart() {
    use Access::{Granted, Refused, Unknown};
    let denied = answer(403, "", "");
    let check_head = |step, list, head, expected: &str, action: &str| {
        check(step, &denied, &seen(list, Granted, head, Unknown), expected, &[action]);
    };
    check_head(
        Step::Head,
        Granted,
        Unknown,
        "403 for HEAD of an object that was just written: s3:GetObject on arn:aws:s3:::b/r/* is not granted",
        "s3:GetObject",
    );
    check_head(
        Step::HeadMissing,
        Refused,
        Granted,
        "403 instead of 404 for HEAD of a key that is not there: s3:ListBucket on arn:aws:s3:::b is not granted",
        "s3:ListBucket",
    );
    check_head(Step::HeadMissing, Refused, Refused, "s3:ListBucket", "s3:ListBucket");
    check_head(Step::HeadMissing, Granted, Refused, "s3:GetObject", "s3:GetObject");
    check_head(Step::HeadMissing, Granted, Granted, "under a condition only", "s3:ListBucket");
    check_head(Step::HeadMissing, Granted, Unknown, "s3:GetObject", "s3:GetObject");
}

#[test]
fn keys_of_the_management_service_are_told_apart() {
    let denied = answer(403, "AccessDenied", "Access Denied");
    let kms = Seen { kms: true, ..seen(Access::Granted, Access::Granted, Access::Granted, Access::Granted) };
    let on_key = "kms:Decrypt on arn:aws:kms:eu-west-1:*:key/1-2 is not granted";
    check(Step::Get, &denied, &kms, on_key, &["kms:Decrypt"]);
    check(Step::Part, &denied, &kms, on_key, &["kms:Decrypt"]);
    check(Step::PartCopy, &denied, &kms, on_key, &["kms:Decrypt"]);
    check(Step::Put, &answer(400, "KMS.DisabledException", "key 1-2 is disabled."), &kms, "key 1-2 is disabled", &[]);
}

#[test]
fn what_the_store_says_itself_comes_first() {
    let told = |rest: &str| {
        answer(403, "AccessDenied", &format!("User: arn:aws:iam::1:user/u is not authorized to perform: {rest}"))
    };
    let none = Seen::default();
    let key = "arn:aws:kms:eu-west-1:1:key/9";
    check(
        Step::Put,
        &told(&format!(
            "kms:GenerateDataKey on resource: {key} because no identity-based policy allows the kms:GenerateDataKey action"
        )),
        &none,
        &format!("kms:GenerateDataKey on {key} is not granted"),
        &["kms:GenerateDataKey"],
    );
    check(
        Step::Head,
        &told(
            "s3:ListBucket on resource: \"arn:aws:s3:::b\" because no VPC endpoint policy allows the s3:ListBucket action",
        ),
        &none,
        "s3:ListBucket on arn:aws:s3:::b is not granted by the VPC endpoint policy",
        &["s3:ListBucket"],
    );
    check(
        Step::Put,
        &told("s3:PutObject on resource: \"arn:aws:s3:::b/r/x\" with an explicit deny in a resource-based policy"),
        &none,
        "denied with an explicit deny in a resource-based policy: allowing it elsewhere does not help",
        &[],
    );
    check(
        Step::Put,
        &told("s3:PutObjectTagging on resource: \"arn:aws:s3:::b/r/x\" because no identity-based policy allows it"),
        &none,
        "s3:PutObjectTagging on arn:aws:s3:::b/r/*",
        &["s3:PutObjectTagging"],
    );
    // What is no action is no action.
    check(Step::Get, &told("<script> on resource: x"), &none, "s3:GetObject", &["s3:GetObject"]);
}

#[test]
fn each_wrong_setting_is_named() {
    let none = Seen::default();
    for (status, code, message, expected) in [
        (403, "InvalidAccessKeyId", "", "accesskey"),
        (403, "SignatureDoesNotMatch", "", "secretkey"),
        (400, "ExpiredToken", "", "session token has ended"),
        (400, "InvalidToken", "", "sessiontoken"),
        (404, "NoSuchBucket", "", "correct bucket"),
        (403, "RequestTimeTooSkewed", "", "NTP"),
        (
            400,
            "AuthorizationHeaderMalformed",
            "the region 'us-east-1' is wrong; expecting 'eu-west-3'",
            "write region: eu-west-3",
        ),
        (403, "SecondLevelDomainForbidden", "", "forcepathstyle: false"),
        (400, "AccessControlListNotSupported", "", "objectownership: true"),
        (400, "InvalidStorageClass", "", "storageclass"),
        (507, "", "", "full"),
        (503, "SlowDown", "", "slow down"),
        (404, "", "", "none of S3's"),
        (302, "", "", "real address"),
        (418, "Teapot", "short and stout", "418 Teapot: short and stout"),
    ] {
        check(Step::Bucket, &answer(status, code, message), &none, expected, &[]);
    }
}

#[test]
fn a_region_is_believed_only_in_an_answer_about_regions() {
    let none = Seen::default();
    let mut redirected = answer(301, "PermanentRedirect", "");
    if let Trouble::Answer(answer) = &mut redirected.trouble {
        answer.region = Some("eu-west-3".to_owned());
    }
    check(
        Step::Bucket,
        &redirected,
        &none,
        "the bucket lies in eu-west-3 and not in eu-west-1: write region: eu-west-3",
        &[],
    );
    let hinted = Seen { region: Some("eu-west-3".to_owned()), ..Seen::default() };
    check(Step::Bucket, &answer(301, "", ""), &hinted, "write region: eu-west-3", &[]);
    check(Step::Bucket, &answer(403, "AccessDenied", ""), &hinted, "s3:ListBucket", &["s3:ListBucket"]);
    check(Step::Bucket, &answer(301, "PermanentRedirect", ""), &none, "real address", &[]);
}

#[test]
fn a_clock_that_is_far_off_explains_refusals() {
    let skewed = Seen { skew_secs: SKEWED, ..Seen::default() };
    check(
        Step::Bucket,
        &answer(403, "AccessDenied", ""),
        &skewed,
        "this machine's clock is 3600 s behind the store's",
        &[],
    );
    let ahead = Seen { skew_secs: -SKEWED, ..Seen::default() };
    check(
        Step::Bucket,
        &answer(403, "RequestTimeTooSkewed", ""),
        &ahead,
        "3600 s ahead of the store's: set the clock",
        &[],
    );
}

#[test]
fn what_is_no_answer_is_said_as_it_is() {
    let failure = |trouble| Failure { method: Method::GET, trouble };
    let none = Seen::default();
    check(Step::Get, &failure(Trouble::Stalled(Duration::from_secs(15))), &none, "no answer within 15 s", &[]);
    check(Step::Get, &failure(Trouble::Stalled(Duration::ZERO)), &none, "no time is left", &[]);
    check(Step::Get, &failure(Trouble::Transport("reset".to_owned())), &none, "reset", &[]);
    check(Step::Answer, &failure(Trouble::Transport("reset".to_owned())), &none, "is the port in regionendpoint", &[]);
    check(Step::Get, &failure(Trouble::Nonsense("odd".to_owned())), &none, "odd", &[]);
    check(Step::Bucket, &failure(Trouble::Nonsense("odd".to_owned())), &none, "regionendpoint", &[]);
    check(Step::Get, &failure(Trouble::Credentials("none".to_owned())), &none, "none", &[]);
}
