//! The file itself: `user:hash` lines, comments and blank lines.

use std::{
    collections::HashMap,
    fs,
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use uuid::Uuid;

use crate::secret::Secret;

/// Largest file, in bytes.
const SIZE_MAX: u64 = 16 << 20;
/// The cost of hashes that we make, and of the one that stands in for a user who does not exist.
const COST: u32 = 10;
/// The user of a file that we make: what distribution calls him.
const FIRST_USER: &str = "docker";

/// Why a password file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidFile {
    #[error("cannot read the password file {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot create the password file {}: {source}", path.display())]
    Create { path: PathBuf, source: io::Error },
    #[error("cannot hash a first password for {}: {reason}", path.display())]
    Hash { path: PathBuf, reason: String },
    /// `line` counts from 1.
    #[error("{}:{line}: not a line of the form user:hash", path.display())]
    Line { path: PathBuf, line: usize },
}

/// A line whose hash is none that we accept.
#[derive(Debug)]
pub(super) struct UnknownHash {
    pub(super) line: usize,
    pub(super) user: String,
}

/// Users and their bcrypt hashes.
#[derive(Clone)]
pub(super) struct Passwords {
    hashes: HashMap<String, String>,
    /// Costs as much as the most expensive of them, and fits no password.
    decoy: String,
}

impl std::fmt::Debug for Passwords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Passwords({} users)", self.hashes.len())
    }
}

impl Passwords {
    pub(super) fn read(path: &Path) -> Result<(Self, Vec<UnknownHash>), InvalidFile> {
        let unreadable = |source| InvalidFile::Read { path: path.into(), source };
        let mut text = String::new();
        fs::File::open(path).map_err(unreadable)?.take(SIZE_MAX + 1).read_to_string(&mut text).map_err(unreadable)?;
        if text.len() as u64 > SIZE_MAX {
            return Err(unreadable(io::Error::other(format!("more than {SIZE_MAX} bytes"))));
        }
        Self::parse(&text).map_err(|line| InvalidFile::Line { path: path.into(), line })
    }

    /// The error is the number of the line that is none.
    fn parse(text: &str) -> Result<(Self, Vec<UnknownHash>), usize> {
        let (mut hashes, mut unknown) = (HashMap::new(), Vec::new());
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (user, hash) = line.split_once(':').filter(|(user, _)| !user.is_empty()).ok_or(at + 1)?;
            if cost_of(hash).is_some() {
                hashes.insert(user.to_owned(), hash.to_owned());
            } else {
                // A user's last line counts, as it does for Apache's successors: an old hash does not come back.
                hashes.remove(user);
                unknown.push(UnknownHash { line: at + 1, user: user.to_owned() });
            }
        }
        let cost = hashes.values().filter_map(|hash| cost_of(hash)).max().unwrap_or(COST);
        Ok((Self { hashes, decoy: format!("$2b${cost:02}${}", ".".repeat(53)) }, unknown))
    }

    pub(super) fn hash_of(&self, user: &str) -> Option<&str> {
        self.hashes.get(user).map(String::as_str)
    }

    /// Takes as long as bcrypt takes, also for a user who does not exist.
    pub(super) fn verify(&self, user: &str, password: &[u8]) -> bool {
        let known = self.hash_of(user);
        let fits = bcrypt::verify(password, known.unwrap_or(&self.decoy)).unwrap_or(false);
        fits && known.is_some()
    }
}

/// The cost in `$2a$CC$…`, `$2b$CC$…` or `$2y$CC$…`, for a hash of the full length.
fn cost_of(hash: &str) -> Option<u32> {
    let rest = ["$2a$", "$2b$", "$2y$"].iter().find_map(|prefix| hash.strip_prefix(prefix))?;
    let (cost, digest) = rest.split_once('$')?;
    let cost = cost.parse().ok().filter(|cost| (4..=31).contains(cost) && rest.len() == 56)?;
    digest.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"./".contains(&byte)).then_some(cost)
}

/// Makes a file, for our eyes only, with one user and a random password: those are returned. Nothing happens where
/// there is a file.
pub(super) fn create_if_missing(path: &Path) -> Result<Option<(String, Secret<String>)>, InvalidFile> {
    let failed = |source| InvalidFile::Create { path: path.into(), source };
    if path.try_exists().map_err(failed)? {
        return Ok(None);
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(failed)?;
    }
    // Two random UUIDs hold 244 bits from the system's generator.
    let random = [Uuid::new_v4().into_bytes(), Uuid::new_v4().into_bytes()].concat();
    let password = Secret::new(URL_SAFE_NO_PAD.encode(random));
    let hash = bcrypt::hash(password.expose(), COST)
        .map_err(|error| InvalidFile::Hash { path: path.into(), reason: error.to_string() })?;
    let mut file = match fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
        file => file.map_err(failed)?,
    };
    file.write_all(format!("{FIRST_USER}:{hash}\n").as_bytes()).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    Ok(Some((FIRST_USER.to_owned(), password)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$2y$04$ABCDEFGHIJKLMNOPQRSTUuVwXyZ0123456789abcdefghijklmnop";

    fn check(text: &str, expected: Result<(&[&str], &[usize]), usize>) {
        let parsed = Passwords::parse(text).map(|(passwords, unknown)| {
            let mut users: Vec<String> = passwords.hashes.into_keys().collect();
            users.sort();
            (users, unknown.iter().map(|unknown| unknown.line).collect::<Vec<_>>())
        });
        let expected = expected.map(|(users, lines)| (users.iter().map(ToString::to_string).collect(), lines.to_vec()));
        assert_eq!(parsed, expected, "{text}");
    }

    #[test]
    fn lines() {
        assert_eq!(HASH.len(), 60);
        check("", Ok((&[], &[])));
        check(&format!("# who\n\n  \na:{HASH}\r\n b:{HASH} \n"), Ok((&["a", "b"], &[])));
        check(&format!("a:{HASH}\nb:$apr1$x$y\nc:{{SHA}}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\nd:rqXexS6ZhobKA"), {
            Ok((&["a"], &[2, 3, 4]))
        });
        check(&format!("a:{HASH}\na:plain"), Ok((&[], &[2])));
        check(&format!("a:{}", &HASH[..59]), Ok((&[], &[1])));
        check(&format!("a:{}", HASH.replace("$04$", "$99$")), Ok((&[], &[1])));
        check(&format!("a:{HASH}\nno colon"), Err(2));
        check(&format!(":{HASH}"), Err(1));
    }

    #[test]
    fn the_decoy_is_a_hash_that_costs_the_most() {
        let (passwords, _) = Passwords::parse(&format!("a:{HASH}\nb:{}", HASH.replace("$04$", "$05$"))).unwrap();
        assert_eq!(cost_of(&passwords.decoy), Some(5));
        // An error would be quick, and tell who exists.
        assert!(!bcrypt::verify("x", &passwords.decoy).unwrap());
        assert!(!passwords.verify("nobody", b"x"));
    }
}
