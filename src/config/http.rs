//! `http`: where requests come in and how answers speak of us.

use std::time::Duration;

use anyhow::Result;
use http::HeaderMap;

use crate::{
    config::{
        Warning,
        address::{Address, Url},
        edge::{
            acme::Acme,
            listen::{self, Claims, Encryption, Listener, Place, ProxyProtocol},
            passthrough::{self, Surroundings},
            proxies::Proxies,
            redirect::{self, Redirect},
        },
        headers, inert,
        schema::{Key, Shape, key, section, value},
        section::{Field, Section},
        tls::{self, Tls},
    },
    secret::Secret,
};

pub(in crate::config) const KEYS: &[Key] = &[
    value("addr").or(":5000"),
    value("net").or("tcp"),
    value("host").live(),
    value("prefix").or("/").live(),
    value("secret").secret(),
    value("relativeurls").or("true").live(),
    value("draintimeout").or("5m").live(),
    key("headers", Shape::Named(&Shape::List(&Shape::Value))).always().live(),
    section("tls", tls::KEYS),
    section("http2", &[value("disabled").or("false")]).always(),
    section("h2c", inert::H2C).inert(),
    section(
        "debug",
        &[
            value("addr"),
            section("prometheus", &[value("enabled").or("false"), value("path").or("/metrics")]).always(),
            key("tls", Shape::Open).inert(),
            key("pprof", Shape::Open).inert(),
        ],
    )
    .always(),
];

#[derive(Clone, Debug)]
pub struct Http {
    /// At least one: `edge.listen`, else `http.addr`.
    pub listeners: Vec<Listener>,
    /// A listener more, on which plain HTTP is sent to https.
    pub redirect: Option<Redirect>,
    /// Names that other servers answer for, on these listeners.
    pub passthrough: Vec<passthrough::Rule>,
    /// What clients see: `http.host`, or `edge.external_url`, which means the same.
    pub external_url: Option<Url>,
    /// Begins and ends with a slash.
    pub prefix: String,
    /// Signs the state of uploads; without it the storage keeps one.
    pub secret: Option<Secret<String>>,
    /// Whether `Location` is a path. Never together with `external_url`; where neither is set it follows what trusted
    /// proxies say, and is a path where nobody says anything.
    pub relative_urls: bool,
    /// How long running requests may go on after a request to stop; zero ends them at once.
    pub drain_timeout: Duration,
    /// Added to the answers of the API.
    pub headers: HeaderMap,
    /// `None` speaks plain HTTP.
    pub tls: Option<Tls>,
    /// Certificates that an authority issues: `edge.acme`, or `tls.letsencrypt`.
    pub acme: Option<Acme>,
    /// Whether HTTP/2 is offered.
    pub http2: bool,
    /// A second listener for operators, in plain HTTP.
    pub debug: Option<Debug>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Debug {
    pub address: Address,
    /// The path of the metrics, if they are offered.
    pub metrics_path: Option<String>,
}

impl Http {
    /// Reads `http` and what `edge` adds to it.
    pub(in crate::config) fn read(
        http: &Section<'_>,
        edge: &Section<'_>,
        proxies: &Proxies,
        warnings: &mut Vec<Warning>,
    ) -> Result<Self> {
        let external_url = external_url(http, edge)?;
        let host = external_url.as_ref().and_then(|url| url.uri().host());
        let tls = http.section("tls")?;
        let acme = Acme::read(edge, tls.as_ref(), external_url.as_ref(), warnings)?;
        let tls = Tls::read(tls.as_ref(), &edge.need_section("tls")?, acme.as_ref(), host, warnings)?;
        let usual = if tls.is_some() { Encryption::Tls } else { Encryption::Plain };
        let mut claims = Claims::default();
        let listeners = listen::read(http, edge, usual, &mut claims, warnings)?;
        let redirect = redirect::read(edge, external_url.as_ref(), &mut claims)?;
        if let Some(address) = acme.as_ref().and_then(|acme| acme.http_address.clone()) {
            let field = edge.need_section("acme")?.need("http_address")?;
            claims.claim(field, &Place::Tcp(address))?;
        }
        let redirected = redirect.iter().map(|redirect| redirect.proxy_protocol);
        if proxies.is_empty()
            && listeners.iter().map(|listener| listener.proxy_protocol).chain(redirected).any(is_required)
        {
            let listed = edge.find("listen").or_else(|| edge.find("redirect_http_to_https"));
            let text = "requires the PROXY protocol, but edge.trusted_proxies names nobody who may speak it";
            return Err(listed.map_or_else(|| edge.fail(text), |field| field.fail(text)));
        }
        let surroundings = Surroundings {
            external: external_url.as_ref(),
            listeners: &listeners,
            redirect: redirect.as_ref().map(|redirect| &redirect.place),
        };
        Ok(Self {
            passthrough: passthrough::read(edge, &surroundings, warnings)?,
            listeners,
            redirect,
            relative_urls: relative_urls(http, external_url.is_some(), proxies, warnings)?,
            external_url,
            prefix: prefix(&http.need("prefix")?)?,
            secret: http.secret("secret")?,
            drain_timeout: drain_timeout(&http.need("draintimeout")?, warnings)?,
            headers: headers::read(http.find("headers").as_ref(), headers::Sensitivity::Public)?,
            tls,
            acme,
            http2: !http.need_section("http2")?.boolean("disabled")?,
            debug: debug(&http.need_section("debug")?, &mut claims, warnings)?,
        })
    }
}

/// Distribution takes a bare number too, so it only warns: `30` is thirty nanoseconds there as well.
fn drain_timeout(field: &Field<'_>, warnings: &mut Vec<Warning>) -> Result<Duration> {
    let drain = field.duration()?;
    if !drain.is_zero() && drain < Duration::from_millis(1) {
        warnings.push(Warning::of(
            field,
            "ends running requests at once: a number without a unit is nanoseconds; write 30s for 30 seconds",
        ));
    }
    Ok(drain)
}

fn is_required(proxy_protocol: ProxyProtocol) -> bool {
    proxy_protocol == ProxyProtocol::Required
}

fn relative_urls(http: &Section<'_>, named: bool, proxies: &Proxies, warnings: &mut Vec<Warning>) -> Result<bool> {
    let field = http.need("relativeurls")?;
    let relative = field.boolean()?;
    if !relative && !named && proxies.is_empty() {
        warnings.push(Warning::of(
            &field,
            "has no effect without http.host or edge.trusted_proxies: Location stays a path",
        ));
    }
    Ok(relative && !named)
}

fn external_url(http: &Section<'_>, edge: &Section<'_>) -> Result<Option<Url>> {
    match (url(http, "host")?, url(edge, "external_url")?) {
        (Some(host), Some(external)) if host != external => {
            let field = edge.need("external_url")?;
            Err(field.fail("contradicts http.host, which means the same; write one of them"))
        }
        (host, external) => Ok(external.or(host)),
    }
}

fn url(section: &Section<'_>, name: &str) -> Result<Option<Url>> {
    if section.text(name)?.is_none() {
        return Ok(None);
    }
    let field = section.need(name)?;
    let url = Url::read(&field)?;
    match url.uri().query() {
        Some(_) => Err(field.fail("must not have a query")),
        None => Ok(Some(url)),
    }
}

fn prefix(field: &Field<'_>) -> Result<String> {
    match field.text()? {
        "" => Ok("/".to_owned()),
        prefix if !prefix.starts_with('/') || !prefix.ends_with('/') => {
            Err(field.fail(format_args!("is {prefix:?}; it must begin and end with a slash")))
        }
        prefix if prefix.contains("//") || prefix.contains(['?', '#', '%', ' ']) => {
            Err(field.fail(format_args!("is {prefix:?}; it must be a plain path")))
        }
        prefix => Ok(prefix.to_owned()),
    }
}

fn debug<'a>(debug: &Section<'a>, claims: &mut Claims<'a>, warnings: &mut Vec<Warning>) -> Result<Option<Debug>> {
    let prometheus = debug.need_section("prometheus")?;
    let (enabled, path) = (prometheus.need("enabled")?, prometheus.need("path")?);
    let metrics = enabled.boolean()?;
    if metrics && !path.text()?.starts_with('/') {
        return Err(path.fail("must begin with a slash"));
    }
    if debug.text("addr")?.is_none() {
        if metrics {
            warnings.push(Warning::of(&enabled, "has no effect without http.debug.addr"));
        }
        return Ok(None);
    }
    let field = debug.need("addr")?;
    let address = Address::read(&field)?;
    claims.claim(field.clone(), &Place::Tcp(address.clone()))?;
    if !address.is_loopback() {
        warnings.push(Warning::of(&field, "can be reached from other machines, and asks nobody who they are"));
    }
    Ok(Some(Debug { address, metrics_path: if metrics { Some(path.text()?.to_owned()) } else { None } }))
}
