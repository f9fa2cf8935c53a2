//! `edge`: what is ours alone, in one section, so that Distribution still starts on the same file.

use std::{net::IpAddr, num::NonZeroUsize, path::PathBuf, time::Duration};

use anyhow::Result;
use ipnet::IpNet;

use crate::config::{
    Warning,
    schema::{Key, section, value, values},
    section::{Field, Section},
    storage::Storage,
};

pub(in crate::config) const KEYS: &[Key] = &[
    value("strict").or("false"),
    value("external_url"),
    section(
        "uploads",
        &[value("token_grace").or("1h"), value("memory").or("256MiB"), value("blob_size_max"), value("open_max")],
    )
    .always(),
    section(
        "limits",
        &[
            value("connections").or("10000"),
            value("header_timeout").or("10s"),
            value("handshake_timeout").or("10s"),
            value("idle_timeout").or("75s"),
            value("body_timeout").or("60s"),
            value("write_timeout").or("60s"),
        ],
    )
    .always(),
    section(
        "downloads",
        &[
            value("inline_max").or("64KiB"),
            values("redirect_networks"),
            values("forward_networks"),
            value("url_window").or("5m"),
        ],
    )
    .always(),
    section("tls", &[value("development").or("false"), value("directory").or("certs/dev")]).always(),
];

/// Least memory that uploads may be given, in bytes: one upload must be able to fill one part.
const MEMORY_MIN: u64 = 1 << 20;

/// With the longest lifetime of an address, Amazon's limit of seven days.
const WINDOW_MAX: Duration = Duration::from_hours(24);

#[derive(Clone, Debug)]
pub struct Edge {
    /// Whether a key file that others can read, or a certificate outside its validity, is refused.
    pub strict: bool,
    pub uploads: Uploads,
    pub limits: Limits,
    pub downloads: Downloads,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Uploads {
    /// How long past its end the token that began an upload still serves that upload; zero is not at all.
    pub token_grace: Duration,
    /// Bytes that all uploads together may buffer.
    pub memory: u64,
    /// In bytes.
    pub blob_size_max: Option<u64>,
    /// Most request bodies that are received at once.
    pub open_max: Option<NonZeroUsize>,
}

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

/// Which downloads are redirected, where redirects are possible and not disabled. Requests for several ranges never are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Downloads {
    /// Blobs of up to this many bytes are never redirected.
    pub inline_max: u64,
    /// Networks of clients that are redirected; everybody where it is empty.
    pub redirect_networks: Vec<IpNet>,
    /// Networks of clients that are never redirected, whatever the other list says.
    pub forward_networks: Vec<IpNet>,
    /// How long the address of an object stays the same, so that caches can know it; zero is not at all, a day the most.
    pub url_window: Duration,
}

/// Whether a development certificate is wanted.
pub(in crate::config) enum Development<'a> {
    Off,
    On { switch: Field<'a>, directory: PathBuf },
}

impl Edge {
    pub(in crate::config) fn read(edge: &Section<'_>, storage: &Storage, warnings: &mut Vec<Warning>) -> Result<Self> {
        Ok(Self {
            strict: edge.boolean("strict")?,
            uploads: Uploads::read(&edge.need_section("uploads")?)?,
            limits: Limits::read(&edge.need_section("limits")?)?,
            downloads: Downloads::read(&edge.need_section("downloads")?, storage, warnings)?,
        })
    }
}

impl Uploads {
    fn read(uploads: &Section<'_>) -> Result<Self> {
        let memory = uploads.need("memory")?;
        if memory.size()? < MEMORY_MIN {
            return Err(memory.fail("must be at least 1MiB"));
        }
        let blob_size_max = uploads.find("blob_size_max");
        let open_max = uploads.find("open_max");
        Ok(Self {
            token_grace: uploads.need("token_grace")?.timeout_or_zero()?,
            memory: memory.size()?,
            blob_size_max: blob_size_max.map(|field| field.size()).transpose()?,
            open_max: open_max.map(|field| field.at_least_one()).transpose()?,
        })
    }
}

impl Downloads {
    fn read(downloads: &Section<'_>, storage: &Storage, warnings: &mut Vec<Warning>) -> Result<Self> {
        for field in ["redirect_networks", "forward_networks"].iter().filter_map(|name| downloads.find(name)) {
            if storage.redirect.is_none() && !field.node().is_idle() {
                warnings.push(Warning::of(&field, "has no effect while storage.redirect.disable is true"));
            }
        }
        let networks = |name| -> Result<Vec<_>> { downloads.list(name)?.iter().map(network).collect() };
        let window = downloads.need("url_window")?;
        if window.timeout_or_zero()? > WINDOW_MAX {
            return Err(window.fail("must be at most 24h"));
        }
        Ok(Self {
            inline_max: downloads.need("inline_max")?.size()?,
            redirect_networks: networks("redirect_networks")?,
            forward_networks: networks("forward_networks")?,
            url_window: window.duration()?,
        })
    }
}

/// A network, or one address.
fn network(field: &Field<'_>) -> Result<IpNet> {
    let text = field.text()?;
    let network = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    network.map(|network| network.trunc()).ok_or_else(|| {
        field.fail(format_args!("is {text:?}; it must be a network such as 10.0.0.0/8 or fd00::/8, or an address"))
    })
}

impl Limits {
    fn read(limits: &Section<'_>) -> Result<Self> {
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

pub(in crate::config) fn development<'a>(edge: &Section<'a>) -> Result<Development<'a>> {
    let tls = edge.need_section("tls")?;
    let switch = tls.need("development")?;
    if !switch.boolean()? {
        return Ok(Development::Off);
    }
    let directory = tls.need("directory")?;
    match directory.text()? {
        "" => Err(directory.fail("must be the path of a directory")),
        path => Ok(Development::On { switch, directory: path.into() }),
    }
}
