//! `edge.upstream`: another registry answers, and we stand before it.

use std::{num::NonZeroUsize, path::PathBuf, time::Duration};

use anyhow::Result;
use http::{HeaderValue, uri::Authority};

use crate::config::{
    Warning,
    address::Url,
    edge::shadow::Shadow,
    health::Schedule,
    node::{Origin, Value},
    schema::{Key, section, value, values},
    section::{Field, Section},
};

/// An address alone stands for `servers`.
pub(in crate::config) const KEYS: &[Key] = &[
    values("servers"),
    value("balance").or("round_robin"),
    value("ca"),
    value("host_header"),
    value("verify_tokens").or("false"),
    value("connections_max").or("4096"),
    value("connect_timeout").or("10s"),
    value("read_timeout").or("900s"),
    section("health", &[value("path").or("/v2/"), value("interval").or("10s"), value("threshold").or("2")]).always(),
];

/// What a path to a socket begins with.
const UNIX: &str = "unix:";

/// Most servers: each is a label of metrics.
const SERVERS_MAX: usize = 64;

/// What has no effect where another registry answers, whether or not a shadow is beside it.
const IDLE: &[&str] = &["edge.downloads", "edge.uploads", "health.storagedriver", "http.relativeurls", "middleware"];

/// Rates that are known by who has logged in, which nobody here asks.
const OF_SUBJECTS: &[&str] =
    &["edge.rates.requests.per_subject", "edge.rates.bytes_in.per_subject", "edge.rates.bytes_out.per_subject"];

/// What has an effect in the shadow alone.
const SHADOWED: &[&str] = &["catalog", "http.secret", "tags", "validation"];

#[derive(Clone, Debug)]
pub struct Upstream {
    /// At least one.
    pub servers: Vec<Server>,
    pub balance: Balance,
    /// PEM file with the authorities that servers over https are believed by; the platform's without it.
    pub authorities: Option<PathBuf>,
    /// In the place of the `Host` that clients send.
    pub host: Option<HeaderValue>,
    /// Whether requests must pass `auth` before they are passed on.
    pub verify_tokens: bool,
    /// Open at once to all servers.
    pub connections_max: NonZeroUsize,
    /// For a connection, with its TLS handshake.
    pub connect_timeout: Duration,
    /// Without a byte from a server, or without one that it takes.
    pub read_timeout: Duration,
    /// `None` asks no server whether it is well.
    pub health: Option<Health>,
}

/// Where a server is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Server {
    Http(Authority),
    Https(Authority),
    Unix(PathBuf),
}

/// Which of several servers is next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Balance {
    RoundRobin,
    LeastConnections,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Health {
    /// Begins with a slash.
    pub path: String,
    pub schedule: Schedule,
}

impl Upstream {
    pub(in crate::config) fn read(upstream: &Section<'_>) -> Result<Self> {
        let words = [("round_robin", Balance::RoundRobin), ("least_connections", Balance::LeastConnections)];
        Ok(Self {
            servers: servers(upstream)?,
            balance: upstream.need("balance")?.word(&words)?,
            authorities: upstream.path("ca")?,
            host: upstream.find("host_header").map(|field| host(&field)).transpose()?.flatten(),
            verify_tokens: upstream.boolean("verify_tokens")?,
            connections_max: upstream.need("connections_max")?.at_least_one()?,
            connect_timeout: upstream.need("connect_timeout")?.timeout()?,
            read_timeout: upstream.need("read_timeout")?.timeout()?,
            health: health(&upstream.need_section("health")?)?,
        })
    }

    /// Warns about what somebody has written and nobody reads, and about a check of tokens without anybody to check
    /// them.
    ///
    /// # Errors
    /// `verify_tokens` without `auth`.
    pub(in crate::config) fn judge(
        &self,
        document: &Section<'_>,
        shadow: Option<&Shadow>,
        warnings: &mut Vec<Warning>,
    ) -> Result<()> {
        let guarded = document.find("auth").is_some_and(|auth| auth.node().child("none").is_none());
        if self.verify_tokens && !guarded {
            let field = document.need_section("edge")?.need_section("upstream")?.need("verify_tokens")?;
            return Err(field.fail("asks for tokens to be verified, and there is no auth that says by what"));
        }
        let mut idle = IDLE.to_vec();
        if shadow.is_none() {
            idle.extend(SHADOWED.iter().chain(&["storage"]));
            if !self.verify_tokens && guarded {
                idle.push("auth");
            }
        }
        for path in OF_SUBJECTS {
            if let Some(field) = written(document, path)? {
                let text =
                    "has no effect: edge.upstream answers the requests, and only addresses are counted before it";
                warnings.push(Warning::of(&field, text));
            }
        }
        for path in idle {
            if let Some(field) = written(document, path)? {
                warnings.push(Warning::of(&field, "has no effect: edge.upstream answers the requests"));
            }
        }
        Ok(())
    }
}

/// What stands at a path, if somebody wrote it there.
fn written<'a>(document: &Section<'a>, path: &str) -> Result<Option<Field<'a>>> {
    match path.split_once('.') {
        None => Ok(document.find(path).filter(|field| field.node().origin != Origin::Default)),
        Some((parent, rest)) => document.section(parent)?.map_or(Ok(None), |section| written(&section, rest)),
    }
}

fn servers(upstream: &Section<'_>) -> Result<Vec<Server>> {
    let field = upstream.need("servers")?;
    let fields = match &field.node().value {
        Value::List(_) => field.list()?,
        _ => vec![field.clone()],
    };
    if !(1..=SERVERS_MAX).contains(&fields.len()) {
        return Err(field.fail(format_args!("must name from 1 to {SERVERS_MAX} servers")));
    }
    let mut servers = Vec::new();
    for field in fields {
        let server = server(&field)?;
        if servers.contains(&server) {
            return Err(field.fail("stands here twice"));
        }
        servers.push(server);
    }
    Ok(servers)
}

fn server(field: &Field<'_>) -> Result<Server> {
    if let Some(path) = field.text()?.strip_prefix(UNIX) {
        return match path {
            path if path.starts_with('/') => Ok(Server::Unix(path.into())),
            _ => Err(field.fail("must be the whole path of a socket behind unix:, such as unix:/run/registry.sock")),
        };
    }
    let uri = Url::read(field)?.without_path(field)?;
    let authority = uri.authority().cloned().ok_or_else(|| field.fail("must name a host"))?;
    match uri.scheme_str() {
        Some("https") => Ok(Server::Https(authority)),
        _ => Ok(Server::Http(authority)),
    }
}

fn host(field: &Field<'_>) -> Result<Option<HeaderValue>> {
    match field.text()? {
        "" => Ok(None),
        text => match text.parse::<Authority>() {
            Ok(authority) if !authority.as_str().contains('@') => Ok(HeaderValue::try_from(text).ok()),
            _ => Err(field.fail("must be a host, or host:port")),
        },
    }
}

fn health(health: &Section<'_>) -> Result<Option<Health>> {
    let (path, interval) = (health.need("path")?, health.need("interval")?);
    let text = path.text()?;
    if !text.starts_with('/') || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(path.fail("must be a path that begins with a slash"));
    }
    let schedule =
        Schedule { interval: interval.timeout_or_zero()?, threshold: health.need("threshold")?.count()?.max(1) };
    Ok((!schedule.interval.is_zero()).then(|| Health { path: text.to_owned(), schedule }))
}
