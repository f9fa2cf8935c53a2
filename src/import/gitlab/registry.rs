//! The registry's own configuration, as GitLab generates it from `registry['…']` and `gitlab_rails['registry_…']`.

use crate::import::{
    Fate,
    document::{Item, Map},
    gitlab::{Found, Translation, item},
    ruby::Value,
};

/// Where GitLab's package keeps what belongs to its registry.
const DIRECTORY: &str = "/var/opt/gitlab/registry";
const STORAGE: &str = "/var/opt/gitlab/gitlab-rails/shared/registry";
const ISSUER: &str = "omnibus-gitlab-issuer";
const SERVICE: &str = "container_registry";

/// Backends that GitLab knows and that are not in this version.
const LATER: [&str; 4] = ["azure", "gcs", "swift", "oss"];

pub(super) fn translate(t: &mut Translation<'_>) {
    if let Some(enable) = t.flag(&["registry", "enable"]).filter(|enable| !enable.value) {
        t.note(&enable, Fate::NoEffect, "GitLab did not run its registry here; Pierhead runs whenever it is started");
    }
    log(t);
    storage(t);
    auth(t);
    http(t);
    health(t);
    validation(t);
    middleware(t);
    database(t);
}

fn log(t: &mut Translation<'_>) {
    t.document.set(&["log", "level"], "info");
    t.document.set(&["log", "formatter"], "text");
    let level = t.text(&["registry", "log_level"]);
    // The fork's word for what is called `error` here.
    t.take(
        &["log", "level"],
        level.map(|level| level.map(|word| if word == "fatal" { "error".to_owned() } else { word })),
    );
    let formatter = t.text(&["registry", "log_formatter"]);
    t.take(&["log", "formatter"], formatter);
    t.document.set(&["log", "fields", "service"], "registry");
    t.document.set(&["log", "fields", "environment"], "production");
}

/// The storage as it is written, with GitLab's defaults for what is missing.
fn storage(t: &mut Translation<'_>) {
    let written = t.read(&["registry", "storage"], "a hash", |value| match value {
        Value::Map(_) => Some(item(value)),
        _ => None,
    });
    // What is set and cannot be read is some storage: the default would be another one.
    let unreadable = written.is_none() && t.settings.find(&["registry", "storage"]).is_some();
    t.take(&["storage"], written);
    let drivers = ["filesystem", "inmemory", "s3", "s3aws", "s3_v2", "azure", "azure_v2", "gcs", "swift", "oss"];
    let driver = drivers.iter().find(|name| t.document.get(&["storage", name]).is_some());
    if driver.is_none() && !unreadable {
        t.document.set(&["storage", "filesystem", "rootdirectory"], STORAGE);
        let path = t.text(&["gitlab_rails", "registry_path"]);
        t.take(&["storage", "filesystem", "rootdirectory"], path);
    } else if let Some(path) = t.text(&["gitlab_rails", "registry_path"]) {
        t.note(&path, Fate::NoEffect, "registry['storage'] says where content lies");
    }
    if t.document.get(&["storage", "cache"]).is_none() {
        t.document.set(&["storage", "cache", "blobdescriptor"], "inmemory");
    }
    let delete = t.flag(&["registry", "storage_delete_enabled"]);
    if t.document.get(&["storage", "delete"]).is_none() {
        t.document.set(&["storage", "delete", "enabled"], true);
        t.take(&["storage", "delete", "enabled"], delete);
    } else if let Some(delete) = delete {
        t.note(&delete, Fate::NoEffect, "registry['storage']['delete'] says it");
    }
    if let Some(driver) = driver.filter(|driver| LATER.iter().any(|later| driver.starts_with(later)))
        && let Some(found) = t.find(&["registry", "storage"])
    {
        t.note(
            &found,
            Fate::Remark,
            format!("storage in {driver} is not in this version, so the result does not start"),
        );
    }
}

fn auth(t: &mut Translation<'_>) {
    let token = |key: &'static str| ["auth", "token", key];
    let external = t.text(&["external_url"]);
    let realm = t.text(&["registry", "token_realm"]);
    let set = realm.is_some() || external.is_some();
    let realm = realm.or(external);
    t.take(&token("realm"), realm.map(|realm| realm.map(|url| format!("{}/jwt/auth", url.trim_end_matches('/')))));
    t.document.set(&token("service"), SERVICE);
    t.document.set(&token("issuer"), ISSUER);
    let issuer = t.text(&["gitlab_rails", "registry_issuer"]);
    t.take(&token("issuer"), issuer);
    let certificate = |directory: &str| format!("{}/gitlab-registry.crt", directory.trim_end_matches('/'));
    t.document.set(&token("rootcertbundle"), certificate(DIRECTORY));
    let directory = t.text(&["registry", "dir"]);
    t.take(&token("rootcertbundle"), directory.map(|found| found.map(|directory| certificate(&directory))));
    let autoredirect = t.flag(&["registry", "autoredirect"]);
    t.take(&token("autoredirect"), autoredirect);
    if !set {
        let reason = "neither registry['token_realm'] nor external_url can be read: auth.token.realm is missing";
        t.notes.push(crate::import::Note::new(None, "auth.token.realm", Fate::NotRead, reason));
    }
}

fn http(t: &mut Translation<'_>) {
    let secret = t.text(&["registry", "http_secret"]);
    t.take(&["http", "secret"], secret);
    let drain = t.text(&["registry", "http_draintimeout"]);
    t.take(&["http", "draintimeout"], drain.map(with_unit));
    let debug = t.text(&["registry", "debug_addr"]);
    if debug.is_some() {
        t.take(&["http", "debug", "addr"], debug);
        t.document.set(&["http", "debug", "prometheus", "enabled"], true);
        t.document.set(&["http", "debug", "prometheus", "path"], "/metrics");
    }
    t.document.set(&["http", "headers", "X-Content-Type-Options"], vec!["nosniff"]);
}

/// A bare zero is no time in any unit; every other number is left as it is written.
fn with_unit(found: Found<String>) -> Found<String> {
    found.map(|time| if time == "0" { "0s".to_owned() } else { time })
}

fn health(t: &mut Translation<'_>) {
    t.document.set(&["health", "storagedriver", "enabled"], true);
    let enabled = t.flag(&["registry", "health_storagedriver_enabled"]);
    t.take(&["health", "storagedriver", "enabled"], enabled);
    t.document.set(&["health", "storagedriver", "interval"], "10s");
    t.document.set(&["health", "storagedriver", "threshold"], 3_i64);
}

fn validation(t: &mut Translation<'_>) {
    t.document.set(&["validation", "disabled"], true);
    let enabled = t.flag(&["registry", "validation_enabled"]);
    t.take(&["validation", "disabled"], enabled.map(|enabled| enabled.map(|enabled| !enabled)));
}

fn middleware(t: &mut Translation<'_>) {
    let middleware = t.find(&["registry", "middleware"]);
    t.take(&["middleware"], middleware.map(|found| found.map(item)));
}

/// Where there is a metadata database, the storage holds no tags: the result must not start.
fn database(t: &mut Translation<'_>) {
    let Some(enabled) = t.find(&["registry", "database", "enabled"]) else { return };
    let off =
        matches!(enabled.value, Value::Bool(false)) || matches!(enabled.value, Value::Text(text) if text == "false");
    let written = if off { Item::Bool(false) } else { item(enabled.value) };
    if !off {
        let reason = "with a metadata database tags are not in the storage, so the result does not start";
        t.note(&enabled, Fate::Remark, reason);
    }
    let mut database = Map::default();
    database.set(&["enabled"], written);
    t.document.set_from(&["database"], Item::Map(database), enabled.source);
}
