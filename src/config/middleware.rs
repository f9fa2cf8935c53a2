//! `middleware.storage`: who changes the addresses that clients are redirected to.
//!
//! Each one wraps those before it in the list. Unlike Distribution, which reads `disabled` and does not look at it, we
//! leave out what is disabled.

use std::{path::PathBuf, time::Duration};

use anyhow::Result;
use http::{Uri, uri::Authority};

use crate::config::{
    Warning,
    address::Url,
    inert,
    schema::{Key, Shape, key, parameters, value},
    section::{Field, Section},
    storage::{Driver, Storage},
};

pub(in crate::config) const KEYS: &[Key] = &[
    key(
        "storage",
        Shape::List(&Shape::Section(&[value("name"), value("disabled").or("false"), parameters("options", OPTIONS)])),
    ),
    key("registry", Shape::List(&Shape::Section(inert::MIDDLEWARE))).inert(),
    key("repository", Shape::List(&Shape::Section(inert::MIDDLEWARE))).inert(),
];

/// Of all kinds; which belong to which is known below.
const OPTIONS: &[Key] = &[
    value("baseurl"),
    value("scheme"),
    value("host"),
    value("trimpathprefix"),
    value("privatekey"),
    value("keypairid"),
    value("duration"),
    value("ipfilteredby"),
    value("awsregion"),
    value("updatefrequency"),
    value("updatefrenquency"),
    value("iprangesurl"),
];

const REDIRECT: &[&str] = &["baseurl"];
const REWRITE: &[&str] = &["scheme", "host", "trimpathprefix"];
const CLOUDFRONT: &[&str] = &[
    "baseurl",
    "privatekey",
    "keypairid",
    "duration",
    "ipfilteredby",
    "awsregion",
    "updatefrequency",
    "updatefrenquency",
    "iprangesurl",
];

/// Middlewares of registries that we replace which have no counterpart here yet.
const NOT_BUILT: &[&str] = &["alicdn", "googlecdn"];

const LIFETIME_DEFAULT: Duration = Duration::from_mins(20);
const UPDATE_DEFAULT: Duration = Duration::from_hours(12);
const RANGES_DEFAULT: &str = "https://ip-ranges.amazonaws.com/ip-ranges.json";

#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Middleware {
    Redirect(Redirect),
    Rewrite(Rewrite),
    CloudFront(CloudFront),
}

/// Sends clients to another server that has the same objects, whatever the storage would say.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Redirect {
    /// The object's path below the storage's root, `/docker/registry/v2/…`, is joined to its path. Without a query.
    pub base: Uri,
}

/// Changes the address that the storage says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rewrite {
    pub scheme: Option<Scheme>,
    /// A host, perhaps with a port.
    pub host: Option<Authority>,
    /// Removed from the path where the path begins with it.
    pub trim_path_prefix: Option<String>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scheme {
    Http,
    Https,
}

/// Sends clients to Amazon's CDN with a signed address: `base` and the object's key in its bucket.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CloudFront {
    /// Without a query.
    pub base: Uri,
    /// A PEM file with the key, RSA or P-256.
    pub private_key: PathBuf,
    pub key_pair_id: String,
    /// How long an address serves.
    pub lifetime: Duration,
    pub direct: Direct,
}

/// Which clients are sent to the bucket instead, because they are near it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Direct {
    Nobody,
    /// Those in Amazon's networks.
    Amazon(Ranges),
    /// Those in Amazon's networks of these regions, in small letters, never empty.
    Regions(Vec<String>, Ranges),
}

/// Where Amazon's networks are listed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ranges {
    pub url: Uri,
    /// How often the list is fetched.
    pub interval: Duration,
}

#[derive(Clone, Copy)]
enum Filter {
    Nobody,
    Amazon,
    Regions,
}

/// Reads `middleware`, which may be missing.
///
/// # Errors
/// A name that is no storage middleware, or options that it cannot work with: Distribution does not start either.
pub(in crate::config) fn read(
    middleware: Option<&Section<'_>>,
    storage: &Storage,
    warnings: &mut Vec<Warning>,
) -> Result<Vec<Middleware>> {
    let mut middlewares = Vec::new();
    for field in middleware.map_or(Ok(Vec::new()), |middleware| middleware.list("storage"))? {
        let entry = field.section()?;
        if let Some(read) = one(&entry, warnings)? {
            warn_of_idleness(&entry, &read, storage, warnings)?;
            middlewares.push(read);
        }
    }
    Ok(middlewares)
}

fn one(entry: &Section<'_>, warnings: &mut Vec<Warning>) -> Result<Option<Middleware>> {
    entry.need_text("name")?;
    let (name, disabled) = (entry.need("name")?, entry.need("disabled")?);
    if disabled.boolean()? {
        let text = "leaves this middleware out; Distribution does not look at it, and would have it act";
        warnings.push(Warning::of(&disabled, text));
        return Ok(None);
    }
    let options = || entry.section("options")?.ok_or_else(|| name.fail("stands without options"));
    match name.text()? {
        "redirect" => {
            let options = options()?;
            warn_of_others(&options, REDIRECT, warnings);
            Redirect::read(&options).map(Middleware::Redirect).map(Some)
        }
        "rewrite" => {
            let options = options()?;
            warn_of_others(&options, REWRITE, warnings);
            Rewrite::read(&options).map(Middleware::Rewrite).map(Some)
        }
        "cloudfront" => {
            let options = options()?;
            warn_of_others(&options, CLOUDFRONT, warnings);
            CloudFront::read(&options, warnings).map(Middleware::CloudFront).map(Some)
        }
        "urlcache" => {
            let text = "is urlcache, which does nothing here: addresses stay the same for edge.downloads.url_window";
            warnings.push(Warning::of(&name, text));
            Ok(None)
        }
        text if NOT_BUILT.contains(&text) => {
            Err(name.fail(format_args!("is {text:?}, a storage middleware that this version does not have")))
        }
        text => {
            Err(name.fail(format_args!("is {text:?}, not a storage middleware; write redirect, rewrite or cloudfront")))
        }
    }
}

/// Options that another middleware has; those of none are warned about as all unknown keys are.
fn warn_of_others(options: &Section<'_>, own: &[&str], warnings: &mut Vec<Warning>) {
    for (name, field) in options.fields() {
        if !own.contains(&name) && OPTIONS.iter().any(|option| option.name == name) {
            warnings.push(Warning::of(&field, "is not an option of this middleware; it is ignored"));
        }
    }
}

fn warn_of_idleness(
    entry: &Section<'_>,
    middleware: &Middleware,
    storage: &Storage,
    warnings: &mut Vec<Warning>,
) -> Result<()> {
    let text = match (middleware, &storage.driver, storage.redirect) {
        (_, _, None) => "has no effect while storage.redirect.disable is true",
        (Middleware::CloudFront(_), Driver::Filesystem { .. } | Driver::Memory, _) => {
            "has no effect: cloudfront leads to a bucket, and the storage is none"
        }
        (Middleware::Rewrite(_), Driver::Filesystem { .. } | Driver::Memory, _) => {
            "has no effect: the storage has no addresses to rewrite"
        }
        _ => return Ok(()),
    };
    warnings.push(Warning::of(&entry.need("name")?, text));
    Ok(())
}

impl Redirect {
    fn read(options: &Section<'_>) -> Result<Self> {
        options.need_text("baseurl")?;
        let field = options.need("baseurl")?;
        Ok(Self { base: without_query(Url::read(&field)?, &field)? })
    }
}

impl Rewrite {
    fn read(options: &Section<'_>) -> Result<Self> {
        let scheme = options
            .text("scheme")?
            .map(|_| options.need("scheme")?.word(&[("http", Scheme::Http), ("https", Scheme::Https)]));
        let host = options.text("host")?.map(|text| host(&options.need("host")?, text));
        Ok(Self {
            scheme: scheme.transpose()?,
            host: host.transpose()?,
            trim_path_prefix: options.text("trimpathprefix")?.map(str::to_owned),
        })
    }
}

fn host(field: &Field<'_>, text: &str) -> Result<Authority> {
    let authority = text.parse::<Authority>().ok();
    authority
        .filter(|authority| !authority.host().is_empty() && !text.contains('@'))
        .ok_or_else(|| field.fail("must be a host such as cdn.example.com, perhaps with a port"))
}

impl CloudFront {
    fn read(options: &Section<'_>, warnings: &mut Vec<Warning>) -> Result<Self> {
        let base = options.need_text("baseurl")?;
        let base_field = options.need("baseurl")?;
        let base = if base.contains("://") { base } else { format!("https://{base}") };
        let private_key = options.need_text("privatekey")?;
        if private_key.contains("-----BEGIN") {
            return Err(options.need("privatekey")?.fail("must be the path of a file, not the key itself"));
        }
        Ok(Self {
            base: without_query(Url::parse(&base_field, &base)?, &base_field)?,
            private_key: private_key.into(),
            key_pair_id: options.need_text("keypairid")?,
            lifetime: duration(options, "duration", LIFETIME_DEFAULT)?,
            direct: direct(options, warnings)?,
        })
    }
}

fn direct(options: &Section<'_>, warnings: &mut Vec<Warning>) -> Result<Direct> {
    let filters = [("none", Filter::Nobody), ("aws", Filter::Amazon), ("awsregion", Filter::Regions)];
    let filter = match options.text("ipfilteredby")? {
        Some(_) => options.need("ipfilteredby")?.word(&filters)?,
        None => Filter::Nobody,
    };
    Ok(match filter {
        Filter::Nobody => Direct::Nobody,
        Filter::Amazon => Direct::Amazon(Ranges::read(options, warnings)?),
        Filter::Regions => Direct::Regions(regions(options)?, Ranges::read(options, warnings)?),
    })
}

fn regions(options: &Section<'_>) -> Result<Vec<String>> {
    let text = options.need_text("awsregion")?;
    let regions: Vec<_> = text.split(',').map(|region| region.trim().to_lowercase()).collect();
    if regions.iter().any(String::is_empty) {
        return Err(options.need("awsregion")?.fail("must be names of regions with commas between them"));
    }
    Ok(regions)
}

impl Ranges {
    fn read(options: &Section<'_>, warnings: &mut Vec<Warning>) -> Result<Self> {
        // Distribution once had this name, and files still do.
        let misspelled = options.find("updatefrenquency");
        if let Some(field) = &misspelled {
            warnings.push(Warning::of(field, "is misspelled; write updatefrequency"));
        }
        let name = if misspelled.is_some() { "updatefrenquency" } else { "updatefrequency" };
        let url = match options.text("iprangesurl")? {
            Some(_) => Url::read(&options.need("iprangesurl")?)?.into_uri(),
            None => Uri::from_static(RANGES_DEFAULT),
        };
        Ok(Self { url, interval: duration(options, name, UPDATE_DEFAULT)? })
    }
}

fn duration(options: &Section<'_>, name: &str, default: Duration) -> Result<Duration> {
    match options.text(name)? {
        Some(_) => options.need(name)?.at_least_a_second(),
        None => Ok(default),
    }
}

fn without_query(url: Url, field: &Field<'_>) -> Result<Uri> {
    match url.uri().query() {
        Some(_) => Err(field.fail("must not have a query")),
        None => Ok(url.into_uri()),
    }
}
