//! `proxy_set_header` and `add_header`.

use crate::import::{document::Map, nginx::parser::Directive, terms::Outcome};

/// What the templates of GitLab and of Distribution tell the registry, which is told here as well.
const TOLD: &[(&str, &[&str])] = &[
    ("host", &["$http_host", "$host", "$http_host;"]),
    ("x-real-ip", &["$remote_addr", "$proxy_protocol_addr"]),
    ("x-forwarded-for", &["$proxy_add_x_forwarded_for", "$remote_addr", "$proxy_protocol_addr"]),
    ("x-forwarded-proto", &["$scheme", "https", "http"]),
    ("x-forwarded-ssl", &["on"]),
    ("x-forwarded-host", &["$http_host", "$host"]),
    ("x-forwarded-port", &["$server_port"]),
    ("upgrade", &["$http_upgrade"]),
    ("connection", &["", "upgrade", "$connection_upgrade"]),
];

pub(super) fn of_request(directive: &Directive) -> Outcome {
    let name = directive.first().to_ascii_lowercase();
    let value = directive.arguments.get(1).map_or("", String::as_str);
    let usual = TOLD.iter().any(|(known, values)| *known == name && values.contains(&value));
    if usual {
        return Outcome::Taken;
    }
    Outcome::Idle("the registry is told what GitLab's template tells it, and nothing else".to_owned())
}

/// Puts it into `http.headers` or `edge.hsts`.
pub(super) fn of_answer(directive: &Directive, document: &mut Map, source: &str) -> Outcome {
    let name = directive.first();
    let value = directive.arguments.get(1).map_or("", String::as_str);
    match name.to_ascii_lowercase().as_str() {
        "docker-distribution-api-version" => Outcome::Idle("every answer of a registry has it".to_owned()),
        "strict-transport-security" => hsts(value, document, source),
        "" => Outcome::Refused("it names no header".to_owned()),
        _ if value.is_empty() => Outcome::Idle("an empty header is none".to_owned()),
        _ if value.contains('$') => Outcome::Refused("variables have no value here".to_owned()),
        _ => {
            document.set_from(&["http", "headers", name], vec![value], source);
            Outcome::Taken
        }
    }
}

fn hsts(value: &str, document: &mut Map, source: &str) -> Outcome {
    let mut parts = value.split(';').map(str::trim).filter(|part| !part.is_empty());
    let age = parts.clone().find_map(|part| part.strip_prefix("max-age="));
    let Some(age) = age.and_then(|age| age.trim_matches('"').parse::<i64>().ok()) else {
        return Outcome::Refused("it has no max-age in seconds".to_owned());
    };
    document.set_from(&["edge", "hsts", "max_age"], age, source);
    for (word, key) in [("includesubdomains", "include_subdomains"), ("preload", "preload")] {
        if parts.clone().any(|part| part.eq_ignore_ascii_case(word)) {
            document.set(&["edge", "hsts", key], true);
        }
    }
    let known = |part: &str| {
        let part = part.to_ascii_lowercase();
        part.starts_with("max-age=") || part == "includesubdomains" || part == "preload"
    };
    match parts.find(|part| !known(part)) {
        Some(_) => Outcome::Partly("it has parts that the header does not know".to_owned()),
        None => Outcome::Taken,
    }
}
