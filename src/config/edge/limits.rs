//! `edge.limits`: the bounds of connections.

use std::{num::NonZeroUsize, time::Duration};

use anyhow::Result;

use crate::config::{
    schema::{Key, value},
    section::Section,
};

pub(in crate::config) const KEYS: &[Key] = &[
    value("connections").or("10000"),
    value("header_timeout").or("10s"),
    value("handshake_timeout").or("10s"),
    value("idle_timeout").or("75s"),
    value("body_timeout").or("60s"),
    value("write_timeout").or("60s"),
];

/// Bounds of connections; no duration is zero.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Open at once.
    pub connections: NonZeroUsize,
    /// For the whole head of a request.
    pub header_timeout: Duration,
    /// For the whole TLS handshake.
    pub handshake_timeout: Duration,
    /// Between two requests.
    pub idle_timeout: Duration,
    /// Without a byte of a request's body.
    pub body_timeout: Duration,
    /// Without a byte of an answer that the client takes.
    pub write_timeout: Duration,
}

impl Limits {
    pub(in crate::config) fn read(limits: &Section<'_>) -> Result<Self> {
        let timeout = |name| limits.need(name)?.timeout();
        Ok(Self {
            connections: limits.need("connections")?.at_least_one()?,
            header_timeout: timeout("header_timeout")?,
            handshake_timeout: timeout("handshake_timeout")?,
            idle_timeout: timeout("idle_timeout")?,
            body_timeout: timeout("body_timeout")?,
            write_timeout: timeout("write_timeout")?,
        })
    }
}
