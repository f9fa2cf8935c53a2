//! The round: show what is newest, see what is due, do it if nobody else does.

use std::{
    fmt,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
};

use time::OffsetDateTime;

use crate::{
    acme::{
        Acme, Failure, Settings, keys,
        keys::Said,
        order::Authority,
        schedule::{self, Trouble},
        vault::{
            Vault,
            lease::{self, Lease, Taken},
            records::{Certificate, LastError, Order, State, Suggestion, Wish},
        },
    },
    clock::Clock,
    telemetry::acme::Figures,
    tls::{
        certificates::{Certificates, Origin},
        pem,
    },
};

/// Longest error that is kept, in characters: the authority writes what it likes.
const ERROR_LEN_MAX: usize = 2000;

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
}

/// The newest certificate that this process knows.
#[derive(Clone, Debug)]
struct Shown {
    number: u64,
    wish: Wish,
    chain: String,
    said: Said,
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

/// What an operator wants to know.
#[derive(Clone, Debug)]
pub struct Status {
    pub directory: String,
    pub names: Vec<String>,
    pub certificate: Option<CertificateStatus>,
    /// When one is ordered, if nothing changes.
    pub due: OffsetDateTime,
    pub attempted: Option<OffsetDateTime>,
    pub succeeded: Option<OffsetDateTime>,
    /// In a row.
    pub failures: u32,
    pub error: Option<(OffsetDateTime, String)>,
    /// Whether a process is ordering now.
    pub busy: bool,
}

#[derive(Clone, Debug)]
pub struct CertificateStatus {
    pub names: Vec<String>,
    pub directory: String,
    pub serial: String,
    pub begins: OffsetDateTime,
    pub expires: OffsetDateTime,
    pub key_type: String,
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
        self.let_go().await;
    }

    /// One round; returns how long to wait for the next.
    async fn round(&self) -> std::time::Duration {
        let poll = self.settings.poll;
        match self.turn(Urgency::WhenDue).await {
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

    async fn adopt(&self) -> Result<(), Failure> {
        let highest = self.vault.highest::<Certificate>().await?;
        let known = self.shown().map(|shown| shown.number);
        if highest.is_none() || highest <= known {
            return Ok(());
        }
        let Some(newest) = self.vault.newest::<Certificate>().await? else { return Ok(()) };
        let Certificate { wish, chain, key, .. } = newest.record;
        let unfit = |why: String| failed(format!("the stored certificate {} cannot be shown: {why}", newest.number));
        let pair = pem::parse(chain.as_bytes(), key.expose().as_bytes(), self.clock.now());
        let pair = pair.map_err(|problem| unfit(problem.to_string()))?;
        let said = keys::said(&chain).ok_or_else(|| unfit("it cannot be read".to_owned()))?;
        for warning in pair.warnings() {
            tracing::error!("the certificate of {}: {warning}", wish.directory);
        }
        tracing::info!(
            certificate.serial = said.serial,
            certificate.expires = %said.life.expires,
            "a certificate for {} is shown from now on",
            pair.names().join(", ")
        );
        self.certificates.replace(Origin::Issued, vec![pair]);
        let shown = Shown { number: newest.number, wish, chain, said };
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = Some(shown);
        Ok(())
    }

    async fn ask(&self, state: State) -> Result<Outcome, Failure> {
        let now = self.clock.now();
        let Some(shown) = self.shown() else { return Ok(Outcome::NotDue(now)) };
        let (window, ask_again) = match self.authority.suggestion(&shown.chain).await {
            Ok(Some((window, after))) => (Some(window), schedule::ask_again(now, after)),
            Ok(None) => (None, schedule::ask_again(now, time::Duration::DAY)),
            Err(failure) => {
                tracing::info!("{failure}; it is asked again later");
                let before = self.suggestion(&state).and_then(|suggestion| suggestion.window);
                (before, now + schedule::ASK_AGAIN_AFTER_FAILURE)
            }
        };
        let suggestion = Suggestion { certificate: shown.number, window, ask_again };
        let state = State { suggestion: Some(suggestion), ..state };
        self.vault.put_state(&state).await.map_err(Failure::from).inspect_err(unlooked)?;
        let due = self.due(&state);
        tracing::info!(
            certificate.serial = shown.said.serial,
            "the certificate will be renewed at {due}, {}",
            if window.is_some() { "as its authority wants it" } else { "by its age" }
        );
        Ok(Outcome::NotDue(due.min(ask_again)))
    }

    async fn order(&self, lease: &Lease, state: State) -> Result<Outcome, Failure> {
        let before = self.shown();
        let replaced = before.as_ref().filter(|shown| shown.wish.directory == self.settings.directory);
        let obtained = self.authority.obtain(lease, replaced.map(|shown| shown.chain.as_str())).await;
        let stored = match obtained {
            Ok(certificate) => {
                self.vault.put(lease.number(), &certificate).await.map(|()| certificate).map_err(Failure::from)
            }
            Err(failure) => Err(failure),
        };
        match stored {
            Ok(certificate) => self.succeeded(lease, before, &certificate).await,
            Err(failure) => {
                self.failed(state, &failure).await;
                Err(failure)
            }
        }
    }

    async fn succeeded(
        &self,
        lease: &Lease,
        before: Option<Shown>,
        certificate: &Certificate,
    ) -> Result<Outcome, Failure> {
        let now = Some(self.clock.now());
        let wish = Some(certificate.wish.clone());
        let state = State { attempted: now, succeeded: now, wish, ..State::default() };
        if let Some(figures) = &self.figures {
            figures.succeeded();
        }
        // The certificate stands: what is left to write down, or to take away, is not worth its loss.
        let tidied = async {
            self.vault.put_state(&state).await?;
            self.vault.sweep::<Order>(lease.number()).await?;
            // The one before stays, for whoever has just seen its number.
            let old = before.map_or(0, |shown| shown.number.saturating_sub(1));
            self.vault.sweep::<Certificate>(old).await
        };
        if let Err(error) = tidied.await {
            tracing::warn!("after a certificate was issued: {error}");
        }
        self.look().await?;
        let serial = keys::said(&certificate.chain).map(|said| said.serial);
        Ok(Outcome::Issued(serial.unwrap_or_default()))
    }

    async fn failed(&self, state: State, failure: &Failure) {
        let now = self.clock.now();
        let wish = self.settings.wish();
        let failures = if state.wish.as_ref() == Some(&wish) { state.failures.saturating_add(1) } else { 1 };
        let life = self.shown().map(|shown| shown.said.life);
        let left = life.map(|life| life.expires - now);
        let pause = schedule::pause(failures, failure.trouble, failure.retry_after, left, chance());
        let text = format!("no certificate was issued: {failure}; it is tried again in {} s", pause.whole_seconds());
        // A third of its life is left at the time when it is usually renewed.
        let alarming = life.is_none_or(|life| life.expires - now < (life.expires - life.begins) / 3);
        if alarming {
            tracing::error!("{text}");
        } else {
            tracing::warn!("{text}");
        }
        if let Some(figures) = &self.figures {
            figures.failed();
        }
        let error = LastError { at: now, text: failure.text.chars().take(ERROR_LEN_MAX).collect() };
        let state = State {
            failures,
            not_before: Some(now + pause),
            attempted: Some(now),
            error: Some(error),
            wish: Some(wish),
            ..state
        };
        if let Err(error) = self.vault.put_state(&state).await {
            tracing::warn!("the failure could not be written down: {error}");
        }
    }

    /// How things stand.
    ///
    /// # Errors
    /// When the vault cannot be read.
    pub async fn status(&self) -> Result<Status, Failure> {
        let state = self.look().await?;
        let certificate = self.shown().map(|shown| CertificateStatus {
            names: shown.wish.names,
            directory: shown.wish.directory,
            serial: shown.said.serial,
            begins: shown.said.life.begins,
            expires: shown.said.life.expires,
            key_type: shown.wish.key_type,
        });
        let due = self.due(&state).max(self.clock.now());
        Ok(Status {
            directory: self.settings.directory.clone(),
            names: self.settings.names.clone(),
            certificate,
            due: self.blocked_until(&state).map_or(due, |until| due.max(until)),
            attempted: state.attempted,
            succeeded: state.succeeded,
            failures: state.failures,
            error: state.error.map(|error| (error.at, error.text)),
            busy: lease::is_held(&self.vault).await?,
        })
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

    fn shown(&self) -> Option<Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn unlooked(failure: &Failure) {
    tracing::warn!("certificates could not be looked after: {failure}");
}

fn failed(text: String) -> Failure {
    Failure { text, trouble: Trouble::Passing, retry_after: None, ends_the_order: false }
}

/// Random, or in the middle where nothing random can be had.
fn chance() -> u16 {
    let mut bytes = [0x80, 0];
    let _ = getrandom::fill(&mut bytes);
    u16::from_be_bytes(bytes)
}
