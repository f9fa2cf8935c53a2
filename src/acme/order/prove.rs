//! Proofs that the names are ours: published first, then the authority is told to look, and what was published goes
//! again, whatever it saw.

use instant_acme::{AuthorizationStatus, ChallengeType, Error, Identifier, Order, OrderStatus};
use sha2::{Digest as _, Sha256};

use crate::acme::{
    Challenge, Failure,
    answers::is_token,
    hook::Action,
    order::{Authority, BAD_NONCE, NONCES_MAX, POLLING, is_of, is_passing, patiently},
    vault::{
        lease::Lease,
        records::{Answer, Answers, Proof, Version1},
    },
    webroot,
};

impl Authority {
    /// Brings an order from pending to ready.
    pub(super) async fn prove(&self, order: &mut Order, lease: &Lease) -> Result<(), Failure> {
        self.look(order).await?;
        let answers = self.answers(order).await?;
        let published = self.publish(&answers, lease).await;
        let proven = match published {
            Ok(()) => self.be_looked_at(order).await,
            Err(failure) => Err(failure),
        };
        self.withdraw(&answers).await;
        proven
    }

    /// Fetches what the authority wants for each name.
    async fn look(&self, order: &mut Order) -> Result<(), Failure> {
        // Those that were fetched are remembered: a second pass asks for the rest.
        let looked = patiently!({
            let mut authorizations = order.authorizations();
            loop {
                match authorizations.next().await {
                    Some(Ok(_)) => {}
                    Some(Err(error)) => break Err(error),
                    None => break Ok(()),
                }
            }
        });
        looked.map_err(|error| self.failure("what the authority wants to see", &error))
    }

    /// What it will ask for.
    async fn answers(&self, order: &mut Order) -> Result<Vec<Answer>, Failure> {
        let (kind, proof) = kind(&self.settings.challenge);
        let mut answers = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization =
                authorization.map_err(|error| self.failure("what the authority wants to see", &error))?;
            let name = match authorization.identifier().identifier {
                Identifier::Dns(name) => name.to_ascii_lowercase(),
                Identifier::Ip(address) => address.to_string(),
                _ => String::new(),
            };
            match authorization.status {
                AuthorizationStatus::Valid => continue,
                AuthorizationStatus::Pending => {}
                other => {
                    return Err(Failure::refused(format!("the proof for {name} is {other:?}")).ending_the_order());
                }
            }
            let Some(challenge) = authorization.challenge(kind.clone()) else {
                let text = format!("the authority does not take {} for {name}", self.settings.challenge.word());
                return Err(Failure::refused(text).ending_the_order());
            };
            if !is_token(&challenge.token) {
                let text = format!("the authority's token for {name} is not one (RFC 8555 section 8)");
                return Err(Failure::refused(text).ending_the_order());
            }
            let key_authorization = challenge.key_authorization().as_str().to_owned();
            answers.push(Answer { proof, name, token: challenge.token.clone(), key_authorization });
        }
        Ok(answers)
    }

    async fn publish(&self, answers: &[Answer], lease: &Lease) -> Result<(), Failure> {
        let record = Answers { version: Version1, answers: answers.to_vec() };
        match &self.settings.challenge {
            Challenge::Http { webroot } => {
                self.vault.put(lease.number(), &record).await?;
                for answer in webroot.iter().flat_map(|_| answers) {
                    self.file(answer, Action::Present).await?;
                }
            }
            Challenge::TlsAlpn => self.vault.put(lease.number(), &record).await?,
            Challenge::Dns(hook) => {
                for answer in answers {
                    let run = hook.run(Action::Present, &answer.name, &dns_value(answer)).await;
                    run.map_err(|error| Failure::refused(format!("edge.acme.dns_hook: {error}")))?;
                }
            }
        }
        Ok(())
    }

    /// Best effort: what stays can be asked for, and is worth nothing.
    async fn withdraw(&self, answers: &[Answer]) {
        match &self.settings.challenge {
            Challenge::Http { .. } | Challenge::TlsAlpn => {
                if let Err(error) = self.vault.sweep::<Answers>(u64::MAX).await {
                    tracing::warn!("answers for the certificate authority could not be removed: {error}");
                }
                for answer in answers {
                    if let Err(failure) = self.file(answer, Action::Cleanup).await {
                        tracing::warn!("{}", failure.text);
                    }
                }
            }
            Challenge::Dns(hook) => {
                for answer in answers {
                    if let Err(error) = hook.run(Action::Cleanup, &answer.name, &dns_value(answer)).await {
                        tracing::warn!("edge.acme.dns_hook: {error}");
                    }
                }
            }
        }
    }

    /// Writes or removes the file of an answer, where there is a root for such files.
    async fn file(&self, answer: &Answer, action: Action) -> Result<(), Failure> {
        let Challenge::Http { webroot: Some(root) } = &self.settings.challenge else { return Ok(()) };
        let (root, answer) = (root.clone(), answer.clone());
        let place = root.display().to_string();
        let done = tokio::task::spawn_blocking(move || match action {
            Action::Present => webroot::write(&root, &answer.token, &answer.key_authorization),
            Action::Cleanup => webroot::remove(&root, &answer.token),
        });
        let done = done.await.map_err(Failure::ours)?;
        done.map_err(|error| Failure::passing(format!("edge.acme.webroot: {place}: {error}")))
    }

    /// Tells the authority to look, and waits for what it saw.
    async fn be_looked_at(&self, order: &mut Order) -> Result<(), Failure> {
        let (kind, _) = kind(&self.settings.challenge);
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization =
                authorization.map_err(|error| self.failure("what the authority wants to see", &error))?;
            if authorization.status != AuthorizationStatus::Pending {
                continue;
            }
            let name = authorization.identifier().to_string();
            let Some(mut challenge) = authorization.challenge(kind.clone()) else { continue };
            patiently!(challenge.set_ready().await)
                .map_err(|error| self.failure(&format!("the proof for {name}"), &error))?;
        }
        match patiently!(order.poll_ready(&POLLING).await) {
            Ok(OrderStatus::Ready) => Ok(()),
            Err(Error::Api(problem)) if is_passing(&problem) => Err(self.failure("the proofs", &Error::Api(problem))),
            Err(Error::Api(problem)) => Err(self.unproven(order, &problem.to_string()).await.ending_the_order()),
            Ok(_) => Err(self.unproven(order, "it does not say why").await.ending_the_order()),
            Err(error) => Err(self.failure("the proofs", &error)),
        }
    }

    /// What the authority saw instead, or `otherwise`.
    async fn unproven(&self, order: &mut Order, otherwise: &str) -> Failure {
        let mut seen = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(Ok(mut authorization)) = authorizations.next().await {
            if patiently!(authorization.refresh().await.map(drop)).is_err() {
                continue;
            }
            let name = authorization.identifier().to_string();
            let problems = authorization.challenges.iter().filter_map(|challenge| challenge.error.as_ref());
            seen.extend(problems.map(|problem| format!("{name}: {problem}")));
        }
        let seen = if seen.is_empty() { otherwise.to_owned() } else { seen.join("; ") };
        let text = format!("the authority did not take the {} proof: {seen}", self.settings.challenge.word());
        Failure { retry_after: self.wire.retry_after(), ..Failure::refused(text) }
    }
}

fn kind(challenge: &Challenge) -> (ChallengeType, Proof) {
    match challenge {
        Challenge::Http { .. } => (ChallengeType::Http01, Proof::Http),
        Challenge::TlsAlpn => (ChallengeType::TlsAlpn01, Proof::TlsAlpn),
        Challenge::Dns(_) => (ChallengeType::Dns01, Proof::Dns),
    }
}

/// What the record holds (RFC 8555 section 8.4).
fn dns_value(answer: &Answer) -> String {
    use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
    BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(&answer.key_authorization))
}
