//! Where the bucket answers: Amazon's host for the region, or the operator's own, and what its requests look like.

use std::{net::IpAddr, path::PathBuf};

use anyhow::Result;
use http::Uri;

use crate::config::{
    Warning,
    address::Url,
    environment::Environment,
    section::{Field, Section},
};

/// The region of requests to a store that has none.
const REGION_DEFAULT: &str = "us-east-1";

/// Amazon's partitions: how their regions begin, and their domain.
const PARTITIONS: &[(&str, &str)] = &[
    ("cn-", "amazonaws.com.cn"),
    ("eusc-", "amazonaws.eu"),
    ("us-iso-", "c2s.ic.gov"),
    ("us-isob-", "sc2s.sgov.gov"),
    ("us-isof-", "csp.hci.ic.gov"),
    ("eu-isoe-", "cloud.adc-e.uk"),
    ("", "amazonaws.com"),
];

/// Choices among Amazon's own hosts.
const AMAZON_ONLY: &[&str] = &["usedualstack", "accelerate", "usefipsendpoint"];

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Endpoint {
    /// Scheme and host, perhaps with a port. Never with the bucket, a path or a query.
    pub uri: Uri,
    /// What signatures name.
    pub region: String,
    pub addressing: Addressing,
    pub verification: Verification,
}

/// Where the bucket's name stands in a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Addressing {
    /// `host/bucket/key`
    Path,
    /// `bucket.host/key`; the name is fit for that.
    VirtualHosted,
}

/// Who vouches for an `https` endpoint.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verification {
    /// A PEM file with certificate authorities: `AWS_CA_BUNDLE`, else `SSL_CERT_FILE`, else the platform's.
    Authorities(PathBuf),
    /// Nobody.
    Off,
}

impl Endpoint {
    pub(in crate::config) fn read(
        parameters: &Section<'_>,
        bucket: &str,
        environment: &Environment,
        warnings: &mut Vec<Warning>,
    ) -> Result<Self> {
        let own = own(parameters)?;
        let region = region(parameters, own.is_some())?;
        let uri = match &own {
            Some(uri) => uri.clone(),
            None => amazon(parameters, &region)?,
        };
        warn_of_plain_http(parameters, &uri, warnings)?;
        let addressing = addressing(parameters, bucket, &uri, warnings)?;
        match own {
            Some(_) => warn_of_amazon_only(parameters, warnings)?,
            None => check_acceleration(parameters, addressing)?,
        }
        Ok(Self { uri, region, addressing, verification: verification(parameters, environment, warnings)? })
    }
}

/// Amazon's domain for a region.
pub(in crate::config) fn domain(region: &str) -> &'static str {
    PARTITIONS.iter().find(|(beginning, _)| region.starts_with(beginning)).map_or("", |(_, domain)| domain)
}

fn region(parameters: &Section<'_>, own_endpoint: bool) -> Result<String> {
    let region = match parameters.text("region")? {
        None if own_endpoint => return Ok(REGION_DEFAULT.to_owned()),
        None => return parameters.need_text("region"),
        Some(region) => region,
    };
    let (fits, example) = if own_endpoint {
        (region.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')), "a plain word")
    } else {
        (is_amazon_region(region), "a region such as eu-west-1, because there is no regionendpoint")
    };
    if !fits {
        return Err(parameters.need("region")?.fail(format_args!("is {region:?}; it must be {example}")));
    }
    Ok(region.to_owned())
}

/// `us-east-1`, `us-gov-west-1`. No list: Amazon opens regions more often than we are built.
fn is_amazon_region(region: &str) -> bool {
    let parts: Vec<_> = region.split('-').collect();
    let word = |part: &&str| !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    parts.len() >= 3
        && parts.iter().all(word)
        && parts.last().is_some_and(|last| last.chars().all(|c| c.is_ascii_digit()))
}

/// The operator's own endpoint; `secure` says its scheme where it has none itself.
fn own(parameters: &Section<'_>) -> Result<Option<Uri>> {
    let Some(text) = parameters.text("regionendpoint")? else { return Ok(None) };
    let field = parameters.need("regionendpoint")?;
    let url = if text.contains("://") {
        Url::read(&field)?
    } else {
        Url::parse(&field, &format!("{}://{text}", scheme(parameters)?))?
    };
    url.without_path(&field).map(Some)
}

fn scheme(parameters: &Section<'_>) -> Result<&'static str> {
    Ok(if parameters.need("secure")?.switch()? { "https" } else { "http" })
}

fn amazon(parameters: &Section<'_>, region: &str) -> Result<Uri> {
    let switch = |name| parameters.need(name)?.switch();
    let service = if switch("usefipsendpoint")? { "s3-fips" } else { "s3" };
    let stack = if switch("usedualstack")? { ".dualstack" } else { "" };
    let (scheme, domain) = (scheme(parameters)?, domain(region));
    let host = if switch("accelerate")? {
        format!("s3-accelerate{stack}.{domain}")
    } else {
        format!("{service}{stack}.{region}.{domain}")
    };
    Ok(format!("{scheme}://{host}").parse().expect("a region is letters, digits and hyphens"))
}

fn check_acceleration(parameters: &Section<'_>, addressing: Addressing) -> Result<()> {
    let accelerate = parameters.need("accelerate")?;
    if !accelerate.switch()? {
        return Ok(());
    }
    if parameters.need("usefipsendpoint")?.switch()? {
        return Err(accelerate.fail("contradicts usefipsendpoint: there is no such host"));
    }
    match addressing {
        Addressing::VirtualHosted => Ok(()),
        Addressing::Path => Err(accelerate.fail(
            "needs the bucket in the host name: without forcepathstyle, and with a name of small letters, digits and \
             hyphens",
        )),
    }
}

fn warn_of_amazon_only(parameters: &Section<'_>, warnings: &mut Vec<Warning>) -> Result<()> {
    for name in AMAZON_ONLY {
        let field = parameters.need(name)?;
        if field.switch()? {
            warnings.push(Warning::of(&field, "has no effect beside regionendpoint, which names the host already"));
        }
    }
    Ok(())
}

fn warn_of_plain_http(parameters: &Section<'_>, uri: &Uri, warnings: &mut Vec<Warning>) -> Result<()> {
    let host = uri.host().unwrap_or_default();
    let local = host == "localhost" || ip(host).is_some_and(|ip| ip.is_loopback());
    if uri.scheme_str() == Some("http") && !local {
        let field = parameters.find("regionendpoint").map_or_else(|| parameters.need("secure"), Ok)?;
        warnings.push(Warning::of(&field, "speaks plain HTTP: images travel unencrypted between here and the store"));
    }
    Ok(())
}

/// What is written wins where it can work. Else the path is used as soon as there is a `regionendpoint`, as by
/// Distribution 2 and GitLab; Distribution 3 has to be told so.
fn addressing(parameters: &Section<'_>, bucket: &str, uri: &Uri, warnings: &mut Vec<Warning>) -> Result<Addressing> {
    let fits = fits_host(bucket, uri);
    let own = parameters.text("regionendpoint")?.is_some();
    match path_style(parameters)? {
        Some((_, true)) => Ok(Addressing::Path),
        Some((_, false)) if fits => Ok(Addressing::VirtualHosted),
        Some((field, false)) => {
            let text = "is false, but bucket and endpoint make no host name together; the bucket goes into the path";
            warnings.push(Warning::of(&field, text));
            Ok(Addressing::Path)
        }
        None if own || !fits => Ok(Addressing::Path),
        None => Ok(Addressing::VirtualHosted),
    }
}

/// Distribution 3 says `forcepathstyle`, GitLab `pathstyle`.
fn path_style<'a>(parameters: &Section<'a>) -> Result<Option<(Field<'a>, bool)>> {
    let read = |name| -> Result<Option<(Field<'a>, bool)>> {
        let Some(field) = parameters.find(name) else { return Ok(None) };
        let switch = field.switch()?;
        Ok(Some((field, switch)))
    };
    match (read("forcepathstyle")?, read("pathstyle")?) {
        (Some((_, force)), Some((field, path))) if force != path => {
            Err(field.fail("contradicts forcepathstyle, which means the same; write one of them"))
        }
        (force, path) => Ok(force.or(path)),
    }
}

/// Whether `bucket.host` is a host name that a certificate for `*.host` covers.
fn fits_host(bucket: &str, uri: &Uri) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let label =
        |label: &str| !label.is_empty() && label.chars().all(plain) && !label.starts_with('-') && !label.ends_with('-');
    let dots = bucket.contains('.');
    bucket.len() <= 63
        && bucket.split('.').all(label)
        && !(dots && uri.scheme_str() == Some("https"))
        && uri.host().is_some_and(|host| ip(host).is_none())
}

fn ip(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

fn verification(
    parameters: &Section<'_>,
    environment: &Environment,
    warnings: &mut Vec<Warning>,
) -> Result<Verification> {
    let skip = parameters.need("skipverify")?;
    if skip.switch()? {
        warnings.push(Warning::of(&skip, "is true: nobody checks who answers in the store's place"));
        return Ok(Verification::Off);
    }
    let bundle = environment.variable("AWS_CA_BUNDLE").map(PathBuf::from);
    Ok(Verification::Authorities(bundle.unwrap_or_else(|| environment.authorities())))
}
