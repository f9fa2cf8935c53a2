//! `middleware.storage`: what each one comes to, and what it cannot work with.

use ::http::Uri;

use super::*;
use crate::config::middleware::{CloudFront, Direct, Middleware, Ranges, Redirect, Rewrite, Scheme};

const BUCKET: &str = "storage: {s3: {bucket: b, region: eu-west-1}}";
const PAIR: &str = "privatekey: /k.pem, keypairid: K";

/// A configuration with a bucket and this list of middlewares.
fn with_list(list: &str) -> String {
    format!("{}\nmiddleware: {{storage: [{list}]}}", with(BUCKET))
}

#[track_caller]
fn reads(list: &str, expected: &[Middleware]) {
    let loaded = parse(&with_list(list)).unwrap_or_else(|error| panic!("{list}: {error:#}"));
    assert_eq!(loaded.config.middlewares, expected, "{list}");
    assert_eq!(loaded.warnings, [], "{list}");
}

#[track_caller]
fn fails(list: &str, sentence: &str) {
    let error = parse(&with_list(list)).unwrap_err();
    assert_eq!(format!("{error:#}"), format!("f.yml:5: middleware.storage.0.{sentence}"), "{list}");
}

/// The one warning about this list.
#[track_caller]
fn warns(list: &str, key: &str, sentence: &str) {
    let warnings = parse(&with_list(list)).unwrap_or_else(|error| panic!("{list}: {error:#}")).warnings;
    let expected = format!("middleware.storage.0.{key}: {sentence} (f.yml:5)");
    assert_eq!(warnings.iter().map(ToString::to_string).collect::<Vec<_>>(), [expected], "{list}");
}

#[test]
fn each_kind_is_read_in_order() {
    let redirect = |base: &'static str| Middleware::Redirect(Redirect { base: Uri::from_static(base) });
    reads("{name: redirect, options: {baseurl: 'https://h:1/a/b'}}", &[redirect("https://h:1/a/b")]);
    reads(
        "{name: redirect, options: {baseurl: 'http://a'}}, {name: rewrite, options: {host: 'h:81'}}",
        &[
            redirect("http://a"),
            Middleware::Rewrite(Rewrite { scheme: None, host: Some("h:81".parse().unwrap()), trim_path_prefix: None }),
        ],
    );
    reads(
        "{name: rewrite, options: {scheme: HTTP, host: '', trimpathprefix: /a}}",
        &[Middleware::Rewrite(Rewrite {
            scheme: Some(Scheme::Http),
            host: None,
            trim_path_prefix: Some("/a".to_owned()),
        })],
    );
    reads("", &[]);
}

#[test]
fn cloudfront_is_read() {
    let expected = |base: &'static str, lifetime, direct| {
        Middleware::CloudFront(CloudFront {
            base: Uri::from_static(base),
            private_key: "/k.pem".into(),
            key_pair_id: "K".to_owned(),
            lifetime: Duration::from_secs(lifetime),
            direct,
        })
    };
    let ranges =
        |url: &'static str, hours| Ranges { url: Uri::from_static(url), interval: Duration::from_hours(hours) };
    let amazon = "https://ip-ranges.amazonaws.com/ip-ranges.json";
    let check = |options: &str, expected: Middleware| {
        reads(&format!("{{name: cloudfront, options: {{{PAIR}, {options}}}}}"), &[expected]);
    };
    check("baseurl: d.example", expected("https://d.example", 1200, Direct::Nobody));
    check("baseurl: 'http://d.example/x/', duration: 1h", expected("http://d.example/x/", 3600, Direct::Nobody));
    check("baseurl: d.example, ipfilteredby: none", expected("https://d.example", 1200, Direct::Nobody));
    check(
        "baseurl: d.example, ipfilteredby: AWS, updatefrequency: 1h",
        expected("https://d.example", 1200, Direct::Amazon(ranges(amazon, 1))),
    );
    check(
        "baseurl: d.example, ipfilteredby: awsregion, awsregion: 'US-east-1, eu-west-1', iprangesurl: 'http://r/j'",
        expected(
            "https://d.example",
            1200,
            Direct::Regions(vec!["us-east-1".to_owned(), "eu-west-1".to_owned()], ranges("http://r/j", 12)),
        ),
    );
}

#[test]
fn what_cannot_work_is_refused() {
    fails("{}", "name is required");
    fails("{name: magic}", "name is \"magic\", not a storage middleware; write redirect, rewrite or cloudfront");
    fails("{name: googlecdn}", "name is \"googlecdn\", a storage middleware that this version does not have");
    fails("{name: redirect}", "name stands without options");
    fails("{name: redirect, options: {}}", "options.baseurl is required");
    fails("{name: redirect, options: {baseurl: h}}", "options.baseurl must begin with http:// or https://");
    fails("{name: redirect, options: {baseurl: 'https://h/?a'}}", "options.baseurl must not have a query");
    fails("{name: rewrite, options: {scheme: ftp}}", "options.scheme is \"ftp\"; it must be one of http, https");
    for host in ["a/b", "u@h", "a b"] {
        fails(
            &format!("{{name: rewrite, options: {{host: '{host}'}}}}"),
            "options.host must be a host such as cdn.example.com, perhaps with a port",
        );
    }
    let cloudfront = |options: &str| format!("{{name: cloudfront, options: {{baseurl: d, {options}}}}}");
    fails("{name: cloudfront, options: {}}", "options.baseurl is required");
    fails(&cloudfront("keypairid: K"), "options.privatekey is required");
    fails(&cloudfront("privatekey: /k"), "options.keypairid is required");
    fails(
        &cloudfront("keypairid: K, privatekey: '-----BEGIN RSA PRIVATE KEY----- canary'"),
        "options.privatekey must be the path of a file, not the key itself",
    );
    fails(
        &cloudfront(&format!("{PAIR}, duration: 20")),
        "options.duration must be at least 1s (a number without a unit is nanoseconds)",
    );
    fails(
        &cloudfront(&format!("{PAIR}, ipfilteredby: some")),
        "options.ipfilteredby is \"some\"; it must be one of none, aws, awsregion",
    );
    fails(&cloudfront(&format!("{PAIR}, ipfilteredby: awsregion")), "options.awsregion is required");
    fails(
        &cloudfront(&format!("{PAIR}, ipfilteredby: awsregion, awsregion: 'a,,b'")),
        "options.awsregion must be names of regions with commas between them",
    );
}

#[test]
fn what_does_nothing_is_named() {
    warns(
        "{name: redirect, disabled: true}",
        "disabled",
        "leaves this middleware out; Distribution does not look at it, and would have it act",
    );
    warns(
        "{name: urlcache}",
        "name",
        "is urlcache, which does nothing here: addresses stay the same for edge.downloads.url_window",
    );
    warns(
        "{name: rewrite, options: {host: h, baseurl: 'https://b'}}",
        "options.baseurl",
        "is not an option of this middleware; it is ignored",
    );
    warns("{name: rewrite, options: {hosts: h}}", "options.hosts", "is not a key that is known here; it is ignored");
    warns(
        &format!("{{name: cloudfront, options: {{{PAIR}, baseurl: d, ipfilteredby: aws, updatefrenquency: 1h}}}}"),
        "options.updatefrenquency",
        "is misspelled; write updatefrequency",
    );
    for (storage, list, sentence) in [
        (
            "inmemory: , redirect: {disable: true}",
            "{name: redirect, options: {baseurl: 'https://h'}}",
            "while storage.redirect.disable is true",
        ),
        ("inmemory: ", "{name: rewrite, options: {host: h}}", "the storage has no addresses to rewrite"),
        (
            "filesystem: ",
            &format!("{{name: cloudfront, options: {{{PAIR}, baseurl: d}}}}"),
            "cloudfront leads to a bucket",
        ),
    ] {
        let text = format!("{}\nmiddleware: {{storage: [{list}]}}", with(&format!("storage: {{{storage}}}")));
        let warnings = parse(&text).unwrap().warnings;
        assert!(
            matches!(&warnings[..], [one] if one.key == "middleware.storage.0.name" && one.text.contains(sentence)),
            "{list}: {warnings:?}"
        );
    }
    warned("middleware: {repository: [{name: x}]}", "middleware.repository", "does nothing in this version");
    warned("middleware: {storages: [{name: x}]}", "middleware.storages", "is not a key that is known here");
}
