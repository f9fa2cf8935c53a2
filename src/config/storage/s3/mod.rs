//! `storage.s3`: a bucket, how it is reached, and how objects are written there.
//!
//! Distribution calls the driver `s3` and `s3aws`, GitLab's newer one is `s3_v2`. Here they are one driver that knows the
//! parameters of all, each with one meaning. Sizes are plain numbers of bytes, as those registries read them.

use std::num::NonZeroUsize;

use anyhow::Result;
use http::{HeaderValue, Uri};

use crate::config::{
    Warning,
    address::Url,
    environment::Environment,
    schema::{Key, value},
    section::{Field, Section},
    storage::s3::{credentials::Credentials, endpoint::Endpoint, objects::Objects},
};

pub mod credentials;
pub mod endpoint;
pub mod objects;

pub(in crate::config) const KEYS: &[Key] = &[
    value("bucket"),
    value("rootdirectory"),
    value("region"),
    value("regionendpoint"),
    value("secure").or("true"),
    value("skipverify").or("false"),
    value("forcepathstyle"),
    value("pathstyle"),
    value("usedualstack").or("false"),
    value("accelerate").or("false"),
    value("usefipsendpoint").or("false"),
    value("redirectendpoint"),
    value("accesskey").secret(),
    value("secretkey").secret(),
    value("sessiontoken").secret(),
    value("v4auth").or("true"),
    value("encrypt").or("false"),
    value("keyid"),
    value("storageclass"),
    value("objectacl"),
    value("objectownership").or("false"),
    value("checksum_disabled"),
    value("checksum_algorithm"),
    value("chunksize").or("16777216"),
    value("multipartcopychunksize").or("33554432"),
    value("multipartcopymaxconcurrency").or("100"),
    value("multipartcopythresholdsize").or("33554432"),
    value("useragent"),
    value("loglevel").inert(),
    value("maxrequestspersecond").inert(),
    value("maxretries").inert(),
    value("parallelwalk").inert(),
];

/// Least size of a part that is not the last, in bytes: S3's own.
const PART_MIN: u64 = 5 << 20;

/// Largest size of a part, and of a copy in one request, in bytes: S3's own.
const PART_MAX: u64 = 5 << 30;

/// Largest part that an upload gathers in memory, in bytes.
const PART_GATHERED_MAX: u64 = 64 << 20;

/// What Amazon calls encryption with keys that each request brings along, without separators.
const CLIENT_KEYS: &[&str] = &["ssec", "xamzserversideencryptioncustomer", "serversideencryptioncustomer"];

#[derive(Clone, Debug)]
pub struct S3 {
    /// Without a slash.
    pub bucket: String,
    /// Stands before every key: segments with a slash between them and none around them. Empty for the bucket's root.
    pub root: String,
    pub endpoint: Endpoint,
    /// Scheme and host, perhaps with a port, that stand in presigned addresses in the place of the endpoint's, whatever
    /// the addressing: a proxy that leads to the same objects. It is signed, so the proxy must hand on its own name.
    pub redirect_endpoint: Option<Uri>,
    pub credentials: Credentials,
    pub objects: Objects,
    /// Of all parts of an upload but the last, in bytes, from 5 MiB to 64 MiB.
    pub part_size: u64,
    pub copying: Copying,
    /// What the operator adds to our own `User-Agent`; a header can hold it.
    pub user_agent: Option<String>,
}

/// How an object is copied inside the bucket.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Copying {
    /// Larger objects are copied in parts, up to this many bytes in one request. At most 5 GiB.
    pub threshold: u64,
    /// Bytes of one part, from 5 MiB to 5 GiB; more where that would make too many parts.
    pub part_size: u64,
    /// Most parts on their way at once.
    pub concurrency: NonZeroUsize,
}

impl S3 {
    pub(in crate::config) fn read(
        parameters: &Section<'_>,
        environment: &Environment,
        warnings: &mut Vec<Warning>,
    ) -> Result<Self> {
        refuse_client_keys(parameters)?;
        check_signature(parameters, warnings)?;
        let bucket = bucket(parameters)?;
        let endpoint = Endpoint::read(parameters, &bucket, environment, warnings)?;
        Ok(Self {
            root: root(parameters)?,
            redirect_endpoint: redirect_endpoint(parameters)?,
            credentials: Credentials::read(parameters, &endpoint.region, environment, warnings)?,
            objects: Objects::read(parameters, warnings)?,
            part_size: part_size(&parameters.need("chunksize")?, warnings)?,
            copying: Copying::read(parameters)?,
            user_agent: header(parameters, "useragent")?,
            bucket,
            endpoint,
        })
    }
}

impl Copying {
    fn read(parameters: &Section<'_>) -> Result<Self> {
        Ok(Self {
            threshold: bytes(&parameters.need("multipartcopythresholdsize")?, 0)?,
            part_size: bytes(&parameters.need("multipartcopychunksize")?, PART_MIN)?,
            concurrency: parameters.need("multipartcopymaxconcurrency")?.at_least_one()?,
        })
    }
}

/// A store cannot copy, and nobody can be sent to, an object whose key comes with each request.
fn refuse_client_keys(parameters: &Section<'_>) -> Result<()> {
    let asks = |name: &str| {
        let name = name.to_lowercase().replace(['_', '-'], "");
        CLIENT_KEYS.iter().any(|key| name.starts_with(key))
    };
    match parameters.fields().find(|(name, field)| asks(name) && !field.node().is_idle()) {
        Some((_, field)) => Err(field.fail(
            "asks for SSE-C, encryption with a key that each request brings along, which is not supported; write \
             encrypt: true for SSE-S3, and keyid beside it for SSE-KMS",
        )),
        None => Ok(()),
    }
}

fn check_signature(parameters: &Section<'_>, warnings: &mut Vec<Warning>) -> Result<()> {
    let v4 = parameters.need("v4auth")?;
    if !v4.switch()? {
        warnings.push(Warning::of(&v4, "is false, but requests are signed by version 4: version 2 is not spoken"));
    }
    Ok(())
}

fn bucket(parameters: &Section<'_>) -> Result<String> {
    let name = parameters.need_text("bucket")?;
    let field = parameters.need("bucket")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if name.starts_with("arn:") {
        return Err(field.fail("must be a name, not an ARN; an access point has an alias that can stand here"));
    }
    if name.contains('/') {
        return Err(field.fail(format_args!("is {name:?}; a bucket has no subdirectories: use rootdirectory")));
    }
    if !name.chars().all(plain) || name.starts_with('.') {
        return Err(field.fail(format_args!("is {name:?}, which no bucket can be called")));
    }
    Ok(name)
}

fn root(parameters: &Section<'_>) -> Result<String> {
    let Some(text) = parameters.text("rootdirectory")? else { return Ok(String::new()) };
    let root = text.trim_matches('/');
    let odd = |segment: &str| matches!(segment, "" | "." | "..") || segment.contains(char::is_control);
    if !root.is_empty() && root.split('/').any(odd) {
        let field = parameters.need("rootdirectory")?;
        return Err(field.fail(format_args!("is {text:?}; it must be a plain path, without empty, . or .. segments")));
    }
    Ok(root.to_owned())
}

fn redirect_endpoint(parameters: &Section<'_>) -> Result<Option<Uri>> {
    if parameters.text("redirectendpoint")?.is_none() {
        return Ok(None);
    }
    let field = parameters.need("redirectendpoint")?;
    Url::read(&field)?.without_path(&field).map(Some)
}

/// An existing configuration may ask for parts of up to 5 GiB; so much memory for one upload is never taken.
fn part_size(field: &Field<'_>, warnings: &mut Vec<Warning>) -> Result<u64> {
    let size = bytes(field, PART_MIN)?;
    if size > PART_GATHERED_MAX {
        warnings.push(Warning::of(field, format!("is {size}; parts are {PART_GATHERED_MAX} bytes (64 MiB) at most")));
    }
    Ok(size.min(PART_GATHERED_MAX))
}

/// A number of bytes that S3 takes for a part or a copy.
fn bytes(field: &Field<'_>, least: u64) -> Result<u64> {
    match field.count()? {
        size if (least..=PART_MAX).contains(&size) => Ok(size),
        _ => Err(field.fail(format_args!("must be a number of bytes between {least} and {PART_MAX}"))),
    }
}

/// A text that goes into a header.
fn header(parameters: &Section<'_>, name: &str) -> Result<Option<String>> {
    let Some(text) = parameters.text(name)? else { return Ok(None) };
    match HeaderValue::from_str(text) {
        Ok(value) if value.to_str().is_ok() => Ok(Some(text.to_owned())),
        _ => Err(parameters.need(name)?.fail("holds what no header can hold")),
    }
}
