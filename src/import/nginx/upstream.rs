//! `proxy_pass`, and the `upstream` block that it may name.

use crate::import::{Fate, Note, nginx::parser::Directive};

/// Where requests go.
#[derive(Debug, Default)]
pub(super) struct Upstream {
    /// `http://host:port`, `https://host:port` or `unix:/path`.
    pub(super) servers: Vec<String>,
    pub(super) balance: Option<&'static str>,
    pub(super) notes: Vec<Note>,
}

/// # Errors
/// Why the address leads nowhere that is known.
pub(super) fn read(address: &str, upstreams: &[&Directive]) -> Result<Upstream, String> {
    if address.contains('$') {
        return Err("variables have no value here".to_owned());
    }
    let Some((scheme @ ("http" | "https"), rest)) = address.split_once("://") else {
        return Err("it must be an address with http or https".to_owned());
    };
    if let Some(path) = rest.strip_prefix("unix:") {
        let socket = path.split(':').next().unwrap_or(path);
        return socket_of(scheme, socket).map(|server| Upstream { servers: vec![server], ..Upstream::default() });
    }
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    // NGINX puts that path in the place of the location's.
    if !matches!(path, "" | "v2/") {
        return Err("requests are passed on with the path that they have".to_owned());
    }
    match upstreams.iter().find(|upstream| upstream.first() == authority) {
        Some(upstream) => of_block(scheme, upstream),
        None => Ok(Upstream { servers: vec![format!("{scheme}://{authority}")], ..Upstream::default() }),
    }
}

fn socket_of(scheme: &str, path: &str) -> Result<String, String> {
    if scheme == "https" { Err("on a socket only http is spoken".to_owned()) } else { Ok(format!("unix:{path}")) }
}

fn of_block(scheme: &str, upstream: &Directive) -> Result<Upstream, String> {
    let mut read = Upstream::default();
    for one in upstream.inner() {
        match one.name.as_str() {
            "server" => {
                if let Some(reason) = server(scheme, one, &mut read)? {
                    read.notes.push(Note::new(one.place, "server", Fate::Remark, reason));
                }
            }
            "least_conn" => read.balance = Some("least_connections"),
            "keepalive" | "keepalive_timeout" | "keepalive_requests" | "keepalive_time" | "zone" => {
                let reason = "connections to the registry are kept as long as they serve";
                read.notes.push(Note::new(one.place, &one.name, Fate::NoEffect, reason));
            }
            _ => {
                let reason = "requests go to the servers in turn";
                read.notes.push(Note::new(one.place, &one.name, Fate::NoEffect, reason));
            }
        }
    }
    if read.servers.is_empty() { Err("its upstream has no server".to_owned()) } else { Ok(read) }
}

/// Adds one server; what is to be said of its parameters.
fn server(scheme: &str, directive: &Directive, read: &mut Upstream) -> Result<Option<String>, String> {
    let address = directive.first();
    let parameters = directive.arguments.get(1..).unwrap_or_default();
    if parameters.iter().any(|word| word == "down" || word == "backup") {
        return Ok(Some(format!("{address} is left out: it was not asked as long as the others answer")));
    }
    let address = match address.strip_prefix("unix:") {
        Some(path) => socket_of(scheme, path)?,
        None => format!("{scheme}://{address}"),
    };
    if !read.servers.contains(&address) {
        read.servers.push(address);
    }
    Ok((!parameters.is_empty())
        .then(|| format!("{} has no effect: the servers are asked in turn", parameters.join(" "))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::nginx::parser;

    #[test]
    fn addresses_lead_to_servers() {
        let upstreams = parser::parse(
            "upstream one { server 10.0.0.1:5000 max_fails=3; server unix:/run/r.sock; server b backup; least_conn; }\n\
             upstream none { keepalive 8; }",
        );
        let upstreams = upstreams.unwrap();
        let upstreams: Vec<_> = upstreams.iter().collect();
        for (address, expected) in [
            ("http://localhost:5000", Ok(&["http://localhost:5000"][..])),
            ("http://localhost:5000/v2/", Ok(&["http://localhost:5000"])),
            ("https://r.test/", Ok(&["https://r.test"])),
            ("http://unix:/run/a.sock", Ok(&["unix:/run/a.sock"])),
            ("http://unix:/run/a.sock:/", Ok(&["unix:/run/a.sock"])),
            ("http://one", Ok(&["http://10.0.0.1:5000", "unix:/run/r.sock"])),
            ("http://none", Err("its upstream has no server")),
            ("http://$up", Err("variables have no value here")),
            ("http://a/b/", Err("requests are passed on with the path that they have")),
            ("https://unix:/a", Err("on a socket only http is spoken")),
            ("localhost:5000", Err("it must be an address with http or https")),
        ] {
            let read = read(address, &upstreams);
            match (&read, expected) {
                (Ok(read), Ok(expected)) => assert_eq!(read.servers, expected, "{address}"),
                (Err(reason), Err(expected)) => assert_eq!(reason, expected, "{address}"),
                _ => panic!("{address}: {read:?}"),
            }
        }
        assert_eq!(read("http://one", &upstreams).unwrap().balance, Some("least_connections"));
    }
}
