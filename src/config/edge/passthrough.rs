//! `edge.passthrough`: names that other servers answer for, on the addresses that are listened on here.
//!
//! Nothing is looked up, but what can only be a mistake is found: one name under two rules, the registry's own name, and
//! a server that is this one.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    time::Duration,
};

use anyhow::Result;

use crate::config::{
    Warning,
    address::{Address, Url},
    edge::listen::{Encryption, Listener, Place},
    schema::{Key, value, values},
    section::{Field, Section},
};

pub(in crate::config) const KEYS: &[Key] = &[
    values("names"),
    value("tls"),
    value("http"),
    value("proxy_protocol").or("off"),
    value("connect_timeout").or("5s"),
    value("idle_timeout").or("1h"),
];

/// Longest name, in bytes (RFC 1035 section 2.3.4, without the dot at its end).
const NAME_MAX: usize = 253;

/// Longest part of a name between dots.
const LABEL_MAX: usize = 63;

/// Where connections and requests for some names go.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rule {
    /// In lower case: names, `*.example.com` for names of one label more, or `*` for all that nobody has. At least one.
    pub names: Vec<String>,
    pub tls: Option<Target>,
    pub http: Option<Target>,
    pub announcement: Announcement,
    pub connect_timeout: Duration,
    pub idle_timeout: Duration,
}

/// Where another server listens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Target {
    /// With a host and a port.
    Tcp(Address),
    Unix(PathBuf),
}

/// The version of the PROXY protocol that connections to the other server begin with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Announcement {
    Off,
    V1,
    V2,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// What the rules must fit to.
pub(in crate::config) struct Surroundings<'a> {
    pub(in crate::config) external: Option<&'a Url>,
    pub(in crate::config) listeners: &'a [Listener],
    /// Of the listener that redirects.
    pub(in crate::config) redirect: Option<&'a Place>,
}

pub(in crate::config) fn read(
    edge: &Section<'_>,
    surroundings: &Surroundings<'_>,
    warnings: &mut Vec<Warning>,
) -> Result<Vec<Rule>> {
    let mut taken: Vec<(Field<'_>, String)> = Vec::new();
    let mut rules = Vec::new();
    for field in edge.list("passthrough")? {
        let section = field.section()?;
        let mut names = Vec::new();
        for field in section.list("names")? {
            let name = name(&field)?;
            surroundings.refuse_own(&field, &name)?;
            if let Some((other, _)) = taken.iter().find(|(_, taken)| *taken == name) {
                let origin = &other.node().origin;
                return Err(field.fail(format_args!("is {name}, which stands in {} ({origin}) already", other.key())));
            }
            taken.push((field, name.clone()));
            names.push(name);
        }
        rules.push(rule(&section, names, surroundings, warnings)?);
    }
    Ok(rules)
}

fn rule(
    section: &Section<'_>,
    names: Vec<String>,
    surroundings: &Surroundings<'_>,
    warnings: &mut Vec<Warning>,
) -> Result<Rule> {
    if names.is_empty() {
        return Err(section.fail("must have names: a list of those that are passed on, or \"*\" for all others"));
    }
    let mut target = |name: &str, encryption: Encryption| -> Result<Option<Target>> {
        if section.text(name)?.is_none() {
            return Ok(None);
        }
        let field = section.need(name)?;
        let target = target(&field)?;
        surroundings.refuse_loop(&field, &target)?;
        if !surroundings.speaks(encryption) {
            let kind = if encryption == Encryption::Tls { "TLS" } else { "plain HTTP" };
            warnings.push(Warning::of(&field, format_args!("has no effect: no address that passes on speaks {kind}")));
        }
        Ok(Some(target))
    };
    let (tls, http) = (target("tls", Encryption::Tls)?, target("http", Encryption::Plain)?);
    if tls.is_none() && http.is_none() {
        return Err(section.fail("must have tls, http, or both: the addresses of the other server"));
    }
    Ok(Rule {
        names,
        tls,
        http,
        announcement: section.need("proxy_protocol")?.word(&[
            ("off", Announcement::Off),
            ("false", Announcement::Off),
            ("v1", Announcement::V1),
            ("v2", Announcement::V2),
        ])?,
        connect_timeout: section.need("connect_timeout")?.timeout()?,
        idle_timeout: section.need("idle_timeout")?.timeout()?,
    })
}

fn name(field: &Field<'_>) -> Result<String> {
    let name = field.text()?.to_ascii_lowercase();
    let rest = name.strip_prefix("*.").unwrap_or(&name);
    let legal = |label: &str| {
        let letters = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        letters && !label.is_empty() && label.len() <= LABEL_MAX
    };
    let is_name = rest.len() <= NAME_MAX && rest.split('.').all(legal) && rest.parse::<Ipv4Addr>().is_err();
    if name == "*" || is_name {
        return Ok(name);
    }
    Err(field.fail(format_args!(
        "is {name:?}; it must be a name such as gitlab.example.com, without a port, *.pages.example.com, or *"
    )))
}

fn target(field: &Field<'_>) -> Result<Target> {
    let text = field.text()?;
    if let Some(path) = text.strip_prefix("unix:") {
        if !path.starts_with('/') && !path.starts_with("./") {
            return Err(field.fail("must be the path of a socket that begins with / or ./"));
        }
        return Ok(Target::Unix(path.into()));
    }
    match Address::parse(text) {
        Some(address) if !address.host.is_empty() && address.port != 0 => Ok(Target::Tcp(address)),
        _ => Err(field.fail("must be an address with host and port, such as 127.0.0.1:8443, or unix:/run/other.sock")),
    }
}

impl Surroundings<'_> {
    /// The registry's own name can be another server's on one address and ours on another, and must be ours on one.
    fn refuse_own(&self, field: &Field<'_>, name: &str) -> Result<()> {
        let own = self.external.and_then(|url| url.uri().host()).is_some_and(|host| host.eq_ignore_ascii_case(name));
        if own && self.listeners.iter().all(|listener| listener.passthrough) {
            return Err(field.fail(format_args!(
                "is {name}, the host of the external URL: nobody would reach the registry. Where both are on one name, \
                 write passthrough: off in edge.listen at the address that serves the registry"
            )));
        }
        Ok(())
    }

    /// What is sent to an address that is listened on here comes back, for ever. What a name or an address of this machine
    /// stands for is seen when it is connected to.
    fn refuse_loop(&self, field: &Field<'_>, target: &Target) -> Result<()> {
        let mut places = self.listeners.iter().map(|listener| &listener.place).chain(self.redirect);
        match places.find(|place| is_at(target, place)) {
            Some(place) => Err(field.fail(format_args!("is {target}, but {place} is listened on here: it would loop"))),
            None => Ok(()),
        }
    }

    fn speaks(&self, encryption: Encryption) -> bool {
        let of_listeners =
            self.listeners.iter().any(|listener| listener.passthrough && listener.encryption == encryption);
        of_listeners || encryption == Encryption::Plain && self.redirect.is_some()
    }
}

/// Whether a target is surely what is listened on at this place.
fn is_at(target: &Target, place: &Place) -> bool {
    match (target, place) {
        (Target::Unix(target), Place::Unix { path, .. }) => target == path,
        (Target::Tcp(target), Place::Tcp(place)) if target.port == place.port => {
            let everywhere = place.host.is_empty() || literal(&place.host).is_some_and(|ip| ip.is_unspecified());
            let here = target.is_loopback() || literal(&target.host).is_some_and(|ip| ip.is_unspecified());
            target.host.eq_ignore_ascii_case(&place.host)
                || everywhere && here
                || target.is_loopback() && place.host == "localhost"
        }
        _ => false,
    }
}

fn literal(host: &str) -> Option<IpAddr> {
    host.parse().ok()
}
