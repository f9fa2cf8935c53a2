//! What NGINX did before the registry: addresses, TLS, redirects, real addresses of clients. Settings of
//! `registry['nginx']` go before those of `registry_nginx`, as in GitLab's package, and neither inherits from `nginx`.

use crate::import::{
    Fate, Note,
    document::{Item, Map},
    gitlab::{
        Found, Translation, certificates,
        url::{ExternalUrl, Security},
    },
    terms::{self, Clients, Outcome},
};

/// Where GitLab's package has the registry listen behind NGINX, and where GitLab calls it.
const INTERNAL: &str = "127.0.0.1:5000";

/// The port of a registry that shares GitLab's own name.
const SHARED_PORT: u16 = 5050;

/// What the package sends, in seconds: two years.
const HSTS_AGE: i64 = 63_072_000;

/// Settings that do nothing where no TLS is spoken.
const TLS_ONLY: &[&str] = &[
    "ssl_certificate",
    "ssl_certificate_key",
    "ssl_client_certificate",
    "ssl_verify_client",
    "hsts_max_age",
    "hsts_include_subdomains",
    "redirect_http_to_https",
    "redirect_http_to_https_port",
    "http2_enabled",
];

/// The path of a setting of NGINX, by its newer name where that is set.
pub(super) fn path<'k>(t: &Translation<'_>, key: &'k str) -> Vec<&'k str> {
    let newer = vec!["registry", "nginx", key];
    if t.settings.find(&newer).is_some() { newer } else { vec!["registry_nginx", key] }
}

pub(super) fn translate(t: &mut Translation<'_>) {
    overruled(t);
    let external = external(t);
    if let Some(url) = &external {
        t.document.set_from(&["edge", "external_url"], url.value.text(), &url.source);
    }
    let internal = t.text(&["registry", "registry_http_addr"]);
    let off = off(t);
    let Some(external) = external.filter(|_| off.is_none()) else {
        if let Some(off) = off {
            t.note(&off, Fate::Remark, "something else stood before the registry, so the result listens for it alone");
        }
        t.document.set(&["http", "addr"], INTERNAL);
        t.take(&["http", "addr"], internal);
        return;
    };
    let tls = listeners(t, &external, internal);
    if tls == Security::Tls {
        encrypted(t, &external.value);
    } else {
        plain(t);
    }
    clients(t);
    custom(t);
}

/// Names each older setting that a newer one goes before.
fn overruled(t: &mut Translation<'_>) {
    for (key, _) in super::known::NGINX {
        if t.settings.find(&["registry", "nginx", key]).is_some()
            && let Some(older) = t.find(&["registry_nginx", key])
        {
            t.note(&older, Fate::NoEffect, format!("registry['nginx']['{key}'] goes before it"));
        }
    }
}

fn off(t: &mut Translation<'_>) -> Option<Found<bool>> {
    let own = t.flag(&path(t, "enable"));
    let site = t.flag(&["nginx", "enable"]);
    own.into_iter().chain(site).find(|enable| !enable.value)
}

/// `registry_external_url`, else GitLab's own name with another port, which is what the package does by itself where it
/// manages certificates.
fn external(t: &mut Translation<'_>) -> Option<Found<ExternalUrl>> {
    let wanted = "a URL with http or https and a host, without a path";
    let read = |found: Found<String>, t: &mut Translation<'_>| {
        let url = ExternalUrl::read(&found.value);
        if url.is_none() {
            t.note(&found, Fate::NotRead, format!("it must be {wanted}"));
        }
        url.map(|url| found.map(|_| url))
    };
    if let Some(own) = t.text(&["registry_external_url"]) {
        return read(own, t);
    }
    let site = t.text(&["external_url"]).and_then(|site| read(site, t));
    let managed = t.flag(&["letsencrypt", "enable"]).is_some_and(|enable| enable.value);
    let unset = t.settings.find(&["registry_external_url"]).is_none();
    match site {
        Some(site) if managed && unset && site.value.secure == Security::Tls => {
            Some(site.map(|url| ExternalUrl { port: SHARED_PORT, ..url }))
        }
        _ => {
            if unset {
                let reason = "it is not set: what clients see is not known, so the result listens for GitLab alone";
                t.notes.push(Note::new(None, "registry_external_url", Fate::NotRead, reason));
            }
            None
        }
    }
}

/// The public addresses, and the one on which GitLab calls. Says whether TLS is spoken.
fn listeners(t: &mut Translation<'_>, external: &Found<ExternalUrl>, internal: Option<Found<String>>) -> Security {
    let https = t.flag(&path(t, "listen_https"));
    let port = t.port(&path(t, "listen_port"));
    let addresses = t.texts(&path(t, "listen_addresses"));
    let proxied = t.flag(&path(t, "proxy_protocol"));
    let tls = match &https {
        Some(https) if https.value => Security::Tls,
        Some(_) => Security::Plain,
        None => external.value.secure,
    };
    let number = port.as_ref().map_or(external.value.port, |port| port.value);
    let listen = |host: &str| {
        let mut listener = Map::default();
        listener.set(&["address"], address(host, number));
        listener.set(&["tls"], tls == Security::Tls);
        if proxied.as_ref().is_some_and(|proxied| proxied.value) {
            listener.set(&["proxy_protocol"], "required");
        }
        Item::Map(listener)
    };
    let hosts = addresses.as_ref().map_or_else(|| vec!["*".to_owned()], |addresses| addresses.value.clone());
    let mut items: Vec<_> = hosts.iter().map(|host| listen(host)).collect();
    let mut behind = Map::default();
    behind.set(&["address"], internal.as_ref().map_or(INTERNAL, |internal| &internal.value));
    behind.set(&["tls"], false);
    items.push(Item::Map(behind));
    t.document.set(&["edge", "listen"], Item::List(items));
    let mut sources = vec![external.source.clone()];
    sources.extend(https.map(|found| found.source));
    sources.extend(port.map(|found| found.source));
    sources.extend(addresses.map(|found| found.source));
    sources.extend(proxied.as_ref().map(|found| found.source.clone()));
    sources.extend(internal.map(|found| found.source));
    for source in sources {
        t.document.comment(&["edge", "listen"], source);
    }
    t.document
        .comment(&["edge", "listen"], "The last address is for GitLab itself (gitlab_rails['registry_api_url']).");
    if tls == Security::Tls {
        redirect(t, &hosts, proxied.is_some_and(|proxied| proxied.value));
    }
    tls
}

/// `*` is every address of IPv4 to NGINX.
fn address(host: &str, port: u16) -> String {
    if host.starts_with("unix:") {
        return host.to_owned();
    }
    let host = if host == "*" { "0.0.0.0" } else { host };
    let bare = host.contains(':') && !host.starts_with('[');
    if bare { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn redirect(t: &mut Translation<'_>, hosts: &[String], proxied: bool) {
    let key = |last: &'static str| ["edge", "redirect_http_to_https", last];
    let wanted = t.flag(&path(t, "redirect_http_to_https"));
    let port = t.port(&path(t, "redirect_http_to_https_port"));
    let Some(wanted) = wanted.filter(|wanted| wanted.value) else {
        if let Some(port) = port {
            t.note(&port, Fate::NoEffect, "redirect_http_to_https is not true");
        }
        return;
    };
    let number = port.as_ref().map_or(80, |port| port.value);
    match hosts {
        [host] if host != "*" => t.document.set(&key("address"), address(host, number)),
        _ => t.document.set(&key("port"), i64::from(number)),
    }
    if proxied {
        t.document.set(&key("proxy_protocol"), "required");
    }
    for source in [Some(wanted.source), port.map(|port| port.source)].into_iter().flatten() {
        t.document.comment(&["edge", "redirect_http_to_https"], source);
    }
}

/// Certificates, terms of TLS, certificates of clients, HSTS.
fn encrypted(t: &mut Translation<'_>, url: &ExternalUrl) {
    certificates::translate(t, url);
    for name in terms::TERMS {
        let Some(found) = t.words(&path(t, name)) else { continue };
        match terms::term(name, &found.value, &mut t.document, &found.source) {
            Outcome::Taken | Outcome::Unknown => {}
            Outcome::Partly(reason) => t.note(&found, Fate::Remark, reason),
            Outcome::Idle(reason) => t.note(&found, Fate::NoEffect, reason),
            Outcome::Refused(reason) => t.note(&found, Fate::NotRead, reason),
        }
    }
    client_certificates(t);
    let http2 = t.flag(&path(t, "http2_enabled"));
    t.take(&["http", "http2", "disabled"], http2.map(|http2| http2.map(|enabled| !enabled)));
    t.document.set(&["edge", "hsts", "max_age"], HSTS_AGE);
    let age = t.read(&path(t, "hsts_max_age"), "a number of seconds", |value| match value {
        crate::import::ruby::Value::Integer(age) => Some((*age).max(0)),
        _ => None,
    });
    t.take(&["edge", "hsts", "max_age"], age);
    let subdomains = t.flag(&path(t, "hsts_include_subdomains"));
    t.take(&["edge", "hsts", "include_subdomains"], subdomains);
}

fn client_certificates(t: &mut Translation<'_>) {
    let roots = t.text(&path(t, "ssl_client_certificate"));
    let verify = t.words(&path(t, "ssl_verify_client"));
    let Some(roots) = roots else {
        if let Some(verify) = verify {
            t.note(&verify, Fate::NoEffect, "there is no ssl_client_certificate to check against");
        }
        return;
    };
    let Some(verify) = verify else {
        t.note(&roots, Fate::NoEffect, "ssl_verify_client is not set, so no client is asked");
        return;
    };
    match terms::clients(&verify.value) {
        Some(Clients::Asked(word)) => {
            t.document.set_from(&["http", "tls", "clientcas"], vec![roots.value], roots.source);
            t.document.set_from(&["http", "tls", "clientauth"], word, verify.source);
        }
        Some(Clients::Unasked) => t.note(&roots, Fate::NoEffect, "ssl_verify_client is off, so no client is asked"),
        None => t.note(&verify, Fate::NotRead, "it must be on, off, optional or optional_no_ca"),
    }
}

fn plain(t: &mut Translation<'_>) {
    for key in TLS_ONLY.iter().chain(terms::TERMS) {
        if let Some(found) = t.find(&path(t, key)) {
            t.note(&found, Fate::NoEffect, "no TLS is spoken here");
        }
    }
    certificates::unused(t);
}

/// Who is believed about clients' addresses. The header is NGINX's default where none is named.
fn clients(t: &mut Translation<'_>) {
    let trusted = t.texts(&path(t, "real_ip_trusted_addresses"));
    let header = t.text(&path(t, "real_ip_header"));
    let recursive = t.words(&path(t, "real_ip_recursive"));
    let Some(trusted) = trusted.filter(|trusted| !trusted.value.is_empty()) else {
        if let Some(proxied) = t.flag(&path(t, "proxy_protocol")).filter(|proxied| proxied.value) {
            t.note(&proxied, Fate::NotRead, terms::NOBODY_TRUSTED);
        }
        for found in [header, recursive].into_iter().flatten() {
            t.note(&found, Fate::NoEffect, "real_ip_trusted_addresses is empty, so nobody is believed");
        }
        return;
    };
    t.document.set_from(&["edge", "trusted_proxies"], trusted.value, trusted.source);
    if header.as_ref().is_some_and(|header| header.value == "proxy_protocol") {
        return;
    }
    t.document.set(&["edge", "real_ip", "header"], "X-Real-IP");
    t.take(&["edge", "real_ip", "header"], header);
    t.document.set(&["edge", "real_ip", "recursive"], false);
    t.take(&["edge", "real_ip", "recursive"], recursive.map(|found| found.map(|word| word == "on")));
}

/// Directives in NGINX's own language.
fn custom(t: &mut Translation<'_>) {
    let Some(found) = t.text(&path(t, "custom_gitlab_server_config")) else { return };
    let reason = match crate::import::nginx::names(&found.value) {
        Ok(names) => format!("NGINX's language stands there; look for each of these in edge: {}", names.join(", ")),
        Err(error) => format!("what stands there is not NGINX's language ({error})"),
    };
    t.note(&found, Fate::NotRead, reason);
}
