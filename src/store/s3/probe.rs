//! What a store can do, found out before anything depends on it.

use bytes::Bytes;

use crate::store::{
    Depth, Listing, Precondition, Result, Store as _,
    error::{Error, Kind},
    key::Key,
    s3::{
        S3,
        failure::{self, Failure},
    },
};

/// Whether a write can be refused because something stands there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Creating {
    /// Exactly one of several racing writers succeeds.
    Exclusive,
    /// The store takes the condition for a decoration: two replicas could both believe that they won.
    Ignored,
}

/// What is worth telling an operator.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Found {
    pub creating: Creating,
    /// Whether what was written could be removed again.
    pub deletes: bool,
}

impl S3 {
    /// Tries, at a key of its own, what a registry cannot do without; from then on create-only puts are what the store
    /// can do. Whoever may only read has [`S3::reach`].
    ///
    /// # Errors
    /// The first call that failed, with the store's own words.
    pub async fn probe(&mut self, scratch: &Key) -> Result<Found> {
        self.reach(scratch).await?;
        let content = || vec![Bytes::from_static(b"pierhead was here")];
        self.put(scratch, content(), Precondition::Always).await?;
        self.head(scratch).await?;
        self.creating = match self.put(scratch, content(), Precondition::Absent).await {
            Ok(()) => Creating::Ignored,
            Err(error) if error.kind == Kind::AlreadyExists => Creating::Exclusive,
            Err(error) if is_unknown_to_the_store(&error) => Creating::Ignored,
            Err(error) => return Err(error),
        };
        let upload = self.begin(scratch).await?;
        self.abort(&upload).await?;
        let deletes = match self.delete(std::slice::from_ref(scratch)).await {
            Ok(()) => true,
            Err(error) if error.kind == Kind::Denied => false,
            Err(error) => return Err(error),
        };
        Ok(Found { creating: self.creating, deletes })
    }

    /// Whether the bucket is there and can be listed.
    pub async fn reach(&self, prefix: &Key) -> Result<()> {
        let listing = Listing { prefix: prefix.clone(), depth: Depth::Children, after: None, limit: 1 };
        self.list(&listing).await.map(drop)
    }
}

/// Some stores say openly that they do not know a condition.
pub(super) fn is_unknown_to_the_store(error: &Error) -> bool {
    let source = error.source.as_deref().map(|source| source as &(dyn std::error::Error + 'static));
    let answer = source.and_then(failure::find).and_then(Failure::answer);
    answer.is_some_and(|answer| answer.status == 501 || answer.code == "NotImplemented")
}
