//! Where certificates come from: files that are named, files named for the host, or Let's Encrypt.

use crate::import::{
    Fate, Note,
    document::Item,
    gitlab::{Found, Translation, front::path, url::ExternalUrl},
};

/// Where GitLab's package looks for `<host>.crt` and `<host>.key`.
const DIRECTORY: &str = "/etc/gitlab/ssl";

/// What only acts beside `letsencrypt['enable']`.
const ACME_ONLY: &[&str] = &["contact_emails", "key_type", "key_size", "ec_curve", "acme_production_endpoint"];

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
    key_type(t);
}

/// RSA with 2048 bits where only half is said, as the package; our own default where nothing is.
fn key_type(t: &mut Translation<'_>) {
    let kind = t.text(&["letsencrypt", "key_type"]);
    let size = t.text(&["letsencrypt", "key_size"]);
    let curve = t.text(&["letsencrypt", "ec_curve"]);
    let elliptic = kind.as_ref().is_some_and(|kind| matches!(kind.value.as_str(), "ecdsa" | "ec"));
    let (detail, idle) = if elliptic { (curve, size) } else { (size, curve) };
    if let Some(idle) = idle {
        t.note(&idle, Fate::NoEffect, "letsencrypt['key_type'] is of the other kind");
    }
    let wanted = detail.as_ref().map(|detail| detail.value.as_str());
    let word = match (elliptic, wanted) {
        (false, None | Some("2048")) => "rsa2048",
        (false, Some("3072")) => "rsa3072",
        (false, Some("4096")) => "rsa4096",
        (true, None | Some("prime256v1" | "P-256")) => "p256",
        (true, Some("secp384r1" | "P-384")) => "p384",
        _ => {
            let detail = detail.expect("there is a detail where it is not the usual one");
            t.note(
                &detail,
                Fate::NotRead,
                "keys are of RSA with 2048, 3072 or 4096 bits, or on prime256v1 or secp384r1",
            );
            return;
        }
    };
    let sources: Vec<_> = [kind, detail].into_iter().flatten().map(|found| found.source).collect();
    if !sources.is_empty() {
        t.document.set(&["edge", "acme", "key_type"], Item::from(word));
        for source in sources {
            t.document.comment(&["edge", "acme", "key_type"], source);
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
