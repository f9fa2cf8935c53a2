//! Uploads in parts: one file next to the final name, `<name>.<uuid>.part`, that parts are written into in place.
//!
//! The identity of an upload is the suffix of its file (`<uuid>.part`), so any process on the same tree can go on
//! with it. A `.tmp` that a crash left behind has the same shape and is reported, and aborted, like an upload.

use std::{
    collections::HashSet,
    os::fd::OwnedFd,
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use rustix::{
    fs::{OFlags, fstat, fsync, renameat},
    io::Errno,
};
use uuid::Uuid;

use crate::store::{
    Multipart, Part, Precondition, Slot, Writers,
    error::Kind,
    filesystem::{
        Inner,
        draft::{self, Draft},
        failure::Failure,
        tree::{self, Tree, split},
    },
    key::Key,
};

const PART: &str = "part";
const TEMPORARY: &str = "tmp";

/// Uploads whose `fsync` failed in this process.
///
/// The kernel tells a write error once and may then call the lost pages clean, so a second `fsync`, by whatever
/// descriptor, proves nothing. Such a file takes no more parts and is never moved into place as it is. The parts that
/// were flushed before may still be copied out of it.
#[derive(Debug, Default)]
pub(super) struct Suspects(Mutex<HashSet<String>>);

impl Suspects {
    fn check(&self, upload: &Multipart) -> Result<(), Failure> {
        if self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&upload.id) {
            return Err(Failure::unavailable("an earlier fsync of this upload failed"));
        }
        Ok(())
    }

    fn add(&self, upload: &Multipart) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(upload.id.clone());
    }

    fn forget(&self, upload: &Multipart) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&upload.id);
    }
}

impl Inner {
    fn fsync(&self, upload: &Multipart, file: &OwnedFd) -> Result<(), Failure> {
        fsync(file).inspect_err(|_| self.suspects.add(upload))?;
        self.writing.flushed(file);
        Ok(())
    }
}

pub(super) fn begin(tree: &Tree, key: &Key) -> Result<Multipart, Failure> {
    let id = format!("{}.{PART}", Uuid::new_v4());
    let (directory, _file) = tree.in_parent(key, |directory, name| tree.create(directory, &format!("{name}.{id}")))?;
    // Once, so that a flush needs to make only the file durable.
    fsync(&directory)?;
    Ok(Multipart { key: key.clone(), id })
}

pub(super) fn put(inner: &Inner, upload: &Multipart, slot: Slot, content: &[Bytes]) -> Result<Part, Failure> {
    inner.suspects.check(upload)?;
    let (_, file) = open(&inner.tree, upload, OFlags::WRONLY)?;
    inner.writing.write_part(&file, content, slot.offset)?;
    let length = content.iter().map(|chunk| chunk.len() as u64).sum();
    Ok(Part { number: slot.number, tag: String::new(), length })
}

pub(super) fn flush(inner: &Inner, upload: &Multipart) -> Result<(), Failure> {
    inner.suspects.check(upload)?;
    let (_, file) = open(&inner.tree, upload, OFlags::WRONLY)?;
    inner.fsync(upload, &file)
}

/// Crash safety: the rename (of the part file itself, or of a durable copy) is the moment at which the object exists.
/// Before it, the part file stands and the call can be made again; after it, the object stands and a second call finds
/// it by its size.
pub(super) fn complete(inner: &Inner, upload: &Multipart, parts: &[Part], writers: Writers) -> Result<(), Failure> {
    let (tree, suspects) = (&inner.tree, &inner.suspects);
    let total = total(parts)?;
    let (directory, file) = match open(tree, upload, OFlags::RDWR) {
        Err(failure) if failure.kind == Kind::UploadGone => return completed_before(tree, &upload.key, total),
        other => other?,
    };
    let written = tree::meta(&fstat(&file)?)?.size;
    if written < total {
        return Err(Failure::corrupt("the upload is shorter than its parts"));
    }
    if writers == Writers::Sole {
        // These parts may never have been flushed.
        suspects.check(upload)?;
    }
    let (_, name) = split(&upload.key);
    let part_file = format!("{name}.{}", upload.id);
    match writers {
        Writers::Sole if written == total => {
            inner.fsync(upload, &file)?;
            match renameat(&directory, &part_file, &directory, name) {
                // Another call with the same parts was faster.
                Err(Errno::NOENT) => return completed_before(tree, &upload.key, total),
                other => other?,
            }
            fsync(&directory)?;
        }
        // The object must hold the parts named and nothing else, also when somebody still has this file open: only a
        // file that nobody else ever knew can promise that.
        Writers::Sole | Writers::MayLinger => {
            let copy = Draft::create(tree, &upload.key)?;
            copy.copy(&file, total, 0)?;
            copy.publish(Precondition::Always)?;
            draft::unlink(&directory, &part_file)?;
        }
    }
    suspects.forget(upload);
    Ok(())
}

pub(super) fn abort(inner: &Inner, upload: &Multipart) -> Result<(), Failure> {
    let tree = &inner.tree;
    let (parent, name) = split(&upload.key);
    if !is_ours(&upload.id) {
        return Ok(());
    }
    match tree.directory(parent) {
        Err(failure) if failure.is_not_found() => return Ok(()),
        directory => {
            let directory = directory?;
            draft::unlink(&directory, &format!("{name}.{}", upload.id))?;
            fsync(&directory)?;
        }
    }
    tree.prune(parent);
    inner.suspects.forget(upload);
    Ok(())
}

/// The upload or the abandoned temporary file that a file's name stands for: the key's last segment and the id.
pub(super) fn unfinished(name: &str) -> Option<(&str, &str)> {
    let (rest, _) = name.rsplit_once('.')?;
    let (key, _) = rest.rsplit_once('.')?;
    let id = &name[key.len() + 1..];
    (!key.is_empty() && is_ours(id)).then_some((key, id))
}

fn is_ours(id: &str) -> bool {
    id.split_once('.').is_some_and(|(uuid, kind)| {
        // The hyphenated form alone, as it is written.
        matches!(kind, PART | TEMPORARY) && uuid.len() == 36 && Uuid::try_parse(uuid).is_ok()
    })
}

fn open(tree: &Tree, upload: &Multipart, access: OFlags) -> Result<(OwnedFd, OwnedFd), Failure> {
    let (parent, name) = split(&upload.key);
    if !is_ours(&upload.id) || !upload.id.ends_with(PART) {
        return Err(Kind::UploadGone.into());
    }
    let opened = tree.directory(parent).and_then(|directory| {
        let file = tree::open(&directory, &format!("{name}.{}", upload.id), access)?;
        Ok((directory, file))
    });
    opened.map_err(|failure| if failure.is_not_found() { Kind::UploadGone.into() } else { failure })
}

fn completed_before(tree: &Tree, key: &Key, total: u64) -> Result<(), Failure> {
    let stands = match tree.object(key) {
        Err(failure) if failure.is_not_found() => false,
        other => tree::meta(&other?.1)?.size == total,
    };
    if !stands {
        return Err(Kind::UploadGone.into());
    }
    // Whoever renamed it may not have come to make the name durable.
    Ok(fsync(tree.directory(split(key).0)?)?)
}

fn total(parts: &[Part]) -> Result<u64, Failure> {
    parts
        .iter()
        .try_fold(0_u64, |sum, part| sum.checked_add(part.length))
        .ok_or_else(|| Failure::corrupt("its parts are longer than any object"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_fsync_is_not_forgotten() {
        let root = tempfile::tempdir().unwrap();
        let inner = Inner::new(Tree::open(root.path(), tree::Modes::SHARED).unwrap());
        let upload = begin(&inner.tree, &"a/b".parse().unwrap()).unwrap();
        let slot = Slot { number: 1, offset: 0 };
        let part = put(&inner, &upload, slot, &[Bytes::from("flushed")]).unwrap();
        flush(&inner, &upload).unwrap();
        // A pipe cannot be synchronised: the one descriptor at hand whose fsync fails.
        let (_reader, writer) = std::io::pipe().unwrap();
        inner.fsync(&upload, &writer.into()).unwrap_err();
        let next = Slot { number: 2, offset: 7 };
        let failures = [
            put(&inner, &upload, next, &[]).unwrap_err(),
            flush(&inner, &upload).unwrap_err(),
            complete(&inner, &upload, std::slice::from_ref(&part), Writers::Sole).unwrap_err(),
        ];
        assert!(failures.iter().all(|failure| failure.kind == Kind::Unavailable), "{failures:?}");
        complete(&inner, &upload, &[part], Writers::MayLinger).expect("what was flushed is copied out");
        assert_eq!(std::fs::read(root.path().join("a/b")).unwrap(), b"flushed");
    }

    #[test]
    fn names_of_unfinished_files() {
        let uuid = "0193a1f0-0000-4000-8000-000000000000";
        for (name, expected) in [
            (format!("data.{uuid}.part"), Some(("data", format!("{uuid}.part")))),
            (format!("a.b.{uuid}.tmp"), Some(("a.b", format!("{uuid}.tmp")))),
            (format!("{uuid}.part"), None),
            (format!(".{uuid}.part"), None),
            (format!("data.{uuid}"), None),
            ("data.x.part".to_owned(), None),
            ("data.part".to_owned(), None),
            ("data".to_owned(), None),
        ] {
            assert_eq!(unfinished(&name), expected.as_ref().map(|(key, id)| (*key, id.as_str())), "{name}");
        }
    }
}
