//! Where certificates come from: files that are named, files named for the host, or Let's Encrypt.

use crate::import::{
    Fate, Note,
    gitlab::{Found, Translation, front::path, url::ExternalUrl},
};

/// Where GitLab's package looks for `<host>.crt` and `<host>.key`.
const DIRECTORY: &str = "/etc/gitlab/ssl";

/// Where GitLab's package lets its NGINX find answers to challenges.
const ROOT: &str = "/var/opt/gitlab/nginx/www";

/// Where ours are kept: what the package has are files of another program.
const STATE: &str = "/var/lib/pierhead/acme";

/// What only acts beside `letsencrypt['enable']`.
const ACME_ONLY: &[&str] =
    &["contact_emails", "key_type", "key_size", "ec_curve", "acme_production_endpoint", "wwwroot"];

pub(super) fn translate(t: &mut Translation<'_>, url: &ExternalUrl) {
    let enable = t.flag(&["letsencrypt", "enable"]);
    let certificate = t.text(&path(t, "ssl_certificate"));
    let key = t.text(&path(t, "ssl_certificate_key"));
    let named = certificate.is_some() || key.is_some();
    match enable {
        Some(enable) if enable.value && !named => acme(t, url, enable),
        enable => {
            files(t, url, certificate, key);
            unused(t);
            // Whether GitLab switched it on by itself depends on what its machine had.
            if enable.is_none() && !named {
                let reason = "it is not set, and where it is not GitLab may switch it on by itself; the result reads \
                              files, and edge.acme gets certificates";
                t.notes.push(Note::new(None, "letsencrypt['enable']", Fate::Remark, reason));
            }
        }
    }
}

fn files(t: &mut Translation<'_>, url: &ExternalUrl, certificate: Option<Found<String>>, key: Option<Found<String>>) {
    let default = |kind: &str| format!("{DIRECTORY}/{}.{kind}", url.host);
    if certificate.is_none() && key.is_none() {
        t.document.set(&["edge", "tls", "certificate_directory"], DIRECTORY);
        return;
    }
    t.document.set(&["http", "tls", "certificate"], default("crt"));
    t.take(&["http", "tls", "certificate"], certificate);
    t.document.set(&["http", "tls", "key"], default("key"));
    t.take(&["http", "tls", "key"], key);
}

fn acme(t: &mut Translation<'_>, url: &ExternalUrl, enable: Found<bool>) {
    t.document.set_from(&["edge", "acme", "enabled"], true, enable.source);
    t.document.set(&["edge", "acme", "names"], vec![url.host.clone()]);
    let emails = t.texts(&["letsencrypt", "contact_emails"]);
    t.take(&["edge", "acme", "emails"], emails);
    let directory = t.text(&["letsencrypt", "acme_production_endpoint"]);
    t.take(&["edge", "acme", "directory"], directory);
    t.document.set(&["edge", "acme", "state"], STATE);
    challenge(t, url);
    key_type(t);
}

/// Handshakes prove who we are on port 443 alone. Beside a site of GitLab's own the plain port is that site's, which
/// serves what is written into its directory.
fn challenge(t: &mut Translation<'_>, url: &ExternalUrl) {
    let root = t.text(&["letsencrypt", "wwwroot"]);
    if url.port == 443 {
        if let Some(root) = root {
            t.note(&root, Fate::NoEffect, "on port 443 the challenge is answered in the handshake");
        }
        return;
    }
    t.document.set(&["edge", "acme", "challenge"], "http-01");
    t.document.set(&["edge", "acme", "webroot"], ROOT);
    t.take(&["edge", "acme", "webroot"], root);
}

/// In GitLab's words, which are ours as well; RSA is its kind where none is named, our own default is left where nothing
/// is said.
fn key_type(t: &mut Translation<'_>) {
    let key = |last: &'static str| ["edge", "acme", last];
    let kind = t.text(&["letsencrypt", "key_type"]);
    let size = t.text(&["letsencrypt", "key_size"]);
    let curve = t.text(&["letsencrypt", "ec_curve"]);
    let elliptic = kind.as_ref().is_some_and(|kind| matches!(kind.value.as_str(), "ecdsa" | "ec"));
    let (detail, idle) = if elliptic { (curve, size) } else { (size, curve) };
    if let Some(idle) = idle {
        t.note(&idle, Fate::NoEffect, "letsencrypt['key_type'] is of the other kind");
    }
    if kind.is_some() || detail.is_some() {
        t.document.set(&key("key_type"), if elliptic { "ecdsa" } else { "rsa" });
        t.take(&key("key_type"), kind.filter(|kind| matches!(kind.value.as_str(), "ecdsa" | "ec" | "rsa")));
    }
    let Some(detail) = detail else { return };
    match (elliptic, detail.value.as_str()) {
        (false, "2048" | "3072" | "4096") => {
            let size: Option<i64> = detail.value.parse().ok();
            t.take(&key("key_size"), size.map(|size| detail.map(|_| size)));
        }
        (true, "prime256v1" | "secp384r1") => t.take(&key("ec_curve"), Some(detail)),
        _ => {
            let reason = "keys are of RSA with 2048, 3072 or 4096 bits, or on prime256v1 or secp384r1";
            t.note(&detail, Fate::NotRead, reason);
        }
    }
}

/// Names what is set for Let's Encrypt where it is not asked.
pub(super) fn unused(t: &mut Translation<'_>) {
    let enabled = t.flag(&["letsencrypt", "enable"]).filter(|enable| enable.value);
    if let Some(enable) = enabled {
        t.note(&enable, Fate::NoEffect, "the registry's certificate is named in files, or no TLS is spoken");
    }
    for key in ACME_ONLY {
        if let Some(found) = t.find(&["letsencrypt", key]) {
            t.note(&found, Fate::NoEffect, "the registry's certificate does not come from Let's Encrypt");
        }
    }
}
