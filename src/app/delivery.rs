//! Where clients are sent for the bytes of a blob: what the storage says, and the middlewares that change it.

use std::{path::Path, sync::Arc};

use anyhow::{Context, Result, bail};
use http::uri;

use crate::{
    app::networks::Update,
    clock::Clock,
    config::{
        Config,
        middleware::{self, CloudFront, Direct, Middleware, Ranges, Scheme},
        storage::Driver,
    },
    secret::Secret,
    store::locate::{
        Locate,
        base::Base,
        cloudfront::{self, Cloudfront, Near, signing::Signing},
        redirect::Redirect,
        rewrite::{self, Rewrite},
    },
    tls::{pem, trust},
};

/// How clients are sent away.
#[derive(Debug, Default)]
pub(super) struct Delivery {
    /// `None` where everything is streamed.
    pub(super) locator: Option<Arc<dyn Locate>>,
    /// What has to go on for it to stay right.
    pub(super) updates: Vec<Update>,
    /// What an operator should hear.
    pub(super) notices: Vec<String>,
}

/// Wraps what the storage itself says, if anything, into the middlewares, the last one outermost. One that needs a
/// storage with addresses is left out where there is none: the configuration has warned about it.
pub(super) fn build(config: &Config, storage: Option<Arc<dyn Locate>>, clock: &Arc<dyn Clock>) -> Result<Delivery> {
    if config.storage.redirect.is_none() {
        return Ok(Delivery::default());
    }
    let mut delivery = Delivery { locator: storage, ..Delivery::default() };
    for middleware in &config.middlewares {
        match (middleware, delivery.locator.take()) {
            (Middleware::Redirect(settings), _) => {
                let base = base(&settings.base, "redirect")?;
                delivery.locator = Some(Arc::new(Redirect::new(base)));
            }
            (Middleware::Rewrite(settings), Some(inner)) => {
                delivery.locator = Some(Arc::new(Rewrite::new(rewrite_settings(settings), inner)));
            }
            (Middleware::CloudFront(settings), Some(inner)) => {
                delivery.locator = Some(delivery.cloudfront(config, settings, inner, clock)?);
            }
            (Middleware::Rewrite(_) | Middleware::CloudFront(_), None) => {}
        }
    }
    Ok(delivery)
}

/// Reads what [`build`] would read and makes nothing; returns what an operator should hear.
pub(super) fn check(config: &Config) -> Result<Vec<String>> {
    let mut notices = Vec::new();
    for middleware in config.middlewares.iter().filter(|_| config.storage.redirect.is_some()) {
        if let Middleware::CloudFront(settings) = middleware {
            notices.extend(signing(config, &settings.private_key)?.1);
            ranges(&settings.direct).map_or(Ok(()), |_| authorities(config).map(drop))?;
        }
    }
    Ok(notices)
}

impl Delivery {
    fn cloudfront(
        &mut self,
        config: &Config,
        settings: &CloudFront,
        inner: Arc<dyn Locate>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Arc<dyn Locate>> {
        // In front of anything but a bucket it has no object's key to sign for.
        let Driver::S3(bucket) = &config.storage.driver else { return Ok(inner) };
        let (signing, notice) = signing(config, &settings.private_key)?;
        self.notices.extend(notice);
        let near = Arc::new(Near::default());
        if let Some((ranges, regions)) = ranges(&settings.direct) {
            let update =
                Update::new(ranges.url.clone(), regions, ranges.interval, Arc::clone(&near), &*authorities(config)?);
            self.updates.push(update);
        }
        let settings = cloudfront::Settings {
            base: base(&settings.base, "cloudfront")?,
            root: bucket.root.clone(),
            key_pair: settings.key_pair_id.clone(),
            signing,
            duration: settings.lifetime,
        };
        Ok(Arc::new(Cloudfront::new(settings, near, inner, Arc::clone(clock))))
    }
}

fn rewrite_settings(settings: &middleware::Rewrite) -> rewrite::Settings {
    rewrite::Settings {
        scheme: settings.scheme.map(|scheme| match scheme {
            Scheme::Http => uri::Scheme::HTTP,
            Scheme::Https => uri::Scheme::HTTPS,
        }),
        authority: settings.host.clone(),
        trim_path_prefix: settings.trim_path_prefix.clone().unwrap_or_default(),
    }
}

fn base(uri: &uri::Uri, name: &str) -> Result<Base> {
    Base::new(&uri.to_string()).with_context(|| format!("middleware.storage: {name}: baseurl"))
}

fn ranges(direct: &Direct) -> Option<(&Ranges, Option<Vec<String>>)> {
    match direct {
        Direct::Nobody => None,
        Direct::Amazon(ranges) => Some((ranges, None)),
        Direct::Regions(regions, ranges) => Some((ranges, Some(regions.clone()))),
    }
}

/// The key, and what is to be said about its file.
fn signing(config: &Config, path: &Path) -> Result<(Signing, Option<String>)> {
    let place = || format!("middleware.storage: cloudfront: privatekey {}", path.display());
    let text = Secret::new(std::fs::read(path).with_context(place)?);
    let signing = Signing::from_pem(text.expose()).with_context(place)?;
    match pem::exposure(path).with_context(place)? {
        Some(warning) if config.edge.strict => bail!("middleware.storage: cloudfront: {warning}"),
        warning => Ok((signing, warning.map(|warning| format!("middleware.storage: cloudfront: {warning}")))),
    }
}

fn authorities(config: &Config) -> Result<Arc<rustls::ClientConfig>> {
    trust::authorities(&config.health.authorities).context("middleware.storage: cloudfront: iprangesurl")
}
