//! `keys`: files of the pair that tokens are signed and checked with.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{ErrorKind, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::{
    auth::pair::{self, Comparison, Names},
    clock::{Clock as _, SystemClock},
    secret::Secret,
};

/// Largest file that is read, in bytes.
const FILE_SIZE_MAX: u64 = 4 << 20;

/// A pair to be made.
#[derive(Clone, Debug)]
pub struct Wish {
    pub bits: u32,
    /// How long the certificate is valid.
    pub days: u32,
    /// The certificate's common name.
    pub name: String,
}

/// What is done with files that are there already.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Existing {
    Keep,
    Replace,
}

/// Where a pair lies.
#[derive(Debug)]
pub struct Written {
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub names: Names,
}

/// Makes a pair below `directory`, under the names that GitLab has for its files.
///
/// # Errors
/// A file that is there and is to be kept; what cannot be made or written.
pub fn generate(directory: &Path, wish: &Wish, existing: Existing) -> Result<Written> {
    let (certificate, key) = (directory.join("gitlab-registry.crt"), directory.join("gitlab-registry.key"));
    for path in [&certificate, &key] {
        if existing == Existing::Keep && path.symlink_metadata().is_ok() {
            bail!(
                "{} is there already; --force replaces the pair, and tokens of the old key are refused",
                path.display()
            );
        }
    }
    let pair = pair::make(wish.bits, wish.days, &wish.name, SystemClock.now())?;
    let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.with_context(|| format!("cannot make {}", directory.display()))?;
    write(&key, pair.key.expose(), 0o600, existing)?;
    write(&certificate, &pair.certificate, 0o644, existing)?;
    Ok(Written { certificate, key, names: pair.names })
}

/// Writes the file as a whole, beside its place first: a crash leaves the old one or the new one.
fn write(path: &Path, text: &str, mode: u32, existing: Existing) -> Result<()> {
    let partial = path.with_extension(format!("partial.{}", std::process::id()));
    let write = || {
        match fs::remove_file(&partial) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&partial)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        match existing {
            Existing::Replace => fs::rename(&partial, path),
            // Unlike a rename this fails where somebody else was faster.
            Existing::Keep => fs::hard_link(&partial, path).and_then(|()| fs::remove_file(&partial)),
        }
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// Compares a certificate, or a bundle, with a key.
///
/// # Errors
/// What cannot be read, naming the file.
pub fn compare(bundle: &Path, key: &Path) -> Result<Comparison> {
    let (bundle_text, key_text) = (read(bundle)?, read(key)?);
    pair::compare(bundle_text.expose(), key_text.expose())
        .with_context(|| format!("{} and {}", bundle.display(), key.display()))
}

fn read(path: &Path) -> Result<Secret<Vec<u8>>> {
    let mut content = Vec::new();
    File::open(path)
        .and_then(|file| file.take(FILE_SIZE_MAX + 1).read_to_end(&mut content))
        .with_context(|| format!("cannot read {}", path.display()))?;
    if content.len() as u64 > FILE_SIZE_MAX {
        bail!("{}: larger than {FILE_SIZE_MAX} bytes", path.display());
    }
    Ok(Secret::new(content))
}
