//! A certificate from an authority (RFC 8555): account, order, proofs, certificate. The only folder that says
//! `instant_acme`.
//!
//! Each step leaves in the vault what the next one needs, before the authority hears of it: the account's key before
//! the account, the certificate's key with the order. So a process that dies between any two steps is continued by the
//! next one, on any replica: the same account, the same order, the same key. Nothing here replaces a certificate.

mod account;
mod prove;
mod wire;

use std::{sync::Arc, time::Duration};

use instant_acme::{
    Account, CertificateIdentifier, Error, Identifier, NewOrder, Order, OrderStatus, Problem, RetryPolicy,
};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};

use crate::{
    acme::{
        Failure, Settings, keys,
        order::wire::Wire,
        schedule::{Trouble, Window},
        vault::{
            Vault,
            lease::Lease,
            records::{self, KeyText, Version1, Wish},
        },
    },
    clock::Clock,
    tls::{judge::Warning, pem},
};

/// How long an authority may take to look at the proofs, and again to issue.
const POLLING: RetryPolicy =
    RetryPolicy::new().initial_delay(Duration::from_millis(300)).backoff(1.5).timeout(Duration::from_mins(5));

/// How often a request is sent again that was refused for its nonce; the library itself tries three times.
const NONCES_MAX: u32 = 8;

/// Errors of RFC 8555 section 6.7 that are told apart.
const BAD_NONCE: &str = "urn:ietf:params:acme:error:badNonce";
const NO_ACCOUNT: &str = "urn:ietf:params:acme:error:accountDoesNotExist";
const RATE_LIMITED: &str = "urn:ietf:params:acme:error:rateLimited";
const INTERNAL: &str = "urn:ietf:params:acme:error:serverInternal";

/// Does a call again that was refused for its nonce: nothing of it was done.
macro_rules! patiently {
    ($call:expr) => {{
        let mut left = NONCES_MAX;
        loop {
            match $call {
                Err(error) if left > 0 && is_of(&error, BAD_NONCE) => left -= 1,
                outcome => break outcome,
            }
        }
    }};
}
use patiently;

/// An authority, and what we want of it.
pub(super) struct Authority {
    settings: Arc<Settings>,
    vault: Vault,
    clock: Arc<dyn Clock>,
    wire: Wire,
}

impl Authority {
    pub(super) fn new(settings: Arc<Settings>, vault: Vault, clock: Arc<dyn Clock>) -> Self {
        let wire = Wire::new(&settings.trust, Arc::clone(&clock));
        Self { settings, vault, clock, wire }
    }

    /// When the authority wants a certificate to be renewed, and after how long it wants to be asked again; `None` where
    /// it does not say such things.
    pub(super) async fn suggestion(&self, chain: &str) -> Result<Option<(Window, time::Duration)>, Failure> {
        let Some(id) = identifier(chain) else { return Ok(None) };
        let account = self.account().await?;
        match account.renewal_info(&id).await {
            Ok((info, after)) => {
                let window = Window { start: info.suggested_window.start, end: info.suggested_window.end };
                Ok(Some((window, after.try_into().unwrap_or(time::Duration::ZERO))))
            }
            Err(Error::Unsupported(_)) => Ok(None),
            Err(error) => Err(self.failure("the time of renewal", &error)),
        }
    }

    /// Goes on with the order under way, or places one, up to the certificate, which was checked and is not stored yet.
    /// `before` is the chain that it replaces.
    pub(super) async fn obtain(&self, lease: &Lease, before: Option<&str>) -> Result<records::Certificate, Failure> {
        let account = self.account().await?;
        let (mut order, record) = match self.resumed(&account).await? {
            Some(resumed) => resumed,
            None => self.placed(&account, lease, before).await?,
        };
        let obtained = self.fulfil(&mut order, &record.key, lease).await;
        if let Err(failure) = &obtained
            && failure.ends_the_order
        {
            self.vault.sweep::<records::Order>(u64::MAX).await?;
        }
        let chain = obtained?;
        Ok(records::Certificate { version: Version1, wish: record.wish, chain, key: record.key })
    }

    /// The order that somebody began, where it is for what we want and the authority still knows it.
    async fn resumed(&self, account: &Account) -> Result<Option<(Order, records::Order)>, Failure> {
        let Some(stored) = self.vault.newest::<records::Order>().await? else { return Ok(None) };
        if stored.record.wish != self.settings.wish() {
            return Ok(None);
        }
        match patiently!(account.order(stored.record.url.clone()).await) {
            Ok(mut order) => {
                if order.state().status == OrderStatus::Invalid {
                    return Ok(None);
                }
                tracing::info!(acme.order = stored.record.url, "an order for a certificate is continued");
                Ok(Some((order, stored.record)))
            }
            Err(Error::Api(problem)) if !is_passing(&problem) => {
                tracing::info!(acme.order = stored.record.url, "an order for a certificate is given up: {problem}");
                Ok(None)
            }
            Err(error) => Err(self.failure("the order under way", &error)),
        }
    }

    async fn placed(
        &self,
        account: &Account,
        lease: &Lease,
        before: Option<&str>,
    ) -> Result<(Order, records::Order), Failure> {
        let wish = self.settings.wish();
        let key_type = self.settings.key_type;
        let key = tokio::task::spawn_blocking(move || key_type.generate()).await;
        let key = key.map_err(Failure::ours)?.map_err(Failure::ours)?;
        let identifiers: Vec<_> = wish.names.iter().map(|name| identified(name)).collect();
        self.offers_profile(account)?;
        let order = self.new_order(account, &identifiers, before.and_then(identifier)).await?;
        let record = records::Order { version: Version1, wish, url: order.url().to_owned(), key };
        self.vault.put(lease.number(), &record).await?;
        tracing::info!(acme.order = record.url, "a certificate for {} was ordered", record.wish.names.join(", "));
        Ok((order, record))
    }

    fn offers_profile(&self, account: &Account) -> Result<(), Failure> {
        let Some(wanted) = &self.settings.profile else { return Ok(()) };
        let offered: Vec<_> = account.profiles().map(|profile| profile.name.to_owned()).collect();
        if offered.contains(wanted) {
            return Ok(());
        }
        let offered = if offered.is_empty() { "none".to_owned() } else { offered.join(", ") };
        Err(Failure::refused(format!("edge.acme.profile is {wanted:?}; the authority offers {offered}")))
    }

    /// One that says what it replaces is not counted by authorities that limit orders (RFC 9773 section 5); where that
    /// is not taken, one that does not say it.
    async fn new_order(
        &self,
        account: &Account,
        identifiers: &[Identifier],
        replaces: Option<CertificateIdentifier<'static>>,
    ) -> Result<Order, Failure> {
        let wanted = || {
            let order = NewOrder::new(identifiers);
            match &self.settings.profile {
                Some(profile) => order.profile(profile),
                None => order,
            }
        };
        if let Some(replaces) = replaces {
            match patiently!(account.new_order(&wanted().replaces(replaces.clone())).await) {
                Ok(order) => return Ok(order),
                Err(Error::Api(problem)) if is_limited(&problem) => {
                    return Err(self.failure("the order", &Error::Api(problem)));
                }
                // Also an error of the authority's own: some stumble over a certificate that they should know.
                Err(error) => tracing::debug!("an order that says what it replaces was not taken: {error}"),
            }
        }
        patiently!(account.new_order(&wanted()).await).map_err(|error| self.failure("the order", &error))
    }

    /// The chain that was issued.
    async fn fulfil(&self, order: &mut Order, key: &KeyText, lease: &Lease) -> Result<String, Failure> {
        if order.state().status == OrderStatus::Pending {
            self.prove(order, lease).await?;
        }
        if order.state().status == OrderStatus::Ready {
            let request = keys::request(&self.settings.names, key).map_err(Failure::ours)?;
            patiently!(order.finalize_csr(&request).await)
                .map_err(|error| self.failure("the request for a certificate", &error))?;
        }
        let chain = patiently!(order.poll_certificate(&POLLING).await);
        let chain = chain.map_err(|error| match error {
            // An order that cannot become valid any more.
            Error::Str(_) => Failure::refused(format!("no certificate: {error}")).ending_the_order(),
            error => self.failure("the certificate", &error),
        })?;
        self.check(&chain, key)?;
        Ok(chain)
    }

    /// Before anything is replaced by it.
    fn check(&self, chain: &str, key: &KeyText) -> Result<(), Failure> {
        let unfit = |why: String| {
            Failure::refused(format!("the certificate that was issued is not used: {why}")).ending_the_order()
        };
        let pair = pem::parse(chain.as_bytes(), key.expose().as_bytes(), self.clock.now());
        let pair = pair.map_err(|problem| unfit(problem.to_string()))?;
        if let Some(missing) = self.settings.names.iter().find(|name| !pair.names().contains(name)) {
            return Err(unfit(format!("it is not for {missing}")));
        }
        match pair.warnings().first() {
            None => Ok(()),
            // The clock here may be behind: the same certificate is looked at again later.
            Some(warning @ Warning::NotYetValid(_)) => Err(Failure::passing(format!(
                "the certificate that was issued is not used yet: {warning}, and here it is {}",
                self.clock.now()
            ))),
            Some(warning) => Err(unfit(warning.to_string())),
        }
    }

    /// An error in words, and what it means for the next attempt.
    fn failure(&self, what: &str, error: &Error) -> Failure {
        let text = format!("{what}: {error}");
        let failure = match error {
            Error::Api(problem) if is_passing(problem) && !is_of(error, RATE_LIMITED) => Failure::passing(text),
            Error::Api(problem) => {
                let ends = !is_passing(problem) && problem.r#type.as_deref() != Some(NO_ACCOUNT);
                let failure = Failure::refused(text);
                if ends { failure.ending_the_order() } else { failure }
            }
            _ => Failure::passing(text),
        };
        Failure { retry_after: self.wire.retry_after(), ..failure }
    }
}

/// Whether an error is an authority's, of one kind.
fn is_of(error: &Error, kind: &str) -> bool {
    matches!(error, Error::Api(problem) if problem.r#type.as_deref() == Some(kind))
}

/// Whether a problem asks for patience and nothing else.
fn is_limited(problem: &Problem) -> bool {
    problem.status == Some(429) || problem.r#type.as_deref() == Some(RATE_LIMITED)
}

/// Whether a problem says nothing about the request itself.
fn is_passing(problem: &Problem) -> bool {
    let by_status = problem.status.is_some_and(|status| status >= 500 || status == 429);
    by_status || matches!(problem.r#type.as_deref(), Some(BAD_NONCE | RATE_LIMITED | INTERNAL))
}

fn identified(name: &str) -> Identifier {
    name.parse().map_or_else(|_| Identifier::Dns(name.to_owned()), Identifier::Ip)
}

/// The name of a certificate in renewal information; none where it does not say who signed it.
fn identifier(chain: &str) -> Option<CertificateIdentifier<'static>> {
    let certificate = CertificateDer::from_pem_slice(chain.as_bytes()).ok()?;
    CertificateIdentifier::try_from(&certificate).ok().map(CertificateIdentifier::into_owned)
}

impl Settings {
    /// What is asked for.
    pub(super) fn wish(&self) -> Wish {
        Wish {
            directory: self.directory.clone(),
            names: self.names.clone(),
            profile: self.profile.clone(),
            key_type: self.key_type.to_string(),
        }
    }
}

impl Failure {
    /// Something of ours, not of the authority's.
    fn ours(error: impl std::fmt::Display) -> Self {
        Self::passing(error.to_string())
    }

    fn passing(text: String) -> Self {
        Self { text, trouble: Trouble::Passing, retry_after: None, ends_the_order: false }
    }

    fn refused(text: String) -> Self {
        Self { text, trouble: Trouble::Refused, retry_after: None, ends_the_order: false }
    }

    fn ending_the_order(self) -> Self {
        Self { ends_the_order: true, ..self }
    }
}
