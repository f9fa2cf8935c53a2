//! Answers to HTTP-01 as files, for another server that holds port 80 (`wwwroot`).

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use uuid::Uuid;

use crate::acme::answers::is_token;

/// Below the root (RFC 8555 section 8.3).
const PLACE: &str = ".well-known/acme-challenge";

/// Writes the file of a token. Everybody may read it: another server is to serve it.
pub(super) fn write(root: &Path, token: &str, text: &str) -> io::Result<()> {
    let path = path(root, token)?;
    let directory = path.parent().unwrap_or(root);
    fs::create_dir_all(directory)?;
    let partial = directory.join(format!(".{}.partial", Uuid::new_v4()));
    let written = fs::write(&partial, text).and_then(|()| fs::rename(&partial, &path));
    if written.is_err() {
        // It never got its name, and may never have been.
        let _ = fs::remove_file(&partial);
    }
    written
}

/// Removes the file of a token; one that is gone is success.
pub(super) fn remove(root: &Path, token: &str) -> io::Result<()> {
    match fs::remove_file(path(root, token)?) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// An authority that sends something else than a token would choose the file.
fn path(root: &Path, token: &str) -> io::Result<PathBuf> {
    if !is_token(token) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the authority's token is not one"));
    }
    Ok(root.join(PLACE).join(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_and_go() {
        let root = tempfile::tempdir().unwrap();
        let token = "abcdefghijklmnopqrstuv";
        write(root.path(), token, "text").unwrap();
        write(root.path(), token, "text again").unwrap();
        let directory = root.path().join(PLACE);
        assert_eq!(fs::read_to_string(directory.join(token)).unwrap(), "text again");
        remove(root.path(), token).unwrap();
        remove(root.path(), token).unwrap();
        assert_eq!(fs::read_dir(directory).unwrap().count(), 0);
    }

    #[test]
    fn nothing_is_written_elsewhere() {
        let base = tempfile::tempdir().unwrap();
        let root = base.path().join("a/b");
        for token in
            ["../../../../escaped-from-the-root", "/absolute/path/of/some/kind", "..", "a\0bcdefghijklmnopqrstuv", ""]
        {
            assert!(write(&root, token, "x").is_err(), "{token:?}");
            assert!(remove(&root, token).is_err(), "{token:?}");
        }
        assert_eq!(fs::read_dir(base.path()).unwrap().count(), 0);
    }
}
