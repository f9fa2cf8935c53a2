//! `health`: what must hold for requests to be served.

use std::{path::PathBuf, time::Duration};

use anyhow::Result;
use http::HeaderMap;

use crate::config::{
    address::{Address, Url},
    headers,
    schema::{Key, Shape, key, section, value},
    section::Section,
};

pub(in crate::config) const KEYS: &[Key] = &[
    section("storagedriver", &[value("enabled").or("false"), value("interval").or("10s"), value("threshold").or("0")])
        .always(),
    key(
        "file",
        Shape::List(&Shape::Section(&[value("file"), value("interval").or("10s"), value("threshold").or("0")])),
    )
    .variable("FILECHECKERS"),
    key(
        "http",
        Shape::List(&Shape::Section(&[
            value("uri"),
            key("headers", Shape::Named(&Shape::List(&Shape::Value))).secret(),
            value("statuscode").or("200"),
            value("timeout").or("10s"),
            value("interval").or("10s"),
            value("threshold").or("0"),
        ])),
    )
    .variable("HTTPCHECKERS"),
    key(
        "tcp",
        Shape::List(&Shape::Section(&[
            value("addr"),
            value("timeout").or("10s"),
            value("interval").or("10s"),
            value("threshold").or("0"),
        ])),
    )
    .variable("TCPCHECKERS"),
];

#[derive(Clone, Debug)]
pub struct Health {
    /// Asks the storage for its root.
    pub storage: Option<Schedule>,
    pub files: Vec<FileCheck>,
    pub http: Vec<HttpCheck>,
    pub tcp: Vec<TcpCheck>,
    /// PEM file with the certificate authorities that `https` checks trust: `SSL_CERT_FILE`, or the platform's.
    pub authorities: PathBuf,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Schedule {
    /// Never zero.
    pub interval: Duration,
    /// Failures in a row that make it unhealthy, from 1.
    pub threshold: u64,
}

/// Unhealthy while the file exists.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FileCheck {
    pub path: PathBuf,
    pub schedule: Schedule,
}

/// A HEAD request.
#[derive(Clone, Debug)]
pub struct HttpCheck {
    pub uri: Url,
    /// All marked as sensitive.
    pub headers: HeaderMap,
    pub status: u16,
    pub timeout: Duration,
    pub schedule: Schedule,
}

/// A connection that opens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TcpCheck {
    pub address: Address,
    pub timeout: Duration,
    pub schedule: Schedule,
}

impl Health {
    pub(in crate::config) fn read(health: &Section<'_>, authorities: PathBuf) -> Result<Self> {
        let storage = health.need_section("storagedriver")?;
        let schedule = schedule(&storage)?;
        Ok(Self {
            storage: storage.boolean("enabled")?.then_some(schedule),
            files: health.list("file")?.iter().map(|field| file(&field.section()?)).collect::<Result<_>>()?,
            http: health.list("http")?.iter().map(|field| http(&field.section()?)).collect::<Result<_>>()?,
            tcp: health.list("tcp")?.iter().map(|field| tcp(&field.section()?)).collect::<Result<_>>()?,
            authorities,
        })
    }
}

fn schedule(check: &Section<'_>) -> Result<Schedule> {
    Ok(Schedule { interval: check.need("interval")?.timeout()?, threshold: check.need("threshold")?.count()?.max(1) })
}

fn file(check: &Section<'_>) -> Result<FileCheck> {
    Ok(FileCheck { path: check.need_text("file")?.into(), schedule: schedule(check)? })
}

fn http(check: &Section<'_>) -> Result<HttpCheck> {
    let status = check.need("statuscode")?;
    Ok(HttpCheck {
        uri: Url::read(&check.need("uri")?)?,
        headers: headers::read(check.find("headers").as_ref(), headers::Sensitivity::Sensitive)?,
        status: match u16::try_from(status.integer()?) {
            Ok(status) if (100..600).contains(&status) => status,
            _ => return Err(status.fail("must be an HTTP status between 100 and 599")),
        },
        timeout: check.need("timeout")?.timeout()?,
        schedule: schedule(check)?,
    })
}

fn tcp(check: &Section<'_>) -> Result<TcpCheck> {
    Ok(TcpCheck {
        address: Address::read(&check.need("addr")?)?,
        timeout: check.need("timeout")?.timeout()?,
        schedule: schedule(check)?,
    })
}
