//! Whole objects joined into one without their bytes passing through us.

use std::os::fd::OwnedFd;

use rustix::{
    fs::{AtFlags, OFlags, fstat, fsync, linkat, renameat},
    io::Errno,
};

use crate::store::{
    Precondition,
    filesystem::{
        draft::{self, Draft},
        failure::Failure,
        tree::{self, Tree, split},
    },
    key::Key,
};

/// One source gets a second name (objects are never changed in place, so sharing is safe); several are copied.
pub(super) fn promote(tree: &Tree, sources: &[Key], to: &Key) -> Result<(), Failure> {
    match sources {
        [source] => link(tree, source, to),
        _ => join(tree, sources, to),
    }
}

fn link(tree: &Tree, source: &Key, to: &Key) -> Result<(), Failure> {
    let (parent, name) = split(source);
    let from = tree.directory(parent)?;
    let size = tree::meta(&fstat(tree::open(&from, name, OFlags::RDONLY)?)?)?.size;
    let linked =
        tree.in_parent(to, |directory, target| match linkat(&from, name, directory, target, AtFlags::empty()) {
            Err(Errno::EXIST) => replace_other(&from, name, directory, target, size),
            Err(errno) if draft::is_link_refused(errno) => Ok(Linked::Refused),
            other => Ok(other.map(|()| Linked::Done)?),
        });
    match linked? {
        (_, Linked::Refused) => join(tree, std::slice::from_ref(source), to),
        // Also when it stood before: whoever made that name may not have come to make it durable.
        (directory, Linked::Done) => Ok(fsync(directory)?),
    }
}

enum Linked {
    Done,
    /// The file system wants a copy.
    Refused,
}

/// Leaves what stands at `target` when it has the right size, else puts the source in its place.
fn replace_other(from: &OwnedFd, name: &str, to: &OwnedFd, target: &str, size: u64) -> Result<Linked, Failure> {
    if tree::meta(&fstat(tree::open(to, target, OFlags::RDONLY)?)?)?.size == size {
        return Ok(Linked::Done);
    }
    let temporary = draft::temporary(target);
    match linkat(from, name, to, &temporary, AtFlags::empty()) {
        Err(errno) if draft::is_link_refused(errno) => return Ok(Linked::Refused),
        other => other?,
    }
    let renamed = renameat(to, &temporary, to, target);
    // A rename between two names of one file does nothing, and leaves the first.
    draft::unlink(to, &temporary)?;
    Ok(renamed.map(|()| Linked::Done)?)
}

fn join(tree: &Tree, sources: &[Key], to: &Key) -> Result<(), Failure> {
    let joined = Draft::create(tree, to)?;
    let mut offset = 0;
    for source in sources {
        let (file, stat) = tree.object(source)?;
        let size = tree::meta(&stat)?.size;
        joined.copy(&file, size, offset)?;
        offset += size;
    }
    joined.publish(Precondition::Always)
}
