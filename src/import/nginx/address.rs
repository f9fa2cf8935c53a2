//! Where requests come from and go to: `listen`, `server_name`, the server that redirects, `proxy_pass`.

use crate::import::{
    Fate, Note,
    document::{Item, Map},
    nginx::{known, listen::Listen, select, translate::Translation, upstream},
    terms::Outcome,
};

impl Translation<'_> {
    pub(super) fn servers(&mut self) {
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

    pub(super) fn listeners(&mut self) {
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
        let listen = listens.iter().find(|listen| listen.tls).or_else(|| listens.first());
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
