//! What a store says about itself: which versions of us may use it, and the secret that our replicas share.
//!
//! Both records are made by whoever comes first, with a write that only one can win, and are read by all others.

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    oci::{digest::Algorithm, hasher::Hasher},
    registry::{content, layout::Layout},
    secret::Secret,
    store::{
        Precondition, Store,
        error::{Error, Kind},
        key::Key,
    },
};

/// The form of the records themselves.
const VERSION: u32 = 1;

/// Where things lie: changes when an older version would no longer find them.
const LAYOUT: u32 = 1;

/// What this version is among all that write: a store may ask for a newer one.
const WRITER: u32 = 1;

/// Largest record, in bytes.
const RECORD_SIZE_MAX: u64 = 4096;

/// Length of a secret that we make, in bytes.
const SECRET_LEN: usize = 32;

/// What signs upload states.
#[derive(Clone, Debug, Default)]
pub enum Signing {
    /// A secret that the first replica makes and leaves in the store for the others.
    #[default]
    Shared,
    /// The operator's (`http.secret`).
    Configured(Secret<Vec<u8>>),
}

/// Why a store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(
        "the store's tags are kept in GitLab's metadata database ({key} exists): without it they would seem to be gone"
    )]
    DatabaseInUse { key: Key },
    #[error("the store has layout {found}, and this version knows {LAYOUT}: a newer version is needed")]
    NewerLayout { found: u32 },
    #[error("the store may be written by versions from {min_writer} on, and this is {WRITER}")]
    NewerWriter { min_writer: u32 },
    #[error("the record {key} is not one that this version understands")]
    Unreadable { key: Key },
    #[error("no random bytes: {0}")]
    Random(getrandom::Error),
    #[error(transparent)]
    Store(#[from] Error),
}

#[derive(serde::Deserialize, serde::Serialize)]
struct FormatRecord {
    version: u32,
    layout: u32,
    min_writer: u32,
}

#[derive(serde::Deserialize, serde::Serialize)]
struct SecretRecord {
    version: u32,
    /// Lower-case hexadecimal.
    secret: String,
}

/// Refuses a store that shows only half the truth.
pub(in crate::registry) async fn refuse_database(store: &dyn Store, layout: &Layout) -> Result<(), OpenError> {
    let key = layout.database_lock();
    match store.head(&key).await {
        Ok(_) => Err(OpenError::DatabaseInUse { key }),
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Reads the format record, made if missing, and refuses what is too new.
pub(in crate::registry) async fn check(store: &dyn Store, layout: &Layout) -> Result<(), OpenError> {
    let ours = || Ok(FormatRecord { version: VERSION, layout: LAYOUT, min_writer: WRITER });
    let record = read_or_make(store, &layout.format(), ours).await?;
    if record.version != VERSION {
        return Err(OpenError::Unreadable { key: layout.format() });
    }
    if record.layout > LAYOUT {
        return Err(OpenError::NewerLayout { found: record.layout });
    }
    if record.min_writer > WRITER {
        return Err(OpenError::NewerWriter { min_writer: record.min_writer });
    }
    Ok(())
}

/// What signs upload states: the operator's secret, or the one in the store, made if missing.
pub(in crate::registry) async fn secret(
    store: &dyn Store,
    layout: &Layout,
    signing: &Signing,
) -> Result<Secret<Vec<u8>>, OpenError> {
    if let Signing::Configured(secret) = signing {
        return Ok(secret.clone());
    }
    let key = layout.secret();
    let record = read_or_make(store, &key, random_secret).await?;
    if record.version != VERSION || record.secret.len() < 2 * SECRET_LEN {
        return Err(OpenError::Unreadable { key });
    }
    // The digits themselves are the key: an HMAC takes keys of any form.
    Ok(Secret::new(record.secret.into_bytes()))
}

fn random_secret() -> Result<SecretRecord, OpenError> {
    let mut bytes = [0; SECRET_LEN];
    getrandom::fill(&mut bytes).map_err(OpenError::Random)?;
    // Hashing is our way to hexadecimal: it keeps all the randomness there is.
    let secret = Hasher::digest(Algorithm::Sha256, &bytes).hex().to_owned();
    Ok(SecretRecord { version: VERSION, secret })
}

/// The record at a key, which everybody agrees on from its first write on.
///
/// On a medium that cannot be written, what would have been written holds for this process alone.
async fn read_or_make<T: DeserializeOwned + Serialize>(
    store: &dyn Store,
    key: &Key,
    make: impl FnOnce() -> Result<T, OpenError>,
) -> Result<T, OpenError> {
    match read(store, key).await {
        Err(OpenError::Store(error)) if error.is_not_found() => {}
        result => return result,
    }
    let ours = make()?;
    let text = serde_json::to_vec(&ours).expect("strings and numbers always encode");
    match store.put(key, vec![Bytes::from(text)], Precondition::Absent).await {
        Ok(()) => Ok(ours),
        Err(error) if error.kind == Kind::AlreadyExists => read(store, key).await,
        Err(error) if error.kind == Kind::Denied => {
            tracing::warn!(storage.key = %key, "the store cannot be written: going on without this record");
            Ok(ours)
        }
        Err(error) => Err(error.into()),
    }
}

async fn read<T: DeserializeOwned>(store: &dyn Store, key: &Key) -> Result<T, OpenError> {
    let text = content::read(store, key, RECORD_SIZE_MAX).await?;
    serde_json::from_slice(&text).map_err(|_| OpenError::Unreadable { key: key.clone() })
}
