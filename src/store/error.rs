//! What can go wrong in a store, in the words that callers branch on.

use std::{error, fmt};

/// A failed operation: what was tried, on which key, how it ended and why.
#[derive(Debug)]
pub struct Error {
    pub operation: Operation,
    pub key: String,
    pub kind: Kind,
    pub source: Option<Box<dyn error::Error + Send + Sync>>,
}

/// The verbs of [`crate::store::Store`], as metrics and logs name them.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Operation {
    Head,
    Get,
    Put,
    Delete,
    List,
    Begin,
    PutPart,
    Flush,
    Complete,
    Abort,
    Pending,
    Promote,
    /// [`crate::store::locate::Locate::locate`]
    Locate,
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Kind {
    /// No object has this key.
    NotFound,
    /// Something stands where nothing may ([`crate::store::Precondition::Absent`]).
    AlreadyExists,
    /// The upload in parts was ended or never begun.
    UploadGone,
    /// The range does not lie within the object.
    Range,
    /// The store refuses us: credentials, permissions, a read-only medium.
    Denied,
    /// No space or quota is left.
    Full,
    /// The store asks us to slow down.
    Throttled,
    /// The store cannot be reached or is failing.
    Unavailable,
    /// What is stored cannot be what was written.
    Corrupt,
}

impl Error {
    #[must_use]
    pub fn new(operation: Operation, key: impl fmt::Display, kind: Kind) -> Self {
        Self { operation, key: key.to_string(), kind, source: None }
    }

    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Whether the same call may succeed a little later.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self.kind, Kind::Throttled | Kind::Unavailable)
    }

    #[must_use]
    pub const fn is_not_found(&self) -> bool {
        matches!(self.kind, Kind::NotFound)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.operation, self.key, self.kind)
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.source.as_ref().map(|source| &**source as &(dyn error::Error + 'static))
    }
}

impl Operation {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Get => "get",
            Self::Put => "put",
            Self::Delete => "delete",
            Self::List => "list",
            Self::Begin => "begin",
            Self::PutPart => "put_part",
            Self::Flush => "flush",
            Self::Complete => "complete",
            Self::Abort => "abort",
            Self::Pending => "pending",
            Self::Promote => "promote",
            Self::Locate => "locate",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFound => "not found",
            Self::AlreadyExists => "already exists",
            Self::UploadGone => "the upload is gone",
            Self::Range => "the range does not lie within the object",
            Self::Denied => "access denied",
            Self::Full => "no space left",
            Self::Throttled => "asked to slow down",
            Self::Unavailable => "unavailable",
            Self::Corrupt => "corrupt",
        })
    }
}
