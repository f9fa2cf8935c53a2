//! What is known about certificates, where every process that needs it finds it: a directory of this machine, or the
//! registry's own storage.
//!
//! ```text
//! <root>/
//!   accounts/<hash of the directory's URL>    the account's key, and its name at the authority once it has one
//!   lease/<number>                            who may place orders: see `lease`
//!   orders/<number>                           the order under way, and the key that its certificate will have
//!   answers/<number>                          what the authority may ask while that order is pending
//!   certificates/<number>                     chain and key, as one
//!   state                                     the last attempt, the last error, when to try again
//! ```
//!
//! Numbers are those of the lease: what a process writes that has lost its lease without knowing it stands below what
//! its successor wrote, and is not looked at. A record is written whole or not at all, in an envelope (`seal`) that is
//! encrypted where others than us can read the place. Each begins with a version; a newer one is never guessed at.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    acme::vault::seal::Sealing,
    oci::{digest::Algorithm, hasher::Hasher},
    store::{self, Depth, Listing, Precondition, Store, error::Kind, key::Key},
};

pub(super) mod lease;
pub(super) mod records;
pub mod seal;

/// Largest record, in bytes: a chain for many names is a tenth of it.
const RECORD_SIZE_MAX: u64 = 256 << 10;

/// Most records of one kind that are looked at.
const RECORDS_MAX: usize = 1000;

/// Why a record cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the state of ACME: {0}")]
    Store(#[from] store::error::Error),
    #[error(
        "the record {0} cannot be opened: edge.acme.secret is not the one that it was encrypted with, or it was changed"
    )]
    Sealed(Key),
    #[error("the record {0} should be encrypted, and is not: somebody else wrote it, or it was written elsewhere")]
    Open(Key),
    #[error("the record {0} is not one that this version understands")]
    Unreadable(Key),
}

/// The records.
#[derive(Clone)]
pub(super) struct Vault {
    store: Arc<dyn Store>,
    root: Key,
    sealing: Sealing,
}

/// Records of which the one with the highest number counts.
pub(super) trait Record: Serialize + DeserializeOwned {
    const PLACE: &str;
}

/// A record and its number.
#[derive(Clone, Debug)]
pub(super) struct Numbered<T> {
    pub(super) number: u64,
    pub(super) record: T,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("root", &self.root).finish_non_exhaustive()
    }
}

impl Vault {
    pub(super) fn new(store: Arc<dyn Store>, root: Key, sealing: Sealing) -> Self {
        Self { store, root, sealing }
    }

    /// The account at an authority.
    pub(super) async fn account(&self, directory: &str) -> Result<Option<records::Account>, Error> {
        self.read(&self.account_key(directory)).await
    }

    pub(super) async fn put_account(&self, account: &records::Account) -> Result<(), Error> {
        self.write(&self.account_key(&account.directory), account, Precondition::Always).await
    }

    pub(super) async fn state(&self) -> Result<records::State, Error> {
        Ok(self.read(&self.key("state")).await?.unwrap_or_default())
    }

    pub(super) async fn put_state(&self, state: &records::State) -> Result<(), Error> {
        self.write(&self.key("state"), state, Precondition::Always).await
    }

    /// The highest number of a kind of record.
    pub(super) async fn highest<T: Record>(&self) -> Result<Option<u64>, Error> {
        Ok(self.numbers(T::PLACE).await?.last().copied())
    }

    /// The record with the highest number. One that is swept away meanwhile has a successor.
    pub(super) async fn newest<T: Record>(&self) -> Result<Option<Numbered<T>>, Error> {
        loop {
            let Some(number) = self.highest::<T>().await? else { return Ok(None) };
            if let Some(record) = self.read(&self.numbered(T::PLACE, number)).await? {
                return Ok(Some(Numbered { number, record }));
            }
        }
    }

    pub(super) async fn put<T: Record>(&self, number: u64, record: &T) -> Result<(), Error> {
        self.write(&self.numbered(T::PLACE, number), record, Precondition::Always).await
    }

    /// Removes the records up to this number, the number itself too.
    pub(super) async fn sweep<T: Record>(&self, up_to: u64) -> Result<(), Error> {
        self.sweep_place(T::PLACE, up_to).await
    }

    async fn sweep_place(&self, place: &str, up_to: u64) -> Result<(), Error> {
        let numbers = self.numbers(place).await?;
        let old: Vec<_> =
            numbers.into_iter().filter(|it| *it <= up_to).map(|number| self.numbered(place, number)).collect();
        if !old.is_empty() {
            self.store.delete(&old).await?;
        }
        Ok(())
    }

    /// The numbers of the records at a place, in order.
    async fn numbers(&self, place: &str) -> Result<Vec<u64>, Error> {
        let prefix = self.key(place);
        let listing = Listing { prefix, depth: Depth::Children, after: None, limit: RECORDS_MAX };
        let page = self.store.list(&listing).await?;
        // What is no number is nobody's record, a temporary file say.
        Ok(page.entries.iter().filter_map(|entry| entry.name().parse().ok()).collect())
    }

    async fn read<T: DeserializeOwned>(&self, key: &Key) -> Result<Option<T>, Error> {
        let object = match self.store.get(key, None).await {
            Ok(object) => object,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if object.meta.size > RECORD_SIZE_MAX {
            return Err(Error::Unreadable(key.clone()));
        }
        let chunks: Vec<Bytes> = object.content.try_collect().await?;
        let text = self.sealing.open(key, &chunks.concat())?;
        serde_json::from_slice(text.expose()).map(Some).map_err(|_| Error::Unreadable(key.clone()))
    }

    async fn write<T: Serialize>(&self, key: &Key, record: &T, precondition: Precondition) -> Result<(), Error> {
        let sealed = self.sealing.seal(key, record)?;
        Ok(self.store.put(key, vec![Bytes::from(sealed)], precondition).await?)
    }

    fn account_key(&self, directory: &str) -> Key {
        let hash = Hasher::digest(Algorithm::Sha256, directory.as_bytes());
        self.key(&format!("accounts/{}", &hash.hex()[..32]))
    }

    fn numbered(&self, place: &str, number: u64) -> Key {
        // The order of the names is that of the numbers.
        self.key(&format!("{place}/{number:012}"))
    }

    fn key(&self, relative: &str) -> Key {
        self.root.join(relative).expect("a short root and names of ours make a key")
    }
}

impl Error {
    /// Whether nothing stands in a record's way but another one.
    fn is_taken(&self) -> bool {
        matches!(self, Self::Store(error) if error.kind == Kind::AlreadyExists)
    }
}
