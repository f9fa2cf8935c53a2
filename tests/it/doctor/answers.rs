//! Answers of Amazon's S3, word for word, that the store of these tests does not give.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use crate::{
    doctor::{Configuration, assert_clean, stored},
    support::s3::{
        client::Bucket,
        operation::Operation::{
            self, CreateMultipartUpload, GetObject, HeadObject, ListObjectsV2, PutObject, UploadPartCopy,
        },
        proxy::{Fault, Proxy, Rule, Turn},
    },
};

const DENIED: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>AccessDenied</Code>\
    <Message>Access Denied</Message><RequestId>0A1B</RequestId><HostId>x</HostId></Error>";

fn once(operation: Operation, status: u16, body: &'static str) -> Rule {
    Rule::new(&[operation], Turn::First(1), Fault::Said(status, body))
}

fn always(operation: Operation, status: u16, body: &'static str) -> Rule {
    Rule::new(&[operation], Turn::Each, Fault::Said(status, body))
}

/// A bucket behind a proxy with these rules.
fn behind(rules: impl IntoIterator<Item = Rule>) -> Option<(Bucket, Configuration)> {
    let (bucket, port) = stored()?;
    let proxy = Proxy::start(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    rules.into_iter().for_each(|rule| proxy.inject(rule));
    let configuration = Configuration::of(proxy.address.port(), &bucket.name);
    Some((bucket, configuration))
}

#[test]
fn the_bucket_lies_in_another_region() {
    let malformed = "<Error><Code>AuthorizationHeaderMalformed</Code><Message>The authorization header is malformed; \
        the region 'us-east-1' is wrong; expecting 'eu-west-3'</Message><Region>eu-west-3</Region></Error>";
    let moved = "<Error><Code>PermanentRedirect</Code><Message>The bucket you are attempting to access must be \
        addressed using the specified endpoint. Please send all future requests to this endpoint.</Message>\
        <Endpoint>b.s3.eu-west-3.amazonaws.com</Endpoint><Bucket>b</Bucket><Region>eu-west-3</Region></Error>";
    for rule in [always(ListObjectsV2, 400, malformed), always(ListObjectsV2, 301, moved)] {
        let Some((_bucket, configuration)) = behind([rule]) else { return };
        configuration.examine().says("FAIL", "bucket", "write region: eu-west-3").fails();
    }
}

#[test]
fn the_session_token_has_ended() {
    let body = "<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>";
    let Some((_bucket, configuration)) = behind([always(ListObjectsV2, 400, body)]) else { return };
    let examined = configuration.with("sessiontoken", "canary-token").examine();
    examined.says("ok", "credentials", "session token").says("FAIL", "bucket", "the session token has ended").fails();
    assert!(!examined.text.contains("canary"), "{}", examined.text);
}

/// Whoever may not list hears 403 where nothing is: Amazon's store keeps to itself what it does not have.
#[test]
fn a_head_without_list_bucket_is_403() {
    let rules = [always(ListObjectsV2, 403, DENIED), always(HeadObject, 403, "").about("missing")];
    let Some((bucket, configuration)) = behind(rules) else { return };
    let examined = configuration.examine();
    let itself = format!("arn:aws:s3:::{}", bucket.name);
    let sentence =
        format!("403 instead of 404 for HEAD of a key that is not there: s3:ListBucket on {itself} is not granted");
    examined.says("FAIL", "head, missing", &sentence).says("ok", "head", "just written");
    examined.fails_for_want_of(&[("s3:ListBucket", &itself)]);
    assert_clean(&bucket);
}

#[test]
fn a_condition_lets_listings_through_and_no_head() {
    let Some((bucket, configuration)) = behind([always(HeadObject, 403, "").about("missing")]) else { return };
    let examined = configuration.examine();
    examined.says("FAIL", "head, missing", "is granted under a condition only, such as s3:prefix");
    examined.fails_for_want_of(&[("s3:ListBucket", &format!("arn:aws:s3:::{}", bucket.name))]);
}

#[test]
fn the_key_may_not_decrypt() {
    let body = "<Error><Code>AccessDenied</Code><Message>User: arn:aws:sts::111122223333:assumed-role/registry/i-0 is \
        not authorized to perform: kms:Decrypt on resource: arn:aws:kms:eu-west-1:111122223333:key/1a-2b because no \
        identity-based policy allows the kms:Decrypt action</Message></Error>";
    let Some((bucket, configuration)) = behind([always(GetObject, 403, body), always(UploadPartCopy, 403, body)])
    else {
        return;
    };
    let examined = configuration.examine();
    let key = "arn:aws:kms:eu-west-1:111122223333:key/1a-2b";
    examined.says("ok", "head", "just written");
    examined.says("FAIL", "get", &format!("kms:Decrypt on {key} is not granted"));
    examined.says("FAIL", "copy part", "kms:Decrypt");
    examined.fails_for_want_of(&[("kms:Decrypt", key)]);
    assert_clean(&bucket);
}

#[test]
fn the_key_may_not_encrypt() {
    let body = "<Error><Code>AccessDenied</Code><Message>User: arn:aws:iam::111122223333:user/registry is not \
        authorized to perform: kms:GenerateDataKey on resource: arn:aws:kms:eu-west-1:111122223333:key/1a-2b because no \
        resource-based policy allows the kms:GenerateDataKey action</Message></Error>";
    let rules = [always(PutObject, 403, body), always(CreateMultipartUpload, 403, body)];
    let Some((bucket, configuration)) = behind(rules) else { return };
    let examined = configuration.with("encrypt", "true").with("keyid", "alias/registry").examine();
    examined.says("FAIL", "put", "kms:GenerateDataKey on arn:aws:kms:eu-west-1:111122223333:key/1a-2b");
    examined.fails_for_want_of(&[("kms:GenerateDataKey", "arn:aws:kms:eu-west-1:111122223333:key/1a-2b")]);
    assert_clean(&bucket);
}

#[test]
fn an_explicit_deny_is_told_from_a_missing_permission() {
    let body = "<Error><Code>AccessDenied</Code><Message>User: arn:aws:iam::111122223333:user/registry is not \
        authorized to perform: s3:PutObject on resource: \"arn:aws:s3:::b/k\" with an explicit deny in a resource-based \
        policy</Message></Error>";
    let rules = [always(PutObject, 403, body), always(CreateMultipartUpload, 403, body)];
    let Some((_bucket, configuration)) = behind(rules) else { return };
    let examined = configuration.examine();
    examined.says("FAIL", "put", "s3:PutObject is denied with an explicit deny in a resource-based policy");
    examined.says("FAIL", "put", "what denies it must change").fails();
}

/// The store takes an object as soon as one setting is left out.
#[test]
fn a_setting_is_refused() {
    let check = |setting: (&'static str, &str), status, body, expected: &str| {
        let Some((bucket, configuration)) = behind([once(PutObject, status, body)]) else { return };
        let examined = configuration.with(setting.0, setting.1).examine();
        examined.says("FAIL", "put", expected).says("ok", "get", "comes back").fails();
        assert_clean(&bucket);
    };
    let body =
        "<Error><Code>AccessControlListNotSupported</Code><Message>The bucket does not allow ACLs</Message></Error>";
    check(("objectacl", "private"), 400, body, "leave objectacl out, or write objectownership: true");
    let body = "<Error><Code>InvalidStorageClass</Code><Message>The storage class you specified is not valid</Message></Error>";
    check(("storageclass", "ONEZONE_IA"), 400, body, "storageclass: ONEZONE_IA");
    let body = "<Error><Code>NotImplemented</Code><Message>A header you provided implies functionality that is not \
        implemented.</Message></Error>";
    check(("checksum_algorithm", "SHA256"), 501, body, "write checksum_disabled: true");
}

#[test]
fn an_access_list_may_not_be_set() {
    let Some((bucket, configuration)) = behind([once(PutObject, 403, DENIED)]) else { return };
    let examined = configuration.with("objectacl", "private").examine();
    let objects = format!("arn:aws:s3:::{}/images/*", bucket.name);
    examined.says("FAIL", "put", "s3:PutObjectAcl").fails_for_want_of(&[("s3:PutObjectAcl", &objects)]);
}

#[test]
fn a_presigned_address_is_refused() {
    let third = Rule::new(&[GetObject], Turn::Only(3), Fault::Denied);
    let Some((bucket, configuration)) = behind([third.clone()]) else { return };
    configuration.examine().says("FAIL", "redirect", "bind reading to a network").fails();
    assert_clean(&bucket);

    let Some((_bucket, configuration)) = behind([third]) else { return };
    let forwarding = configuration.section("  redirect: {disable: true}\n").examine();
    assert!(!forwarding.passes().text.contains("redirect"), "{}", forwarding.text);
}

#[test]
fn clients_are_sent_to_another_endpoint() {
    let Some((_bucket, configuration)) = behind([]) else { return };
    let examined = configuration.with("redirectendpoint", "http://nowhere.invalid").examine();
    examined.passes().says("warn", "redirect", "redirectendpoint http://nowhere.invalid/ cannot be reached from here");
}

#[test]
fn a_store_that_serves_two_writers_is_warned_about() {
    let second = Rule::new(&[PutObject], Turn::Only(2), Fault::Said(200, "")).about("created");
    let Some((_bucket, configuration)) = behind([second]) else { return };
    configuration.examine().passes().says("warn", "put, create only", "run one replica only");
}

#[test]
fn encryption_that_nobody_confirms_is_a_failure() {
    let Some((_bucket, configuration)) = behind([always(HeadObject, 200, "").about("first")]) else { return };
    let examined = configuration.with("encrypt", "true").examine();
    examined.says("FAIL", "encryption", "the store says nothing of it").fails();
}

#[test]
fn the_endpoint_is_no_s3() {
    let html = "<!doctype html><title>Console</title>";
    let Some((_bucket, configuration)) = behind([always(ListObjectsV2, 200, html)]) else { return };
    configuration.examine().says("FAIL", "bucket", "is regionendpoint the address of the S3 API").fails();
    let Some((_bucket, configuration)) = behind([always(ListObjectsV2, 404, html)]) else { return };
    configuration.examine().says("FAIL", "bucket", "none of S3's").fails();
}

#[test]
fn one_bad_moment_is_forgiven() {
    let Some((_bucket, configuration)) = behind([Rule::new(&[PutObject], Turn::First(1), Fault::SlowDown)]) else {
        return;
    };
    configuration.examine().passes().says("ok", "put", "bytes");
}

#[test]
fn a_call_that_hangs_is_given_up() {
    let hanging = Rule::new(&[HeadObject], Turn::Each, Fault::Delay(Duration::from_mins(10))).about("first");
    let Some((bucket, configuration)) = behind([hanging]) else { return };
    let examined = configuration.examine();
    examined.says("FAIL", "head", "no answer within").says("ok", "get", "comes back").fails();
    assert_clean(&bucket);
}
