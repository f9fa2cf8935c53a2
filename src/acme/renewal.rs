//! The round: show what is newest (`shown`), see what is due, do it if nobody else does (`work`) and the vault
//! may be written (`rest`).

pub(in crate::acme) mod rest;
mod shown;
pub mod status;
mod work;

use std::{
    fmt,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
};

use time::OffsetDateTime;

use crate::{
    acme::{
        Acme, Failure, Settings, keys,
        order::Authority,
        renewal::{
            rest::{Rest, Stance},
            shown::Shown,
        },
        schedule::{self, Trouble},
        vault::{
            Vault,
            lease::{Lease, Taken},
            records::{State, Suggestion},
        },
    },
    clock::Clock,
    telemetry::acme::Figures,
    tls::certificates::{Certificates, Origin},
};

/// Keeps the certificates that are shown fresh.
pub struct Renewal {
    settings: Arc<Settings>,
    vault: Vault,
    authority: Authority,
    clock: Arc<dyn Clock>,
    certificates: Arc<Certificates>,
    figures: Option<Figures>,
    shown: Mutex<Option<Shown>>,
    /// What is to be given up when the round is broken off.
    held: Mutex<Option<Lease>>,
    rest: Rest,
}

/// Whether a certificate is ordered that is not due yet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Urgency {
    WhenDue,
    Now,
}

/// How a round ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// A certificate with this serial number was issued.
    Issued(String),
    /// Nothing is due before that time.
    NotDue(OffsetDateTime),
    /// Another process holds the right to order.
    Busy,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Plan {
    Wait(OffsetDateTime),
    /// Ask the authority when to renew.
    Ask,
    Order,
}

impl fmt::Debug for Renewal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Renewal").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Acme {
    /// Certificates go to `certificates`.
    #[must_use]
    pub fn renewal(&self, certificates: Arc<Certificates>, figures: Option<Figures>) -> Renewal {
        Renewal {
            settings: Arc::clone(&self.settings),
            vault: self.vault.clone(),
            authority: self.authority(),
            clock: Arc::clone(&self.clock),
            certificates,
            figures,
            shown: Mutex::default(),
            held: Mutex::default(),
            rest: Rest::while_set(self.resting.clone()),
        }
    }
}

impl Renewal {
    /// Shows what there is, and something that nobody trusts where there is nothing: a server that could not make
    /// handshakes could not prove its names either.
    ///
    /// # Errors
    /// When the vault cannot be read, with another secret, say.
    pub async fn prepare(&self) -> Result<(), Failure> {
        // The one record that a wrong secret would only spoil later.
        self.vault.account(&self.settings.directory).await?;
        self.adopt().await?;
        if self.shown().is_some() {
            return Ok(());
        }
        let pair = keys::meanwhile(&self.settings.names, self.clock.now());
        let pair = pair.map_err(|error| failed(error.to_string()))?;
        self.certificates.replace(Origin::Issued, vec![pair]);
        tracing::warn!("a certificate that nobody trusts is shown until {} issues one", self.settings.directory);
        Ok(())
    }

    /// Goes round until it is told to stop, and gives up then what it holds.
    pub async fn run(self, stopped: impl Future<Output = ()>) {
        let rounds = async {
            loop {
                let pause = self.round().await;
                tokio::time::sleep(pause).await;
            }
        };
        tokio::select! {
            () = stopped => {}
            () = rounds => {}
        }
        if !self.rest.is_wanted() {
            self.let_go().await;
        }
    }

    /// One round; returns how long to wait for the next.
    async fn round(&self) -> std::time::Duration {
        let poll = self.settings.poll;
        match self.rest.stance() {
            Stance::Resting => {
                // What others have ordered is shown all the same; a failure is logged.
                let _ = self.look().await.inspect_err(unlooked);
                return poll;
            }
            // What was broken off kept its lease, as giving it up is a write, too.
            Stance::Resumed => self.let_go().await,
            Stance::Working => {}
        }
        let turned = tokio::select! {
            turned = self.turn(Urgency::WhenDue) => turned,
            () = self.rest.begins() => return std::time::Duration::ZERO,
        };
        match turned {
            Ok(Outcome::NotDue(until)) => (until - self.clock.now()).try_into().unwrap_or_default(),
            // A failure was logged where it happened.
            Ok(Outcome::Issued(_) | Outcome::Busy) | Err(_) => poll,
        }
        .clamp(std::time::Duration::from_millis(100).min(poll), poll)
    }

    /// Does what is due.
    ///
    /// # Errors
    /// Why there is no certificate; what is to be known of it was written down and logged already.
    pub async fn turn(&self, urgency: Urgency) -> Result<Outcome, Failure> {
        let state = self.look().await.inspect_err(unlooked)?;
        if let Plan::Wait(until) = self.plan(&state, urgency) {
            return Ok(Outcome::NotDue(until));
        }
        let taken = Lease::take(&self.vault).await.map_err(Failure::from).inspect_err(unlooked)?;
        let Taken::Ours(lease) = taken else {
            tracing::debug!("another process is ordering a certificate");
            return Ok(Outcome::Busy);
        };
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(lease.again());
        let done = tokio::select! {
            done = self.act(&lease, urgency) => done,
            () = lease.keep() => {
                let text = "the right to order certificates was lost: another process goes on with the order";
                tracing::warn!("{text}");
                Err(failed(text.to_owned()))
            }
        };
        self.let_go().await;
        done
    }

    /// Under the lease: what was due may have been done meanwhile by who held it before.
    async fn act(&self, lease: &Lease, urgency: Urgency) -> Result<Outcome, Failure> {
        let state = self.look().await.inspect_err(unlooked)?;
        match self.plan(&state, urgency) {
            Plan::Wait(until) => Ok(Outcome::NotDue(until)),
            Plan::Ask => self.ask(state).await,
            Plan::Order => self.order(lease, state).await,
        }
    }

    fn plan(&self, state: &State, urgency: Urgency) -> Plan {
        let now = self.clock.now();
        if urgency == Urgency::Now {
            return Plan::Order;
        }
        let due = self.due(state);
        if due <= now {
            return match self.blocked_until(state) {
                Some(until) if until > now => Plan::Wait(until),
                _ => Plan::Order,
            };
        }
        match self.suggestion(state) {
            Some(suggestion) if suggestion.ask_again > now => Plan::Wait(due.min(suggestion.ask_again)),
            _ => Plan::Ask,
        }
    }

    /// When a certificate is needed; at once where there is none, or one of something else.
    fn due(&self, state: &State) -> OffsetDateTime {
        match self.shown() {
            Some(shown) if shown.wish == self.settings.wish() => {
                let window = self.suggestion(state).and_then(|suggestion| suggestion.window);
                let before = self.settings.renew_before.and_then(|before| before.try_into().ok());
                schedule::renewal(&shown.said.life, window.as_ref(), before)
            }
            _ => OffsetDateTime::UNIX_EPOCH,
        }
    }

    /// What the authority said about the certificate that is shown.
    fn suggestion(&self, state: &State) -> Option<Suggestion> {
        let number = self.shown()?.number;
        state.suggestion.clone().filter(|suggestion| suggestion.certificate == number)
    }

    fn blocked_until(&self, state: &State) -> Option<OffsetDateTime> {
        state.not_before.filter(|_| state.wish.as_ref() == Some(&self.settings.wish()))
    }

    /// Shows the newest certificate, and reads how things stand.
    async fn look(&self) -> Result<State, Failure> {
        self.adopt().await?;
        let state = self.vault.state().await?;
        if let Some(figures) = &self.figures {
            let expires = self.shown().map(|shown| shown.said.life.expires);
            figures.certificate(expires, self.clock.now());
            figures.history(state.succeeded, state.error.as_ref().map(|error| error.at), state.failures);
        }
        Ok(state)
    }

    /// Gives up the lease, if this process holds it.
    async fn let_go(&self) {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(lease) = held
            && let Err(error) = lease.release().await
        {
            tracing::warn!("the right to order certificates could not be given up, and ends by itself: {error}");
        }
    }
}

fn unlooked(failure: &Failure) {
    tracing::warn!("certificates could not be looked after: {failure}");
}

fn failed(text: String) -> Failure {
    Failure { text, trouble: Trouble::Passing, retry_after: None, ends_the_order: false }
}
