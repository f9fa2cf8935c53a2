//! What the configuration means for the registry, the API and the rim.

use anyhow::{Context, Result};

use crate::{
    api::{
        self,
        location::{Base, Otherwise},
        settings::{Downloads, Mode, TAGS_MAX_DEFAULT},
    },
    config::{
        Config,
        storage::{Cache, Driver, Purging},
        validation::{Platforms, Validation as Configured},
    },
    oci::descriptor::Platform,
    registry::{
        self,
        format::Signing,
        manifests::validation::{Children, Rules, Urls, Validation},
    },
};

/// How long an upload may go on where nobody purges.
const UPLOAD_LIFETIME: std::time::Duration = std::time::Duration::from_hours(7 * 24);

/// Bytes of a running upload that a crash may cost at most: 64 parts of the usual size.
const CHECKPOINT: u64 = 1 << 30;

pub(super) fn registry(config: &Config, signing: Signing) -> Result<registry::Settings> {
    let uploads = &config.edge.uploads;
    Ok(registry::Settings {
        validation: validation(&config.validation)?,
        descriptor_cache: match config.storage.cache {
            Cache::Off => None,
            Cache::Memory { entries_max } => Some(entries_max.get()),
        },
        upload_lifetime: config.storage.purging.map_or(UPLOAD_LIFETIME, |Purging { age, .. }| age),
        upload_memory: uploads.memory,
        upload_checkpoint: CHECKPOINT,
        upload_size_max: uploads.blob_size_max,
        upload_bodies_max: uploads.open_max.map(std::num::NonZero::get),
        signing,
    })
}

pub(super) fn api(config: &Config) -> Result<api::settings::Settings> {
    let origin =
        config.http.external_url.as_ref().filter(|_| !config.http.relative_urls).map(|url| url.uri().to_string());
    Ok(api::settings::Settings {
        base: Base::new(&config.http.prefix, origin.as_deref())?.or(if config.http.relative_urls {
            Otherwise::Path
        } else {
            Otherwise::Proxied
        }),
        headers: config.http.headers.clone(),
        hsts: config.edge.hsts.clone(),
        mode: match (config.storage.read_only, config.storage.delete) {
            (true, _) => Mode::ReadOnly,
            (false, false) => Mode::WithoutDelete,
            (false, true) => Mode::Full,
        },
        catalog_max: size(config.catalog.entries_max),
        tags_max: config.tags.page_max.map_or(TAGS_MAX_DEFAULT, size),
        // Files take chunks of any size; of a bucket a chunk below a part costs two writes more.
        chunk_size_min: match &config.storage.driver {
            Driver::S3(s3) => Some(s3.part_size),
            Driver::Filesystem { .. } | Driver::Memory | Driver::None => None,
        },
        token_grace: config.edge.uploads.token_grace,
        downloads: downloads(config),
    })
}

fn downloads(config: &Config) -> Downloads {
    let configured = &config.edge.downloads;
    Downloads {
        forward: configured.forward_networks.clone(),
        redirect: configured.redirect_networks.clone(),
        // Where nobody is redirected every blob counts as small. The registry may know addresses all the same: redirects
        // can be turned off while it runs.
        inline_max: config.storage.redirect.map_or(u64::MAX, |_| configured.inline_max),
    }
}

fn validation(configured: &Configured) -> Result<Validation> {
    if !configured.enabled {
        return Ok(Validation::Off);
    }
    let patterns = |patterns: &[regex::Regex]| patterns.iter().map(|p| p.as_str().to_owned()).collect::<Vec<_>>();
    let urls = Urls::new(patterns(&configured.urls.allow), patterns(&configured.urls.deny))
        .context("validation.manifests.urls")?;
    let children = match &configured.platforms {
        Platforms::All => Children::All,
        Platforms::None => Children::None,
        Platforms::List(list) => Children::For(
            list.iter()
                .map(|listed| Platform { architecture: listed.architecture.clone(), os: listed.os.clone() })
                .collect(),
        ),
    };
    Ok(Validation::On(Rules { urls, children }))
}

fn size(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}
