//! What is done under the lease: the authority is asked when to renew, or for a certificate, and what came of it is
//! written down.

use crate::acme::{
    Failure, keys,
    renewal::{Outcome, Renewal, shown::Shown, unlooked},
    schedule,
    vault::{
        lease::Lease,
        records::{Certificate, LastError, Order, State, Suggestion},
    },
};

/// Longest error that is kept, in characters: the authority writes what it likes.
const ERROR_LEN_MAX: usize = 2000;

impl Renewal {
    pub(in crate::acme::renewal) async fn ask(&self, state: State) -> Result<Outcome, Failure> {
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

    pub(in crate::acme::renewal) async fn order(&self, lease: &Lease, state: State) -> Result<Outcome, Failure> {
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
}

/// Random, or in the middle where nothing random can be had.
fn chance() -> u16 {
    let mut bytes = [0x80, 0];
    let _ = getrandom::fill(&mut bytes);
    u16::from_be_bytes(bytes)
}
