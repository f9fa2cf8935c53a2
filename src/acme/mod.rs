//! Certificates from an authority, asked for and renewed by themselves (ACME, RFC 8555).
//!
//! [`renewal::Renewal`] goes round: it looks into the `vault` for a newer certificate and shows it, asks `schedule` (pure)
//! whether one is due, and if so takes the lease and has `order` get it. What the authority may ask meanwhile lies in the
//! vault before it is told to look, so that any replica can answer ([`answers::Answers`]), or is put where the operator
//! wants it (`webroot`, [`hook`]). The certificate is checked, stored together with its key, and only then shown; what
//! fails is tried again, later and later, while the old one goes on serving.
//!
//! Nothing here listens, and nothing here decides what a configuration means.

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use rustls::ClientConfig;

use crate::{
    acme::{answers::Answers, hook::Hook, keys::KeyType, order::Authority, schedule::Trouble, vault::Vault},
    clock::Clock,
    secret::Secret,
    store::{Store, key::Key},
};

pub mod answers;
pub mod hook;
pub mod keys;
mod order;
pub mod renewal;
mod schedule;
pub mod vault;
mod webroot;

/// What is wanted, of whom, and how it is proven.
#[derive(Clone, Debug)]
pub struct Settings {
    /// DNS names in lower case, with wildcards, and addresses; in order, never empty.
    pub names: Vec<String>,
    /// `mailto:` and the like.
    pub contacts: Vec<String>,
    /// The URL of the authority's directory.
    pub directory: String,
    /// Whom we believe to be the authority.
    pub trust: Arc<ClientConfig>,
    pub binding: Option<Binding>,
    pub key_type: KeyType,
    /// One of those that the authority offers.
    pub profile: Option<String>,
    pub challenge: Challenge,
    /// How long before its end a certificate is renewed, where the authority does not want it earlier.
    pub renew_before: Option<Duration>,
    /// How often the vault is looked at for what other processes put there.
    pub poll: Duration,
}

/// An account that the operator has with the authority already (external account binding, RFC 8555 section 7.3.4).
#[derive(Clone, Debug)]
pub struct Binding {
    pub id: String,
    pub key: Secret<Vec<u8>>,
}

/// How names are proven.
#[derive(Clone, Debug)]
pub enum Challenge {
    /// A text at a path, on port 80; files of that path are written below a root as well, if there is one.
    Http { webroot: Option<PathBuf> },
    /// A handshake, on port 443.
    TlsAlpn,
    /// A record that a command makes.
    Dns(Hook),
}

impl Challenge {
    /// As the authority calls it.
    const fn word(&self) -> &'static str {
        match self {
            Self::Http { .. } => "http-01",
            Self::TlsAlpn => "tls-alpn-01",
            Self::Dns(_) => "dns-01",
        }
    }
}

/// Why there is no certificate yet.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{text}")]
pub struct Failure {
    text: String,
    trouble: Trouble,
    /// As the authority said it.
    retry_after: Option<time::Duration>,
    /// Whether the order under way cannot become a certificate any more.
    ends_the_order: bool,
}

impl From<vault::Error> for Failure {
    fn from(error: vault::Error) -> Self {
        let causes = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
        let mut texts: Vec<_> = causes.map(ToString::to_string).collect();
        texts.dedup();
        Self { text: texts.join(": "), trouble: Trouble::Passing, retry_after: None, ends_the_order: false }
    }
}

/// What is wanted and where it is kept.
pub struct Acme {
    settings: Arc<Settings>,
    vault: Vault,
    clock: Arc<dyn Clock>,
    /// Set while nothing may be written to the vault.
    resting: Option<Arc<AtomicBool>>,
}

impl fmt::Debug for Acme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acme").field("settings", &self.settings).field("vault", &self.vault).finish_non_exhaustive()
    }
}

impl Acme {
    /// Everything lies below `root`.
    #[must_use]
    pub fn new(
        settings: Settings,
        store: Arc<dyn Store>,
        root: Key,
        sealing: vault::seal::Sealing,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { settings: Arc::new(settings), vault: Vault::new(store, root, sealing), clock, resting: None }
    }

    /// Orders nothing as long as this is set.
    #[must_use]
    pub fn resting_while(self, set: Arc<AtomicBool>) -> Self {
        Self { resting: Some(set), ..self }
    }

    /// What the authority may ask of this process.
    #[must_use]
    pub fn answers(&self) -> Answers {
        Answers::new(self.vault.clone(), &self.settings.names)
    }

    fn authority(&self) -> Authority {
        Authority::new(Arc::clone(&self.settings), self.vault.clone(), Arc::clone(&self.clock))
    }
}
