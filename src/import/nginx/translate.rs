//! What each directive comes to.

use crate::import::{
    Fate, Note,
    document::{Item, Map},
    nginx::{headers, known, parser::Directive, select::Site},
    terms::{self, Outcome},
};

/// A configuration on its way.
pub(super) struct Translation<'a> {
    pub(super) site: &'a Site<'a>,
    /// What comments call the file.
    pub(super) file: &'a str,
    pub(super) document: Map,
    pub(super) notes: Vec<Note>,
}

/// Times of NGINX, and ours.
const TIMES: &[(&str, &[&str])] = &[
    ("keepalive_timeout", &["edge", "limits", "idle_timeout"]),
    ("client_header_timeout", &["edge", "limits", "header_timeout"]),
    ("client_body_timeout", &["edge", "limits", "body_timeout"]),
    ("send_timeout", &["edge", "limits", "write_timeout"]),
    ("proxy_connect_timeout", &["edge", "upstream", "connect_timeout"]),
    ("proxy_read_timeout", &["edge", "upstream", "read_timeout"]),
];

/// Directives that several others are read with, and so read elsewhere.
const TOGETHER: &[&str] = &[
    "listen",
    "server_name",
    "ssl",
    "ssl_certificate",
    "ssl_certificate_key",
    "ssl_client_certificate",
    "ssl_verify_client",
    "proxy_pass",
    "set_real_ip_from",
    "real_ip_header",
    "real_ip_recursive",
    "auth_basic",
    "auth_basic_user_file",
];

pub(super) fn translate(site: &Site<'_>, file: &str) -> (Map, Vec<Note>) {
    let mut t = Translation { site, file, document: Map::default(), notes: site.notes.clone() };
    t.document.set(&["version"], Item::Number("0.1".to_owned()));
    t.servers();
    t.listeners();
    t.certificates();
    t.real_addresses();
    t.passwords();
    for directive in site.directives.iter().filter(|one| !TOGETHER.contains(&one.name.as_str())) {
        let outcome = t.alone(directive);
        t.note(directive, outcome);
    }
    for block in &site.blocks {
        t.block(block);
    }
    (t.document, t.notes)
}

impl<'a> Translation<'a> {
    /// The directives of this name that are in force.
    pub(super) fn all(&self, name: &str) -> Vec<&'a Directive> {
        self.site.directives.iter().copied().filter(|one| one.name == name).collect()
    }

    pub(super) fn one(&self, name: &str) -> Option<&'a Directive> {
        self.all(name).into_iter().next_back()
    }

    pub(super) fn source(&self, directive: &Directive) -> String {
        format!("{}:{} {}", self.file, directive.place.line, directive.name)
    }

    pub(super) fn take(&mut self, path: &[&str], item: impl Into<Item>, directive: &Directive) {
        let source = self.source(directive);
        self.document.set_from(path, item, source);
    }

    pub(super) fn note(&mut self, directive: &Directive, outcome: Outcome) {
        let (fate, reason) = match outcome {
            Outcome::Taken => return,
            Outcome::Partly(reason) => (Fate::Remark, reason),
            Outcome::Idle(reason) => (Fate::NoEffect, reason),
            Outcome::Refused(reason) => (Fate::NotRead, reason),
            Outcome::Unknown => (Fate::Unknown, "it is left out".to_owned()),
        };
        self.notes.push(Note::new(directive.place, &directive.name, fate, reason));
    }

    /// A directive that is read by itself.
    fn alone(&mut self, directive: &Directive) -> Outcome {
        let name = directive.name.as_str();
        let value = directive.arguments.join(" ");
        let source = self.source(directive);
        let refused = |reason: &str| Outcome::Refused(reason.to_owned());
        if let Some(reason) = known::idle(name) {
            return Outcome::Idle(reason.to_owned());
        }
        if value.contains('$') && !matches!(name, "proxy_set_header" | "add_header") {
            return refused(known::refused(name).unwrap_or(known::VARIABLE));
        }
        if terms::TERMS.contains(&name) {
            return terms::term(name, &value, &mut self.document, &source);
        }
        if let Some((_, path)) = TIMES.iter().find(|(known, _)| *known == name) {
            return time(directive, path, &mut self.document, &source);
        }
        let mut taken = |path: &[&str], item: Item| {
            self.document.set_from(path, item, source.as_str());
            Outcome::Taken
        };
        match (name, value.as_str()) {
            ("proxy_set_header", _) => headers::of_request(directive),
            ("add_header", _) => headers::of_answer(directive, &mut self.document, &source),
            ("http2", "off") => taken(&["http", "http2", "disabled"], true.into()),
            ("access_log", "off") => taken(&["log", "accesslog", "disabled"], true.into()),
            ("proxy_ssl_trusted_certificate", _) => taken(&["edge", "upstream", "ca"], value.into()),
            ("http2", _) | ("proxy_ssl_verify", "on") | ("client_max_body_size", "0") | ("allow", "all") => {
                Outcome::Taken
            }
            ("proxy_ssl_verify", _) => Outcome::Idle("a registry over https is asked for a certificate".to_owned()),
            ("client_max_body_size", _) => Outcome::Idle("requests have no limit".to_owned()),
            ("access_log", _) => Outcome::Idle("the access log goes to standard output".to_owned()),
            ("include", types) if types.ends_with("mime.types") => Outcome::Idle("no files are served".to_owned()),
            _ => known::refused(name).map_or(Outcome::Unknown, refused),
        }
    }

    /// Locations beside the registry's, conditions, and what NGINX's modules put into blocks.
    fn block(&mut self, block: &Directive) {
        let words = block.arguments.join(" ");
        let outcome = match block.name.as_str() {
            "location" if words.contains("acme-challenge") => {
                Outcome::Idle("challenges of ACME are answered before everything else".to_owned())
            }
            "location" => Outcome::Idle("only what a registry answers is passed on".to_owned()),
            "if" if words.contains("$http_user_agent") => {
                Outcome::Idle("clients are not told apart by what they call themselves".to_owned())
            }
            "map" | "geo" | "split_clients" => Outcome::Idle("variables have no value here".to_owned()),
            name => match known::idle(name) {
                Some(reason) => Outcome::Idle(reason.to_owned()),
                None => Outcome::Refused("conditions and the like are not evaluated".to_owned()),
            },
        };
        let shown = if words.is_empty() { block.name.clone() } else { format!("{} {words}", block.name) };
        self.note(&Directive { name: shown, ..block.clone() }, outcome);
    }
}

fn time(directive: &Directive, path: &[&str], document: &mut Map, source: &str) -> Outcome {
    // The second time of keepalive_timeout is told to clients.
    match terms::seconds(directive.first()) {
        Some(0) | None => Outcome::Refused("it must be a time of a second at least, such as 900 or 15m".to_owned()),
        Some(seconds) => {
            document.set_from(path, format!("{seconds}s"), source);
            Outcome::Taken
        }
    }
}
