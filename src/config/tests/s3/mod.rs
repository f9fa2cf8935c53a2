//! `storage.s3`: each parameter in force, each refusal, each warning.

use super::*;
use crate::config::storage::s3::{
    S3,
    endpoint::{Addressing, Verification},
    objects::{Checksum, Encryption},
};

mod credentials;

const ALL: &str = "bucket: b, region: eu-west-1";
/// A bucket that is not Amazon's.
const OWN: &str = "bucket: b, regionendpoint: 'https://s3.example.com'";

fn environment(variables: &[(&str, &str)]) -> Environment {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn load(parameters: &str, variables: &[(&str, &str)]) -> Result<Loaded> {
    Config::parse(&with(&format!("storage: {{s3: {{{parameters}}}}}")), "f.yml", &environment(variables))
}

fn bucket(loaded: &Loaded) -> S3 {
    match &loaded.config.storage.driver {
        Driver::S3(s3) => (**s3).clone(),
        other => panic!("not a bucket: {other:?}"),
    }
}

/// These parameters come to this, and nothing is warned about.
#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "a table reads better without references")]
fn reads<T: Debug + PartialEq>(parameters: &str, read: impl Fn(&S3) -> T, expected: T) {
    let loaded = load(parameters, &[]).unwrap_or_else(|error| panic!("{parameters}: {error:#}"));
    assert_eq!(read(&bucket(&loaded)), expected, "{parameters}");
    assert_eq!(loaded.warnings, [], "{parameters}");
}

#[track_caller]
fn fails(parameters: &str, sentence: &str) {
    let error = load(parameters, &[]).map(|loaded| bucket(&loaded)).unwrap_err();
    assert_eq!(format!("{error:#}"), format!("f.yml:4: storage.s3{sentence}"), "{parameters}");
}

/// These parameters come to this, and this is the one warning.
#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "a table reads better without references")]
fn warns<T: Debug + PartialEq>(parameters: &str, sentence: &str, read: impl Fn(&S3) -> T, expected: T) {
    let loaded = load(parameters, &[]).unwrap_or_else(|error| panic!("{parameters}: {error:#}"));
    let warnings: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings, [format!("storage.s3.{sentence} (f.yml:4)")], "{parameters}");
    assert_eq!(read(&bucket(&loaded)), expected, "{parameters}");
}

fn uri(s3: &S3) -> String {
    s3.endpoint.uri.to_string()
}

fn nothing(_: &S3) {}

#[test]
fn the_least_takes_every_default() {
    let loaded = load(ALL, &[]).unwrap();
    assert_eq!(loaded.warnings, []);
    let s3 = bucket(&loaded);
    assert_eq!((&*s3.bucket, &*s3.root, &*s3.endpoint.region), ("b", "", "eu-west-1"));
    assert_eq!(uri(&s3), "https://s3.eu-west-1.amazonaws.com/");
    assert_eq!(s3.endpoint.addressing, Addressing::VirtualHosted);
    let authorities = Verification::Authorities("/etc/ssl/certs/ca-certificates.crt".into());
    assert_eq!(s3.endpoint.verification, authorities);
    assert_eq!(s3.part_size, 16 << 20);
    assert_eq!((s3.copying.threshold, s3.copying.part_size, s3.copying.concurrency.get()), (32 << 20, 32 << 20, 100));
    assert_eq!(s3.objects.encryption, Encryption::Bucket);
    assert_eq!((s3.objects.storage_class, s3.objects.acl, s3.objects.checksum), (None, None, Checksum::Off));
    assert_eq!((s3.user_agent, s3.redirect_endpoint), (None, None));
}

#[test]
fn every_name_of_the_driver_means_the_same() {
    for name in ["s3", "s3aws", "s3_v2"] {
        let text = with(&format!("storage: {{{name}: {{{ALL}, rootdirectory: /a}}}}"));
        assert_eq!(bucket(&parse(&text).unwrap()).root, "a", "{name}");
        refused(
            &format!("storage: {{{name}: {{region: eu-west-1}}}}"),
            &format!("f.yml:4: storage.{name}.bucket is required"),
        );
    }
    refused("storage: {s3: , s3aws: }", "storage takes one driver, not several: s3, s3aws");
    refused("storage: s3", "storage.s3.bucket is required");
    refused("storage: {s3: 5}", "storage.s3 must be a section");
}

#[test]
fn buckets_and_roots() {
    reads("bucket: My_Bucket.1-a, region: us-east-1", |s3| s3.bucket.clone(), "My_Bucket.1-a".to_owned());
    for (root, expected) in [("/", ""), ("/a", "a"), ("a/b/", "a/b"), ("''", ""), ("/.a/b..", ".a/b..")] {
        reads(&format!("{ALL}, rootdirectory: {root}"), |s3| s3.root.clone(), expected.to_owned());
    }
    fails("region: eu-west-1", ".bucket is required");
    fails("region: eu-west-1, bucket: ''", ".bucket is required");
    fails("region: eu-west-1, bucket: a/b", ".bucket is \"a/b\"; a bucket has no subdirectories: use rootdirectory");
    fails(
        "region: r, bucket: 'arn:aws:s3:eu-west-1:1:accesspoint/a'",
        ".bucket must be a name, not an ARN; an access point has an alias that can stand here",
    );
    for bucket in ["a b", ".a", "ä", "a?b"] {
        let sentence = format!(".bucket is {bucket:?}, which no bucket can be called");
        fails(&format!("region: eu-west-1, bucket: '{bucket}'"), &sentence);
    }
    for root in ["a//b", "../a", "a/./b", "/.."] {
        fails(
            &format!("{ALL}, rootdirectory: {root}"),
            &format!(".rootdirectory is {root:?}; it must be a plain path, without empty, . or .. segments"),
        );
    }
}

#[test]
fn regions() {
    let region = |s3: &S3| s3.endpoint.region.clone();
    reads(OWN, region, "us-east-1".to_owned());
    for name in ["auto", "default", "RegionOne", "eu_1.a"] {
        reads(&format!("{OWN}, region: {name}"), region, name.to_owned());
    }
    for (name, host) in [
        ("us-gov-west-1", "s3.us-gov-west-1.amazonaws.com"),
        ("cn-north-1", "s3.cn-north-1.amazonaws.com.cn"),
        ("eusc-de-east-1", "s3.eusc-de-east-1.amazonaws.eu"),
        ("us-isob-east-1", "s3.us-isob-east-1.sc2s.sgov.gov"),
    ] {
        reads(&format!("bucket: b, region: {name}"), uri, format!("https://{host}/"));
    }
    fails("bucket: b", ".region is required");
    for name in ["frankfurt", "eu-west", "EU-west-1", "eu--1", "eu-west-1.evil.example/"] {
        let example = "it must be a region such as eu-west-1, because there is no regionendpoint";
        fails(&format!("bucket: b, region: {name}"), &format!(".region is {name:?}; {example}"));
    }
    fails(&format!("{OWN}, region: 'a/b'"), ".region is \"a/b\"; it must be a plain word");
}

#[test]
fn endpoints() {
    let amazon = |flags: &str, host: &str| reads(&format!("{ALL}, {flags}"), uri, format!("https://{host}/"));
    amazon("usedualstack: true", "s3.dualstack.eu-west-1.amazonaws.com");
    amazon("usefipsendpoint: 'true'", "s3-fips.eu-west-1.amazonaws.com");
    amazon("usefipsendpoint: y, usedualstack: '1'", "s3-fips.dualstack.eu-west-1.amazonaws.com");
    amazon("accelerate: true", "s3-accelerate.amazonaws.com");
    amazon("accelerate: true, usedualstack: true", "s3-accelerate.dualstack.amazonaws.com");
    for (text, secure, expected) in [
        ("https://h", "true", "https://h/"),
        ("https://h:9000/", "false", "https://h:9000/"),
        ("h:9000", "true", "https://h:9000/"),
        ("127.0.0.1:9000", "false", "http://127.0.0.1:9000/"),
        ("http://[::1]:9000", "true", "http://[::1]:9000/"),
    ] {
        reads(&format!("bucket: b, regionendpoint: '{text}', secure: {secure}"), uri, expected.to_owned());
    }
    let plain = "speaks plain HTTP: images travel unencrypted between here and the store";
    warns(
        &format!("{ALL}, secure: 'false'"),
        &format!("secure: {plain}"),
        uri,
        "http://s3.eu-west-1.amazonaws.com/".to_owned(),
    );
    warns("bucket: b, regionendpoint: 'http://h'", &format!("regionendpoint: {plain}"), uri, "http://h/".to_owned());
    let beside = "has no effect beside regionendpoint, which names the host already";
    for name in ["usedualstack", "accelerate", "usefipsendpoint"] {
        warns(&format!("{OWN}, {name}: true"), &format!("{name}: {beside}"), uri, "https://s3.example.com/".to_owned());
    }
    for (text, sentence) in [
        ("https://h/b", "must be a scheme and a host, without a path or a query"),
        ("h?x=1", "must be a scheme and a host, without a path or a query"),
        ("ftp://h", "must begin with http:// or https://"),
        ("https://u:canary@h", "must not carry a user name or a password"),
        ("a b", "must be a URL such as https://registry.example.com"),
    ] {
        fails(&format!("bucket: b, regionendpoint: '{text}'"), &format!(".regionendpoint {sentence}"));
    }
    fails(
        &format!("{ALL}, accelerate: true, usefipsendpoint: true"),
        ".accelerate contradicts usefipsendpoint: there is no such host",
    );
    for parameters in [&format!("{ALL}, forcepathstyle: true"), "bucket: a.b, region: eu-west-1"] {
        fails(
            &format!("{parameters}, accelerate: true"),
            ".accelerate needs the bucket in the host name: without forcepathstyle, and with a name of small letters, \
             digits and hyphens",
        );
    }
    fails(&format!("{ALL}, secure: maybe"), ".secure must be true or false");
}

#[test]
fn addressing() {
    let addressing = |s3: &S3| s3.endpoint.addressing;
    let ip = "bucket: b, regionendpoint: 'http://127.0.0.1:9000'";
    let dotted = "bucket: a.b, region: eu-west-1";
    let path = Addressing::Path;
    let host = Addressing::VirtualHosted;
    for (parameters, expected) in [
        (ALL.to_owned(), host),
        (OWN.to_owned(), path),
        (format!("{ALL}, forcepathstyle: true"), path),
        (format!("{OWN}, forcepathstyle: false"), host),
        (format!("{OWN}, pathstyle: 'false'"), host),
        (format!("{OWN}, pathstyle: true, forcepathstyle: true"), path),
        (dotted.to_owned(), path),
        ("bucket: A_b, region: eu-west-1".to_owned(), path),
        (ip.to_owned(), path),
        ("bucket: a.b, forcepathstyle: false, regionendpoint: 'http://localhost'".to_owned(), host),
    ] {
        reads(&parameters, addressing, expected);
    }
    let no_host = "is false, but bucket and endpoint make no host name together; the bucket goes into the path";
    warns(&format!("{ip}, forcepathstyle: false"), &format!("forcepathstyle: {no_host}"), addressing, path);
    warns(&format!("{dotted}, pathstyle: false"), &format!("pathstyle: {no_host}"), addressing, path);
    fails(
        &format!("{OWN}, forcepathstyle: true, pathstyle: false"),
        ".pathstyle contradicts forcepathstyle, which means the same; write one of them",
    );
}

#[test]
fn verification_and_signatures() {
    let verification = |s3: &S3| s3.endpoint.verification.clone();
    let unchecked = "skipverify: is true: nobody checks who answers in the store's place";
    warns(&format!("{ALL}, skipverify: true"), unchecked, verification, Verification::Off);
    for (variables, expected) in [
        (&[("SSL_CERT_FILE", "/a.pem")][..], "/a.pem"),
        (&[("SSL_CERT_FILE", "/a.pem"), ("AWS_CA_BUNDLE", "/b.pem")], "/b.pem"),
    ] {
        let loaded = load(ALL, variables).unwrap();
        assert_eq!(verification(&bucket(&loaded)), Verification::Authorities(expected.into()));
    }
    let old = "v4auth: is false, but requests are signed by version 4: version 2 is not spoken";
    warns(&format!("{ALL}, v4auth: false"), old, nothing, ());
    reads(
        &format!("{ALL}, redirectendpoint: 'https://i.example:8443'"),
        |s3| s3.redirect_endpoint.as_ref().map(ToString::to_string),
        Some("https://i.example:8443/".to_owned()),
    );
    fails(
        &format!("{ALL}, redirectendpoint: 'https://i/x'"),
        ".redirectendpoint must be a scheme and a host, without a path or a query",
    );
    fails(&format!("{ALL}, redirectendpoint: i.example"), ".redirectendpoint must begin with http:// or https://");
}

#[test]
fn encryption() {
    let encryption = |s3: &S3| s3.objects.encryption.clone();
    reads(&format!("{ALL}, encrypt: true"), encryption, Encryption::S3);
    reads(&format!("{ALL}, encrypt: 'true', keyid: ''"), encryption, Encryption::S3);
    let key = "arn:aws:kms:eu-west-1:1:key/k";
    reads(&format!("{ALL}, encrypt: on, keyid: '{key}'"), encryption, Encryption::Kms { key: key.to_owned() });
    warns(&format!("{ALL}, keyid: k"), "keyid: has no effect without encrypt: true", encryption, Encryption::Bucket);
    fails(&format!("{ALL}, encrypt: true, keyid: \"a\\nb\""), ".keyid holds what no header can hold");
    for name in ["ssecustomerkey", "sse_customer_algorithm", "SSE-C", "x-amz-server-side-encryption-customer-key"] {
        fails(
            &format!("{ALL}, encrypt: true, {name}: canary"),
            &format!(
                ".{name} asks for SSE-C, encryption with a key that each request brings along, which is not supported; \
                 write encrypt: true for SSE-S3, and keyid beside it for SSE-KMS"
            ),
        );
    }
}

#[test]
fn classes_lists_and_checksums() {
    let class = |s3: &S3| s3.objects.storage_class;
    for (text, expected) in [
        ("NONE", None),
        ("standard", Some("STANDARD")),
        ("GLACIER_IR", Some("GLACIER_IR")),
        ("express_onezone", Some("EXPRESS_ONEZONE")),
        ("''", None),
    ] {
        reads(&format!("{ALL}, storageclass: {text}"), class, expected);
    }
    fails(
        &format!("{ALL}, storageclass: GLACIER"),
        ".storageclass is \"GLACIER\"; it must be one of NONE, STANDARD, REDUCED_REDUNDANCY, STANDARD_IA, ONEZONE_IA, \
         INTELLIGENT_TIERING, OUTPOSTS, GLACIER_IR, EXPRESS_ONEZONE",
    );
    let acl = |s3: &S3| s3.objects.acl;
    reads(&format!("{ALL}, objectacl: bucket-owner-full-control"), acl, Some("bucket-owner-full-control"));
    reads(&format!("{ALL}, objectownership: true"), acl, None);
    fails(
        &format!("{ALL}, objectownership: true, objectacl: private"),
        ".objectacl contradicts objectownership: true, which says that the bucket has no access lists",
    );
    fails(
        &format!("{ALL}, objectacl: everybody"),
        ".objectacl is \"everybody\"; it must be one of private, public-read, public-read-write, authenticated-read, \
         aws-exec-read, bucket-owner-read, bucket-owner-full-control",
    );
    let checksum = |s3: &S3| s3.objects.checksum;
    for (text, expected) in [
        ("checksum_disabled: true", Checksum::Off),
        ("checksum_disabled: false", Checksum::Crc64Nvme),
        ("checksum_algorithm: sha256", Checksum::Sha256),
        ("checksum_algorithm: CRC64NVME", Checksum::Crc64Nvme),
        ("checksum_algorithm: SHA256, checksum_disabled: 'true'", Checksum::Off),
    ] {
        reads(&format!("{ALL}, {text}"), checksum, expected);
    }
    let other = "checksum_algorithm: is not offered; CRC64NVME is sent in its place";
    warns(&format!("{ALL}, checksum_algorithm: CRC32C"), other, checksum, Checksum::Crc64Nvme);
    fails(
        &format!("{ALL}, checksum_algorithm: md5"),
        ".checksum_algorithm is \"md5\"; it must be one of CRC64NVME, SHA256, CRC32, CRC32C, SHA1",
    );
}

#[test]
fn sizes() {
    let part = |s3: &S3| s3.part_size;
    for size in [5 << 20, 25_000_000, 64 << 20] {
        reads(&format!("{ALL}, chunksize: {size}"), part, size);
        reads(&format!("{ALL}, chunksize: '{size}'"), part, size);
    }
    for size in [(64_u64 << 20) + 1, 5 << 30] {
        let capped = format!("chunksize: is {size}; parts are 67108864 bytes (64 MiB) at most");
        warns(&format!("{ALL}, chunksize: {size}"), &capped, part, 64 << 20);
    }
    for (name, least) in
        [("chunksize", 5 << 20), ("multipartcopychunksize", 5 << 20), ("multipartcopythresholdsize", 0)]
    {
        let sentence = format!(".{name} must be a number of bytes between {least} and 5368709120");
        fails(&format!("{ALL}, {name}: {}", (5_u64 << 30) + 1), &sentence);
        if least > 0 {
            fails(&format!("{ALL}, {name}: {}", least - 1), &sentence);
        }
        fails(&format!("{ALL}, {name}: -1"), &format!(".{name} must not be negative"));
        fails(&format!("{ALL}, {name}: 5M"), &format!(".{name} must be an integer"));
    }
    let copying = |s3: &S3| (s3.copying.threshold, s3.copying.part_size, s3.copying.concurrency.get());
    reads(
        &format!(
            "{ALL}, multipartcopythresholdsize: 0, multipartcopychunksize: 5368709120, multipartcopymaxconcurrency: 1"
        ),
        copying,
        (0, 5 << 30, 1),
    );
    fails(&format!("{ALL}, multipartcopymaxconcurrency: 0"), ".multipartcopymaxconcurrency must be at least 1");
    reads(&format!("{ALL}, useragent: a/1 (b)"), |s3| s3.user_agent.clone(), Some("a/1 (b)".to_owned()));
    fails(&format!("{ALL}, useragent: ä"), ".useragent holds what no header can hold");
}

#[test]
fn parameters_without_effect_are_named() {
    let inert = |name: &str| format!("{name}: is known, but does nothing in this version");
    for (name, value) in
        [("loglevel", "debug"), ("maxrequestspersecond", "350"), ("maxretries", "5"), ("parallelwalk", "true")]
    {
        warns(&format!("{ALL}, {name}: {value}"), &inert(name), nothing, ());
    }
    for quiet in ["loglevel: off", "parallelwalk: false"] {
        reads(&format!("{ALL}, {quiet}"), nothing, ());
    }
    let unknown = "buckets: is not a key that is known here; it is ignored";
    warns(&format!("{ALL}, buckets: c"), unknown, nothing, ());
}

#[test]
fn no_secret_is_shown() {
    let keys = format!("{ALL}, accesskey: canary, secretkey: canary, sessiontoken: canary");
    let loaded = load(&keys, &[]).unwrap();
    assert!(!loaded.redacted().contains("canary"), "{}", loaded.redacted());
    for shown in ["bucket: b", "secretkey: <redacted>", "chunksize: 16777216", "forcepathstyle"] {
        assert_eq!(loaded.redacted().contains(shown), shown != "forcepathstyle", "{shown}: {}", loaded.redacted());
    }
    let secrets = format!("{ALL}, accesskey: A, secretkey: canary, sessiontoken: canary");
    assert!(!format!("{:?}", bucket(&load(&secrets, &[]).unwrap())).contains("canary"));
    let token =
        [("AWS_CONTAINER_CREDENTIALS_FULL_URI", "https://h/c"), ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "canary")];
    assert!(!format!("{:?}", load(ALL, &token).unwrap()).contains("canary"));
}

#[test]
fn the_environment_makes_a_bucket_out_of_any_file() {
    let file = "version: 0.1\nauth: none\nstorage: {filesystem: {rootdirectory: /a}, delete: {enabled: true}}\n\
                edge: {tls: {development: true}}";
    let variables = [
        ("REGISTRY_STORAGE", "s3"),
        ("REGISTRY_STORAGE_S3_BUCKET", "b"),
        ("REGISTRY_STORAGE_S3_REGION", "eu-west-1"),
        ("REGISTRY_STORAGE_S3_ACCESSKEY", "A"),
        ("REGISTRY_STORAGE_S3_SECRETKEY", "canary"),
        ("REGISTRY_STORAGE_S3_ENCRYPT", "true"),
        ("REGISTRY_STORAGE_S3_CHUNKSIZE", "26214400"),
        ("REGISTRY_STORAGE_S3_CHECKSUM_ALGORITHM", "SHA256"),
        ("REGISTRY_STORAGE_REDIRECT_EXPIRYDELAY", "1h"),
        ("REGISTRY_EDGE_DOWNLOADS_FORWARD_NETWORKS", "[10.0.0.0/8]"),
    ];
    let loaded = Config::parse(file, "f.yml", &environment(&variables)).unwrap();
    assert_eq!(loaded.warnings, []);
    let s3 = bucket(&loaded);
    assert_eq!((&*s3.bucket, s3.part_size, s3.objects.encryption), ("b", 25 << 20, Encryption::S3));
    assert_eq!(s3.objects.checksum, Checksum::Sha256);
    assert_eq!(credentials::told(&s3.credentials), "keys A canary -");
    assert!(!loaded.config.storage.delete, "the file's section was not replaced");
    assert!(!loaded.redacted().contains("canary"), "{}", loaded.redacted());
    let error = Config::parse(
        file,
        "f.yml",
        &environment(&[("REGISTRY_STORAGE", "s3"), ("REGISTRY_STORAGE_S3_BUCKET", "a/b")]),
    );
    assert_eq!(
        error.unwrap_err().to_string(),
        "REGISTRY_STORAGE_S3_BUCKET: storage.s3.bucket is \"a/b\"; a bucket has no subdirectories: use rootdirectory"
    );
}

#[test]
fn what_gitlab_generates_is_read() {
    let storage = r#"storage: {"s3_v2":{"accesskey":"A","secretkey":"canary","bucket":"gitlab-registry","region":"eu-central-1","regionendpoint":"https://minio.example.com:9000","pathstyle":true,"checksum_disabled":true,"v4auth":true,"encrypt":false,"objectownership":true,"maxretries":7,"parallelwalk":true},"cache":{"blobdescriptor":"inmemory"},"delete":{"enabled":true},"redirect":{"disable":true,"expirydelay":"10m"}}"#;
    let loaded = parse(&with(storage)).unwrap();
    let s3 = bucket(&loaded);
    assert_eq!((&*s3.bucket, &*s3.endpoint.region), ("gitlab-registry", "eu-central-1"));
    assert_eq!((uri(&s3).as_str(), s3.endpoint.addressing), ("https://minio.example.com:9000/", Addressing::Path));
    assert!(loaded.config.storage.delete && loaded.config.storage.redirect.is_none());
    let warned: Vec<_> = loaded.warnings.iter().map(|warning| warning.key.as_str()).collect();
    assert_eq!(warned, ["storage.s3_v2.maxretries", "storage.s3_v2.parallelwalk"]);
    assert!(!loaded.redacted().contains("canary"), "{}", loaded.redacted());
}
