//! `edge.limits`: the bounds of connections.

use std::{num::NonZeroUsize, time::Duration};

use anyhow::Result;

use crate::config::{
    edge::rates::{Rate, Unit},
    schema::{Key, value},
    section::{Field, Section},
};

pub(in crate::config) const KEYS: &[Key] = &[
    value("connections").or("10000"),
    value("connections_per_address"),
    value("header_size_max").or("64KiB"),
    value("uri_size_max").or("8KiB"),
    value("header_timeout").or("10s"),
    value("handshake_timeout").or("10s"),
    value("idle_timeout").or("75s"),
    value("body_timeout").or("60s"),
    value("body_rate_min").or("1KiB"),
    value("write_timeout").or("60s"),
    value("write_rate_min").or("1KiB"),
    value("http2_streams").or("100"),
    value("http2_resets").or("20/s burst 500"),
];

/// Heads beyond this, in bytes, are refused by the parser, whatever is configured.
const HEADER_SIZE_MAX: u64 = 512 << 10;

/// Least size of a head, in bytes: a token of a GitLab project with many scopes alone has half of it.
const HEADER_SIZE_MIN: u64 = 16 << 10;

/// Least size of a target, in bytes: the longest repository name, a digest and the state of an upload.
const URI_SIZE_MIN: u64 = 4 << 10;

/// Most requests at once on one connection; each may hold memory.
const STREAMS_MAX: u64 = 1000;

/// Bounds of connections; no duration is zero.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Open at once.
    pub connections: NonZeroUsize,
    /// Open at once from one address; `None` is without a limit.
    pub connections_per_address: Option<NonZeroUsize>,
    /// Bytes of the head of a request.
    pub header_size_max: usize,
    /// Bytes of the target of a request.
    pub uri_size_max: usize,
    /// For the whole head of a request.
    pub header_timeout: Duration,
    /// For the whole TLS handshake.
    pub handshake_timeout: Duration,
    /// Between two requests.
    pub idle_timeout: Duration,
    /// Without a byte of a request's body.
    pub body_timeout: Duration,
    /// Bytes per second of a request's body; 0 is no rate.
    pub body_rate_min: u32,
    /// Without a byte of an answer that the client takes.
    pub write_timeout: Duration,
    /// Bytes per second of an answer that the client takes; 0 is no rate.
    pub write_rate_min: u32,
    /// Requests at once on one HTTP/2 connection.
    pub http2_streams: u32,
    /// Requests that the client of an HTTP/2 connection takes back.
    pub http2_resets: Rate,
}

impl Limits {
    pub(in crate::config) fn read(limits: &Section<'_>) -> Result<Self> {
        let timeout = |name| limits.need(name)?.timeout();
        Ok(Self {
            connections: limits.need("connections")?.at_least_one()?,
            connections_per_address: limits
                .find("connections_per_address")
                .map(|field| field.at_least_one())
                .transpose()?,
            header_size_max: size(&limits.need("header_size_max")?, HEADER_SIZE_MIN, HEADER_SIZE_MAX)?,
            uri_size_max: size(&limits.need("uri_size_max")?, URI_SIZE_MIN, HEADER_SIZE_MAX)?,
            header_timeout: timeout("header_timeout")?,
            handshake_timeout: timeout("handshake_timeout")?,
            idle_timeout: timeout("idle_timeout")?,
            body_timeout: timeout("body_timeout")?,
            body_rate_min: per_second(&limits.need("body_rate_min")?)?,
            write_timeout: timeout("write_timeout")?,
            write_rate_min: per_second(&limits.need("write_rate_min")?)?,
            http2_streams: streams(&limits.need("http2_streams")?)?,
            http2_resets: Rate::read(&limits.need("http2_resets")?, Unit::Requests)?,
        })
    }
}

fn size(field: &Field<'_>, least: u64, most: u64) -> Result<usize> {
    let size = field.size()?;
    if !(least..=most).contains(&size) {
        return Err(field.fail(format_args!("must be from {}KiB to {}KiB", least >> 10, most >> 10)));
    }
    usize::try_from(size).map_err(|_| field.fail("is too large"))
}

/// Bytes per second.
fn per_second(field: &Field<'_>) -> Result<u32> {
    u32::try_from(field.size()?).map_err(|_| field.fail("must be less than 4GiB"))
}

fn streams(field: &Field<'_>) -> Result<u32> {
    let streams = field.count()?;
    let within = (1..=STREAMS_MAX).contains(&streams);
    u32::try_from(streams)
        .ok()
        .filter(|_| within)
        .ok_or_else(|| field.fail(format_args!("must be from 1 to {STREAMS_MAX}")))
}
