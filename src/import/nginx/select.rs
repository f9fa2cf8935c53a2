//! Which server of a file is meant, and which directives are in force in it.

use crate::import::{Error, Fate, Note, nginx::parser::Directive};

/// One server, and what belongs to it.
pub(super) struct Site<'a> {
    /// What is in force where requests are passed on, without blocks.
    pub(super) directives: Vec<&'a Directive>,
    /// Blocks beside that place and in it: other locations, conditions, maps.
    pub(super) blocks: Vec<&'a Directive>,
    pub(super) names: Vec<&'a str>,
    /// A server of the same name that only sends clients to https.
    pub(super) redirect: Option<&'a Directive>,
    pub(super) upstreams: Vec<&'a Directive>,
    /// Of other servers.
    pub(super) notes: Vec<Note>,
}

pub(super) fn select<'a>(file: &'a [Directive], wanted: Option<&str>) -> Result<Site<'a>, Error> {
    // A file of one site has no http around its servers.
    let outside: Vec<_> = file.iter().filter(|one| one.name != "http").chain(http(file)).collect();
    let servers: Vec<_> = outside.iter().copied().filter(|one| one.name == "server" && one.block.is_some()).collect();
    let chosen = choose(&servers, wanted)?;
    let own = names(chosen);
    let related = |server: &Directive| names(server).iter().any(|name| own.contains(name));
    let redirect = servers.iter().copied().find(|server| *server != chosen && related(server) && redirects(server));
    let mut notes = Vec::new();
    for other in servers.iter().filter(|other| **other != chosen && Some(**other) != redirect) {
        let reason = "it is another server; --server chooses one";
        notes.push(Note::new(other.place, format!("server {}", names(other).join(" ")), Fate::NoEffect, reason));
    }
    let location = passing(chosen);
    let within = location.map(Directive::inner).unwrap_or_default();
    let levels = [
        outside.iter().copied().filter(|one| one.name != "server").collect(),
        chosen.inner().iter().filter(|one| Some(*one) != location).collect::<Vec<_>>(),
        within.iter().collect(),
    ];
    let (blocks, directives): (Vec<_>, Vec<_>) = in_force(&levels).into_iter().partition(|one| one.block.is_some());
    let (upstreams, blocks) = blocks.into_iter().partition(|one| one.name == "upstream");
    Ok(Site { directives, blocks, names: own, redirect, upstreams, notes })
}

fn http(file: &[Directive]) -> impl Iterator<Item = &Directive> {
    file.iter().filter(|one| one.name == "http").flat_map(Directive::inner)
}

/// The server that passes requests on; of two that have the same name, the one with TLS.
fn choose<'a>(servers: &[&'a Directive], wanted: Option<&str>) -> Result<&'a Directive, Error> {
    let passing: Vec<_> = servers.iter().copied().filter(|server| passes(server)).collect();
    let known = || {
        let mut known: Vec<_> = passing.iter().map(|server| names(server).join(" ")).collect();
        known.sort_unstable();
        known.dedup();
        known
    };
    let mut fitting = passing.clone();
    if let Some(wanted) = wanted {
        fitting.retain(|server| names(server).contains(&wanted));
        if fitting.is_empty() && !passing.is_empty() {
            return Err(Error::OtherServers { wanted: wanted.to_owned(), known: known() });
        }
    } else if known().len() > 1 {
        return Err(Error::SeveralServers(known()));
    }
    let tls = fitting.iter().find(|server| speaks_tls(server));
    tls.or_else(|| fitting.first()).copied().ok_or(Error::NoServer)
}

fn names(server: &Directive) -> Vec<&str> {
    let named = server.inner().iter().filter(|one| one.name == "server_name");
    named.flat_map(|one| one.arguments.iter().map(String::as_str)).collect()
}

fn passes(block: &Directive) -> bool {
    block.inner().iter().any(|one| one.name == "proxy_pass" || passes(one))
}

fn speaks_tls(server: &Directive) -> bool {
    server.inner().iter().any(|one| match one.name.as_str() {
        "listen" => one.arguments.iter().any(|word| word == "ssl"),
        "ssl" => one.first() == "on",
        _ => false,
    })
}

/// Whether it does nothing but send clients to https.
pub(super) fn redirects(block: &Directive) -> bool {
    !passes(block)
        && block.inner().iter().any(|one| match one.name.as_str() {
            "return" => one.arguments.iter().any(|word| word.starts_with("https://")),
            "rewrite" => one.arguments.get(1).is_some_and(|target| target.starts_with("https://")),
            "location" | "if" => redirects(one),
            _ => false,
        })
}

/// The location in which requests are passed on: that of the registry's own paths, else the first.
fn passing(server: &Directive) -> Option<&Directive> {
    let all: Vec<_> = server.inner().iter().filter(|one| one.name == "location" && passes(one)).collect();
    let of = |path: &str| all.iter().find(|location| location.arguments.iter().any(|word| word == path));
    of("/v2/").or_else(|| of("/v2")).or_else(|| of("/")).or_else(|| all.first()).copied()
}

/// A directive that stands in an inner level goes before all of its name around it.
fn in_force<'a>(levels: &[Vec<&'a Directive>; 3]) -> Vec<&'a Directive> {
    let mut directives = Vec::new();
    for (at, level) in levels.iter().enumerate() {
        let overruled = |one: &Directive| {
            let inner = levels[at + 1..].iter().flatten();
            one.block.is_none() && inner.into_iter().any(|other| other.block.is_none() && other.name == one.name)
        };
        directives.extend(level.iter().copied().filter(|one| !overruled(one)));
    }
    directives
}
