//! The certificates in force, by name: looked up at each handshake, replaced as a whole.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use crate::tls::pem::Pair;

/// Chooses the pair for a handshake: by the exact name that the client asked for, else by the wildcard that covers it
/// (RFC 6125 section 6.4.3: one whole left-most label), else the default, which is the first pair.
#[derive(Debug, Default)]
pub struct Certificates {
    table: ArcSwap<Table>,
    /// What the table was made of.
    pairs: Mutex<Pairs>,
}

#[derive(Debug, Default)]
struct Pairs {
    files: Vec<Pair>,
    issued: Vec<Pair>,
}

/// Who brings pairs. Those of files come first: what an operator put there is meant.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Origin {
    /// Files that the configuration names, or a development certificate.
    Files,
    /// A certificate authority, by ACME.
    Issued,
}

/// How a certificate is for a name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cover {
    /// It has the name.
    Name,
    /// It has a wildcard that covers the name.
    Wildcard,
    None,
}

#[derive(Debug, Default)]
struct Table {
    by_name: HashMap<String, Arc<CertifiedKey>>,
    default: Option<Arc<CertifiedKey>>,
}

impl Certificates {
    /// `pairs` of files, in order of precedence: the first is the default, and of two with one name the earlier is
    /// presented.
    #[must_use]
    pub fn new(pairs: Vec<Pair>) -> Self {
        let certificates = Self::default();
        certificates.replace(Origin::Files, pairs);
        certificates
    }

    /// From now on these are presented in place of all earlier ones of that origin. Handshakes that have begun, and
    /// connections, keep what they have.
    pub fn replace(&self, origin: Origin, pairs: Vec<Pair>) {
        let mut held = self.pairs.lock().unwrap_or_else(PoisonError::into_inner);
        match origin {
            Origin::Files => held.files = pairs,
            Origin::Issued => held.issued = pairs,
        }
        self.table.store(Arc::new(Table::new(held.files.iter().chain(&held.issued))));
    }

    /// How a certificate of ours is for this name, in lower case.
    #[must_use]
    pub fn cover(&self, name: &str) -> Cover {
        let table = self.table.load();
        match table.by_name.contains_key(name) {
            true => Cover::Name,
            false if table.named(name).is_some() => Cover::Wildcard,
            false => Cover::None,
        }
    }

    fn choose(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let table = self.table.load();
        let named = name.and_then(|name| table.named(&name.to_ascii_lowercase()));
        named.or(table.default.as_ref()).cloned()
    }
}

impl Table {
    fn new<'a>(pairs: impl Iterator<Item = &'a Pair> + Clone) -> Self {
        let mut by_name = HashMap::new();
        for pair in pairs.clone() {
            for name in pair.names() {
                by_name.entry(name.to_ascii_lowercase()).or_insert_with(|| pair.certified());
            }
        }
        Self { by_name, default: pairs.map(Pair::certified).next() }
    }

    fn named(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        self.by_name.get(name).or_else(|| {
            let (_, parent) = name.split_once('.')?;
            self.by_name.get(&format!("*.{parent}"))
        })
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(hello.server_name())
    }
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::*;
    use crate::tls::pem;

    fn pair(names: &[&str]) -> Pair {
        let key = rcgen::KeyPair::generate().unwrap();
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let certificate = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        pem::parse(certificate.pem().as_bytes(), key.serialize_pem().as_bytes(), OffsetDateTime::now_utc()).unwrap()
    }

    #[test]
    fn the_most_specific_name_wins() {
        let pairs = [pair(&["default.test"]), pair(&["*.a.test"]), pair(&["x.a.test", "default.test"])];
        let certificates = Certificates::new(pairs.to_vec());
        let cover = |name| certificates.cover(name);
        assert_eq!(
            [cover("x.a.test"), cover("y.a.test"), cover("a.test")],
            [Cover::Name, Cover::Wildcard, Cover::None]
        );
        let check = |name: Option<&str>, expected: usize| {
            let chosen = certificates.choose(name).unwrap();
            assert!(Arc::ptr_eq(&chosen, &pairs[expected].certified()), "{name:?}");
        };
        check(None, 0);
        check(Some("default.test"), 0);
        check(Some("unknown.test"), 0);
        check(Some("x.a.test"), 2);
        check(Some("X.A.Test"), 2);
        check(Some("y.a.test"), 1);
        check(Some("a.test"), 0);
        check(Some("z.y.a.test"), 0);
    }

    #[test]
    fn replacing_changes_what_is_chosen() {
        let (old, new) = (pair(&["a.test"]), pair(&["a.test"]));
        let certificates = Certificates::new(vec![old.clone()]);
        certificates.replace(Origin::Files, vec![new.clone()]);
        assert!(Arc::ptr_eq(&certificates.choose(Some("a.test")).unwrap(), &new.certified()));
        // Files come first.
        certificates.replace(Origin::Issued, vec![old.clone()]);
        assert!(Arc::ptr_eq(&certificates.choose(Some("a.test")).unwrap(), &new.certified()));
        certificates.replace(Origin::Files, Vec::new());
        assert!(Arc::ptr_eq(&certificates.choose(Some("a.test")).unwrap(), &old.certified()));
        certificates.replace(Origin::Issued, Vec::new());
        assert!(certificates.choose(Some("a.test")).is_none());
    }
}
