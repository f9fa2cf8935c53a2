//! What is wrong with a directory that is to hold objects, with the path that is to change.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use rustix::{
    fs::{Access, AtFlags, CWD, StatVfs, accessat, statvfs},
    io::Errno,
    process::{getegid, geteuid},
};
use tokio::time::timeout;

use crate::store::{
    Depth, Listing, Precondition, Result, Slot, Store as _, Writers,
    doctor::{Listener, Record, Report, Verdict},
    error::{Error, Kind, Operation},
    filesystem::Filesystem,
    key::Key,
};

/// For one step: a dead network file system answers nothing.
const STEP_MAX: Duration = Duration::from_secs(15);

/// Free space that is worth no word: so many bytes, and one part in so many of all there is.
const FREE_BYTES: u64 = 1 << 30;
const FREE_PART: u64 = 20;

const CONTENT: &[u8] = b"pierhead was here";

/// What is to be examined.
#[derive(Clone, Debug)]
pub struct Plan {
    /// A prefix below which nothing lies and nobody else writes.
    pub scratch: Key,
    /// Prefixes that a registry reads and writes below, where they are there already.
    pub existing: Vec<Key>,
    /// Whether a registry will write here; else nothing is written.
    pub writing: bool,
}

struct Examination<'a> {
    root: &'a Path,
    plan: &'a Plan,
    record: Record<'a>,
}

/// Examines a directory; `listener` hears of each step as it ends.
pub async fn examine(root: &Path, plan: &Plan, listener: &mut Listener<'_>) -> Report {
    let mut examination = Examination { root, plan, record: Record::new(listener) };
    if examination.directory().await {
        examination.space().await;
        if plan.writing {
            examination.objects().await;
        }
    }
    examination.record.close(None)
}

impl Examination<'_> {
    /// Whether the directory is there and may be used, and everything in it that a registry begins with.
    async fn directory(&mut self) -> bool {
        let (root, plan) = (self.root.to_owned(), self.plan.clone());
        let name = self.root.display();
        let looked = blocking(move || look(&root, &plan)).await;
        let (verdict, sentence) = match looked.unwrap_or_else(|why| Err(format!("{name}: {why}"))) {
            Ok(Found::Directory) => (Verdict::Fine, format!("{name} may be used by this user")),
            Ok(Found::Missing(above)) => {
                let sentence = format!("{name} is not there; serve makes it, as it may in {}", above.display());
                (Verdict::Warning, sentence)
            }
            Err(sentence) => (Verdict::Failure, sentence),
        };
        self.record.note("directory", verdict, sentence);
        verdict == Verdict::Fine
    }

    async fn space(&mut self) {
        let root = self.root.to_owned();
        let free = blocking(move || statvfs(&root)).await;
        let (verdict, sentence) = match free {
            Ok(Ok(free)) => room(&free),
            Ok(Err(errno)) => (Verdict::Warning, format!("not known: {}", io::Error::from(errno))),
            Err(why) => (Verdict::Failure, why),
        };
        self.record.note("space", verdict, format!("{}: {sentence}", self.root.display()));
    }

    /// What a registry does with objects, each once.
    async fn objects(&mut self) {
        let store = match Filesystem::open(self.root) {
            Ok(store) => store,
            Err(error) => {
                let sentence = format!("{error}: {}", error.source);
                return self.record.note("write", Verdict::Failure, sentence);
            }
        };
        let key = |name: &str| self.plan.scratch.join(name).expect("plain words make keys");
        let (first, parts, joined) = (key("first"), key("parts"), key("joined"));
        let put = |precondition| store.put(&first, vec![Bytes::from_static(CONTENT)], precondition);
        self.attempt("write", "a file is written, flushed to the disk and renamed", put(Precondition::Always)).await;
        let created = async {
            match put(Precondition::Absent).await {
                Err(error) if error.kind == Kind::AlreadyExists => Ok(()),
                Ok(()) => Err(Error::new(Operation::Put, &first, Kind::Corrupt)
                    .with_source("a second writer was served where nobody may be")),
                Err(error) => Err(error),
            }
        };
        self.attempt("create only", "a second writer is refused by a hard link", created).await;
        self.attempt("read", "what was written comes back", read(&store, &first)).await;
        self.attempt("parts", "a file grows by parts", grow(&store, &parts)).await;
        let join = store.promote(std::slice::from_ref(&first), &joined);
        self.attempt("join", "a file is copied or linked", join).await;
        let listing = Listing { prefix: self.plan.scratch.clone(), depth: Depth::Children, after: None, limit: 10 };
        self.attempt("list", "names are listed", async { store.list(&listing).await.map(drop) }).await;
        let written = [first.clone(), parts, joined];
        self.attempt("delete", "files are removed, and directories with them", store.delete(&written)).await;
    }

    async fn attempt(&mut self, step: &'static str, fine: &str, work: impl Future<Output = Result<()>>) {
        let (verdict, sentence) = match timeout(STEP_MAX, work).await {
            Ok(Ok(())) => (Verdict::Fine, fine.to_owned()),
            Ok(Err(error)) => (Verdict::Failure, told(self.root, &error)),
            Err(_) => (Verdict::Failure, format!("{}: no answer within {} s", self.root.display(), STEP_MAX.as_secs())),
        };
        self.record.note(step, verdict, sentence);
    }
}

async fn read(store: &Filesystem, key: &Key) -> Result<()> {
    let object = store.get(key, None).await?;
    let chunks: Vec<Bytes> = object.content.try_collect().await?;
    if chunks.concat() == CONTENT {
        return Ok(());
    }
    let error = Error::new(Operation::Get, key, Kind::Corrupt);
    Err(error.with_source("other bytes came back than were written"))
}

async fn grow(store: &Filesystem, key: &Key) -> Result<()> {
    let upload = store.begin(key).await?;
    let grown = async {
        let slot = Slot { number: 1, offset: 0 };
        let part = store.put_part(&upload, slot, vec![Bytes::from_static(CONTENT)]).await?;
        store.flush(&upload).await?;
        store.complete(&upload, &[part], Writers::Sole).await
    };
    let grown = grown.await;
    if grown.is_err() {
        // It failed already; that it stays is told by whoever looks for unfinished uploads.
        let _ = store.abort(&upload).await;
    }
    grown
}

enum Found {
    Directory,
    /// Nothing yet; the next directory above it, which it could be made in.
    Missing(PathBuf),
}

fn look(root: &Path, plan: &Plan) -> Result<Found, String> {
    match fs::metadata(root) {
        Ok(meta) if meta.is_dir() => {}
        Ok(_) => return Err(format!("{} is no directory", root.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // The last ancestor of a relative path is empty, which means the directory that we are in.
            let above = root.ancestors().skip(1).find(|above| above.exists()).unwrap_or_else(|| Path::new("."));
            return may(above, Access::WRITE_OK | Access::EXEC_OK).map(|()| Found::Missing(above.to_owned()));
        }
        Err(error) => return Err(format!("{}: {error}", root.display())),
    }
    let wanted = if plan.writing { Access::WRITE_OK } else { Access::empty() } | Access::READ_OK | Access::EXEC_OK;
    may(root, wanted)?;
    for key in plan.existing.iter().chain([&plan.scratch]) {
        let mut path = root.to_owned();
        for segment in key.as_str().split('/') {
            path.push(segment);
            match fs::symlink_metadata(&path) {
                Ok(meta) if meta.is_dir() => may(&path, wanted)?,
                Ok(meta) if meta.is_symlink() => {
                    return Err(format!("{} is a symbolic link: only {} may be one", path.display(), root.display()));
                }
                Ok(_) => return Err(format!("{} is no directory", path.display())),
                Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                Err(error) => return Err(format!("{}: {error}", path.display())),
            }
        }
    }
    Ok(Found::Directory)
}

/// Whether this process may do that in a directory; else whose it is and who we are.
fn may(path: &Path, wanted: Access) -> Result<(), String> {
    let name = path.display();
    match accessat(CWD, path, wanted, AtFlags::EACCESS) {
        Ok(()) => Ok(()),
        Err(Errno::ROFS) => Err(format!("{name} is on a file system that is mounted read-only")),
        Err(errno) => {
            let owner = fs::metadata(path).map_or_else(
                |error| error.to_string(),
                |meta| format!("belongs to {}:{} with mode {:04o}", meta.uid(), meta.gid(), meta.mode() & 0o7777),
            );
            let verbs = [(Access::READ_OK, "read"), (Access::WRITE_OK, "write"), (Access::EXEC_OK, "enter")];
            let verbs: Vec<_> = verbs.iter().filter(|(bit, _)| wanted.contains(*bit)).map(|(_, verb)| *verb).collect();
            let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
            Err(format!(
                "{name} {owner}, and this process is {uid}:{gid}, which must {} it ({})",
                verbs.join(", "),
                io::Error::from(errno)
            ))
        }
    }
}

fn room(free: &StatVfs) -> (Verdict, String) {
    let bytes = free.f_bavail.saturating_mul(free.f_frsize);
    let all = free.f_blocks.saturating_mul(free.f_frsize);
    // Some file systems make inodes as they need them, and say that there are none.
    let inodes = (free.f_files > 0).then_some(free.f_favail);
    let sentence = match inodes {
        Some(inodes) => format!("{} MiB and {inodes} files more fit", bytes >> 20),
        None => format!("{} MiB more fit", bytes >> 20),
    };
    if bytes == 0 || inodes == Some(0) {
        return (Verdict::Failure, format!("full: {sentence}"));
    }
    let few =
        bytes < FREE_BYTES || bytes < all / FREE_PART || inodes.is_some_and(|left| left < free.f_files / FREE_PART);
    (if few { Verdict::Warning } else { Verdict::Fine }, sentence)
}

/// An error with the path that it is about.
fn told(root: &Path, error: &Error) -> String {
    let why =
        error.source.as_ref().map_or_else(|| error.kind.to_string(), |source| format!("{}: {source}", error.kind));
    format!("{}: {why}", root.join(&error.key).display())
}

/// Runs what may wait for a disk that never answers.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    match timeout(STEP_MAX, tokio::task::spawn_blocking(work)).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", STEP_MAX.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::StatVfsMountFlags;

    use super::*;

    fn check(bytes: u64, inodes: (u64, u64), expected: Verdict) {
        let free = StatVfs {
            f_bsize: 1 << 20,
            f_frsize: 1 << 20,
            f_blocks: 100 << 10,
            f_bfree: bytes >> 20,
            f_bavail: bytes >> 20,
            f_files: inodes.1,
            f_ffree: inodes.0,
            f_favail: inodes.0,
            f_fsid: 0,
            f_flag: StatVfsMountFlags::empty(),
            f_namemax: 255,
        };
        assert_eq!(room(&free).0, expected, "{bytes} {inodes:?}");
    }

    #[test]
    fn little_room_is_warned_about() {
        let gib = 1 << 30;
        check(50 * gib, (1000, 2000), Verdict::Fine);
        check(50 * gib, (0, 0), Verdict::Fine);
        check(2 * gib, (1000, 2000), Verdict::Warning);
        check(50 * gib, (10, 2000), Verdict::Warning);
        check(0, (1000, 2000), Verdict::Failure);
        check(50 * gib, (0, 2000), Verdict::Failure);
    }
}
