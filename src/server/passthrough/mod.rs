//! Names that are somebody else's, on the ports that are ours: the other web servers of a host, when this one takes the
//! place of the proxy that had all of its ports.
//!
//! What a client asks for decides. Over TLS that is the name in its hello (`hello`), and the connection goes on untouched,
//! byte by byte (`tls`, `splice`): the other server shows its own certificate. In plain HTTP it is the host of each
//! request, and the request goes on (`http`, `headers`), so that connections can be kept and one of a balancer may carry
//! requests for several names. Over TLS that we have ended, a request for another's name is sent back with 421
//! (RFC 9110 section 15.5.20): browsers use one connection for all names of a certificate, until they are told.
//!
//! Our own names come before all that is not named in full; nobody is connected to for a name that has no rule.

pub mod passage;
pub mod target;

mod complaints;
mod headers;
mod hello;
pub(super) mod http;
mod splice;
pub(super) mod tls;

use std::{collections::HashMap, fmt, net::IpAddr, sync::Arc, time::Duration};

use crate::{
    api::Scheme,
    server::passthrough::{
        complaints::Complaints,
        target::{Announcement, Target},
    },
};

/// Where connections and requests for some names go.
#[derive(Debug)]
pub struct Rule {
    /// In lower case: names, `*.example.com` for all names of one label more, `*` for all that nobody has.
    pub names: Vec<String>,
    /// Gets TLS as it comes.
    pub tls: Option<Target>,
    /// Gets plain requests.
    pub http: Option<Target>,
    /// How either hears who the client is.
    pub announcement: Announcement,
    pub connect_timeout: Duration,
    /// For the other side to say anything, and for a connection on which nobody says anything.
    pub idle_timeout: Duration,
}

impl Rule {
    /// What the rule is called in logs and metrics.
    fn label(&self) -> &str {
        self.names.first().map_or("", String::as_str)
    }
}

/// Which names are ours.
pub trait OwnNames: fmt::Debug + Send + Sync + 'static {
    /// `name` is in lower case.
    fn ownership(&self, name: &str) -> Ownership;
}

/// Whether a name is ours.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ownership {
    /// By itself: only a rule that names it, too, comes first.
    Named,
    /// Because a wildcard of ours covers it: rules with the same wildcard come first.
    Covered,
    None,
}

/// All rules, looked up for each connection and request.
#[derive(Debug)]
pub struct Passthrough {
    by_name: HashMap<String, Arc<Entry>>,
    own: Arc<dyn OwnNames>,
}

#[derive(Debug)]
struct Entry {
    rule: Rule,
    complaints: Complaints,
}

/// What catches every name that nobody has.
const REST: &str = "*";

/// Whose a name is.
#[derive(Debug)]
enum Owner<'a> {
    Us,
    /// A rule that covers the name.
    Other(&'a Arc<Entry>),
    /// The rule for what nobody has.
    Nobody(&'a Arc<Entry>),
}

/// What becomes of a request.
#[derive(Debug)]
enum Place<'a> {
    Here,
    There(&'a Arc<Entry>, &'a Target),
    /// With another server, but not reached in this way.
    Misdirected,
}

impl Passthrough {
    /// Of two rules for one name the earlier counts.
    #[must_use]
    pub fn new(rules: Vec<Rule>, own: Arc<dyn OwnNames>) -> Self {
        let mut by_name = HashMap::new();
        for rule in rules {
            let entry = Arc::new(Entry { rule, complaints: Complaints::default() });
            for name in &entry.rule.names {
                by_name.entry(name.clone()).or_insert_with(|| Arc::clone(&entry));
            }
        }
        Self { by_name, own }
    }

    /// `name` in lower case. The most specific wins; of a rule and a name of ours that are as specific, the rule.
    fn owner(&self, name: &str) -> Owner<'_> {
        // What a client writes with a star is no name, and must not be taken for a rule's.
        if name.starts_with('*') {
            return Owner::Us;
        }
        if let Some(entry) = self.by_name.get(name) {
            return Owner::Other(entry);
        }
        let ownership = self.own.ownership(name);
        if ownership == Ownership::Named {
            return Owner::Us;
        }
        let wildcard = name.split_once('.').map(|(_, parent)| format!("*.{parent}"));
        if let Some(entry) = wildcard.and_then(|wildcard| self.by_name.get(&wildcard)) {
            return Owner::Other(entry);
        }
        match self.by_name.get(REST) {
            Some(entry) if ownership == Ownership::None && is_public(name) => Owner::Nobody(entry),
            _ => Owner::Us,
        }
    }

    /// Who gets a connection whose hello asks for this name, if that is not us.
    fn of_hello(&self, name: &str) -> Option<(&Arc<Entry>, &Target)> {
        match self.owner(&name.to_ascii_lowercase()) {
            Owner::Us => None,
            Owner::Other(entry) | Owner::Nobody(entry) => Some((entry, entry.rule.tls.as_ref()?)),
        }
    }

    /// Where a request belongs that says this `Host` on a connection of ours.
    fn of_host(&self, host: &str, scheme: Scheme) -> Place<'_> {
        let name = without_port(host).to_ascii_lowercase();
        match (self.owner(&name), scheme) {
            (Owner::Other(_), Scheme::Https) => Place::Misdirected,
            (Owner::Us, _) | (Owner::Nobody(_), Scheme::Https) => Place::Here,
            (Owner::Other(entry), Scheme::Http) => {
                entry.rule.http.as_ref().map_or(Place::Misdirected, |target| Place::There(entry, target))
            }
            (Owner::Nobody(entry), Scheme::Http) => {
                entry.rule.http.as_ref().map_or(Place::Here, |target| Place::There(entry, target))
            }
        }
    }
}

/// Addresses, `localhost` and the short names of a private network are never left to a rule for what nobody has: health
/// checks and the other programs of this host ask for them.
fn is_public(name: &str) -> bool {
    name.contains('.') && name.parse::<IpAddr>().is_err()
}

/// The name of a `Host`, without the dot that may end it.
fn without_port(host: &str) -> &str {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') && port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    name.strip_suffix('.').unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Own;

    impl OwnNames for Own {
        fn ownership(&self, name: &str) -> Ownership {
            match name.split_once('.') {
                _ if ["registry.example.com", "alias.pages.example.com"].contains(&name) => Ownership::Named,
                Some((_, "pages.example.com" | "own.example.com")) => Ownership::Covered,
                _ => Ownership::None,
            }
        }
    }

    fn rule(label: &str, names: &[&str]) -> Rule {
        let target = |port| Some(Target::Tcp { host: label.to_owned(), port });
        Rule {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            tls: target(1),
            http: target(2),
            announcement: Announcement::None,
            connect_timeout: Duration::from_secs(1),
            idle_timeout: Duration::from_secs(1),
        }
    }

    fn found(passthrough: &Passthrough, name: &str) -> String {
        match passthrough.of_hello(name) {
            Some((_, Target::Tcp { host, port: 1 })) => host.clone(),
            Some(other) => panic!("{other:?}"),
            None => "us".to_owned(),
        }
    }

    #[test]
    fn the_most_specific_name_wins() {
        let rules = || vec![rule("gitlab", &["gitlab.example.com", "*.pages.example.com"])];
        let (named, all) = (rules(), rules().into_iter().chain([rule("rest", &["*"])]).collect());
        let (named, all) = (Passthrough::new(named, Arc::new(Own)), Passthrough::new(all, Arc::new(Own)));
        let check = |name: &str, expected: &str, with_rest: &str| {
            assert_eq!((found(&named, name).as_str(), found(&all, name).as_str()), (expected, with_rest), "{name}");
        };
        check("gitlab.example.com", "gitlab", "gitlab");
        check("GitLab.Example.com", "gitlab", "gitlab");
        check("registry.example.com", "us", "us");
        check("a.pages.example.com", "gitlab", "gitlab");
        check("alias.pages.example.com", "us", "us");
        check("b.a.pages.example.com", "us", "rest");
        check("pages.example.com", "us", "rest");
        check("x.own.example.com", "us", "us");
        check("other.example.org", "us", "rest");
        for private in ["localhost", "registry", "127.0.0.1", "::1", "", "*", "*.pages.example.com"] {
            check(private, "us", "us");
        }
    }

    #[test]
    fn of_two_rules_for_one_name_the_earlier_counts() {
        let rules = vec![rule("first", &["a.test"]), rule("second", &["a.test", "b.test"])];
        let passthrough = Passthrough::new(rules, Arc::new(Own));
        assert_eq!((found(&passthrough, "a.test"), found(&passthrough, "b.test")), ("first".into(), "second".into()));
    }

    #[test]
    fn requests_are_placed_by_their_host() {
        let secure = Rule { http: None, ..rule("secure", &["secure.test"]) };
        let plain = Rule { tls: None, ..rule("plain", &["plain.test"]) };
        let rules = vec![rule("both", &["both.test"]), secure, plain, rule("rest", &["*"])];
        let passthrough = Passthrough::new(rules, Arc::new(Own));
        let check = |host: &str, plain: &str, over_tls: &str| {
            let place = |scheme| match passthrough.of_host(host, scheme) {
                Place::Here => "here".to_owned(),
                Place::There(entry, Target::Tcp { port: 2, .. }) => entry.rule.label().to_owned(),
                Place::There(..) => panic!("the wrong target"),
                Place::Misdirected => "misdirected".to_owned(),
            };
            let places = (place(Scheme::Http), place(Scheme::Https));
            assert_eq!((places.0.as_str(), places.1.as_str()), (plain, over_tls), "{host}");
        };
        check("both.test", "both.test", "misdirected");
        check("BOTH.test:8080", "both.test", "misdirected");
        check("both.test.", "both.test", "misdirected");
        check("both.test.:80", "both.test", "misdirected");
        check("secure.test", "misdirected", "misdirected");
        check("plain.test", "plain.test", "misdirected");
        check("nobody.test", "*", "here");
        check("registry.example.com:5050", "here", "here");
        for host in ["", "localhost:5000", "127.0.0.1", "[::1]:5000", "10.0.0.1:80", "*", "*:80"] {
            check(host, "here", "here");
        }
        assert!(passthrough.of_hello("plain.test").is_none());
    }
}
