//! Addresses signed for CloudFront, verified by OpenSSL, which had no part in signing them.

use std::{collections::HashMap, fs, path::Path, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::Uri;
use pierhead::{
    clock::ManualClock,
    store::locate::{
        Locate, Visitor,
        base::Base,
        cloudfront::{Cloudfront, Near, Settings, signing::Signing},
        redirect::Redirect,
    },
};
use time::OffsetDateTime;

use crate::support::{
    command::{command, run},
    tools,
};

const NOW: i64 = 1_750_000_000;
const KEY: &str = "docker/registry/v2/blobs/sha256/ab/abcd/data";

fn cloudfront(signing: Signing, root: &str, near: Arc<Near>) -> Cloudfront {
    let settings = Settings {
        base: Base::new("https://d111111abcdef8.cloudfront.net/cdn/").unwrap(),
        root: root.to_owned(),
        key_pair: "K2JCJMDEHXQW5F".to_owned(),
        signing,
        duration: Duration::from_mins(20),
    };
    let bucket = Redirect::new(Base::new("https://bucket.s3.example.com").unwrap());
    let clock = ManualClock::new(OffsetDateTime::from_unix_timestamp(NOW).unwrap());
    Cloudfront::new(settings, near, Arc::new(bucket), Arc::new(clock))
}

async fn located(cloudfront: &Cloudfront, address: Option<&str>) -> Uri {
    let visitor = Visitor { address: address.map(|address| address.parse().unwrap()) };
    cloudfront.locate(&KEY.parse().unwrap(), &visitor).await.unwrap().unwrap()
}

fn query(uri: &Uri) -> HashMap<String, String> {
    let pairs = uri.query().unwrap().split('&').map(|pair| pair.split_once('=').unwrap());
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Makes a key with these arguments of OpenSSL; the file.
fn key(directory: &Path, arguments: &[&str]) -> String {
    let path = directory.join("key.pem").display().to_string();
    run(command("openssl", &arguments[..1]).args(["-out", &path]).args(&arguments[1..]));
    path
}

/// The steps of CloudFront's documentation, backwards.
async fn check_signature(arguments: &[&str], root: &str, resource: &str) {
    let directory = tempfile::tempdir().unwrap();
    let private = key(directory.path(), arguments);
    let signing = Signing::from_pem(&fs::read(&private).unwrap()).unwrap();
    let address = located(&cloudfront(signing, root, Arc::default()), Some("10.0.0.1")).await;
    assert_eq!(address.to_string().split_once('?').unwrap().0, resource);
    let query = query(&address);
    let expires = NOW + 1200;
    assert_eq!(query["Expires"], expires.to_string());
    assert_eq!((query["Key-Pair-Id"].as_str(), query["Hash-Algorithm"].as_str()), ("K2JCJMDEHXQW5F", "SHA256"));
    assert_eq!(query.len(), 4);

    let path = |name: &str| directory.path().join(name).display().to_string();
    let (public, policy, signature) = (path("public.pem"), path("policy"), path("signature"));
    run(&mut command("openssl", ["pkey", "-in", &private, "-pubout", "-out", &public]));
    let condition = format!("{{\"DateLessThan\":{{\"AWS:EpochTime\":{expires}}}}}");
    let statement = format!("{{\"Statement\":[{{\"Resource\":\"{resource}\",\"Condition\":{condition}}}]}}");
    fs::write(&policy, statement).unwrap();
    let text = query["Signature"].replace('-', "+").replace('_', "=").replace('~', "/");
    fs::write(&signature, STANDARD.decode(text).unwrap()).unwrap();
    let verify = ["dgst", "-sha256", "-verify", &public, "-signature", &signature, &policy];
    assert_eq!(run(&mut command("openssl", verify)), "Verified OK", "{arguments:?}");
}

#[tokio::test]
async fn signatures_verify() {
    if !tools::present(&["openssl"]) {
        return;
    }
    let plain = format!("https://d111111abcdef8.cloudfront.net/cdn/{KEY}");
    check_signature(&["genrsa", "-traditional", "2048"], "", &plain).await;
    let below = format!("https://d111111abcdef8.cloudfront.net/cdn/my%20root/x/{KEY}");
    check_signature(&["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"], "/my root/x/", &below).await;
    check_signature(&["ecparam", "-name", "prime256v1", "-genkey"], "", &plain).await;
    check_signature(&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"], "", &plain).await;
}

#[test]
fn keys_that_cloudfront_does_not_know_are_refused() {
    for text in ["", "nonsense", "-----BEGIN PRIVATE KEY-----\ncanary\n-----END PRIVATE KEY-----\n"] {
        let why = Signing::from_pem(text.as_bytes()).unwrap_err().to_string();
        assert!(!why.contains("canary"), "{why}");
    }
    if !tools::present(&["openssl"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    for arguments in [
        &["genpkey", "-algorithm", "ED25519"][..],
        &["ecparam", "-name", "secp384r1", "-genkey"],
        &["genrsa", "1024"],
        &["genrsa", "-aes128", "-passout", "pass:x", "2048"],
    ] {
        let path = key(directory.path(), arguments);
        assert!(Signing::from_pem(&fs::read(path).unwrap()).is_err(), "{arguments:?}");
    }
}

#[tokio::test]
async fn clients_near_the_bucket_are_sent_there() {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap().serialize_pem();
    let near = Arc::new(Near::default());
    let cloudfront = cloudfront(Signing::from_pem(key.as_bytes()).unwrap(), "", Arc::clone(&near));
    let host = async |address| located(&cloudfront, address).await.host().unwrap().to_owned();
    let (network, bucket) = ("d111111abcdef8.cloudfront.net", "bucket.s3.example.com");
    // Before the list of networks is there.
    assert_eq!(host(Some("10.0.0.1")).await, network);
    near.replace(["10.0.0.0/8".parse().unwrap()].into_iter().collect());
    for (address, expected) in [
        (Some("10.0.0.1"), bucket),
        (Some("::ffff:10.0.0.1"), bucket),
        (Some("11.0.0.1"), network),
        (Some("::1"), network),
        (None, network),
    ] {
        assert_eq!(host(address).await, expected, "{address:?}");
    }
    assert!(!format!("{cloudfront:?}").contains("PRIVATE"));
}
