//! The certificate that this process shows: the newest that the vault has.

use std::sync::PoisonError;

use crate::{
    acme::{
        Failure,
        keys::{self, Said},
        renewal::{Renewal, failed},
        vault::records::{Certificate, Wish},
    },
    tls::{certificates::Origin, pem},
};

/// The newest certificate that this process knows.
#[derive(Clone, Debug)]
pub(in crate::acme::renewal) struct Shown {
    pub(in crate::acme::renewal) number: u64,
    pub(in crate::acme::renewal) wish: Wish,
    pub(in crate::acme::renewal) chain: String,
    pub(in crate::acme::renewal) said: Said,
}

impl Renewal {
    /// Shows the newest, if there is one that is not shown yet.
    pub(in crate::acme::renewal) async fn adopt(&self) -> Result<(), Failure> {
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

    pub(in crate::acme::renewal) fn shown(&self) -> Option<Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
