//! The certificates in force, by name: looked up at each handshake, replaced as a whole.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use rustls::{
    SignatureAlgorithm, SignatureScheme,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use crate::tls::pem::Pair;

/// Chooses the pair for a handshake: by the exact name that the client asked for, else by the wildcard that covers it
/// (RFC 6125 section 6.4.3: one whole left-most label), else the default, which is the first pair. Of several for one
/// name the client gets the first whose key it can verify.
#[derive(Debug, Default)]
pub struct Certificates {
    table: ArcSwap<Table>,
    /// What the table was made of.
    pairs: Mutex<Pairs>,
    unknown: Unknown,
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

/// What a client gets that asks for a name without a certificate. One that asks for none gets the default in any case:
/// clients that connect to an address do so, and health checks of balancers.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Unknown {
    #[default]
    Default,
    Refuse,
}

type Choices = Vec<Arc<CertifiedKey>>;

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
    by_name: HashMap<String, Choices>,
    /// For the names of the first pair, or for none if it has no name.
    default: Choices,
}

impl Certificates {
    /// `pairs` of files, in order of precedence: the first is the default, and of two with one name and one type of key
    /// the earlier is presented.
    #[must_use]
    pub fn new(pairs: Vec<Pair>) -> Self {
        Self::with(pairs, Unknown::Default)
    }

    #[must_use]
    pub fn with(pairs: Vec<Pair>, unknown: Unknown) -> Self {
        let certificates = Self { unknown, ..Self::default() };
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
        self.table.store(Arc::new(Table::new(&held)));
    }

    /// All that are held, those of files first.
    #[must_use]
    pub fn all(&self) -> Vec<Pair> {
        let held = self.pairs.lock().unwrap_or_else(PoisonError::into_inner);
        held.files.iter().chain(&held.issued).cloned().collect()
    }

    /// Whether a client that asks for this name gets a certificate; if not, it is told so (RFC 6066 section 3).
    #[must_use]
    pub fn answers(&self, name: Option<&str>) -> bool {
        match (self.unknown, name) {
            (Unknown::Default, _) | (Unknown::Refuse, None) => true,
            (Unknown::Refuse, Some(name)) => self.table.load().named(name).is_some(),
        }
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

    fn choose(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        if !self.answers(name) {
            return None;
        }
        let table = self.table.load();
        let choices = name.and_then(|name| table.named(name)).unwrap_or(&table.default);
        let verifiable = choices.iter().find(|choice| choice.key.choose_scheme(schemes).is_some());
        // With a key that the client does not know the handshake fails as it should.
        verifiable.or_else(|| choices.first()).cloned()
    }
}

/// Whether a certificate for `names` is one for `host`, a name or an address.
#[must_use]
pub fn covers(names: &[String], host: &str) -> bool {
    let wildcard = wildcard(host);
    names.iter().any(|name| name.eq_ignore_ascii_case(host) || wildcard.as_deref() == Some(&name.to_ascii_lowercase()))
}

fn wildcard(name: &str) -> Option<String> {
    let (label, parent) = name.split_once('.')?;
    (!label.is_empty()).then(|| format!("*.{}", parent.to_ascii_lowercase()))
}

impl Table {
    fn new(pairs: &Pairs) -> Self {
        let mut ranked: Vec<(Rank, &Pair)> = Vec::new();
        for (origin, pairs) in [(0, &pairs.files), (1, &pairs.issued)] {
            ranked.extend(pairs.iter().map(|pair| (Rank::of(pair, origin), pair)));
        }
        // The order among equals stays.
        ranked.sort_by_key(|(rank, _)| *rank);
        let mut by_name: HashMap<String, Choices> = HashMap::new();
        let mut best: HashMap<String, Rank> = HashMap::new();
        for (rank, pair) in &ranked {
            for name in pair.names().iter().map(|name| name.to_ascii_lowercase()) {
                if best.entry(name.clone()).or_insert(*rank).stands_beside(*rank) {
                    by_name.entry(name).or_default().push(pair.certified());
                }
            }
        }
        let first = pairs.files.first().or_else(|| pairs.issued.first());
        let default = match first {
            None => Choices::new(),
            Some(first) => first
                .names()
                .first()
                .and_then(|name| by_name.get(&name.to_ascii_lowercase()).cloned())
                .unwrap_or_else(|| vec![first.certified()]),
        };
        Self { by_name, default }
    }

    fn named(&self, name: &str) -> Option<&Choices> {
        self.by_name.get(&name.to_ascii_lowercase()).or_else(|| self.by_name.get(&wildcard(name)?))
    }
}

/// Which of several pairs for one name comes first; the least does.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Rank {
    /// A certificate that clients refuse for its dates is shown only where there is no other.
    out_of_date: bool,
    /// Files, then issued ones.
    origin: u8,
    /// A signature with RSA costs many times one with a curve.
    costly: bool,
}

impl Rank {
    fn of(pair: &Pair, origin: u8) -> Self {
        let costly = pair.certified().key.algorithm() == SignatureAlgorithm::RSA;
        Self { out_of_date: !pair.was_in_date(), origin, costly }
    }

    /// Whether both are for clients to choose from: they differ by no more than the type of key.
    fn stands_beside(self, other: Self) -> bool {
        (self.out_of_date, self.origin) == (other.out_of_date, other.origin)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(hello.server_name(), hello.signature_schemes())
    }
}

#[cfg(test)]
mod tests {
    use time::{Duration, OffsetDateTime};

    use super::*;
    use crate::tls::pem;

    const MODERN: &[SignatureScheme] = &[SignatureScheme::RSA_PSS_SHA256, SignatureScheme::ECDSA_NISTP256_SHA256];

    fn signed(names: &[&str], key: &rcgen::KeyPair, days: i64) -> Pair {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = rcgen::CertificateParams::new(names).unwrap();
        let now = OffsetDateTime::now_utc();
        params.not_before = now - Duration::days(30);
        params.not_after = now + Duration::days(days);
        let certificate = params.self_signed(key).unwrap();
        pem::parse(certificate.pem().as_bytes(), key.serialize_pem().as_bytes(), now).unwrap()
    }

    fn pair(names: &[&str]) -> Pair {
        signed(names, &rcgen::KeyPair::generate().unwrap(), 9)
    }

    fn rsa(names: &[&str]) -> Pair {
        signed(names, &rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap(), 9)
    }

    #[test]
    fn the_most_specific_name_wins() {
        let pairs = [pair(&["default.test"]), pair(&["*.a.test"]), pair(&["x.a.test", "default.test"])];
        for unknown in [Unknown::Default, Unknown::Refuse] {
            let certificates = Certificates::with(pairs.to_vec(), unknown);
            let check = |name: Option<&str>, expected: Option<usize>| {
                let chosen = certificates.choose(name, MODERN);
                assert_eq!(certificates.answers(name), chosen.is_some());
                match expected {
                    None => assert!(chosen.is_none(), "{name:?}"),
                    Some(index) => assert!(Arc::ptr_eq(&chosen.unwrap(), &pairs[index].certified()), "{name:?}"),
                }
            };
            let default = (unknown == Unknown::Default).then_some(0);
            check(None, Some(0));
            check(Some("default.test"), Some(0));
            check(Some("x.a.test"), Some(2));
            check(Some("X.A.Test"), Some(2));
            check(Some("y.a.test"), Some(1));
            for unknown in ["unknown.test", "a.test", "z.y.a.test", ".a.test", ""] {
                check(Some(unknown), default);
            }
        }
    }

    #[test]
    fn names_are_covered_as_a_whole_or_by_a_wildcard() {
        let certificates = Certificates::new(vec![pair(&["*.a.test"]), pair(&["x.a.test"])]);
        let cover = |name| certificates.cover(name);
        assert_eq!(
            [cover("x.a.test"), cover("y.a.test"), cover("a.test")],
            [Cover::Name, Cover::Wildcard, Cover::None]
        );
    }

    #[test]
    fn clients_get_a_key_that_they_know() {
        let (slow, fast, other) = (rsa(&["a.test"]), pair(&["a.test"]), pair(&["b.test"]));
        let certificates = Certificates::new(vec![slow.clone(), other, fast.clone()]);
        let check = |name, schemes: &[SignatureScheme], expected: &Pair| {
            assert!(Arc::ptr_eq(&certificates.choose(name, schemes).unwrap(), &expected.certified()), "{schemes:?}");
        };
        for name in [Some("a.test"), None, Some("unknown.test")] {
            check(name, MODERN, &fast);
            check(name, &[SignatureScheme::RSA_PKCS1_SHA256], &slow);
            check(name, &[SignatureScheme::ECDSA_NISTP256_SHA256], &fast);
            check(name, &[SignatureScheme::ED25519], &fast);
        }
    }

    #[test]
    fn one_that_is_out_of_date_is_the_last_resort() {
        let key = rcgen::KeyPair::generate().unwrap();
        let (old, good) = (signed(&["a.test"], &key, -1), pair(&["a.test"]));
        let certificates = Certificates::new(vec![old.clone()]);
        let check = |expected: &Pair| {
            assert!(Arc::ptr_eq(&certificates.choose(Some("a.test"), MODERN).unwrap(), &expected.certified()));
        };
        check(&old);
        certificates.replace(Origin::Issued, vec![good.clone()]);
        check(&good);
        certificates.replace(Origin::Issued, Vec::new());
        check(&old);
    }

    #[test]
    fn replacing_changes_what_is_chosen() {
        let (old, new) = (pair(&["a.test"]), pair(&["a.test"]));
        let certificates = Certificates::new(vec![old.clone()]);
        let check = |expected: &Pair| {
            assert!(Arc::ptr_eq(&certificates.choose(Some("a.test"), MODERN).unwrap(), &expected.certified()));
        };
        certificates.replace(Origin::Files, vec![new.clone()]);
        check(&new);
        // Files come first.
        certificates.replace(Origin::Issued, vec![old.clone()]);
        check(&new);
        assert_eq!(certificates.all().len(), 2);
        certificates.replace(Origin::Files, Vec::new());
        check(&old);
        certificates.replace(Origin::Issued, Vec::new());
        assert!(certificates.choose(Some("a.test"), MODERN).is_none());
    }

    #[test]
    fn names_cover_hosts() {
        let names = ["a.test".to_owned(), "*.B.test".to_owned(), "10.0.0.1".to_owned()];
        for (host, expected) in [
            ("A.test", true),
            ("x.b.test", true),
            ("b.test", false),
            ("y.x.b.test", false),
            ("10.0.0.1", true),
            ("10.0.0.2", false),
        ] {
            assert_eq!(covers(&names, host), expected, "{host}");
        }
    }
}
