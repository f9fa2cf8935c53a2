//! Files that are written under a name of their own and appear under their key at once, whole and durable.

use std::{ops::Range, os::fd::OwnedFd};

use bytes::Bytes;
use rustix::{
    fs::{AtFlags, RenameFlags, copy_file_range, fsync, linkat, renameat, renameat_with, unlinkat},
    io::{Errno, pread, pwrite},
};
use uuid::Uuid;

use crate::store::{
    Precondition,
    filesystem::{failure::Failure, tree::Tree, write::write_at},
    key::Key,
};

/// Most bytes that one call is asked to copy inside the kernel.
const COPY_MAX: u64 = 1 << 30;

/// Bytes in flight where the kernel cannot copy by itself.
const COPY_BUFFER_LEN: u64 = 1 << 20;

/// A temporary file next to the name that it is going to have. It is removed when dropped before that.
///
/// Crash safety: the content is durable (`fsync` of the file) before the name points to it (`rename` or `link`, which
/// are atomic), and the name is durable (`fsync` of the directory) before success is told. A crash in between leaves
/// the old object or the new one, and perhaps a `.tmp` that [`crate::store::Store::pending`] reports.
#[derive(Debug)]
pub(super) struct Draft {
    directory: OwnedFd,
    name: String,
    temporary: String,
    file: OwnedFd,
}

impl Draft {
    pub(super) fn create(tree: &Tree, key: &Key) -> Result<Self, Failure> {
        let (directory, (name, temporary, file)) = tree.in_parent(key, |directory, name| {
            let temporary = temporary(name);
            let file = tree.create(directory, &temporary)?;
            Ok((name.to_owned(), temporary, file))
        })?;
        Ok(Self { directory, name, temporary, file })
    }

    pub(super) fn write(&self, content: &[Bytes]) -> Result<(), Failure> {
        Ok(write_at(&self.file, content, 0)?)
    }

    /// Copies the first `length` bytes of another file to an offset of this one.
    pub(super) fn copy(&self, from: &OwnedFd, length: u64, offset: u64) -> Result<(), Failure> {
        copy(from, &self.file, length, offset)
    }

    pub(super) fn publish(self, precondition: Precondition) -> Result<(), Failure> {
        // A failed fsync is final: the kernel may have dropped the pages and would tell a second caller that all is
        // well. The temporary file goes, and with it this descriptor. After a good one, close has nothing to report.
        fsync(&self.file)?;
        match precondition {
            Precondition::Always => renameat(&self.directory, &self.temporary, &self.directory, &self.name)?,
            Precondition::Absent => {
                name_once(&self.directory, &self.temporary, &self.name)?;
                unlink(&self.directory, &self.temporary)?;
            }
        }
        Ok(fsync(&self.directory)?)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Best effort, and mostly in vain: a published draft has lost this name already, and no other can have it.
        let _ = unlink(&self.directory, &self.temporary);
    }
}

/// A name for a temporary file next to `name`, spelled as distribution spells its own.
pub(super) fn temporary(name: &str) -> String {
    format!("{name}.{}.tmp", Uuid::new_v4())
}

/// Removes a name; one that is gone is success.
pub(super) fn unlink(directory: &OwnedFd, name: &str) -> Result<(), Failure> {
    match unlinkat(directory, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Gives a file a second name that nothing has, where possible, or moves it there.
fn name_once(directory: &OwnedFd, from: &str, to: &str) -> Result<(), Failure> {
    match linkat(directory, from, directory, to, AtFlags::empty()) {
        Err(errno) if is_link_refused(errno) => {
            Ok(renameat_with(directory, from, directory, to, RenameFlags::NOREPLACE)?)
        }
        other => Ok(other?),
    }
}

/// Whether a file system cannot link (or not once more, or not from there), as opposed to having failed.
pub(super) const fn is_link_refused(errno: Errno) -> bool {
    matches!(errno, Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::XDEV | Errno::MLINK)
}

fn copy(from: &OwnedFd, to: &OwnedFd, length: u64, offset: u64) -> Result<(), Failure> {
    let (mut position, mut target) = (0, offset);
    while position < length {
        let ask = usize::try_from((length - position).min(COPY_MAX)).unwrap_or(usize::MAX);
        // The call moves both offsets on.
        match copy_file_range(from, Some(&mut position), to, Some(&mut target), ask) {
            Ok(0) => return Err(ended_early()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL | Errno::PERM) => {
                return copy_through_memory(from, to, position..length, target);
            }
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

fn copy_through_memory(from: &OwnedFd, to: &OwnedFd, range: Range<u64>, mut target: u64) -> Result<(), Failure> {
    let mut buffer = vec![0; usize::try_from(COPY_BUFFER_LEN.min(range.end - range.start)).unwrap_or(1)];
    let mut position = range.start;
    while position < range.end {
        let ask = usize::try_from(range.end - position).map_or(buffer.len(), |left| left.min(buffer.len()));
        let read = pread(from, &mut buffer[..ask], position)?;
        if read == 0 {
            return Err(ended_early());
        }
        let mut written = 0;
        while written < read {
            written += pwrite(to, &buffer[written..read], target + written as u64)?;
        }
        position += read as u64;
        target += read as u64;
    }
    Ok(())
}

fn ended_early() -> Failure {
    Failure::corrupt("it ends before its last byte")
}

#[cfg(test)]
mod tests {
    use std::{fs, fs::File};

    use super::*;

    #[test]
    fn both_ways_of_copying_agree() {
        let directory = tempfile::tempdir().unwrap();
        let content: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
        let source = directory.path().join("source");
        fs::write(&source, &content).unwrap();
        let from = OwnedFd::from(File::open(&source).unwrap());
        let length = content.len() as u64;
        for (name, through_memory) in [("kernel", false), ("memory", true)] {
            let path = directory.path().join(name);
            let to = OwnedFd::from(File::create(&path).unwrap());
            if through_memory {
                copy_through_memory(&from, &to, 0..length, 5).unwrap();
            } else {
                copy(&from, &to, length, 5).unwrap();
            }
            let copied = fs::read(&path).unwrap();
            assert_eq!(copied[..5], [0; 5], "{name}");
            assert!(copied[5..] == content, "{name}");
        }
        assert!(copy(&from, &OwnedFd::from(File::create(directory.path().join("x")).unwrap()), length + 1, 0).is_err());
    }
}
