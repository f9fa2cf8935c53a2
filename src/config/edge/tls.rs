//! `edge.tls`: more certificates than `http.tls` can name, one of our own making, and terms that Distribution's keys
//! have no words for. Read together with `http.tls`, in `config/tls.rs`.

use std::{path::PathBuf, time::Duration};

use anyhow::Result;

use crate::config::{
    Warning,
    schema::{Key, Shape, key, section, value, values},
    section::{Field, Section},
};

pub(in crate::config) const KEYS: &[Key] = &[
    value("development").or("false"),
    value("directory").or("certs/dev"),
    key("certificates", Shape::List(&Shape::Section(&[value("certificate"), value("key")]))),
    value("certificate_directory"),
    value("password_file"),
    value("unknown_names").or("default"),
    value("minimum_version"),
    values("cipher_suites"),
    values("curves"),
    value("session_tickets").or("true"),
    value("session_timeout").or("6h"),
    section("client", &[value("verify_depth")]).always(),
];

/// The most that TLS 1.2 recommends for a session (RFC 5246 appendix F.1.4).
const SESSION_TIMEOUT_MAX: Duration = Duration::from_hours(24);

/// A certificate's file and its key's, in PEM.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pair {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// What a client gets that asks for a name without a certificate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum UnknownNames {
    /// The first certificate.
    Default,
    /// The alert `unrecognized_name`.
    Refuse,
}

/// A group of the key exchange.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Curve {
    X25519MlKem768,
    X25519,
    P256,
    P384,
}

/// Sessions that clients take up again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Sessions {
    /// Whether clients keep them, sealed; otherwise they are remembered here.
    pub tickets: bool,
    /// Zero is not at all.
    pub timeout: Duration,
}

/// Whether a development certificate is wanted.
pub(in crate::config) enum Development<'a> {
    Off,
    On { switch: Field<'a>, directory: PathBuf },
}

impl<'a> Development<'a> {
    pub(in crate::config) fn read(tls: &Section<'a>) -> Result<Self> {
        let switch = tls.need("development")?;
        if !switch.boolean()? {
            return Ok(Self::Off);
        }
        let directory = tls.need("directory")?;
        match directory.text()? {
            "" => Err(directory.fail("must be the path of a directory")),
            path => Ok(Self::On { switch, directory: path.into() }),
        }
    }
}

pub(in crate::config) fn certificates(tls: &Section<'_>) -> Result<Vec<Pair>> {
    let pair = |field: &Field<'_>| {
        let pair = field.section()?;
        Ok(Pair { certificate: pair.need_text("certificate")?.into(), key: pair.need_text("key")?.into() })
    };
    tls.list("certificates")?.iter().map(pair).collect()
}

/// `<directory>/<host>.crt` and `.key`, as GitLab has them; `host` is that of the external URL.
pub(in crate::config) fn by_host(tls: &Section<'_>, host: Option<&str>) -> Result<Option<Pair>> {
    let Some(directory) = tls.path("certificate_directory")? else { return Ok(None) };
    let Some(host) = host else {
        let field = tls.need("certificate_directory")?;
        return Err(field.fail("needs edge.external_url: files in it are named for the host of that"));
    };
    let file = |kind| directory.join(format!("{host}.{kind}"));
    Ok(Some(Pair { certificate: file("crt"), key: file("key") }))
}

pub(in crate::config) fn unknown_names(tls: &Section<'_>) -> Result<UnknownNames> {
    tls.need("unknown_names")?.word(&[("default", UnknownNames::Default), ("refuse", UnknownNames::Refuse)])
}

/// In the order written; empty means all.
pub(in crate::config) fn curves(tls: &Section<'_>, warnings: &mut Vec<Warning>) -> Result<Vec<Curve>> {
    let words = [
        ("X25519MLKEM768", Some(Curve::X25519MlKem768)),
        ("X25519", Some(Curve::X25519)),
        ("P-256", Some(Curve::P256)),
        ("prime256v1", Some(Curve::P256)),
        ("secp256r1", Some(Curve::P256)),
        ("P-384", Some(Curve::P384)),
        ("secp384r1", Some(Curve::P384)),
        // What OpenSSL also offers by default.
        ("X448", None),
        ("P-521", None),
        ("secp521r1", None),
    ];
    let listed = tls.list("curves")?;
    let mut curves = Vec::new();
    for field in &listed {
        match field.word(&words)? {
            Some(curve) if curves.contains(&curve) => {}
            Some(curve) => curves.push(curve),
            None => warnings.push(Warning::of(field, format!("{} is not offered", field.text()?))),
        }
    }
    match listed.first() {
        Some(field) if curves.is_empty() => Err(field.fail("leaves no group that is offered")),
        _ => Ok(curves),
    }
}

pub(in crate::config) fn sessions(tls: &Section<'_>) -> Result<Sessions> {
    let field = tls.need("session_timeout")?;
    let timeout = field.duration()?;
    if !timeout.is_zero() && timeout < Duration::from_secs(1) || timeout > SESSION_TIMEOUT_MAX {
        return Err(field.fail("must be 0 or between 1s and 24h (a number without a unit is nanoseconds)"));
    }
    Ok(Sessions { tickets: tls.boolean("session_tickets")?, timeout })
}

pub(in crate::config) fn verify_depth(tls: &Section<'_>) -> Result<Option<usize>> {
    let depth = tls.need_section("client")?.find("verify_depth");
    let count = |field: Field<'_>| usize::try_from(field.count()?).map_err(|_| field.fail("is too large"));
    depth.map(count).transpose()
}
