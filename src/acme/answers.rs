//! What an authority may ask while an order is pending, answered by any replica: the answers lie in the vault before the
//! authority is told to look.
//!
//! Anybody can ask for anything here. What cannot be an answer at all is refused by its form; for the rest the vault is
//! read at most once a second, whatever the number of questions: each waits for a look that began after it came, and
//! all who wait share one.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustls::ServerConfig;
use tokio::time::{Instant, sleep_until, timeout};

use crate::acme::{
    keys,
    vault::{
        Vault,
        records::{Answer, Answers as Record, Proof},
    },
};

/// Looks are at least this far apart.
const SPACING: Duration = Duration::from_secs(1);

/// What was seen of tokens is good for so long: none is used twice. A name can be asked for by one order after the other.
const FRESH: Duration = Duration::from_secs(5);

/// How long a look may take; whoever asks will ask again.
const PATIENCE: Duration = Duration::from_secs(5);

/// Of a token, in characters: 128 bits of entropy are 22 (RFC 8555 section 8.3), and no authority sends a multiple of it.
const TOKEN_LEN: std::ops::RangeInclusive<usize> = 22..=256;

/// Answers questions.
#[derive(Debug)]
pub struct Answers {
    vault: Vault,
    /// Names that can be asked for, in lower case and without a wildcard.
    names: Vec<String>,
    seen: Mutex<Seen>,
    /// Held by whoever looks.
    looking: tokio::sync::Mutex<()>,
}

#[derive(Clone, Debug, Default)]
struct Seen {
    answers: Arc<[Answer]>,
    /// When the look began.
    at: Option<Instant>,
}

/// Whether a text can be a token: characters of base64url, many enough and not too many.
pub(super) fn is_token(text: &str) -> bool {
    TOKEN_LEN.contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

impl Answers {
    pub(super) fn new(vault: Vault, names: &[String]) -> Self {
        let names = names.iter().map(|name| keys::asked_for(name.trim_start_matches("*.")));
        Self { vault, names: names.collect(), seen: Mutex::default(), looking: tokio::sync::Mutex::default() }
    }

    /// The key authorization of a pending HTTP-01 challenge.
    pub async fn key_authorization(&self, token: &str) -> Option<String> {
        if !is_token(token) {
            return None;
        }
        let answer = self.find(FRESH, |answer| answer.proof == Proof::Http && answer.token == token).await?;
        Some(answer.key_authorization)
    }

    /// The terms of the handshake that proves a name by TLS-ALPN-01.
    pub async fn proof(&self, name: &str) -> Option<Arc<ServerConfig>> {
        if !self.names.iter().any(|known| known == name) {
            return None;
        }
        let is_meant = |answer: &Answer| answer.proof == Proof::TlsAlpn && keys::asked_for(&answer.name) == name;
        let answer = self.find(Duration::ZERO, is_meant).await?;
        match keys::proof(&answer.name, &answer.key_authorization) {
            Ok(proof) => Some(proof),
            Err(error) => {
                tracing::error!("the certificate that proves {name} could not be made: {error}");
                None
            }
        }
    }

    async fn find(&self, fresh: Duration, is_meant: impl Fn(&Answer) -> bool) -> Option<Answer> {
        let asked = Instant::now();
        let found = |seen: &Seen| seen.answers.iter().find(|answer| is_meant(answer)).cloned();
        let seen = self.seen();
        if seen.at.is_some_and(|at| asked - at < fresh)
            && let Some(answer) = found(&seen)
        {
            return Some(answer);
        }
        let _looking = self.looking.lock().await;
        if self.seen().at.is_none_or(|at| at < asked) {
            self.look().await;
        }
        found(&self.seen())
    }

    async fn look(&self) {
        if let Some(last) = self.seen().at {
            sleep_until(last + SPACING).await;
        }
        let at = Some(Instant::now());
        let answers = match timeout(PATIENCE, self.vault.newest::<Record>()).await {
            Ok(Ok(newest)) => newest.map(|numbered| numbered.record.answers).unwrap_or_default().into(),
            Ok(Err(error)) => {
                tracing::warn!("what certificate authorities may ask could not be read: {error}");
                Arc::default()
            }
            Err(_) => {
                tracing::warn!("what certificate authorities may ask could not be read within {PATIENCE:?}");
                Arc::default()
            }
        };
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Seen { answers, at };
    }

    fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::{
        acme::vault::{records::Version1, seal::Sealing},
        clock::SystemClock,
        store::{Distance, Limits, Parts, Store, error::Operation, memory::Memory, metered::Metered},
    };

    const TOKEN: &str = "abcdefghijklmnopqrstuv";

    fn bed() -> (Vault, Arc<Answers>, Arc<AtomicUsize>) {
        let limits = Limits { parts: Parts::Appended, parts_max: 1, distance: Distance::Here };
        let store: Arc<dyn Store> = Arc::new(Memory::new(limits, Arc::new(SystemClock)));
        let looks = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&looks);
        let store = Metered::new(store, move |observation| {
            if observation.operation == Operation::List {
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        let vault = Vault::new(Arc::new(store), "acme".parse().unwrap(), Sealing::Plain);
        let names = ["a.test".to_owned(), "192.0.2.7".to_owned()];
        (vault.clone(), Arc::new(Answers::new(vault, &names)), looks)
    }

    fn answer(proof: Proof, name: &str) -> Answer {
        let key_authorization = format!("{TOKEN}.thumbprint");
        Answer { proof, name: name.to_owned(), token: TOKEN.to_owned(), key_authorization }
    }

    async fn publish(vault: &Vault, answers: Vec<Answer>) {
        // A look of the same instant would count as one of afterwards.
        tokio::time::sleep(Duration::from_millis(1)).await;
        vault.put(1, &Record { version: Version1, answers }).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    #[test]
    fn tokens_have_a_form() {
        assert!(is_token(TOKEN) && is_token(&"-_".repeat(20)));
        for text in [
            "",
            "short",
            "../../../../etc/passwd/x",
            &"a".repeat(257),
            "abcdefghijklmnopqrstu%",
            "äbcdefghijklmnopqrstuvw",
        ] {
            assert!(!is_token(text), "{text}");
        }
        assert!(
            !is_token(&format!("{TOKEN}/a")) && !is_token(&format!("{TOKEN}.a")) && !is_token(&format!("{TOKEN}\0"))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_published_is_found_by_others() {
        let (vault, answers, _) = bed();
        assert_eq!(answers.key_authorization(TOKEN).await, None);
        publish(&vault, vec![answer(Proof::Http, "a.test")]).await;
        assert_eq!(answers.key_authorization(TOKEN).await, Some(format!("{TOKEN}.thumbprint")));
        assert!(answers.proof("a.test").await.is_none());
        publish(&vault, vec![answer(Proof::TlsAlpn, "a.test"), answer(Proof::TlsAlpn, "192.0.2.7")]).await;
        assert!(answers.proof("a.test").await.is_some());
        assert!(answers.proof("7.2.0.192.in-addr.arpa").await.is_some());
        assert!(answers.proof("b.test").await.is_none());
        // The next order has another token for the same name.
        let other = Answer { key_authorization: "other".to_owned(), ..answer(Proof::TlsAlpn, "a.test") };
        let found = answers.find(Duration::ZERO, |answer| answer.name == "a.test").await;
        assert_ne!(found, Some(other.clone()));
        publish(&vault, vec![other.clone()]).await;
        assert_eq!(answers.find(Duration::ZERO, |answer| answer.name == "a.test").await, Some(other));
        vault.sweep::<Record>(1).await.unwrap();
        tokio::time::sleep(FRESH).await;
        assert_eq!(answers.key_authorization(TOKEN).await, None);
        assert!(answers.proof("a.test").await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_questions_is_few_looks() {
        let (vault, answers, looks) = bed();
        publish(&vault, vec![answer(Proof::Http, "a.test")]).await;
        for text in ["", "..", "a/b", "short"] {
            assert_eq!(answers.key_authorization(text).await, None);
        }
        assert!(answers.proof("unknown.test").await.is_none());
        assert_eq!(looks.load(Ordering::Relaxed), 0);
        let begun = Instant::now();
        for round in 0..5 {
            let questions = (0..1000).map(|number| {
                let answers = Arc::clone(&answers);
                async move { answers.key_authorization(&format!("{round:011}{number:011}")).await }
            });
            let heard = futures_util::future::join_all(questions).await;
            assert!(heard.iter().all(Option::is_none));
        }
        let bound = begun.elapsed().as_secs() + 1;
        assert!(looks.load(Ordering::Relaxed) as u64 <= bound, "{looks:?} in {bound} s");
        assert!(answers.key_authorization(TOKEN).await.is_some());
    }
}
