//! Passwords (RFC 7617) against a file in the form of Apache's htpasswd, bcrypt hashes only.
//!
//! A hash takes tens of milliseconds on purpose. So it is computed off the request threads, a few at a time, and a
//! password that was right is remembered for a short while, as a keyed hash that is of no use to anybody else.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    auth::{
        access::Access,
        challenge::{Reason, Refusal, clip},
        grant::Grant,
    },
    clock::Clock,
    secret::Secret,
};

pub mod file;
mod recent;

use self::{
    file::{InvalidFile, Passwords, UnknownHash},
    recent::Recent,
};

/// How many hashes are computed at the same time, at most.
const CHECKS_MAX: usize = 4;
/// How many passwords wait for that, at most: a few seconds' work. Whoever floods us with wrong ones is told to come
/// back, and those whose password was right a moment ago do not wait here.
const WAITING_MAX: usize = 64;
/// Longest `Authorization` value that is looked at, in bytes.
const CREDENTIALS_LEN_MAX: usize = 4 << 10;

/// `auth.htpasswd`
#[derive(Clone, Debug)]
pub struct Settings {
    pub realm: String,
    pub path: PathBuf,
}

/// Something that the operator should read once.
#[derive(Debug)]
pub enum Notice {
    /// There was no file: one was made, with this user and password.
    Created { path: PathBuf, user: String, password: Secret<String> },
    /// This user cannot log in: the hash is not bcrypt.
    NotBcrypt { path: PathBuf, line: usize, user: String },
}

/// A password file that is read again whenever it changes.
#[derive(Debug)]
pub struct PasswordFile {
    settings: Settings,
    clock: Arc<dyn Clock>,
    current: Mutex<Option<Version>>,
    recent: Recent,
    /// Places to wait in.
    waiting: Semaphore,
    checks: Arc<Semaphore>,
}

/// The file's content as it was at one time.
#[derive(Clone, Debug)]
struct Version {
    modified: SystemTime,
    size: u64,
    passwords: Arc<Passwords>,
}

impl PasswordFile {
    /// Reads the file, or makes it with one user and a random password where there is none.
    pub fn load(settings: Settings, clock: Arc<dyn Clock>) -> Result<(Self, Vec<Notice>), InvalidFile> {
        let path = &settings.path;
        let created = file::create_if_missing(path)?;
        let (version, unknown) = Version::read(path)?;
        let created = created.map(|(user, password)| Notice::Created { path: path.clone(), user, password });
        let unknown =
            unknown.into_iter().map(|UnknownHash { line, user }| Notice::NotBcrypt { path: path.clone(), line, user });
        let notices = created.into_iter().chain(unknown).collect();
        let file = Self {
            settings,
            clock,
            current: Mutex::new(Some(version)),
            recent: Recent::default(),
            waiting: Semaphore::new(WAITING_MAX),
            checks: Arc::new(Semaphore::new(CHECKS_MAX)),
        };
        Ok((file, notices))
    }

    pub(super) async fn authorise(&self, authorization: Option<&[u8]>, access: &Access) -> Result<Grant, Refusal> {
        let refuse = |reason| Refusal::basic(&self.settings.realm, access, reason);
        let login = authorization.and_then(Login::parse).ok_or_else(|| refuse(Reason::PasswordRequired))?;
        let passwords = self.passwords().await.map_err(|error| refuse(Reason::PasswordFile(error.to_string())))?;
        let user = Arc::clone(&login.user);
        match self.check(login, passwords).await {
            Some(true) => Ok(Grant::unlimited(Some(user), access)),
            Some(false) => Err(refuse(Reason::WrongPassword { user: clip(&user) })),
            None => Err(refuse(Reason::Busy)),
        }
    }

    /// The file's content, read again if its time or size changed.
    async fn passwords(&self) -> Result<Arc<Passwords>, InvalidFile> {
        let path = &self.settings.path;
        let unreadable = |source| InvalidFile::Read { path: path.clone(), source };
        let metadata = tokio::fs::metadata(path).await.map_err(unreadable)?;
        let modified = metadata.modified().map_err(unreadable)?;
        let known = self.current.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(known) = known.filter(|known| known.modified == modified && known.size == metadata.len()) {
            return Ok(known.passwords);
        }
        let (version, unknown) = blocking({
            let path = path.clone();
            move || Version::read(&path)
        })
        .await?;
        for UnknownHash { line, user } in unknown {
            tracing::warn!(path = %path.display(), line, user, "this user cannot log in: the hash is not bcrypt");
        }
        let passwords = Arc::clone(&version.passwords);
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(version);
        Ok(passwords)
    }

    /// Whether the password is right; a user who does not exist takes as long as one who does. `None` when too many
    /// others wait to hear that.
    async fn check(&self, login: Login, passwords: Arc<Passwords>) -> Option<bool> {
        let hash = passwords.hash_of(&login.user).map(str::to_owned);
        let now = self.clock.now();
        let proof = hash.map(|hash| self.recent.proof(&login.user, login.password.expose(), &hash));
        if proof.is_some_and(|proof| self.recent.contains(&proof, now)) {
            return Some(true);
        }
        let permit = self.turn().await?;
        let right = blocking(move || {
            let _permit = permit;
            passwords.verify(&login.user, login.password.expose())
        })
        .await;
        if let Some(proof) = proof.filter(|_| right) {
            self.recent.insert(proof, now);
        }
        Some(right)
    }

    /// The right to compute a hash, for which a few may wait.
    async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(permit) = Arc::clone(&self.checks).try_acquire_owned() {
            return Some(permit);
        }
        let _place = self.waiting.try_acquire().ok()?;
        Arc::clone(&self.checks).acquire_owned().await.ok()
    }
}

impl Version {
    fn read(path: &Path) -> Result<(Self, Vec<UnknownHash>), InvalidFile> {
        let unreadable = |source| InvalidFile::Read { path: path.into(), source };
        // The time is taken first: what changes while we read is read again by the next request.
        let metadata = std::fs::metadata(path).map_err(unreadable)?;
        let modified = metadata.modified().map_err(unreadable)?;
        let (passwords, unknown) = Passwords::read(path)?;
        Ok((Self { modified, size: metadata.len(), passwords: Arc::new(passwords) }, unknown))
    }
}

/// Runs what takes long where it does not hold up requests. A panic in there goes on here.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Cancelled: the runtime is going down, and this future with it.
            Err(_) => std::future::pending().await,
        },
    }
}

/// A user name and a password as a client sent them.
struct Login {
    user: Arc<str>,
    password: Secret<Vec<u8>>,
}

impl Login {
    /// `Basic <base64 of user:password>`; the scheme's case does not matter.
    fn parse(authorization: &[u8]) -> Option<Self> {
        const SCHEME: &[u8] = b"basic ";
        let (scheme, encoded) = authorization.split_at_checked(SCHEME.len())?;
        if !scheme.eq_ignore_ascii_case(SCHEME) || encoded.len() > CREDENTIALS_LEN_MAX {
            return None;
        }
        let decoded = Secret::new(STANDARD.decode(encoded.trim_ascii()).ok()?);
        let colon = decoded.expose().iter().position(|byte| *byte == b':')?;
        let (user, password) = decoded.expose().split_at(colon);
        let user = std::str::from_utf8(user).ok().filter(|user| !user.is_empty())?;
        Some(Self { user: user.into(), password: Secret::new(password[1..].to_vec()) })
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt as _, time::Duration};

    use futures_util::future::{join, join_all};
    use time::OffsetDateTime;

    use super::*;
    use crate::clock::ManualClock;

    struct Fixture {
        file: PasswordFile,
        notices: Vec<Notice>,
        clock: Arc<ManualClock>,
        path: PathBuf,
        _directory: tempfile::TempDir,
    }

    /// Loads a file of this content; `None` leaves it missing.
    fn load(content: Option<&str>) -> Result<Fixture, InvalidFile> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("auth/htpasswd");
        if let Some(content) = content {
            std::fs::create_dir(path.parent().unwrap()).unwrap();
            std::fs::write(&path, content).unwrap();
        }
        let clock = Arc::new(ManualClock::new(OffsetDateTime::UNIX_EPOCH));
        let settings = Settings { realm: "R".to_owned(), path: path.clone() };
        let (file, notices) = PasswordFile::load(settings, Arc::clone(&clock) as _)?;
        Ok(Fixture { file, notices, clock, path, _directory: directory })
    }

    fn line(user: &str, password: &str) -> String {
        format!("{user}:{}\n", bcrypt::hash(password, 4).unwrap())
    }

    impl Fixture {
        async fn login(&self, user: &str, password: &str) -> Result<Grant, Refusal> {
            let header = format!("basic {}", STANDARD.encode(format!("{user}:{password}")));
            self.file.authorise(Some(header.as_bytes()), &Access::Catalog).await
        }
    }

    #[tokio::test]
    async fn passwords() {
        let fixture = load(Some(&(line("ann", "a:b") + &line("bob", "é") + "old:$apr1$x$y\n"))).unwrap();
        assert!(matches!(&fixture.notices[..], [Notice::NotBcrypt { line: 3, user, .. }] if user == "old"));
        for (user, password, legal) in [
            ("ann", "a:b", true),
            ("ann", "a:b", true),
            ("bob", "é", true),
            ("ann", "a", false),
            ("ann", "", false),
            ("Ann", "a:b", false),
            ("bob", "a:b", false),
            ("old", "$apr1$x$y", false),
            ("nobody", "", false),
        ] {
            let result = fixture.login(user, password).await;
            assert_eq!(result.is_ok(), legal, "{user} {password}");
            match result {
                Ok(grant) => assert_eq!(grant.identity().subject(), Some(user)),
                Err(refusal) => {
                    assert_eq!(refusal.challenge(), r#"Basic realm="R""#);
                    assert_eq!(refusal.reason(), &Reason::WrongPassword { user: user.to_owned() });
                }
            }
        }
    }

    #[tokio::test]
    async fn headers_that_hold_no_password() {
        let fixture = load(Some(&line("ann", "x"))).unwrap();
        let long = format!("Basic {}", "A".repeat(8 << 10));
        for header in
            [None, Some(""), Some("Basic"), Some("Basic %"), Some("Basic YW5u"), Some("Bearer YW5uOng="), Some(&long)]
        {
            let refusal = fixture.file.authorise(header.map(str::as_bytes), &Access::Base).await.unwrap_err();
            assert_eq!(refusal.reason(), &Reason::PasswordRequired, "{header:?}");
        }
        assert!(fixture.file.authorise(Some(b"BASIC YW5uOng="), &Access::Base).await.is_ok());
    }

    #[tokio::test]
    async fn a_change_of_the_file_counts_at_once() {
        let fixture = load(Some(&line("ann", "one"))).unwrap();
        assert!(fixture.login("ann", "one").await.is_ok());
        std::fs::write(&fixture.path, line("ann", "two") + "# a comment\n").unwrap();
        assert!(fixture.login("ann", "one").await.is_err());
        assert!(fixture.login("ann", "two").await.is_ok());
        std::fs::write(&fixture.path, "broken").unwrap();
        let refusal = fixture.login("ann", "two").await.unwrap_err();
        assert!(refusal.to_string().contains("htpasswd:1: not a line of the form user:hash"), "{refusal}");
        std::fs::remove_file(&fixture.path).unwrap();
        assert!(matches!(fixture.login("ann", "two").await.unwrap_err().reason(), Reason::PasswordFile(_)));
        std::fs::write(&fixture.path, line("ann", "three")).unwrap();
        assert!(fixture.login("ann", "three").await.is_ok());
    }

    #[tokio::test]
    async fn a_missing_file_is_made() {
        let fixture = load(None).unwrap();
        let [Notice::Created { user, password, path }] = &fixture.notices[..] else { panic!("{:?}", fixture.notices) };
        assert_eq!((user.as_str(), path), ("docker", &fixture.path));
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!format!("{:?}", fixture.notices).contains(password.expose().as_str()));
        assert!(fixture.login("docker", password.expose()).await.is_ok());
        assert!(fixture.login("docker", "").await.is_err());
    }

    #[tokio::test]
    async fn a_flood_of_passwords_is_turned_away() {
        let fixture = load(Some(&(line("ann", "one") + &line("bob", "two")))).unwrap();
        assert!(fixture.login("ann", "one").await.is_ok());
        let all = u32::try_from(CHECKS_MAX).unwrap();
        let busy = Arc::clone(&fixture.file.checks).acquire_many_owned(all).await.unwrap();
        let flood = async { join_all((0..WAITING_MAX + 10).map(|_| fixture.login("bob", "wrong"))).await };
        let others = async {
            while fixture.file.waiting.available_permits() > 0 {
                tokio::task::yield_now().await;
            }
            let late = fixture.login("bob", "two").await.unwrap_err();
            assert_eq!(late.reason(), &Reason::Busy);
            assert!(fixture.login("ann", "one").await.is_ok(), "a password that is remembered does not wait");
            drop(busy);
        };
        let (outcomes, ()) = join(flood, others).await;
        let reasons = outcomes.into_iter().map(|outcome| outcome.unwrap_err().reason().clone());
        let turned_away = reasons.filter(|reason| *reason == Reason::Busy).count();
        assert_eq!(turned_away, 10);
        assert!(fixture.login("bob", "two").await.is_ok());
    }

    #[test]
    fn a_damaged_file_is_named() {
        let error = load(Some("# fine\nno colon\n")).map(drop).unwrap_err();
        assert!(error.to_string().ends_with("htpasswd:2: not a line of the form user:hash"), "{error}");
    }

    #[tokio::test]
    async fn a_right_password_is_remembered_for_a_minute() {
        let fixture = load(Some(&line("ann", "one"))).unwrap();
        let passwords = fixture.file.passwords().await.unwrap();
        let proof = fixture.file.recent.proof("ann", b"one", passwords.hash_of("ann").unwrap());
        let known = || fixture.file.recent.contains(&proof, fixture.clock.now());
        assert!(!known());
        assert!(fixture.login("ann", "two").await.is_err());
        assert!(!known());
        assert!(fixture.login("ann", "one").await.is_ok());
        assert!(known());
        fixture.clock.advance(Duration::from_secs(59));
        assert!(known());
        fixture.clock.advance(Duration::from_secs(1));
        assert!(!known());
    }
}
