//! Passwords that were right a moment ago.

use std::{
    collections::HashMap,
    fmt,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::secret::Secret;

/// How long a right password is remembered.
const LIFETIME: Duration = Duration::from_mins(1);
/// Most passwords that are remembered; one entry is 32 bytes and a time.
const ENTRIES_MAX: usize = 1024;

/// HMAC-SHA256 of user, password and stored hash, under a key that lives in this process only: a changed file is a
/// different proof, and a memory dump shows no password.
pub(super) type Proof = [u8; 32];

pub(super) struct Recent {
    key: Secret<Vec<u8>>,
    until: Mutex<HashMap<Proof, OffsetDateTime>>,
}

impl fmt::Debug for Recent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recent").finish_non_exhaustive()
    }
}

impl Default for Recent {
    fn default() -> Self {
        // Two random UUIDs hold 244 bits from the system's generator.
        let key = [Uuid::new_v4().into_bytes(), Uuid::new_v4().into_bytes()].concat();
        Self { key: Secret::new(key), until: Mutex::default() }
    }
}

impl Recent {
    pub(super) fn proof(&self, user: &str, password: &[u8], hash: &str) -> Proof {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.key.expose()).expect("HMAC takes a key of any length");
        for part in [user.as_bytes(), password, hash.as_bytes()] {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }

    pub(super) fn contains(&self, proof: &Proof, now: OffsetDateTime) -> bool {
        let until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was set back must not make an entry last.
        until.get(proof).is_some_and(|until| (now..=now + LIFETIME).contains(until) && *until != now)
    }

    pub(super) fn insert(&self, proof: Proof, now: OffsetDateTime) {
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        if until.len() >= ENTRIES_MAX {
            until.retain(|_, until| *until > now);
        }
        if until.len() < ENTRIES_MAX {
            until.insert(proof, now + LIFETIME);
        }
    }
}
