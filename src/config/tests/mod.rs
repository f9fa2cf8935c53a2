//! What whole configurations come to: each key in force, each refusal, each warning.

use std::{fmt::Debug, time::Duration};

use super::*;
use crate::config::{
    auth::Auth,
    edge::listen::Place,
    log::{Formatter, Level},
    storage::{Cache, Driver},
    validation::Platforms,
};

mod acme;
mod clients;
mod lifecycle;
mod listen;
mod middlewares;
mod passthrough;
mod reference;
mod s3;
mod tls;
mod upstream;

/// The least that is valid and warned about by nobody.
const BASE: &str = "version: 0.1\nstorage: {inmemory: {}}\nauth: none\n\
                    edge: {tls: {development: true}}\n";

fn parse(text: &str) -> Result<Loaded> {
    Config::parse(text, "f.yml", &Environment::default())
}

/// `BASE` with one section more, or another in its place.
fn with(section: &str) -> String {
    let name = section.split(':').next().unwrap_or_default();
    let mut kept: String = BASE.lines().filter(|line| !line.starts_with(name)).flat_map(|line| [line, "\n"]).collect();
    kept.push_str(section);
    kept
}

#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "a table reads better without references")]
fn check<T: Debug + PartialEq>(section: &str, read: impl Fn(&Config) -> T, expected: T) {
    let loaded = parse(&with(section)).unwrap_or_else(|error| panic!("{section}: {error:#}"));
    assert_eq!(read(&loaded.config), expected, "{section}");
}

#[track_caller]
fn refused(section: &str, expected: &str) {
    match parse(&with(section)) {
        Ok(_) => panic!("{section} was not refused"),
        Err(error) => assert!(format!("{error:#}").contains(expected), "{section}: {error:#}"),
    }
}

#[track_caller]
fn warned(section: &str, key: &str, text: &str) {
    let warnings = parse(&with(section)).unwrap_or_else(|error| panic!("{section}: {error:#}")).warnings;
    let found = warnings.iter().any(|warning| warning.key == key && warning.text.contains(text));
    assert!(found, "{section}: {warnings:?}");
}

#[test]
fn the_least_is_valid_and_quiet() {
    let loaded = parse(BASE).unwrap();
    assert_eq!(loaded.warnings, []);
    let config = loaded.config;
    assert!(matches!(config.storage.driver, Driver::Memory));
    assert!(!config.storage.delete && config.storage.redirect.is_some() && !config.storage.read_only);
    assert_eq!(config.storage.purging.map(|purging| purging.age), Some(Duration::from_hours(168)));
    assert_eq!(config.http.prefix, "/");
    assert!(config.http.relative_urls && config.http.http2);
    assert_eq!(config.edge.uploads.memory, 256 << 20);
    assert_eq!(config.edge.limits.idle_timeout, Duration::from_secs(75));
    assert_eq!(config.tags.page_max, None);
}

#[test]
fn the_version_is_required() {
    for (text, expected) in [
        ("", "f.yml:1: a configuration is a map"),
        ("storage: inmemory", "version is required"),
        ("version: 0.2\nstorage: inmemory", "f.yml:1: version unsupported version: \"0.2\""),
        ("[1]", "f.yml:1: a configuration is a map"),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.to_string().contains(expected), "{text}: {error}");
    }
}

#[test]
fn log() {
    check("log: {level: DEBUG, formatter: json}", |c| (c.log.level, c.log.formatter), (Level::Debug, Formatter::Json));
    check("loglevel: error", |c| c.log.level, Level::Error);
    check("log: {accesslog: {disabled: yes}}", |c| c.log.access_log, false);
    let fields = "log: {fields: {on: off, n: 5, s: 'off', x: ~}}";
    check(
        fields,
        |c| serde_json::to_string(&c.log.fields).unwrap(),
        r#"{"n":5,"on":false,"s":"off","x":null}"#.to_owned(),
    );
    refused("log: {level: loud}", "log.level is \"loud\"; it must be one of error, warn, info, debug");
    refused("log: [a]", "log must be a section");
    warned("log: {hooks: [{type: mail}]}", "log.hooks", "does nothing in this version");
}

#[test]
fn storage() {
    let root = |config: &Config| match &config.storage.driver {
        Driver::Filesystem { root, threads_max } => (root.display().to_string(), *threads_max),
        other => panic!("not a directory: {other:?}"),
    };
    check("storage: {filesystem: {rootdirectory: ./data}}", root, ("./data".to_owned(), 100));
    check("storage: {filesystem: }", root, ("/var/lib/registry".to_owned(), 100));
    check("storage: filesystem", root, ("/var/lib/registry".to_owned(), 100));
    check("storage: {inmemory: , delete: {enabled: on}}", |c| c.storage.delete, true);
    let lifetime = |c: &Config| c.storage.redirect.map(|redirect| redirect.lifetime.as_secs());
    check("storage: {inmemory: , redirect: {disable: true}}", lifetime, None);
    check("storage: {inmemory: , redirect: {disable: false}}", lifetime, Some(1200));
    check("storage: {inmemory: , redirect: {expirydelay: 2m}}", lifetime, Some(120));
    for delay in ["20", "145h", "0"] {
        refused(
            &format!("storage: {{inmemory: , redirect: {{expirydelay: {delay}}}}}"),
            "storage.redirect.expirydelay must be between 1s and 144h (a number without a unit is nanoseconds)",
        );
    }
    let memory = |entries| Cache::Memory { entries_max: std::num::NonZeroUsize::new(entries).unwrap() };
    check("storage: {inmemory: , cache: {layerinfo: inmemory}}", |c| c.storage.cache, memory(10_000));
    check(
        "storage: {inmemory: , cache: {blobdescriptor: inmemory, blobdescriptorsize: 5}}",
        |c| c.storage.cache,
        memory(5),
    );
    check("storage: {inmemory: }", |c| c.storage.cache, Cache::Off);
    refused("storage: {delete: {enabled: true}}", "storage names no driver");
    refused("storage: {inmemory: , filesystem: }", "one driver, not several: inmemory, filesystem");
    for name in ["azure", "azure_v2", "gcs", "swift", "oss"] {
        refused(
            &format!("storage: {{{name}: {{bucket: b}}}}"),
            &format!(
                "storage.{name} is a storage driver that this version does not have; write filesystem, inmemory or s3"
            ),
        );
    }
    refused("storage: {floppy: }", "storage.floppy is not a storage driver");
    refused(
        "storage: {inmemory: , maintenance: {uploadpurging: {age: soon}}}",
        "storage.maintenance.uploadpurging.age must be a duration",
    );
    warned(
        "storage: {inmemory: , cache: {blobdescriptor: redis}}",
        "storage.cache.blobdescriptor",
        "redis does nothing",
    );
    warned(
        "storage: {inmemory: , cache: {blobdescriptor: inmemory, blobdescriptorsize: 0}}",
        "storage.cache.blobdescriptorsize",
        "without a bound",
    );
}

#[test]
fn auth() {
    let token = "realm: https://r, service: s, issuer: i, rootcertbundle: /c";
    check(
        &format!("auth: {{token: {{{token}}}}}"),
        |c| match &c.auth {
            Auth::Token(token) => (token.realm.clone(), token.algorithms.len(), token.auto_redirect.clone()),
            _ => panic!("not a token"),
        },
        ("https://r".to_owned(), 9, None),
    );
    check(
        "auth: {htpasswd: {realm: yes, path: 0123}}",
        |c| match &c.auth {
            Auth::Htpasswd { realm, path } => (realm.clone(), path.display().to_string()),
            _ => panic!("not htpasswd"),
        },
        ("yes".to_owned(), "0123".to_owned()),
    );
    check("auth: none", |c| matches!(c.auth, Auth::Open), true);
    refused("auth: {token: {realm: r, service: s, issuer: i}}", "auth.token needs a key");
    refused("auth: {token: {service: s, issuer: i, jwks: j}}", "auth.token.realm is required");
    refused("auth: {htpasswd: {realm: r}}", "auth.htpasswd.path is required");
    refused("auth: {token: {}, htpasswd: {}}", "auth takes one method, not several: token, htpasswd");
    refused("auth: {silly: {realm: r, service: s}}", "auth.silly lets any");
    refused("auth: magic", "auth.magic is not a method");
    refused(
        &format!("auth: {{token: {{{token}, signingalgorithms: [none]}}}}"),
        "signingalgorithms.0 is \"none\"; it must be one of EdDSA",
    );
    refused(&format!("auth: {{token: {{{token}, signingalgorithms: [ES512]}}}}"), "leaves no algorithm");
    warned(
        &format!("auth: {{token: {{{token}, signingalgorithms: [ES512, RS256]}}}}"),
        "auth.token.signingalgorithms.0",
        "ES512 is not offered",
    );
    warned("auth: ", "auth", "everybody");
}

#[test]
fn http() {
    check("http: {addr: '127.0.0.1:80'}", |c| c.http.listeners[0].place.to_string(), "127.0.0.1:80".to_owned());
    let unix = Place::Unix { path: "/run/s".into(), mode: 0o666 };
    check("http: {addr: /run/s, net: unix}", |c| c.http.listeners[0].place.clone(), unix);
    // All addresses of both families, as Go understands it.
    check("http: {addr: '[::]:80'}", |c| c.http.listeners[0].place.to_string(), ":80".to_owned());
    check("http: {host: 'https://h'}", |c| (c.http.relative_urls, c.http.external_url.is_some()), (false, true));
    check("http: {secret: 0123}", |c| c.http.secret.as_ref().map(|s| s.expose().clone()), Some("0123".to_owned()));
    check("http: {draintimeout: 1m30s}", |c| c.http.drain_timeout, Duration::from_secs(90));
    check("http: {headers: {X-A: [b, c]}}", |c| c.http.headers.get_all("x-a").iter().count(), 2);
    check(
        "http: {debug: {addr: 'localhost:1', prometheus: {enabled: y}}}",
        |c| c.http.debug.as_ref().and_then(|d| d.metrics_path.clone()),
        Some("/metrics".to_owned()),
    );
    refused("http: {addr: 5000}", "http.addr must be an address");
    refused("http: {net: udp}", "http.net is \"udp\"");
    refused("http: {net: unix}", "http.addr must be the path of a socket");
    refused("http: {draintimeout: -1s}", "http.draintimeout must not be negative");
    refused("http: {prefix: registry}", "http.prefix is \"registry\"; it must begin and end with a slash");
    refused("http: {host: registry}", "http.host must begin with http:// or https://");
    refused("http: {host: 'ftp://h'}", "http.host must begin with http");
    refused("edge: {external_url: 'https://b'}\nhttp: {host: 'https://a'}", "edge.external_url contradicts http.host");
    refused("http: {headers: {'a b': [c]}}", "http.headers.a b is not a name");
    refused("http: {headers: {a: [\"b\\nc\"]}}", "http.headers.a.0 holds what no header");
    for name in ["Content-Length", "transfer-encoding", "Connection", "Keep-Alive", "TE", "Trailer", "Upgrade"] {
        refused(&format!("http: {{headers: {{{name}: [x]}}}}"), &format!("f.yml:5: http.headers.{name} cannot be set"));
        refused(&format!("health: {{http: [{{uri: 'http://a', headers: {{{name}: [x]}}}}]}}"), "cannot be set");
    }
    refused("http: {relativeurls: maybe}", "f.yml:5: http.relativeurls must be true or false");
    warned("http: {debug: {addr: ':5001'}}", "http.debug.addr", "other machines");
    warned("http: {debug: {prometheus: {enabled: true}}}", "http.debug.prometheus.enabled", "no effect");
    warned("edge: {}", "http.tls", "unencrypted");
    assert_eq!(parse(&with("edge: {}\nhttp: {addr: 'localhost:5000'}")).unwrap().warnings, []);
}

#[test]
fn a_url_with_a_password_is_refused_without_being_quoted() {
    let error = parse(&with("http: {host: 'https://u:canary@h'}")).unwrap_err().to_string();
    assert!(error.contains("must not carry a user name") && !error.contains("canary"), "{error}");
}

#[test]
fn health_catalog_tags_and_validation() {
    check("health: {storagedriver: {enabled: true, threshold: 3}}", |c| c.health.storage.map(|s| s.threshold), Some(3));
    check(
        "health: {http: [{uri: 'http://a/b?c'}]}",
        |c| c.health.http.iter().map(|h| h.status).collect(),
        vec![200_u16],
    );
    check(
        "health: {tcp: [{addr: 'a:1', timeout: 1s}], file: [{file: /f}]}",
        |c| c.health.tcp.len() + c.health.files.len(),
        2,
    );
    check("catalog: {maxentries: -1}", |c| c.catalog.entries_max, 1000);
    check("tags: {maxtags: 50}", |c| c.tags.page_max, Some(50));
    check("validation: {disabled: true}", |c| c.validation.enabled, false);
    check("validation: {manifests: {urls: {allow: ['^a']}}}", |c| c.validation.urls.allow[0].is_match("ab"), true);
    check(
        "validation: {manifests: {indexes: {platforms: LIST, platformlist: [{architecture: AMD64, os: Linux}]}}}",
        |c| match &c.validation.platforms {
            Platforms::List(list) => list[0].architecture.clone(),
            _ => panic!("not a list"),
        },
        "amd64".to_owned(),
    );
    refused("tags: {maxtags: -1}", "tags.maxtags must not be negative");
    refused("health: {storagedriver: {interval: 10}}", "health.storagedriver.interval must be at least 1ms");
    refused("health: {http: [{statuscode: 99, uri: 'http://a'}]}", "health.http.0.statuscode must be an HTTP status");
    refused("health: {http: [{}]}", "health.http.0.uri is required");
    refused(
        "validation: {manifests: {urls: {allow: ['(']}}}",
        "validation.manifests.urls.allow.0 is not a regular expression",
    );
}

#[test]
fn edge() {
    check(
        "edge: {uploads: {token_grace: 0, memory: 1GiB, blob_size_max: 5, page_cache: drop}}",
        |c| {
            (c.edge.uploads.token_grace, c.edge.uploads.memory, c.edge.uploads.blob_size_max, c.edge.uploads.pages_kept)
        },
        (Duration::ZERO, 1 << 30, Some(5), 0),
    );
    check("edge: {uploads: {page_cache: keep}}", |c| c.edge.uploads.pages_kept, u64::MAX);
    check("edge: {uploads: {page_cache: 5MiB}}", |c| c.edge.uploads.pages_kept, 5 << 20);
    check("version: 0.1", |c| c.edge.uploads.pages_kept, 64 << 20);
    refused("edge:\n  uplaods: {}", "f.yml:5: edge.uplaods: there is no such key; this section knows strict");
    refused("edge:\n  limits:\n    heder: 1s", "f.yml:6: edge.limits.heder: there is no such key");
    refused("edge: {limits: {connections: 0}}", "edge.limits.connections must be at least 1");
    refused("edge: {limits: {body_timeout: 0}}", "edge.limits.body_timeout must be at least 1ms");
    refused("edge: {uploads: {memory: 64M}}", "edge.uploads.memory must be a size such as 64MiB");
    refused(
        "edge: {uploads: {page_cache: none}}",
        "edge.uploads.page_cache must be keep, drop, or a size such as 64MiB",
    );
    refused("edge: {uploads: {memory: 1}}", "edge.uploads.memory must be at least 1MiB");
}

#[test]
fn downloads() {
    let networks = |c: &Config| {
        let text = |networks: &[ipnet::IpNet]| networks.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        (text(&c.edge.downloads.redirect_networks), text(&c.edge.downloads.forward_networks))
    };
    let amounts = |c: &Config| (c.edge.downloads.inline_max, c.edge.downloads.url_window.as_secs());
    check("edge: {}", amounts, (64 << 10, 300));
    check("edge: {downloads: {inline_max: 0, url_window: 0}}", amounts, (0, 0));
    check("edge: {}", networks, (String::new(), String::new()));
    check(
        "edge: {downloads: {redirect_networks: [10.1.2.3/8, 'fd00::1'], forward_networks: [192.0.2.1]}}",
        networks,
        ("10.0.0.0/8 fd00::1/128".to_owned(), "192.0.2.1/32".to_owned()),
    );
    for network in ["10.0.0.0/33", "example.com", "10.0.0", ""] {
        refused(
            &format!("edge: {{downloads: {{forward_networks: ['{network}']}}}}"),
            &format!(
                "f.yml:4: edge.downloads.forward_networks.0 is {network:?}; it must be a network such as 10.0.0.0/8 or \
                 fd00::/8, or an address"
            ),
        );
    }
    refused("edge: {downloads: {url_window: 25h}}", "edge.downloads.url_window must be at most 24h");
    refused("edge: {downloads: {url_window: 5}}", "edge.downloads.url_window must be 0 or at least 1ms");
    refused("edge: {downloads: {forward: [10.0.0.0/8]}}", "edge.downloads.forward: there is no such key");
    let off = "version: 0.1\nauth: none\nstorage: {inmemory: , redirect: {disable: true}}\n\
               edge: {tls: {development: true}, downloads: {forward_networks: [10.0.0.0/8], redirect_networks: []}}";
    assert_eq!(
        parse(off).unwrap().warnings.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["edge.downloads.forward_networks: has no effect while storage.redirect.disable is true (f.yml:4)"]
    );
}

#[test]
fn keys_without_effect_are_named() {
    for name in [
        "proxy: {ttl: 1h}",
        "redis: {addr: a}",
        "policy: {repository: {classes: [image]}}",
        "reporting: {newrelic: {name: x}}",
        "gc: {x: 1}",
        "notifications: {endpoints: [{name: x}]}",
        "compatibility: {schema1: {enabled: true}}",
    ] {
        warned(name, name.split(':').next().unwrap(), "does nothing in this version (f.yml:5)");
    }
    warned("http: {adr: x}", "http.adr", "is not a key that is known here");
    warned("edges: 1", "edges", "is not a key that is known here");
    warned("unheard: 1", "unheard", "ignored (f.yml:5)");
    for quiet in [
        "notifications: {endpoints: []}",
        "compatibility: {schema1: {enabled: false}}",
        "proxy: ",
        "database: {enabled: false, host: h}",
    ] {
        assert_eq!(parse(&with(quiet)).unwrap().warnings, [], "{quiet}");
    }
}

#[test]
fn the_metadata_database_is_refused() {
    for enabled in ["true", "prefer", "'true'", "yes", "whatever"] {
        refused(
            &format!("database: {{enabled: {enabled}}}"),
            "f.yml:5: database.enabled asks for the metadata database",
        );
    }
}

#[test]
fn a_mirror_is_refused() {
    refused("proxy: {remoteurl: 'https://u:canary@h'}", "f.yml:5: proxy.remoteurl asks for a mirror");
    let error = parse(&with("proxy: {remoteurl: 'https://u:canary@h'}")).unwrap_err();
    assert!(!format!("{error:#}").contains("canary"), "{error:#}");
    assert_eq!(parse(&with("proxy: {remoteurl: ''}")).unwrap().warnings, []);
}

#[test]
fn settings_that_cannot_act_are_named() {
    warned("http: {draintimeout: 30}", "http.draintimeout", "a number without a unit is nanoseconds");
    warned("http: {relativeurls: false}", "http.relativeurls", "Location stays a path");
    warned(
        "http: {tls: {clientauth: require-any-client-cert}}",
        "http.tls.clientauth",
        "without clientcas no client is asked for a certificate",
    );
    warned("storage: {inmemory: , tag: {concurrencylimit: 3}}", "storage.tag", "does nothing in this version");
    for quiet in [
        "http: {draintimeout: 0}",
        "http: {draintimeout: 30s}",
        "http: {relativeurls: false, host: 'https://h'}",
        "http: {tls: {minimumtls: tls1.3}}",
    ] {
        assert_eq!(parse(&with(quiet)).unwrap().warnings, [], "{quiet}");
    }
    refused("edge: {uploads: {token_grace: 60}}", "edge.uploads.token_grace must be 0 or at least 1ms");
}

#[test]
fn the_effective_configuration_holds_no_secret() {
    let text = with(
        "http: {secret: canary, headers: {X-A: [shown]}}\n\
         redis: {password: canary, addr: 'redis://u:canary@h'}\n\
         proxy: {exec: {command: 'https://u:canary@shown.example'}, password: canary}\n\
         notifications: {endpoints: [{name: n, url: 'http://u:canary@h', headers: {Authorization: [canary]}}]}\n\
         reporting: {bugsnag: {apikey: canary}}\n\
         middleware: {registry: [{name: x, options: {privatekey: canary, x: canary}}]}\n\
         log: {hooks: [{options: {smtp: {password: canary}}}]}\n\
         health: {http: [{uri: 'http://a/b?token=canary#canary', headers: {Authorization: [canary]}}]}\n\
         database: {enabled: false, password: canary}\n\
         unknown: {thing: canary}\n",
    );
    let loaded = parse(&text).unwrap();
    assert!(!loaded.redacted().contains("canary"), "{}", loaded.redacted());
    for shown in ["X-A", "shown", "secret: <redacted>", "shown.example", "memory: 256MiB", "name: n"] {
        assert!(loaded.redacted().contains(shown), "{shown}: {}", loaded.redacted());
    }
    assert!(!format!("{loaded:?}").contains("canary\""), "the debug form of a configuration shows a secret");
    assert!(!format!("{:?}", loaded.config).contains("canary"));
}

#[test]
fn the_effective_configuration_reads_back_as_itself() {
    let first =
        parse(&with("log: {fields: {a: 'off', b: 'x: y', c: \"l\\nm\"}}\nhttp: {addr: ':1', prefix: /a/}")).unwrap();
    let second = parse(first.redacted()).unwrap();
    assert_eq!(first.redacted(), second.redacted());
    assert_eq!(first.config.log.fields, second.config.log.fields);
}
