//! Directories below the root, and how a key finds its file without ever leaving it.
//!
//! Every path is resolved by the kernel relative to the root's descriptor and without following any symbolic link, so
//! neither a key nor something planted in the tree leads outside. Only the root itself may be reached through one.

use std::{os::fd::OwnedFd, path::Path};

use rustix::{
    fs::{
        AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, fstatfs, fsync, mkdirat, openat, openat2,
        unlinkat,
    },
    io::Errno,
};
use time::{Duration, OffsetDateTime};

use crate::store::{Meta, error::Kind, filesystem::failure::Failure, key::Key};

/// Who may read what is made; the process's umask takes its bits from it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Modes {
    directory: Mode,
    file: Mode,
}

impl Modes {
    /// As the umask says.
    pub(super) const SHARED: Self = Self { directory: Mode::from_raw_mode(0o777), file: Mode::from_raw_mode(0o666) };

    /// The owner alone.
    pub(super) const PRIVATE: Self = Self { directory: Mode::from_raw_mode(0o700), file: Mode::from_raw_mode(0o600) };
}

/// How every path below the root is opened, and how its segments are looked up.
const FLAGS: OFlags = OFlags::CLOEXEC.union(OFlags::NOCTTY);
const RESOLVE: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS);

/// Non-blocking, because opening a FIFO would otherwise wait for its other end. A regular file does not care.
const TO_READ: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK);

/// How often a parent directory is made again after a concurrent delete pruned it.
const PARENT_ATTEMPTS_MAX: u32 = 64;

/// The directory that all keys are relative to.
#[derive(Debug)]
pub(super) struct Tree {
    root: OwnedFd,
    modes: Modes,
    medium: Medium,
}

/// Whether opening a file that the kernel knows may wait for anything.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Medium {
    /// A file system of this machine's own disks and memory.
    Local,
    /// One that may ask another machine or program each time: NFS, FUSE, whatever is not known.
    Other,
}

impl Medium {
    /// By their numbers in linux/magic.h.
    const LOCAL: &[u32] = &[
        0xef53,      // ext2 to ext4
        0x5846_5342, // XFS
        0x9123_683e, // Btrfs
        0xf2f5_2010, // F2FS
        0xca45_1a4e, // bcachefs
        0x2fc1_2fc1, // ZFS
        0x0102_1994, // tmpfs
    ];

    fn of(directory: &OwnedFd) -> Self {
        let known = fstatfs(directory).is_ok_and(|found| {
            Self::LOCAL.iter().any(|kind| i128::from(*kind) == i128::from(found.f_type) & 0xffff_ffff)
        });
        if known { Self::Local } else { Self::Other }
    }
}

impl Tree {
    pub(super) fn open(path: &Path, modes: Modes) -> Result<Self, Errno> {
        let root = openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let medium = Medium::of(&root);
        Ok(Self { root, modes, medium })
    }

    /// An existing directory by its path from the root, `.` for the root itself.
    pub(super) fn directory(&self, path: &str) -> Result<OwnedFd, Failure> {
        match self.beneath(path, OFlags::RDONLY | OFlags::DIRECTORY) {
            // A file where a directory is asked for: nothing lies below it. And no file has a name that none can have.
            Err(Errno::NOTDIR | Errno::NAMETOOLONG) => Err(Kind::NotFound.into()),
            other => Ok(other?),
        }
    }

    /// A key's file, for reading, and what it is.
    pub(super) fn object(&self, key: &Key) -> Result<(OwnedFd, Stat), Failure> {
        object(self.beneath(key.as_str(), TO_READ))
    }

    /// The same where the kernel has the whole path in its cache and its file system is one of this machine, else nothing:
    /// it never waits. Kernels before 5.12 do not know the question.
    pub(super) fn object_at_hand(&self, key: &Key) -> Option<Result<(OwnedFd, Stat), Failure>> {
        if self.medium == Medium::Other {
            return None;
        }
        // What is mounted below the root may be anything.
        let resolve = RESOLVE | ResolveFlags::CACHED | ResolveFlags::NO_XDEV;
        match openat2(&self.root, key.as_str(), TO_READ | FLAGS, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::PERM) => None,
            opened => Some(object(opened)),
        }
    }

    /// Makes a file that was not there.
    pub(super) fn create(&self, directory: &OwnedFd, name: &str) -> Result<OwnedFd, Failure> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(openat(directory, name, flags, self.modes.file)?)
    }

    /// Runs `act` with the parent directory of a key, which is made when missing, and the key's last segment.
    ///
    /// A concurrent delete may prune the directory between its opening and `act`, which then ends in `NotFound`:
    /// both are done again. As soon as `act` put something into it, the directory cannot be pruned any more.
    pub(super) fn in_parent<T>(
        &self,
        key: &Key,
        mut act: impl FnMut(&OwnedFd, &str) -> Result<T, Failure>,
    ) -> Result<(OwnedFd, T), Failure> {
        let (parent, name) = split(key);
        let mut attempts = 0;
        loop {
            let result = self.made(parent).and_then(|directory| act(&directory, name).map(|value| (directory, value)));
            attempts += 1;
            match result {
                Err(failure) if failure.is_not_found() && attempts < PARENT_ATTEMPTS_MAX => {}
                other => return other,
            }
        }
    }

    /// Removes directories that became empty, from this one upwards. The root stays.
    ///
    /// Best effort: `rmdir` refuses a directory in use, and one that comes back after a power cut harms nobody.
    pub(super) fn prune(&self, path: &str) {
        let mut path = path;
        while path != "." {
            let (parent, name) = path.rsplit_once('/').unwrap_or((".", path));
            let removed = self.directory(parent).is_ok_and(|parent| unlinkat(parent, name, AtFlags::REMOVEDIR).is_ok());
            if !removed {
                return;
            }
            path = parent;
        }
    }

    /// A directory by its path from the root, made with its ancestors when missing.
    fn made(&self, path: &str) -> Result<OwnedFd, Failure> {
        match self.beneath(path, OFlags::RDONLY | OFlags::DIRECTORY) {
            Err(Errno::NOENT) => {}
            other => return Ok(other?),
        }
        let mut directory = self.directory(".")?;
        for segment in path.split('/') {
            match step(&directory, segment) {
                Err(Errno::NOENT) => {}
                other => {
                    directory = other?;
                    continue;
                }
            }
            // Also when somebody else was faster: what is acknowledged below must not wait for their fsync.
            match mkdirat(&directory, segment, self.modes.directory) {
                Ok(()) | Err(Errno::EXIST) => fsync(&directory)?,
                Err(errno) => return Err(errno.into()),
            }
            directory = step(&directory, segment)?;
        }
        Ok(directory)
    }

    /// Opens a path below the root; a symbolic link anywhere in it is an error.
    fn beneath(&self, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        let flags = flags | FLAGS;
        match openat2(&self.root, path, flags, Mode::empty(), RESOLVE) {
            // Kernels before 5.6, and seccomp profiles that do not know the call.
            Err(Errno::NOSYS | Errno::PERM) => self.segment_by_segment(path, flags),
            other => other,
        }
    }

    fn segment_by_segment(&self, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        let mut directory = step(&self.root, ".")?;
        let (parents, last) = path.rsplit_once('/').unwrap_or((".", path));
        for segment in parents.split('/') {
            directory = step(&directory, segment)?;
        }
        openat(directory, last, flags | OFlags::NOFOLLOW, Mode::empty())
    }
}

/// The directory that a key lies in, `.` for the root, and the key's last segment.
pub(super) fn split(key: &Key) -> (&str, &str) {
    key.as_str().rsplit_once('/').unwrap_or((".", key.as_str()))
}

/// Opens a file next to others; a symbolic link, a FIFO or a device in its place is refused.
pub(super) fn open(directory: &OwnedFd, name: &str, access: OFlags) -> Result<OwnedFd, Failure> {
    // Non-blocking for the reason above.
    let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | FLAGS;
    Ok(regular(openat(directory, name, flags, Mode::empty())?)?.0)
}

/// The file that was opened by a key.
fn object(opened: Result<OwnedFd, Errno>) -> Result<(OwnedFd, Stat), Failure> {
    match opened {
        Err(Errno::NOTDIR | Errno::NAMETOOLONG) => Err(Kind::NotFound.into()),
        other => regular(other?),
    }
}

/// Size and age of an open file, or of one that was looked at.
pub(super) fn meta(stat: &Stat) -> Result<Meta, Failure> {
    let modified = OffsetDateTime::from_unix_timestamp(stat.st_mtime)
        .ok()
        .zip(i64::try_from(stat.st_mtime_nsec).ok())
        .and_then(|(seconds, nanoseconds)| seconds.checked_add(Duration::nanoseconds(nanoseconds)));
    match (u64::try_from(stat.st_size), modified) {
        (Ok(size), Some(modified)) => Ok(Meta { size, modified }),
        _ => Err(Failure::corrupt("its size or time of change is none")),
    }
}

pub(super) fn is_regular(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}

fn regular(file: OwnedFd) -> Result<(OwnedFd, Stat), Failure> {
    let stat = fstat(&file)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok((file, stat)),
        FileType::Directory => Err(Kind::NotFound.into()),
        _ => Err(Failure::corrupt("it is not a regular file")),
    }
}

fn step(directory: &OwnedFd, segment: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(directory, segment, flags, Mode::empty())
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    /// Both ways of resolution must give the same answer, so that an old kernel is no hole.
    #[test]
    fn no_path_leaves_the_root() {
        let base = tempfile::tempdir().unwrap();
        let root = base.path().join("root");
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(root.join("a/b/file"), "inside").unwrap();
        fs::write(base.path().join("secret"), "outside").unwrap();
        symlink("../secret", root.join("link")).unwrap();
        symlink("a", root.join("inner")).unwrap();
        let tree = Tree::open(&root, Modes::SHARED).unwrap();
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW;
        for (path, opens) in
            [("a/b/file", true), ("a", true), ("link", false), ("inner/b/file", false), ("a/none", false)]
        {
            assert_eq!(tree.beneath(path, flags).is_ok(), opens, "{path}");
            assert_eq!(tree.segment_by_segment(path, flags).is_ok(), opens, "{path}, segment by segment");
        }
        assert!(tree.beneath("../secret", flags).is_err());
    }

    /// Where a file system is one of this machine; elsewhere nothing is at hand.
    #[test]
    fn what_is_at_hand_is_what_is_there() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("a")).unwrap();
        fs::write(root.path().join("a/file"), "content").unwrap();
        symlink("file", root.path().join("a/link")).unwrap();
        let tree = Tree::open(root.path(), Modes::SHARED).unwrap();
        for key in ["a/file", "a", "a/none", "a/link", "a/file/below"] {
            let key: Key = key.parse().unwrap();
            let told =
                |found: Result<(OwnedFd, Stat), Failure>| found.map(|(_, stat)| stat.st_size).map_err(|it| it.kind);
            let expected = told(tree.object(&key));
            if let Some(found) = tree.object_at_hand(&key) {
                assert_eq!(told(found), expected, "{key}");
            }
        }
    }

    #[test]
    fn a_parent_that_is_pruned_meanwhile_is_made_again() {
        let root = tempfile::tempdir().unwrap();
        let tree = Tree::open(root.path(), Modes::SHARED).unwrap();
        let mut opened = 0;
        let made = tree.in_parent(&"a/b/file".parse().unwrap(), |directory, name| {
            opened += 1;
            if opened < 3 {
                tree.prune("a/b");
            }
            tree.create(directory, name)
        });
        made.unwrap();
        assert_eq!(opened, 3);
        assert!(root.path().join("a/b/file").exists());
    }

    #[test]
    fn prune_stops_at_what_is_in_use() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("a/b/c/d")).unwrap();
        fs::write(root.path().join("a/file"), "").unwrap();
        Tree::open(root.path(), Modes::SHARED).unwrap().prune("a/b/c/d");
        assert!(root.path().join("a/file").exists());
        assert!(!root.path().join("a/b").exists());
    }
}
