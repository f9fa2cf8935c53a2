//! A bucket, opened by what the configuration says about it.

use std::{path::Path, sync::Arc};

use anyhow::{Context, Result};
use uuid::Uuid;

use crate::{
    clock::Clock,
    config::{
        Config,
        edge::downloads::Downloads,
        storage::{
            Redirect,
            s3::{
                S3 as Configured,
                credentials::{
                    Authorization, Choice, Container, Credentials as Found, Keys, Profile, Surroundings, WebIdentity,
                },
                endpoint::{Addressing, Verification},
                objects::{Checksum, Encryption, Objects},
            },
        },
    },
    registry::layout::Layout,
    store::s3::{
        S3,
        probe::Creating,
        settings::{self, Credentials, Settings},
    },
    tls::trust,
};

/// How long an address is good for where nobody is redirected: nobody asks for one.
const LIFETIME_UNUSED: std::time::Duration = std::time::Duration::from_mins(1);

/// Finds out what the bucket can do before anything depends on it.
pub(super) async fn open(config: &Config, s3: &Configured, clock: &Arc<dyn Clock>) -> Result<S3> {
    let mut store = unasked(config, s3, clock)?;
    let place = || {
        format!(
            "storage.s3: the bucket {} at {} cannot be used (`pierhead check --storage` tries each call by itself)",
            s3.bucket, s3.endpoint.uri
        )
    };
    let scratch = Layout.probe(&Uuid::new_v4());
    if config.storage.read_only {
        store.reach(&scratch).await.with_context(place)?;
        tracing::info!("storage.s3: the bucket {} can be listed; it is not written to", s3.bucket);
        return Ok(store);
    }
    let found = store.probe(&scratch).await.with_context(place)?;
    match found.creating {
        Creating::Exclusive => tracing::info!(
            "storage.s3: the bucket {} lists, reads, writes, refuses a second writer and takes uploads in parts",
            s3.bucket
        ),
        Creating::Ignored => tracing::warn!(
            "storage.s3: the store does not honour If-None-Match: run one replica only, as two could both believe that \
             they go on with an upload"
        ),
    }
    if config.http.secret.is_none() && s3.objects.acl.is_some_and(|acl| acl.starts_with("public")) {
        tracing::warn!(
            "storage.s3.objectacl: everybody may read the key that signs uploads, which lies in the bucket: set http.secret"
        );
    }
    if !found.deletes {
        tracing::warn!("storage.s3: objects cannot be deleted (s3:DeleteObject): what uploads leave behind will stay");
    }
    Ok(store)
}

/// The same before anything was sent to it.
pub(super) fn unasked(config: &Config, s3: &Configured, clock: &Arc<dyn Clock>) -> Result<S3> {
    let settings = settings(s3, config.storage.redirect, &config.edge.downloads, &config.health.authorities)?;
    S3::open(settings, Arc::clone(clock)).context("storage.s3")
}

pub(super) fn settings(
    s3: &Configured,
    redirect: Option<Redirect>,
    downloads: &Downloads,
    authorities: &Path,
) -> Result<Settings> {
    Ok(Settings {
        endpoint: s3.endpoint.uri.clone(),
        region: s3.endpoint.region.clone(),
        bucket: s3.bucket.clone(),
        addressing: match s3.endpoint.addressing {
            Addressing::Path => settings::Addressing::Path,
            Addressing::VirtualHosted => settings::Addressing::VirtualHost,
        },
        root: s3.root.clone(),
        credentials: credentials(&s3.credentials),
        writing: writing(&s3.objects),
        transfer: settings::Transfer { part_size: s3.part_size },
        copying: settings::Copying {
            threshold: s3.copying.threshold,
            part_size: s3.copying.part_size,
            concurrency: s3.copying.concurrency.get(),
        },
        presigning: settings::Presigning {
            lifetime: redirect.map_or(LIFETIME_UNUSED, |redirect| redirect.lifetime),
            window: downloads.url_window,
            endpoint: s3.redirect_endpoint.clone(),
        },
        tls: tls(s3).context("storage.s3")?,
        // Where nobody can be trusted, only credentials that need nobody can be had.
        credentials_tls: trust::authorities(authorities).or_else(|_| trust::nobody()).context("storage.s3")?,
        user_agent: user_agent(s3.user_agent.as_deref()),
        patience: settings::Patience::default(),
    })
}

/// An endpoint without TLS needs no authorities, which a small container may not have.
fn tls(s3: &Configured) -> Result<Arc<rustls::ClientConfig>, trust::Error> {
    match &s3.endpoint.verification {
        Verification::Authorities(bundle) => match trust::authorities(bundle) {
            Err(_) if s3.endpoint.uri.scheme_str() == Some("http") => trust::nobody(),
            trusted => trusted,
        },
        Verification::Off => trust::everybody(),
    }
}

fn user_agent(added: Option<&str>) -> String {
    let own = concat!("pierhead/", env!("CARGO_PKG_VERSION"));
    added.map_or_else(|| own.to_owned(), |added| format!("{own} {added}"))
}

fn writing(objects: &Objects) -> settings::Writing {
    settings::Writing {
        encryption: match &objects.encryption {
            Encryption::Bucket => settings::Encryption::Bucket,
            Encryption::S3 => settings::Encryption::Aes256,
            Encryption::Kms { key } => settings::Encryption::Kms { key_id: key.clone() },
        },
        storage_class: objects.storage_class.map(str::to_owned),
        acl: objects.acl.map(str::to_owned),
        checksum: match objects.checksum {
            Checksum::Off => settings::Checksum::None,
            Checksum::Crc64Nvme => settings::Checksum::Crc64Nvme,
            Checksum::Sha256 => settings::Checksum::Sha256,
        },
    }
}

fn credentials(found: &Found) -> Credentials {
    match found {
        Found::Keys(Keys { access_key, secret_key, session_token }) => Credentials::Static {
            key_id: access_key.clone(),
            secret: secret_key.clone(),
            session_token: session_token.clone(),
        },
        Found::WebIdentity(WebIdentity { token_file, role, session, sts }) => Credentials::WebIdentity {
            token_file: token_file.clone(),
            role: role.clone(),
            session_name: session.clone(),
            endpoint: sts.clone(),
        },
        Found::Found { profile: None, surroundings } => around(surroundings).unwrap_or(Credentials::Anonymous),
        Found::Found { profile: Some(profile), surroundings } => Credentials::Profile(named(profile, surroundings)),
    }
}

fn named(profile: &Profile, surroundings: &Surroundings) -> settings::Profile {
    settings::Profile {
        name: profile.name.clone(),
        files: profile.credentials.iter().chain(&profile.config).cloned().collect(),
        otherwise: match profile.choice {
            Choice::Named => None,
            Choice::Default => around(surroundings).map(Box::new),
        },
    }
}

fn around(surroundings: &Surroundings) -> Option<Credentials> {
    match surroundings {
        Surroundings::Container(Container { uri, authorization }) => {
            Some(Credentials::Container(settings::Container {
                uri: uri.clone(),
                authorization: match authorization {
                    Authorization::Nothing => settings::Authorization::Nothing,
                    Authorization::Text(text) => settings::Authorization::Text(text.clone()),
                    Authorization::File(path) => settings::Authorization::File(path.clone()),
                },
            }))
        }
        Surroundings::Instance { metadata } => Some(Credentials::Instance { endpoint: metadata.clone() }),
        Surroundings::Nothing => None,
    }
}
