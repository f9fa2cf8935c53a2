//! What each directive comes to.

use crate::import::{
    Fate, Note,
    document::{Item, Map},
    nginx::{
        headers, known,
        listen::Listen,
        parser::Directive,
        select::{self, Site},
        upstream,
    },
    terms::{self, Outcome},
};

pub(super) struct Translation<'a> {
    site: &'a Site<'a>,
    file: &'a str,
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
    fn all(&self, name: &str) -> Vec<&'a Directive> {
        self.site.directives.iter().copied().filter(|one| one.name == name).collect()
    }

    fn one(&self, name: &str) -> Option<&'a Directive> {
        self.all(name).into_iter().next_back()
    }

    fn source(&self, directive: &Directive) -> String {
        format!("{}:{} {}", self.file, directive.place.line, directive.name)
    }

    fn take(&mut self, path: &[&str], item: impl Into<Item>, directive: &Directive) {
        let source = self.source(directive);
        self.document.set_from(path, item, source);
    }

    fn note(&mut self, directive: &Directive, outcome: Outcome) {
        let (fate, reason) = match outcome {
            Outcome::Taken => return,
            Outcome::Partly(reason) => (Fate::Remark, reason),
            Outcome::Idle(reason) => (Fate::NoEffect, reason),
            Outcome::Refused(reason) => (Fate::NotRead, reason),
        };
        self.notes.push(Note::new(directive.place, &directive.name, fate, reason));
    }

    fn alone(&mut self, directive: &Directive) -> Outcome {
        let name = directive.name.as_str();
        let value = directive.arguments.join(" ");
        let source = self.source(directive);
        if value.contains('$') && !matches!(name, "proxy_set_header" | "add_header" | "return" | "log_format" | "set") {
            if let Some(reason) = known::idle(name) {
                return Outcome::Idle(reason.to_owned());
            }
            return Outcome::Refused("variables have no value here".to_owned());
        }
        if terms::TERMS.contains(&name) {
            return terms::term(name, &value, &mut self.document, &source);
        }
        if let Some((_, path)) = TIMES.iter().find(|(known, _)| *known == name) {
            return time(directive, path, &mut self.document, &source);
        }
        match name {
            "proxy_set_header" => headers::of_request(directive),
            "add_header" => headers::of_answer(directive, &mut self.document, &source),
            "http2" if value == "off" => {
                self.document.set_from(&["http", "http2", "disabled"], true, source);
                Outcome::Taken
            }
            "http2" => Outcome::Taken,
            "proxy_ssl_trusted_certificate" => {
                self.document.set_from(&["edge", "upstream", "ca"], value, source);
                Outcome::Taken
            }
            "proxy_ssl_verify" if value == "on" => Outcome::Taken,
            "proxy_ssl_verify" => {
                Outcome::Idle("a registry over https must have a certificate that can be verified".into())
            }
            "client_max_body_size" if value == "0" => Outcome::Taken,
            "client_max_body_size" => Outcome::Idle(
                "requests have no limit; edge.uploads.blob_size_max limits blobs where they are stored".into(),
            ),
            "access_log" if value == "off" => {
                self.document.set_from(&["log", "accesslog", "disabled"], true, source);
                Outcome::Taken
            }
            "access_log" => Outcome::Idle("the access log goes to standard output".to_owned()),
            "allow" if value == "all" => Outcome::Taken,
            "allow" | "deny" => {
                Outcome::Refused("who may connect must be said in edge, or by the machine's firewall".into())
            }
            "limit_req" | "limit_conn" | "limit_rate" | "limit_rate_after" | "limit_req_zone" | "limit_conn_zone" => {
                Outcome::Refused("limits are set in edge.limits, in other terms".to_owned())
            }
            "include" if value.ends_with("mime.types") => Outcome::Idle("no files are served".to_owned()),
            "include" => {
                Outcome::Refused("files that are included are not read; import what is in it together".to_owned())
            }
            "return" | "rewrite" | "set" | "auth_request" | "satisfy" | "internal" => {
                Outcome::Refused("requests are not rewritten, and nobody else is asked about them".to_owned())
            }
            _ => match known::idle(name) {
                Some(reason) => Outcome::Idle(reason.to_owned()),
                None => {
                    let reason = "it is left out";
                    self.notes.push(Note::new(directive.place, name, Fate::Unknown, reason));
                    Outcome::Taken
                }
            },
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

    fn servers(&mut self) {
        let Some(pass) = self.one("proxy_pass") else { return };
        match upstream::read(pass.first(), &self.site.upstreams) {
            Ok(read) => {
                self.take(&["edge", "upstream", "servers"], read.servers, pass);
                if let Some(balance) = read.balance {
                    self.document.set(&["edge", "upstream", "balance"], balance);
                }
                self.notes.extend(read.notes);
            }
            Err(reason) => self.note(pass, Outcome::Refused(reason)),
        }
    }

    fn listeners(&mut self) {
        let old = self.one("ssl").is_some_and(|ssl| ssl.first() == "on");
        let mut listens = Vec::new();
        for directive in self.all("listen") {
            match Listen::read(&directive.arguments) {
                Some(mut listen) => {
                    listen.tls |= old;
                    if !listen.others.is_empty() {
                        let reason = format!("of it, {} has no effect", listen.others.join(", "));
                        self.note(directive, Outcome::Partly(reason));
                    }
                    listens.push(listen);
                }
                None => self.note(directive, Outcome::Refused("it is no address".to_owned())),
            }
        }
        let items: Vec<_> = listens.iter().map(item).collect();
        if let Some(first) = self.one("listen").filter(|_| !items.is_empty()) {
            self.take(&["edge", "listen"], Item::List(items), first);
        } else {
            // What NGINX does where nothing is said.
            self.document.set(&["http", "addr"], "0.0.0.0:80");
        }
        self.external_url(&listens);
        self.redirect();
    }

    fn external_url(&mut self, listens: &[Listen]) {
        let plain = |name: &&&str| !name.contains(['*', '~', '$', '_']) && !name.starts_with('.') && !name.is_empty();
        let name = self.site.names.iter().find(plain);
        let listen = listens.iter().find(|listen| listen.tls).or(listens.first());
        let (Some(name), Some(directive)) = (name, self.one("server_name")) else {
            let reason = "without a server_name it is not known what clients see; write edge.external_url";
            self.notes.push(Note::new(None, "server_name", Fate::Remark, reason));
            return;
        };
        let tls = listen.is_some_and(|listen| listen.tls);
        let (scheme, usual) = if tls { ("https", 443) } else { ("http", 80) };
        let port = listen.and_then(|listen| listen.port).filter(|port| *port != usual);
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        self.take(&["edge", "external_url"], format!("{scheme}://{name}{port}"), directive);
        let others: Vec<_> = self.site.names.iter().filter(|other| *other != name).copied().collect();
        if !others.is_empty() {
            let reason = format!("clients are told {name}; requests to {} are answered as well", others.join(", "));
            self.note(directive, Outcome::Partly(reason));
        }
    }

    /// The server that sends clients to https becomes one of our own; it has one address.
    fn redirect(&mut self) {
        let Some(server) = self.site.redirect else { return };
        let listens = server.inner().iter().filter(|one| one.name == "listen");
        let read: Vec<_> = listens.filter_map(|one| Listen::read(&one.arguments)).collect();
        let key = ["edge", "redirect_http_to_https"];
        match read.as_slice() {
            [] => self.document.set(&[key[0], key[1], "port"], 80_i64),
            [only] => self.document.set(&[key[0], key[1], "address"], only.address.as_str()),
            [first, ..] => self.document.set(&[key[0], key[1], "port"], i64::from(first.port.unwrap_or(80))),
        }
        if read.iter().any(|listen| listen.proxy_protocol) {
            self.document.set(&[key[0], key[1], "proxy_protocol"], "required");
        }
        let source = format!("{}:{} the server that redirects", self.file, server.place.line);
        self.document.comment(&key, source);
        for inner in server.inner() {
            let expected =
                matches!(inner.name.as_str(), "listen" | "server_name" | "return" | "rewrite" | "server_tokens");
            let location = inner.block.is_some() && select::redirects(inner);
            let challenge = inner.block.is_some() && inner.arguments.iter().any(|word| word.contains("acme-challenge"));
            if !expected && !location && !challenge && known::idle(&inner.name).is_none() {
                self.note(inner, Outcome::Idle("clients are only redirected there".to_owned()));
            }
        }
    }

    /// The first pair has Distribution's keys, the others ours.
    fn certificates(&mut self) {
        let (certificates, keys) = (self.all("ssl_certificate"), self.all("ssl_certificate_key"));
        let mut others = Vec::new();
        for (number, certificate) in certificates.iter().enumerate() {
            let Some(key) = keys.get(number) else {
                self.note(certificate, Outcome::Refused("it has no ssl_certificate_key".to_owned()));
                continue;
            };
            if let Some(variable) = [certificate, key].into_iter().find(|one| one.first().contains(['$', ':'])) {
                self.note(variable, Outcome::Refused("it must be the path of a file".to_owned()));
            } else if number == 0 {
                self.take(&["http", "tls", "certificate"], certificate.first(), certificate);
                self.take(&["http", "tls", "key"], key.first(), key);
            } else {
                let mut pair = Map::default();
                pair.set(&["certificate"], certificate.first());
                pair.set(&["key"], key.first());
                others.push(Item::Map(pair));
            }
        }
        if !others.is_empty() {
            self.document.set(&["edge", "tls", "certificates"], Item::List(others));
        }
        self.client_certificates();
    }

    fn client_certificates(&mut self) {
        let Some(verify) = self.one("ssl_verify_client") else {
            if let Some(roots) = self.one("ssl_client_certificate") {
                self.note(roots, Outcome::Idle("ssl_verify_client is not set, so no client is asked".to_owned()));
            }
            return;
        };
        match (terms::client_auth(verify.first()), self.one("ssl_client_certificate")) {
            (Some(Some(word)), Some(roots)) => {
                self.take(&["http", "tls", "clientcas"], vec![roots.first()], roots);
                self.take(&["http", "tls", "clientauth"], word, verify);
            }
            (Some(None), _) => {}
            (Some(Some(_)), None) => {
                self.note(verify, Outcome::Refused("there is no ssl_client_certificate to check against".to_owned()));
            }
            (None, _) => {
                self.note(verify, Outcome::Refused("it must be on, off, optional or optional_no_ca".to_owned()))
            }
        }
    }

    /// Who is believed about clients' addresses. The header is NGINX's default where none is named.
    fn real_addresses(&mut self) {
        let trusted = self.all("set_real_ip_from");
        let (header, recursive) = (self.one("real_ip_header"), self.one("real_ip_recursive"));
        let Some(first) = trusted.first() else {
            let proxied = self.all("listen").into_iter().find(|one| one.arguments.iter().any(|word| word == "proxy_protocol"));
            if let Some(proxied) = proxied {
                self.note(proxied, Outcome::Refused(terms::NOBODY_TRUSTED.to_owned()));
            }
            for directive in [header, recursive].into_iter().flatten() {
                self.note(directive, Outcome::Idle("nobody is believed without set_real_ip_from".to_owned()));
            }
            return;
        };
        let networks: Vec<_> =
            trusted.iter().map(|one| if one.first() == "unix:" { "unix" } else { one.first() }).collect();
        self.take(&["edge", "trusted_proxies"], networks, first);
        if header.is_some_and(|header| header.first() == "proxy_protocol") {
            return;
        }
        self.document.set(&["edge", "real_ip", "header"], "X-Real-IP");
        if let Some(header) = header {
            self.take(&["edge", "real_ip", "header"], header.first(), header);
        }
        self.document.set(&["edge", "real_ip", "recursive"], false);
        if let Some(recursive) = recursive {
            self.take(&["edge", "real_ip", "recursive"], recursive.first() == "on", recursive);
        }
    }

    /// `auth_basic`: the same file is read here, and asked before anything is passed on.
    fn passwords(&mut self) {
        let (Some(basic), Some(file)) = (self.one("auth_basic"), self.one("auth_basic_user_file")) else {
            for half in [self.one("auth_basic"), self.one("auth_basic_user_file")].into_iter().flatten() {
                if half.first() != "off" {
                    self.note(half, Outcome::Refused("auth_basic and auth_basic_user_file go together".to_owned()));
                }
            }
            return;
        };
        if basic.first() == "off" {
            return;
        }
        self.take(&["auth", "htpasswd", "realm"], basic.first(), basic);
        self.take(&["auth", "htpasswd", "path"], file.first(), file);
        self.document.set(&["edge", "upstream", "verify_tokens"], true);
        self.note(file, Outcome::Partly("passwords must be hashed with bcrypt (htpasswd -B)".to_owned()));
    }
}

fn item(listen: &Listen) -> Item {
    let mut item = Map::default();
    item.set(&["address"], listen.address.as_str());
    item.set(&["tls"], listen.tls);
    if listen.proxy_protocol {
        item.set(&["proxy_protocol"], "required");
    }
    Item::Map(item)
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
