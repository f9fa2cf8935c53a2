//! A certificate authority and a server certificate for the machine at hand, made on first start and kept.
//!
//! Only for trying things out: the authority's key lies beside its certificate. Whoever trusts the authority trusts
//! everyone who can read that directory.

use std::{
    fs, io,
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};

use crate::{
    clock::Clock,
    tls::{
        judge::Warning,
        pem::{self, Pair, Strictness},
    },
};

/// The longest life that the strictest clients accept of a certificate made by a private authority is 825 days.
const AUTHORITY_LIFETIME: Duration = Duration::days(800);
const SERVER_LIFETIME: Duration = Duration::days(397);
/// Made again when less than this is left, so that it does not end while in use.
const RENEWAL: Duration = Duration::days(7);
/// Clocks of clients may be behind ours.
const BACKDATED: Duration = Duration::hours(1);

/// Names that every development certificate is for.
const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Where the files are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Paths {
    /// What clients have to trust.
    pub authority: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
    authority_key: PathBuf,
}

impl Paths {
    fn below(directory: &Path) -> Self {
        Self {
            // In a directory of its own, for clients that take one whole (`--cert-dir`).
            authority: directory.join("trust/ca.crt"),
            certificate: directory.join("server.crt"),
            key: directory.join("server.key"),
            authority_key: directory.join("ca.key"),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("development certificates in {path}: {source}", path = path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("development certificates cannot be made: {0}")]
    Certificate(#[from] rcgen::Error),
}

/// Makes what is missing or about to expire below `directory` and says where it is. The certificate is for
/// `localhost`, both loopback addresses and `names` (DNS names or addresses). Several processes may call this at once.
pub fn ensure(directory: &Path, names: &[String], clock: &dyn Clock) -> Result<Paths, Error> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Io { path, source }
    };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(at(directory))?;
    fs::DirBuilder::new().recursive(true).create(directory.join("trust")).map_err(at(directory))?;
    let lock = fs::File::open(directory).map_err(at(directory))?;
    // Released when `lock` is closed: two processes must not mix the certificate of one with the key of the other.
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).map_err(|error| at(directory)(error.into()))?;

    let (paths, now) = (Paths::below(directory), clock.now());
    let wanted = wanted_names(names);
    let authority = usable(&paths.authority, &paths.authority_key, now);
    let server = usable(&paths.certificate, &paths.key, now);
    if authority.is_some() && server.is_some_and(|pair| wanted.iter().all(|name| pair.names().contains(name))) {
        return Ok(paths);
    }
    let authority_key = match authority {
        Some(_) => KeyPair::from_pem(&fs::read_to_string(&paths.authority_key).map_err(at(&paths.authority_key))?)?,
        None => make_authority(&paths, now)?,
    };
    make_server(&paths, wanted, authority_key, now)?;
    Ok(paths)
}

fn wanted_names(names: &[String]) -> Vec<String> {
    let mut wanted: Vec<_> = LOCAL_NAMES.iter().map(|&name| name.to_owned()).collect();
    for name in names {
        if !wanted.contains(name) {
            wanted.push(name.clone());
        }
    }
    wanted
}

fn usable(certificate: &Path, key: &Path, now: OffsetDateTime) -> Option<Pair> {
    let pair = pem::load(certificate, key, Strictness::Lenient, now).ok()?;
    // The authority's certificate is none of a server.
    let sound = pair.warnings().iter().all(|warning| *warning == Warning::NoNames);
    (sound && pair.expires() - now > RENEWAL).then_some(pair)
}

/// The authority is recognised by its name and key alone, so its parameters can be built again to sign with.
fn authority_params(now: OffsetDateTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = distinguished_name("Pierhead development CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = now - BACKDATED;
    params.not_after = now + AUTHORITY_LIFETIME;
    params
}

fn make_authority(paths: &Paths, now: OffsetDateTime) -> Result<KeyPair, Error> {
    let key = KeyPair::generate()?;
    let certificate = authority_params(now).self_signed(&key)?;
    write(&paths.authority_key, &key.serialize_pem(), 0o600)?;
    write(&paths.authority, &certificate.pem(), 0o644)?;
    Ok(key)
}

fn make_server(paths: &Paths, names: Vec<String>, authority_key: KeyPair, now: OffsetDateTime) -> Result<(), Error> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = distinguished_name("Pierhead development server");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    params.not_before = now - BACKDATED;
    params.not_after = now + SERVER_LIFETIME;
    let issuer = Issuer::new(authority_params(now), authority_key);
    let certificate = params.signed_by(&key, &issuer)?;
    write(&paths.key, &key.serialize_pem(), 0o600)?;
    write(&paths.certificate, &certificate.pem(), 0o644)
}

fn distinguished_name(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

/// Replaces the file as a whole: a crash leaves the old one or the new one.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), Error> {
    let partial = path.with_extension("partial");
    let write = || {
        match fs::remove_file(&partial) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&partial)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&partial, path)
    };
    write().map_err(|source| Error::Io { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn files_are_made_once_and_again_when_needed() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path().join("dev");
        let clock = ManualClock::new(OffsetDateTime::now_utc());
        let read = |paths: &Paths| (fs::read(&paths.authority).unwrap(), fs::read(&paths.certificate).unwrap());
        let names = ["registry.test".to_owned(), "192.0.2.7".to_owned()];

        let paths = ensure(&directory, &[], &clock).unwrap();
        let first = read(&paths);
        for (path, expected) in [(&paths.key, 0o600), (&paths.authority_key, 0o600), (&paths.authority, 0o644)] {
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, expected, "{}", path.display());
        }
        assert_eq!(read(&ensure(&directory, &[], &clock).unwrap()), first);

        let extended = read(&ensure(&directory, &names, &clock).unwrap());
        assert!(extended.0 == first.0 && extended.1 != first.1);
        let pair = pem::load(&paths.certificate, &paths.key, Strictness::Strict, clock.now()).unwrap();
        assert_eq!(pair.names(), ["localhost", "127.0.0.1", "::1", "registry.test", "192.0.2.7"]);
        // A certificate for more names than are wanted is good enough.
        assert_eq!(read(&ensure(&directory, &[], &clock).unwrap()), extended);

        clock.advance(std::time::Duration::from_hours(24 * 395));
        let renewed = read(&ensure(&directory, &names, &clock).unwrap());
        assert!(renewed.0 == first.0 && renewed.1 != extended.1);
        clock.advance(std::time::Duration::from_hours(24 * 800));
        assert_ne!(read(&ensure(&directory, &names, &clock).unwrap()).0, first.0);

        fs::write(&paths.certificate, "half a fi").unwrap();
        ensure(&directory, &names, &clock).unwrap();
        assert!(pem::load(&paths.certificate, &paths.key, Strictness::Strict, clock.now()).is_ok());
    }
}
