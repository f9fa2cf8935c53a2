//! Who we are and who clients are: certificates, certificates of clients, their real addresses, passwords.

use crate::import::{
    document::{Item, Map},
    nginx::translate::Translation,
    terms::{self, Clients, Outcome},
};

impl Translation<'_> {
    /// The first pair has Distribution's keys, the others ours.
    pub(super) fn certificates(&mut self) {
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
        match (terms::clients(verify.first()), self.one("ssl_client_certificate")) {
            (Some(Clients::Asked(word)), Some(roots)) => {
                self.take(&["http", "tls", "clientcas"], vec![roots.first()], roots);
                self.take(&["http", "tls", "clientauth"], word, verify);
            }
            (Some(Clients::Unasked), _) => {}
            (Some(Clients::Asked(_)), None) => {
                self.note(verify, Outcome::Refused("there is no ssl_client_certificate to check against".to_owned()));
            }
            (None, _) => {
                self.note(verify, Outcome::Refused("it must be on, off, optional or optional_no_ca".to_owned()));
            }
        }
    }

    /// Who is believed about clients' addresses. The header is NGINX's default where none is named.
    pub(super) fn real_addresses(&mut self) {
        let trusted = self.all("set_real_ip_from");
        let (header, recursive) = (self.one("real_ip_header"), self.one("real_ip_recursive"));
        let Some(first) = trusted.first() else {
            let proxied =
                self.all("listen").into_iter().find(|one| one.arguments.iter().any(|word| word == "proxy_protocol"));
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
    pub(super) fn passwords(&mut self) {
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
