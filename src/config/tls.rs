//! `http.tls`, and `edge.tls` beside it: the certificates, what clients must show, and which protocol versions, cipher
//! suites and groups are spoken.

use std::path::PathBuf;

use anyhow::{Result, anyhow};

use crate::config::{
    Warning,
    edge::{
        acme::{self, Acme},
        tls::{self as edge, Curve, Development, Pair, Sessions, UnknownNames},
    },
    node::Origin,
    schema::{Key, section, value, values},
    section::{Field, Section},
    suites,
};

pub(in crate::config) const KEYS: &[Key] = &[
    value("certificate"),
    value("key"),
    values("clientcas"),
    value("clientauth").or("require-and-verify-client-cert"),
    value("minimumtls").or("tls1.2"),
    values("ciphersuites"),
    section("letsencrypt", acme::LETSENCRYPT),
];

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tls {
    pub identity: Identity,
    /// The file with passwords of keys, one a line.
    pub passwords: Option<PathBuf>,
    pub unknown_names: UnknownNames,
    /// What clients must show; `None` asks them for nothing.
    pub clients: Option<Clients>,
    pub version_min: Version,
    /// TLS 1.2 suites by IANA names, never empty unless the lowest version is 1.3. Those of TLS 1.3 are always offered.
    pub cipher_suites: Vec<&'static str>,
    /// Empty means all.
    pub curves: Vec<Curve>,
    pub sessions: Sessions,
}

/// What we show.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Identity {
    /// PEM files, the default first; never empty.
    Files(Vec<Pair>),
    /// A certificate for this machine alone, made below this directory if it is not there.
    Development { directory: PathBuf },
    /// What an authority issues, and nothing beside it.
    Issued,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Clients {
    /// PEM files, never empty.
    pub roots: Vec<PathBuf>,
    pub demand: Demand,
    /// Most certificates between theirs and one of the roots.
    pub depth_max: Option<usize>,
}

/// Which client certificates are asked for and which are checked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Demand {
    Request,
    RequireAny,
    VerifyIfGiven,
    RequireAndVerify,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Version {
    Tls12,
    Tls13,
}

impl Tls {
    /// `host` is that of the external URL, for which there may be a default.
    pub(in crate::config) fn read(
        http: Option<&Section<'_>>,
        own: &Section<'_>,
        acme: Option<&Acme>,
        host: Option<&str>,
        warnings: &mut Vec<Warning>,
    ) -> Result<Option<Self>> {
        let Some(identity) = identity(http, own, acme, host, warnings)? else { return Ok(None) };
        let cipher_suites = suites::read(&cipher_suites(http, own)?, warnings)?;
        // A list that names suites of TLS 1.3 alone leaves nothing to speak TLS 1.2 with.
        let version_min = if cipher_suites.is_empty() { Version::Tls13 } else { version_min(http, own, warnings)? };
        Ok(Some(Self {
            identity,
            passwords: own.path("password_file")?,
            unknown_names: edge::unknown_names(own)?,
            clients: clients(http, own, warnings)?,
            version_min,
            cipher_suites,
            curves: edge::curves(own, warnings)?,
            sessions: edge::sessions(own)?,
        }))
    }
}

fn identity(
    http: Option<&Section<'_>>,
    own: &Section<'_>,
    acme: Option<&Acme>,
    host: Option<&str>,
    warnings: &mut Vec<Warning>,
) -> Result<Option<Identity>> {
    let mut pairs: Vec<_> = first(http)?.into_iter().collect();
    pairs.extend(edge::certificates(own)?);
    let directory = own.find("certificate_directory").filter(|field| !field.node().is_idle());
    match Development::read(own)? {
        Development::On { switch, .. } if acme.is_some() => {
            Err(switch.fail("contradicts edge.acme: an authority issues the certificate"))
        }
        Development::On { switch, .. } if !pairs.is_empty() || directory.is_some() => {
            let name = if first(http)?.is_some() { "http.tls.certificate" } else { "the other keys of edge.tls" };
            Err(switch.fail(format_args!("contradicts {name}: there is a certificate already")))
        }
        Development::On { directory, .. } => Ok(Some(Identity::Development { directory })),
        Development::Off if !pairs.is_empty() => {
            if let Some(field) = directory {
                warnings.push(Warning::of(&field, "has no effect beside certificates that are named"));
            }
            Ok(Some(Identity::Files(pairs)))
        }
        Development::Off => match edge::by_host(own, host)? {
            Some(pair) => Ok(Some(Identity::Files(vec![pair]))),
            None if acme.is_some() => Ok(Some(Identity::Issued)),
            None => no_tls(http).map(|()| None),
        },
    }
}

/// The pair that Distribution's keys name.
fn first(http: Option<&Section<'_>>) -> Result<Option<Pair>> {
    let path = |name| http.map_or(Ok(None), |tls| tls.path(name));
    let half = |present: &str, missing: &str| {
        let place = http.map(|tls| tls.origin().to_string()).unwrap_or_default();
        anyhow!("{place}: http.tls.{present} is set without http.tls.{missing}; a certificate and its key go together")
    };
    match (path("certificate")?, path("key")?) {
        (Some(certificate), Some(key)) => Ok(Some(Pair { certificate, key })),
        (None, None) => Ok(None),
        (Some(_), None) => Err(half("certificate", "key")),
        (None, Some(_)) => Err(half("key", "certificate")),
    }
}

/// Without a certificate we speak plain HTTP, unless something shows that TLS was meant.
fn no_tls(tls: Option<&Section<'_>>) -> Result<()> {
    let written = |name| tls.and_then(|tls| tls.find(name)).filter(|field| !field.node().is_idle());
    if let Some(field) = written("clientcas") {
        return Err(field.fail("is set, but without a certificate there is no TLS to ask clients in"));
    }
    Ok(())
}

fn clients(http: Option<&Section<'_>>, own: &Section<'_>, warnings: &mut Vec<Warning>) -> Result<Option<Clients>> {
    let depth_max = edge::verify_depth(own)?;
    let asked = http.map(|tls| asked(tls, warnings)).transpose()?.flatten();
    if asked.is_none() && depth_max.is_some() {
        let field = own.need_section("client")?.need("verify_depth")?;
        warnings.push(Warning::of(&field, "has no effect: without http.tls.clientcas no certificate is verified"));
    }
    Ok(asked.map(|(roots, demand)| Clients { roots, demand, depth_max }))
}

/// The authorities of clients, and which clients are asked.
fn asked(tls: &Section<'_>, warnings: &mut Vec<Warning>) -> Result<Option<(Vec<PathBuf>, Demand)>> {
    let demands = [
        ("request-client-cert", Demand::Request),
        ("require-any-client-cert", Demand::RequireAny),
        ("verify-client-cert-if-given", Demand::VerifyIfGiven),
        ("require-and-verify-client-cert", Demand::RequireAndVerify),
    ];
    let field = tls.need("clientauth")?;
    let demand = field.word(&demands)?;
    let path = |field: &Field<'_>| match field.text()? {
        "" => Err(field.fail("must be the path of a file")),
        path => Ok(PathBuf::from(path)),
    };
    let roots: Vec<_> = tls.list("clientcas")?.iter().map(path).collect::<Result<_>>()?;
    if roots.is_empty() && field.node().origin != Origin::Default {
        warnings.push(Warning::of(&field, "has no effect: without clientcas no client is asked for a certificate"));
    }
    Ok((!roots.is_empty()).then_some((roots, demand)))
}

fn version_min(http: Option<&Section<'_>>, own: &Section<'_>, warnings: &mut Vec<Warning>) -> Result<Version> {
    let theirs = http.map(|tls| tls.need("minimumtls")).transpose()?;
    let ours = own.find("minimum_version");
    let written = theirs.as_ref().filter(|field| field.node().origin != Origin::Default);
    match (ours, written) {
        (Some(ours), Some(theirs)) if version(&ours, warnings)? != version(theirs, warnings)? => {
            Err(ours.fail("contradicts http.tls.minimumtls, which means the same; write one of them"))
        }
        (Some(ours), _) => version(&ours, warnings),
        (None, _) => theirs.map_or(Ok(Version::Tls12), |field| version(&field, warnings)),
    }
}

fn version(field: &Field<'_>, warnings: &mut Vec<Warning>) -> Result<Version> {
    match field.text()? {
        "" | "tls1.2" => Ok(Version::Tls12),
        "tls1.3" => Ok(Version::Tls13),
        version @ ("tls1.0" | "tls1.1") => {
            warnings.push(Warning::of(field, format!("is {version}, which is not offered; it is tls1.2 at least")));
            Ok(Version::Tls12)
        }
        version => Err(field.fail(format_args!("is {version:?}; it must be tls1.2 or tls1.3"))),
    }
}

/// The list of suites, wherever it stands.
fn cipher_suites<'a>(http: Option<&Section<'a>>, own: &Section<'a>) -> Result<Vec<Field<'a>>> {
    let theirs = http.map(|tls| tls.list("ciphersuites")).transpose()?.unwrap_or_default();
    let ours = own.list("cipher_suites")?;
    match ours.first() {
        Some(field) if !theirs.is_empty() => {
            Err(field.fail("stands beside http.tls.ciphersuites, which means the same; write one of them"))
        }
        Some(_) => Ok(ours),
        None => Ok(theirs),
    }
}
