//! What the kernel says, in the words of [`crate::store::error`].

use std::error;

use rustix::io::Errno;

use crate::store::error::{Error, Kind, Operation};

/// A failure before it is known on behalf of which operation and key it happened.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) kind: Kind,
    source: Option<Box<dyn error::Error + Send + Sync>>,
}

impl Failure {
    pub(super) fn corrupt(what: &'static str) -> Self {
        Self { kind: Kind::Corrupt, source: Some(what.into()) }
    }

    pub(super) fn unavailable(source: impl Into<Box<dyn error::Error + Send + Sync>>) -> Self {
        Self { kind: Kind::Unavailable, source: Some(source.into()) }
    }

    pub(super) const fn is_not_found(&self) -> bool {
        matches!(self.kind, Kind::NotFound)
    }

    pub(super) fn during(self, operation: Operation, key: &str) -> Error {
        let error = Error::new(operation, key, self.kind);
        match self.source {
            Some(source) => error.with_source(source),
            None => error,
        }
    }
}

impl From<Kind> for Failure {
    fn from(kind: Kind) -> Self {
        Self { kind, source: None }
    }
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self { kind: kind(errno), source: Some(errno.into()) }
    }
}

const fn kind(errno: Errno) -> Kind {
    match errno {
        Errno::NOENT => Kind::NotFound,
        Errno::EXIST => Kind::AlreadyExists,
        Errno::NOSPC | Errno::DQUOT | Errno::FBIG => Kind::Full,
        Errno::ACCESS | Errno::PERM | Errno::ROFS | Errno::NAMETOOLONG => Kind::Denied,
        // A symlink, a file in a directory's place, a directory in a file's place: nobody here wrote that.
        Errno::LOOP | Errno::NOTDIR | Errno::ISDIR | Errno::NOTEMPTY => Kind::Corrupt,
        _ => Kind::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds() {
        for (errno, expected) in [
            (Errno::NOENT, Kind::NotFound),
            (Errno::EXIST, Kind::AlreadyExists),
            (Errno::NOSPC, Kind::Full),
            (Errno::DQUOT, Kind::Full),
            (Errno::ROFS, Kind::Denied),
            (Errno::ACCESS, Kind::Denied),
            (Errno::LOOP, Kind::Corrupt),
            (Errno::IO, Kind::Unavailable),
            (Errno::MFILE, Kind::Unavailable),
        ] {
            let error = Failure::from(errno).during(Operation::Put, "a/b");
            assert_eq!(error.kind, expected, "{errno}");
            assert_eq!(error.to_string(), format!("put a/b: {expected}"));
            assert!(error::Error::source(&error).is_some(), "{errno}: the cause is kept");
        }
    }
}
