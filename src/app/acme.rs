//! Certificates that an authority issues: what the configuration means for them, and the two commands about them.

use std::{
    fmt,
    future::Future,
    io::Write,
    path::Path,
    sync::{Arc, atomic::AtomicBool},
};

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use base64::{
    Engine as _,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use rustls::ServerConfig;
use time::OffsetDateTime;

use crate::{
    acme::{
        Acme, Binding, Challenge, Settings,
        answers::Answers,
        hook::Hook,
        keys,
        renewal::{
            self, Outcome, Renewal,
            status::{CertificateStatus, Status},
        },
        vault::seal::Sealing,
    },
    app::bucket,
    clock::{Clock, SystemClock},
    config::{
        Config,
        edge::acme::{self as configured, KeyType, State},
        storage::Driver,
    },
    registry::layout::Layout,
    secret::Secret,
    server::challenges::Challenges,
    store::{Store, filesystem::Filesystem, readonly::ReadOnly},
    tls::{certificates::Certificates, trust},
};

/// Below the directory of the state.
const PLACE: &str = "acme";

const NO_STORAGE: &str = "edge.acme.state is storage, but with edge.upstream another registry answers: there is no storage \
                          of ours that could be written, whatever edge.shadow reads; name a directory in edge.acme.state";

/// Whether a certificate is ordered that is not due yet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Urgency {
    WhenDue,
    Now,
}

/// What the server may be asked.
#[derive(Debug)]
struct Proofs(Answers);

#[async_trait]
impl Challenges for Proofs {
    async fn key_authorization(&self, token: &str) -> Option<String> {
        self.0.key_authorization(token).await
    }

    async fn proof(&self, name: &str) -> Option<Arc<ServerConfig>> {
        self.0.proof(name).await
    }
}

pub(super) fn challenges(acme: &Acme) -> Arc<dyn Challenges> {
    Arc::new(Proofs(acme.answers()))
}

/// Over `store` where the registry's storage holds the state, as long as `read_only` is not set; `None` where no authority
/// is asked.
pub(super) fn open(
    config: &Config,
    store: Option<&Arc<dyn Store>>,
    read_only: &Arc<AtomicBool>,
    clock: &Arc<dyn Clock>,
) -> Result<Option<Acme>> {
    let Some(acme) = &config.http.acme else { return Ok(None) };
    let (settings, clock) = (settings(config, acme)?, Arc::clone(clock));
    Ok(Some(match &acme.state {
        State::Directory(path) => {
            let root = PLACE.parse().context("a name of ours")?;
            Acme::new(settings, directory(path)?, root, Sealing::Plain, clock)
        }
        State::Storage { secret } => {
            let secret = Secret::new(secret.expose().clone().into_bytes());
            let store = Arc::clone(store.context(NO_STORAGE)?);
            let store = Arc::new(ReadOnly::while_set(store, Arc::clone(read_only)));
            Acme::new(settings, store, Layout.acme(), Sealing::Encrypted(secret), clock)
                .resting_while(Arc::clone(read_only))
        }
    }))
}

/// A certificate is ordered by writing.
pub(super) fn refuse_to_read_only(config: &Config) -> Result<()> {
    let in_storage = config.http.acme.as_ref().is_some_and(|acme| matches!(acme.state, State::Storage { .. }));
    if in_storage && config.storage.read_only {
        bail!("edge.acme.state is storage, but storage.maintenance.readonly keeps anything from being written there");
    }
    Ok(())
}

fn directory(path: &Path) -> Result<Arc<dyn Store>> {
    if path.is_file() {
        bail!(
            "edge.acme.state (or http.tls.letsencrypt.cachefile) {} is a file; it must be a directory",
            path.display()
        );
    }
    Ok(Arc::new(Filesystem::open_private(path).context("edge.acme.state cannot be used")?))
}

/// What can be told without asking anybody or writing anything.
pub(super) fn check(config: &Config) -> Result<()> {
    let Some(acme) = &config.http.acme else { return Ok(()) };
    if matches!(acme.state, State::Storage { .. }) && config.edge.upstream.is_some() {
        bail!(NO_STORAGE);
    }
    refuse_to_read_only(config)?;
    settings(config, acme).map(drop)
}

fn settings(config: &Config, acme: &configured::Acme) -> Result<Settings> {
    let authorities = acme.authorities.as_deref().unwrap_or(&config.health.authorities);
    Ok(Settings {
        names: acme.names.clone(),
        contacts: acme.emails.iter().map(|email| format!("mailto:{email}")).collect(),
        directory: acme.directory.clone(),
        trust: trust::authorities(authorities).context("edge.acme.ca")?,
        binding: acme.binding.as_ref().map(binding).transpose()?,
        key_type: match acme.key_type {
            KeyType::EcdsaP256 => keys::KeyType::EcdsaP256,
            KeyType::EcdsaP384 => keys::KeyType::EcdsaP384,
            KeyType::Rsa2048 => keys::KeyType::Rsa2048,
            KeyType::Rsa3072 => keys::KeyType::Rsa3072,
            KeyType::Rsa4096 => keys::KeyType::Rsa4096,
        },
        profile: acme.profile.clone(),
        challenge: match &acme.challenge {
            configured::Challenge::Http { webroot } => Challenge::Http { webroot: webroot.clone() },
            configured::Challenge::TlsAlpn => Challenge::TlsAlpn,
            configured::Challenge::Dns { hook, timeout } => {
                Challenge::Dns(Hook { command: hook.expose().clone(), patience: *timeout })
            }
        },
        renew_before: acme.renew_before,
        poll: acme.poll_interval,
    })
}

fn binding(binding: &configured::Binding) -> Result<Binding> {
    // Authorities give it with padding and without.
    let lenient = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let base64url = GeneralPurpose::new(&base64::alphabet::URL_SAFE, lenient);
    // The error would quote a part of the key.
    let key = base64url.decode(binding.key.expose()).ok().context("edge.acme.eab.key is not base64url")?;
    Ok(Binding { id: binding.kid.clone(), key: Secret::new(key) })
}

/// Says how things stand with the certificates of a configuration.
///
/// # Errors
/// When that cannot be told, or the configuration asks for none.
pub fn status(config: &Config, out: &mut impl Write) -> Result<()> {
    let status = run(async {
        let renewal = alone(config)?;
        renewal.status().await.context("edge.acme")
    })?;
    write!(out, "{}", Shown(&status, SystemClock.now())).context("cannot print the status")
}

/// Orders a certificate if one is due, or in any case, and says how that ended.
///
/// # Errors
/// When there is no certificate where one was due.
pub fn renew(config: &Config, urgency: Urgency, out: &mut impl Write) -> Result<()> {
    refuse_to_read_only(config)?;
    let outcome = run(async {
        let renewal = alone(config)?;
        let urgency = match urgency {
            Urgency::WhenDue => renewal::Urgency::WhenDue,
            Urgency::Now => renewal::Urgency::Now,
        };
        renewal.turn(urgency).await.context("edge.acme")
    })?;
    let line = match outcome {
        Outcome::Issued(serial) => format!("issued: {serial}; a running server shows it by itself"),
        Outcome::NotDue(until) => format!("not due before {until}"),
        Outcome::Busy => bail!("another process is ordering a certificate; look again with `acme status`"),
    };
    writeln!(out, "{line}").context("cannot print the outcome")
}

fn run<T>(what: impl Future<Output = Result<T>>) -> Result<T> {
    crate::tls::install_provider();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no threads")?;
    runtime.block_on(what)
}

/// For a command, which shows certificates to nobody.
fn alone(config: &Config) -> Result<Renewal> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let Some(configured) = &config.http.acme else {
        bail!("edge.acme is not enabled in this configuration");
    };
    let store = match configured.state {
        State::Directory(_) => None,
        State::Storage { .. } => Some(shared(config, &clock)?),
    };
    let read_only = Arc::new(AtomicBool::new(config.storage.read_only));
    let acme = open(config, store.as_ref(), &read_only, &clock)?;
    let acme = acme.context("edge.acme is not enabled in this configuration")?;
    Ok(acme.renewal(Arc::new(Certificates::default()), None))
}

/// The registry's storage, where it holds the state.
fn shared(config: &Config, clock: &Arc<dyn Clock>) -> Result<Arc<dyn Store>> {
    if config.edge.upstream.is_some() {
        bail!(NO_STORAGE);
    }
    Ok(match &config.storage.driver {
        Driver::Memory => bail!("edge.acme.state is storage, and that is another process's memory"),
        Driver::S3(s3) => Arc::new(bucket::unasked(config, s3, clock)?),
        Driver::Filesystem { root, .. } => {
            let opened = if config.storage.read_only { Filesystem::open_to_read(root) } else { Filesystem::open(root) };
            Arc::new(opened.context("storage.filesystem cannot be used")?)
        }
        Driver::None => bail!(NO_STORAGE),
    })
}

/// A status at a time.
struct Shown<'a>(&'a Status, OffsetDateTime);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(status, now) = self;
        writeln!(f, "authority: {}", status.directory)?;
        writeln!(f, "names: {}", status.names.join(", "))?;
        match &status.certificate {
            Some(certificate) => certificate_lines(f, certificate, *now)?,
            None => writeln!(f, "certificate: none yet")?,
        }
        let due = if status.due <= *now { "now".to_owned() } else { status.due.to_string() };
        writeln!(f, "next order: {due}{}", if status.busy { " (a process is ordering)" } else { "" })?;
        let time = |time: Option<OffsetDateTime>| time.map_or_else(|| "never".to_owned(), |time| time.to_string());
        writeln!(f, "last attempt: {}", time(status.attempted))?;
        writeln!(f, "last success: {}", time(status.succeeded))?;
        match &status.error {
            // The authority writes what it likes.
            Some((at, text)) => {
                writeln!(f, "last error: {at}: {} (failures: {})", text.escape_debug(), status.failures)
            }
            None => writeln!(f, "last error: none"),
        }
    }
}

fn certificate_lines(f: &mut fmt::Formatter<'_>, it: &CertificateStatus, now: OffsetDateTime) -> fmt::Result {
    writeln!(f, "certificate: {}", it.serial)?;
    writeln!(f, "  for: {}", it.names.join(", "))?;
    writeln!(f, "  issued by: {} ({})", it.directory, it.key_type)?;
    writeln!(f, "  valid: {} to {}", it.begins, it.expires)?;
    writeln!(f, "  days left: {:.1}", (it.expires - now).as_seconds_f64() / 86400.0)
}
