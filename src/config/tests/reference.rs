//! The files that are shipped, and that the reference keeps its word.

use std::path::Path;

use super::*;
use crate::config::{
    middleware::{Direct, Middleware},
    schema::{Effect, Key, Shape},
};

fn shipped(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf").join(name);
    std::fs::read_to_string(path).unwrap()
}

/// The block that begins with this line, without the mark that makes it a comment.
fn uncommented(text: &str, first: &str) -> String {
    let mark = &first[..=first.find("# ").unwrap() + 1];
    let block = text.lines().skip_while(|line| *line != first).map_while(|line| line.strip_prefix(mark));
    let block: String = block.flat_map(|line| [&mark[..mark.len() - 2], line, "\n"]).collect();
    assert!(!block.is_empty(), "no line {first:?}");
    block
}

#[test]
fn the_shipped_configurations_are_valid() {
    for name in ["quickstart.yml", "gitlab.yml", "s3.yml", "reference.yml"] {
        assert_eq!(parse(&shipped(name)).unwrap().warnings, [], "{name}");
    }
}

/// Calls `visit` with each key in force and its path.
fn walk(keys: &'static [Key], path: &str, visit: &mut impl FnMut(&'static Key, &str)) {
    for key in keys.iter().filter(|key| key.effect == Effect::InForce) {
        let path = schema::join(path, key.name);
        visit(key, &path);
        match key.shape {
            Shape::Section(keys) | Shape::Parameters(keys) | Shape::Choice(keys) | Shape::Gathered(keys) => {
                walk(keys, &path, visit);
            }
            Shape::List(Shape::Section(keys)) => walk(keys, &format!("{path}.0"), visit),
            _ => {}
        }
    }
}

/// Whether a comment shows this key, or says its name.
fn is_in_a_comment(text: &str, name: &str) -> bool {
    let shows = |comment: &str| comment.trim_start_matches([' ', '#', '-']).starts_with(&format!("{name}:"));
    text.lines().map(str::trim_start).any(|line| line.starts_with('#') && shows(line))
        || text.contains(&format!("`{name}`"))
}

/// Each key below `path` is in this document, or in a comment of the reference; and where it is in the document, so is
/// its default.
fn shows(document: &Node, keys: &'static [Key], path: &str) {
    let reference = shipped("reference.yml");
    walk(keys, path, &mut |key, path| {
        let found = path.split('.').try_fold(document, |node, name| match &node.value {
            node::Value::List(items) => items.first(),
            _ => node.child(name),
        });
        let known = is_in_a_comment(&reference, key.name) || path.starts_with("auth.silly") || path == "database";
        assert!(found.is_some() || known, "{path} is not in conf/reference.yml");
        if let (Some(found), Some(default)) = (found, key.default.filter(|default| *default != "{}")) {
            let node::Value::Scalar { text, .. } = &found.value else { panic!("{path} is no scalar") };
            assert_eq!(text, default, "the default of {path}");
        }
    });
}

#[test]
fn the_reference_shows_every_key_and_its_default() {
    let document = yaml::parse(&shipped("reference.yml"), &Origin::Default).unwrap();
    let Shape::Section(keys) = schema::DOCUMENT else { panic!("a document is a section") };
    shows(&document, keys, "");
}

#[test]
fn the_reference_shows_every_parameter_of_s3() {
    let text = with(&format!("storage:\n{}", uncommented(&shipped("reference.yml"), "  # s3:")));
    let loaded = parse(&text).unwrap();
    assert_eq!(loaded.warnings, []);
    shows(&yaml::parse(&text, &Origin::Default).unwrap(), storage::s3::KEYS, "storage.s3");
    assert!(!loaded.redacted().contains("long random text"), "{}", loaded.redacted());
}

#[test]
fn the_reference_shows_every_key_of_an_upstream() {
    let block = uncommented(&shipped("reference.yml"), "  # upstream:");
    let text = format!("version: 0.1\nauth: none\nstorage: inmemory\nedge:\n  tls: {{development: true}}\n{block}");
    assert_eq!(parse(&text).unwrap().warnings, []);
    let document = yaml::parse(&text, &Origin::Default).unwrap();
    shows(&document, edge::upstream::KEYS, "edge.upstream");
    shows(&document, edge::shadow::KEYS, "edge.shadow");
}

#[test]
fn the_reference_shows_every_storage_middleware() {
    let block = uncommented(&shipped("reference.yml"), "# middleware:");
    let loaded = parse(&format!("{}\n{block}", with("storage: {s3: {bucket: b, region: eu-west-1}}"))).unwrap();
    assert_eq!(loaded.warnings, []);
    let [Middleware::Redirect(_), Middleware::Rewrite(_), Middleware::CloudFront(shown)] =
        loaded.config.middlewares.as_slice()
    else {
        panic!("{:?}", loaded.config.middlewares)
    };
    let least = "middleware: {storage: [{name: cloudfront, options: {baseurl: d111111abcdef8.cloudfront.net, \
                 privatekey: /etc/pierhead/cloudfront.pem, keypairid: APKAEXAMPLE, ipfilteredby: aws}}]}";
    let least = parse(&with(least)).unwrap().config.middlewares;
    let [Middleware::CloudFront(least)] = least.as_slice() else { panic!("{least:?}") };
    let (Direct::Regions(_, shown_ranges), Direct::Amazon(ranges)) = (&shown.direct, &least.direct) else {
        panic!("{shown:?} {least:?}")
    };
    assert_eq!((shown.lifetime, shown_ranges, &shown.base), (least.lifetime, ranges, &least.base));
}
