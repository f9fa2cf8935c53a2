//! `storage`: where the content lies, and how it is kept.

use std::{num::NonZeroUsize, path::PathBuf, time::Duration};

use anyhow::{Result, anyhow, bail};

use crate::config::{
    Warning,
    environment::Environment,
    schema::{Key, parameters, value, values},
    section::{Field, Section},
    storage::s3::S3,
};

pub mod s3;

pub(in crate::config) const KEYS: &[Key] = &[
    parameters("filesystem", &[value("rootdirectory").or("/var/lib/registry"), value("maxthreads").or("100")]),
    parameters("inmemory", &[]),
    parameters("s3", s3::KEYS),
    parameters("s3aws", s3::KEYS),
    parameters("s3_v2", s3::KEYS),
    parameters("delete", &[value("enabled").or("false")]).always().live(),
    parameters(
        "redirect",
        &[value("disable").or("false").live(), value("expirydelay").or("20m"), values("exceptions").inert()],
    )
    .always(),
    parameters("cache", &[value("blobdescriptor"), value("layerinfo"), value("blobdescriptorsize").or("10000")])
        .always(),
    parameters(
        "maintenance",
        &[
            parameters("readonly", &[value("enabled").or("false")]).always().live(),
            parameters(
                "uploadpurging",
                &[
                    value("enabled").or("true"),
                    value("age").or("168h"),
                    value("interval").or("24h"),
                    value("dryrun").or("false"),
                ],
            )
            .always(),
        ],
    )
    .always(),
    parameters("tag", &[value("concurrencylimit")]).inert(),
];

/// Keys of `storage` that are not drivers.
const SETTINGS: &[&str] = &["delete", "redirect", "cache", "maintenance", "tag"];

/// Drivers of the registries that we replace which have no counterpart here yet.
const NOT_BUILT: &[&str] = &["azure", "azure_v2", "gcs", "swift", "oss"];

/// What an error about the driver ends with.
const DRIVERS: &str = "write filesystem, inmemory or s3";

/// Fewest threads that a filesystem driver works with; less is raised, as Distribution does.
const THREADS_MIN: usize = 25;

const LIFETIME_MIN: Duration = Duration::from_secs(1);
const LIFETIME_MAX: Duration = Duration::from_hours(6 * 24);

const DESCRIPTORS_DEFAULT: NonZeroUsize = NonZeroUsize::new(10_000).expect("a constant above zero");

#[derive(Clone, Debug)]
pub struct Storage {
    pub driver: Driver,
    /// Whether content may be deleted through the API.
    pub delete: bool,
    /// How downloads may be redirected to the storage; `None` is not at all.
    pub redirect: Option<Redirect>,
    pub cache: Cache,
    /// Whether all writes are refused.
    pub read_only: bool,
    /// What becomes of uploads that nobody finishes; `None` leaves them.
    pub purging: Option<Purging>,
}

#[derive(Clone, Debug)]
pub enum Driver {
    Filesystem {
        root: PathBuf,
        /// Most operations on files at once.
        threads_max: usize,
    },
    Memory,
    /// Under any of its names.
    S3(Box<S3>),
    /// Nothing is stored here: another registry answers.
    None,
}

/// Whether there must be a driver.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::config) enum Demand {
    Required,
    Optional,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Redirect {
    /// How long an address serves whoever was sent there, at least. From 1s to 6 days.
    pub lifetime: Duration,
}

/// Where descriptors of blobs are remembered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cache {
    Off,
    Memory { entries_max: NonZeroUsize },
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Purging {
    /// Of an upload since it was started.
    pub age: Duration,
    pub interval: Duration,
    /// Whether it only logs what it would remove.
    pub dry_run: bool,
}

impl Storage {
    pub(in crate::config) fn read(
        storage: &Section<'_>,
        demand: Demand,
        environment: &Environment,
        warnings: &mut Vec<Warning>,
    ) -> Result<Self> {
        let maintenance = storage.need_section("maintenance")?;
        Ok(Self {
            driver: driver(storage, demand, environment, warnings)?,
            delete: storage.need_section("delete")?.boolean("enabled")?,
            redirect: redirect(&storage.need_section("redirect")?)?,
            cache: cache(&storage.need_section("cache")?, warnings)?,
            read_only: maintenance.need_section("readonly")?.boolean("enabled")?,
            purging: purging(&maintenance.need_section("uploadpurging")?)?,
        })
    }
}

fn driver(
    storage: &Section<'_>,
    demand: Demand,
    environment: &Environment,
    warnings: &mut Vec<Warning>,
) -> Result<Driver> {
    let mut drivers: Vec<_> = storage.fields().filter(|(name, _)| !SETTINGS.contains(name)).collect();
    let (name, field) = match (drivers.pop(), drivers.as_slice()) {
        (None, _) if demand == Demand::Optional => return Ok(Driver::None),
        (None, _) => bail!("{}: storage names no driver; {DRIVERS}", storage.origin()),
        (Some(driver), []) => driver,
        (Some(_), _) => {
            let names: Vec<_> =
                storage.fields().map(|(name, _)| name).filter(|name| !SETTINGS.contains(name)).collect();
            bail!("{}: storage takes one driver, not several: {}", storage.origin(), names.join(", "));
        }
    };
    match name {
        "filesystem" => filesystem(&field.section()?),
        "inmemory" => Ok(Driver::Memory),
        "s3" | "s3aws" | "s3_v2" => {
            S3::read(&field.section()?, environment, warnings).map(|s3| Driver::S3(Box::new(s3)))
        }
        name if NOT_BUILT.contains(&name) => {
            Err(field.fail(format_args!("is a storage driver that this version does not have; {DRIVERS}")))
        }
        _ => Err(field.fail(format_args!("is not a storage driver; {DRIVERS}"))),
    }
}

fn filesystem(parameters: &Section<'_>) -> Result<Driver> {
    let root = parameters
        .path("rootdirectory")?
        .ok_or_else(|| anyhow!("{}: storage.filesystem.rootdirectory must not be empty", parameters.origin()))?;
    let threads_max = usize_of(&parameters.need("maxthreads")?)?.max(THREADS_MIN);
    Ok(Driver::Filesystem { root, threads_max })
}

/// Amazon serves no presigned address for longer than seven days; one of them is left to `edge.downloads.url_window`.
fn redirect(redirect: &Section<'_>) -> Result<Option<Redirect>> {
    let delay = redirect.need("expirydelay")?;
    let lifetime = delay.duration()?;
    if !(LIFETIME_MIN..=LIFETIME_MAX).contains(&lifetime) {
        return Err(delay.fail("must be between 1s and 144h (a number without a unit is nanoseconds)"));
    }
    Ok((!redirect.boolean("disable")?).then_some(Redirect { lifetime }))
}

fn cache(cache: &Section<'_>, warnings: &mut Vec<Warning>) -> Result<Cache> {
    let Some(kind) = cache.find("blobdescriptor").or_else(|| cache.find("layerinfo")) else { return Ok(Cache::Off) };
    let size = cache.need("blobdescriptorsize")?;
    let entries_max = usize::try_from(size.integer()?).ok().and_then(NonZeroUsize::new).unwrap_or_else(|| {
        warnings.push(Warning::of(&size, format!("cannot be without a bound here; {DESCRIPTORS_DEFAULT} is used")));
        DESCRIPTORS_DEFAULT
    });
    match kind.text()? {
        "inmemory" => {}
        "redis" => {
            warnings.push(Warning::of(&kind, "redis does nothing in this version; the cache is kept in memory"));
        }
        "" => return Ok(Cache::Off),
        _ => {
            warnings.push(Warning::of(&kind, "is neither inmemory nor redis; there is no cache"));
            return Ok(Cache::Off);
        }
    }
    Ok(Cache::Memory { entries_max })
}

fn purging(purging: &Section<'_>) -> Result<Option<Purging>> {
    let settings = Purging {
        age: purging.need("age")?.timeout()?,
        interval: purging.need("interval")?.timeout()?,
        dry_run: purging.boolean("dryrun")?,
    };
    Ok(purging.boolean("enabled")?.then_some(settings))
}

fn usize_of(field: &Field<'_>) -> Result<usize> {
    usize::try_from(field.count()?).map_err(|_| field.fail("is too large"))
}
