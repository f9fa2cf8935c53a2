//! `http.tls`: the certificate, what clients must show, and which protocol versions and cipher suites are spoken.

use std::path::PathBuf;

use anyhow::{Result, anyhow};

use crate::config::{
    Warning,
    edge::{
        acme::{self, Acme},
        development::Development,
    },
    node::Origin,
    schema::{Key, section, value, values},
    section::{Field, Section},
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

/// TLS 1.2 suites that are offered, by their IANA names.
const SUITES: &[&str] = &[
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
];

/// TLS 1.3 suites, which are always offered.
const SUITES_13: &[&str] = &["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"];

/// Suites that Go knows by name and that are too weak to be offered: without forward secrecy, or not authenticated
/// encryption.
const SUITES_WEAK: &[&str] = &[
    "TLS_RSA_WITH_RC4_128_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
];

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tls {
    pub identity: Identity,
    /// What clients must show; `None` asks them for nothing.
    pub clients: Option<Clients>,
    pub version_min: Version,
    /// TLS 1.2 suites by IANA names, never empty unless the lowest version is 1.3. Those of TLS 1.3 are always offered.
    pub cipher_suites: Vec<&'static str>,
}

/// What we show.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Identity {
    /// PEM files.
    Files { certificate: PathBuf, key: PathBuf },
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
    pub(in crate::config) fn read(
        tls: Option<&Section<'_>>,
        development: &Development<'_>,
        acme: Option<&Acme>,
        warnings: &mut Vec<Warning>,
    ) -> Result<Option<Self>> {
        let Some(identity) = identity(tls, development, acme)? else { return Ok(None) };
        let Some(tls) = tls else {
            return Ok(Some(Self {
                identity,
                clients: None,
                version_min: Version::Tls12,
                cipher_suites: SUITES.to_vec(),
            }));
        };
        let version_min = version_min(&tls.need("minimumtls")?, warnings)?;
        let cipher_suites = cipher_suites(&tls.list("ciphersuites")?, warnings)?;
        // A list that names suites of TLS 1.3 alone leaves nothing to speak TLS 1.2 with.
        let version_min = if cipher_suites.is_empty() { Version::Tls13 } else { version_min };
        Ok(Some(Self { identity, clients: clients(tls, warnings)?, version_min, cipher_suites }))
    }
}

fn identity(tls: Option<&Section<'_>>, development: &Development<'_>, acme: Option<&Acme>) -> Result<Option<Identity>> {
    if let (Some(_), Development::On { switch, .. }) = (acme, development) {
        return Err(switch.fail("contradicts edge.acme: an authority issues the certificate"));
    }
    let path = |name| tls.map_or(Ok(None), |tls| tls.path(name));
    let origin = |present: &str, missing: &str| {
        let place = tls.map(|tls| tls.origin().to_string()).unwrap_or_default();
        anyhow!("{place}: http.tls.{present} is set without http.tls.{missing}; a certificate and its key go together")
    };
    match (path("certificate")?, path("key")?, development) {
        (Some(_), None, _) => Err(origin("certificate", "key")),
        (None, Some(_), _) => Err(origin("key", "certificate")),
        (Some(_), Some(_), Development::On { switch, .. }) => {
            Err(switch.fail("contradicts http.tls.certificate: there is one certificate already"))
        }
        (Some(certificate), Some(key), Development::Off) => Ok(Some(Identity::Files { certificate, key })),
        (None, None, Development::On { directory, .. }) => {
            Ok(Some(Identity::Development { directory: directory.clone() }))
        }
        (None, None, Development::Off) if acme.is_some() => Ok(Some(Identity::Issued)),
        (None, None, Development::Off) => no_tls(tls).map(|()| None),
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

fn clients(tls: &Section<'_>, warnings: &mut Vec<Warning>) -> Result<Option<Clients>> {
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
    Ok((!roots.is_empty()).then_some(Clients { roots, demand }))
}

fn version_min(field: &Field<'_>, warnings: &mut Vec<Warning>) -> Result<Version> {
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

/// The TLS 1.2 suites that a list leaves; all of them where there is no list.
fn cipher_suites(listed: &[Field<'_>], warnings: &mut Vec<Warning>) -> Result<Vec<&'static str>> {
    let mut suites = Vec::new();
    let mut weak = None;
    for field in listed {
        let name = field.text()?;
        // Go knows these two by shorter names as well.
        let whole = if name.ends_with("_CHACHA20_POLY1305") { format!("{name}_SHA256") } else { name.to_owned() };
        if let Some(suite) = SUITES.iter().find(|suite| **suite == whole) {
            suites.push(*suite);
        } else if SUITES_WEAK.contains(&name) {
            warnings.push(Warning::of(field, format!("{name} is too weak and is not offered")));
            weak = Some(field);
        } else if !SUITES_13.contains(&name) {
            let allowed = [SUITES_13, SUITES].concat().join(", ");
            return Err(field.fail(format_args!("is {name:?}; it must be one of {allowed}")));
        }
    }
    match weak {
        Some(field) if suites.is_empty() => Err(field.fail("leaves no cipher suite that is offered")),
        _ if listed.is_empty() => Ok(SUITES.to_vec()),
        _ => Ok(suites),
    }
}
