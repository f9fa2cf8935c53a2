//! How things stand, for an operator who asks.

use time::OffsetDateTime;

use crate::acme::{Failure, renewal::Renewal, vault::lease};

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

impl Renewal {
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
            // Whether a lease is over is told by writing something.
            busy: !self.rest.is_wanted() && lease::is_held(&self.vault).await?,
        })
    }
}
