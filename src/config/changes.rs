//! What has changed between two readings of the configuration and is not in force before a restart.

use std::collections::BTreeSet;

use crate::config::{
    Warning,
    node::{Node, Value},
    schema::{self, Change, Effect, Key, Shape},
};

pub(in crate::config) fn that_need_a_restart(old: &Node, new: &Node) -> Vec<Warning> {
    let mut walk = Walk { fixed: fixed(old), found: Vec::new() };
    walk.go(Some(old), Some(new), &schema::DOCUMENT, "");
    walk.found
}

/// What is read again by our own registry, and not by what stands before another one.
const BEFORE_ANOTHER: &[&str] =
    &["auth", "edge.external_url", "edge.hsts", "http.headers", "http.host", "http.prefix", "http.relativeurls"];

/// The same for the registry that a shadow compares with.
const BESIDE_A_SHADOW: &[&str] = &["catalog", "storage.delete", "tags"];

/// The keys that could change in another process than the one that was started with this.
fn fixed(started: &Node) -> Vec<&'static str> {
    let has = |name| started.child("edge").and_then(|edge| edge.child(name)).is_some_and(|node| !node.is_null());
    let of = |name, keys: &'static [&'static str]| if has(name) { keys } else { &[] };
    [of("upstream", BEFORE_ANOTHER), of("shadow", BESIDE_A_SHADOW)].concat()
}

struct Walk {
    fixed: Vec<&'static str>,
    found: Vec<Warning>,
}

impl Walk {
    fn go(&mut self, old: Option<&Node>, new: Option<&Node>, shape: &Shape, path: &str) {
        let keys: &[Key] = match shape {
            Shape::Section(keys) | Shape::Parameters(keys) | Shape::Choice(keys) | Shape::Gathered(keys) => keys,
            Shape::Value | Shape::List(_) | Shape::Named(_) | Shape::Open => &[],
        };
        match (old.map(|node| &node.value), new.map(|node| &node.value)) {
            (Some(Value::Map(olds)), Some(Value::Map(news))) if !keys.is_empty() => {
                let names: BTreeSet<&String> = olds.iter().chain(news).map(|(name, _)| name).collect();
                for name in names {
                    let Some(key) = keys.iter().find(|key| key.name == name) else { continue };
                    let path = schema::join(path, name);
                    let waits = key.change == Change::Restart || self.fixed.contains(&path.as_str());
                    if key.effect == Effect::InForce && waits {
                        let (old, new) = (old.and_then(|old| old.child(name)), new.and_then(|new| new.child(name)));
                        self.go(old, new, &key.shape, &path);
                    }
                }
            }
            _ if is_same(old, new) => {}
            _ => self
                .found
                .push(new.filter(|node| !node.is_null()).map_or_else(|| gone(path), |node| changed(node, path))),
        }
    }
}

/// Null is not set.
fn is_same(old: Option<&Node>, new: Option<&Node>) -> bool {
    match (old.filter(|node| !node.is_null()), new.filter(|node| !node.is_null())) {
        (Some(old), Some(new)) => old.is_same(new),
        (None, None) => true,
        _ => false,
    }
}

fn changed(node: &Node, path: &str) -> Warning {
    Warning::at(node, path, "has changed, which takes a restart or an upgrade; what was there before is in force")
}

fn gone(path: &str) -> Warning {
    let text = "is no longer written, which takes a restart or an upgrade; what was there before is in force";
    Warning { key: path.to_owned(), text: text.to_owned() }
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Loaded, environment::Environment};

    fn loaded(text: &str) -> Loaded {
        Config::parse(text, "f.yml", &Environment::default()).unwrap()
    }

    const BASE: &str = "version: 0.1\nauth: none\nstorage:\n  filesystem: {rootdirectory: /a}\n";

    #[track_caller]
    fn check(next: &str, expected: &[&str]) {
        let warnings = loaded(BASE).needs_restart(&loaded(next));
        let keys: Vec<_> = warnings.iter().map(|warning| warning.key.as_str()).collect();
        assert_eq!(keys, expected, "{warnings:?}");
    }

    #[test]
    fn only_what_cannot_change_is_named() {
        check(BASE, &[]);
        check("# other lines\nversion: 0.1\nstorage: {filesystem: {rootdirectory: /a}}\nauth: none\n", &[]);
        check(&format!("{BASE}log: {{level: debug}}\nhttp: {{headers: {{a: [b]}}}}\n"), &[]);
        check(&BASE.replace("auth: none", "auth: {htpasswd: {realm: r, path: /p}}"), &[]);
        check(&format!("{BASE}  maintenance: {{readonly: {{enabled: true}}}}\n"), &[]);
        check(&format!("{BASE}http: {{addr: ':5001', debug: {{addr: ':1'}}}}\n"), &["http.addr", "http.debug.addr"]);
        check(&BASE.replace("/a", "/b"), &["storage.filesystem.rootdirectory"]);
        check("version: 0.1\nauth: none\nstorage: inmemory", &["storage.filesystem", "storage.inmemory"]);
        check(&format!("{BASE}edge: {{limits: {{connections: 7}}, strict: true}}\n"), &["edge.strict"]);
        check(&format!("{BASE}edge: {{listen: [':1']}}\n"), &["edge.listen"]);
        check(&format!("{BASE}edge: {{upstream: 'http://a'}}\n"), &["edge.upstream"]);
        check(
            &format!(
                "{BASE}edge: {{listen: [{{address: ':1', tls: off}}], passthrough: [{{names: [a], http: 'b:1'}}]}}\n"
            ),
            &["edge.listen", "edge.passthrough"],
        );
        check(&format!("{BASE}edge: {{uploads: {{memory: 1GiB, token_grace: 1s}}}}\n"), &["edge.uploads.memory"]);
        check(&format!("{BASE}health: {{storagedriver: {{enabled: true}}}}\n"), &["health.storagedriver.enabled"]);
        check(&format!("{BASE}validation: {{disabled: true}}\n"), &["validation.disabled"]);
        check(&format!("{BASE}edge: {{access: {{deny: [10.0.0.1]}}}}\n"), &[]);
        check(
            &format!("{BASE}edge: {{rates: {{requests: {{per_address: 1/s}}, clients_max: 7}}}}\n"),
            &["edge.rates.clients_max"],
        );
    }

    #[test]
    fn before_another_registry_more_is_named() {
        let before = |upstream: &str, more: &str| {
            loaded(&format!("{BASE}http: {{headers: {{a: [b]}}}}\nedge:\n  upstream: {upstream}\n{more}"))
        };
        let check = |next: &Loaded, expected: &[&str]| {
            let warnings = before("http://a", "").needs_restart(next);
            let keys: Vec<_> = warnings.iter().map(|warning| warning.key.as_str()).collect();
            assert_eq!(keys, expected, "{warnings:?}");
        };
        check(&before("{servers: http://a}", "  limits: {connections: 7}\n"), &[]);
        check(&before("http://b", ""), &["edge.upstream.servers"]);
        let next = before("{servers: http://a, connections_max: 7, health: {interval: 1s}}", "");
        check(&next, &["edge.upstream.connections_max", "edge.upstream.health.interval"]);
        check(&before("http://a", "  hsts: {max_age: 7}\n  shadow: {}\n"), &["edge.hsts.max_age", "edge.shadow"]);
        // Of the registry that is not asked any more.
        check(&loaded(&format!("{BASE}http: {{headers: {{a: [c]}}}}\n")), &["edge.upstream", "http.headers"]);
        let shadowed = |more: &str| before("http://a", &format!("  shadow: {{}}\n{more}"));
        let warnings = shadowed("").needs_restart(&shadowed("catalog: {maxentries: 5}\n"));
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert_eq!(warnings[0].key, "catalog.maxentries");
    }

    #[test]
    fn a_change_has_a_place_and_no_value() {
        let secret = |value| loaded(&format!("{BASE}http:\n  secret: {value}\n"));
        let warnings = secret("one").needs_restart(&secret("canary"));
        let text = warnings[0].to_string();
        assert!(text.starts_with("http.secret: has changed") && text.ends_with("(f.yml:6)"), "{text}");
        assert!(!text.contains("canary") && !format!("{:?}", secret("canary")).contains("canary"));
        let gone = secret("one").needs_restart(&loaded(BASE));
        assert_eq!(gone[0].key, "http.secret");
        assert!(!secret("one").is_same(&secret("two")) && secret("one").is_same(&secret("one")));
    }
}
