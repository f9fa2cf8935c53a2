//! Bytes into files, and whether the kernel keeps them in its page cache.

use std::{
    io::IoSlice,
    num::NonZeroU64,
    os::fd::OwnedFd,
    sync::atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use rustix::{
    fs::{Advice, OFlags, fadvise, fcntl_getfl, fcntl_setfl},
    io::{Errno, ReadWriteFlags, pwritev2},
};

use crate::store::filesystem::{PageCache, failure::Failure};

/// Most buffers that one call may gather (`IOV_MAX`).
const GATHER_MAX: usize = 1024;

/// `RWF_DONTCACHE` of linux/fs.h (since Linux 6.14): written to the disk at once, and then out of the cache.
const UNCACHED: ReadWriteFlags = ReadWriteFlags::from_bits_retain(0x80);

/// What `O_DIRECT` wants memory, offset and length to be multiples of, in bytes; few disks want more.
const PAGE: u64 = 4096;

/// How far behind the last write pages are looked at again where the kernel does not drop them by itself, in bytes.
const BEHIND: u64 = 8 << 20;

/// Writes parts.
#[derive(Debug)]
pub(super) struct Writing {
    cache: PageCache,
    direct: Means,
    uncached: Means,
}

/// Something that not every kernel and file system can do; it is asked for until it is refused.
#[derive(Debug)]
struct Means(AtomicBool);

impl Means {
    fn is_there(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// `None` when it is not there.
    fn attempt(&self, act: impl FnOnce() -> Result<(), Errno>) -> Option<Result<(), Errno>> {
        if !self.is_there() {
            return None;
        }
        match act() {
            Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => {
                self.0.store(false, Ordering::Relaxed);
                None
            }
            other => Some(other),
        }
    }
}

impl Writing {
    pub(super) const fn new(cache: PageCache) -> Self {
        Self { cache, direct: Means(AtomicBool::new(true)), uncached: Means(AtomicBool::new(true)) }
    }

    /// Writes buffers one after the other from an offset on. The descriptor is the caller's alone.
    pub(super) fn write_at(&self, file: &OwnedFd, content: &[Bytes], offset: u64) -> Result<(), Failure> {
        if self.cache == PageCache::Keep {
            return write_at(file, content, offset);
        }
        if is_aligned(content, offset)
            && let Some(done) = self.direct.attempt(|| write_direct(file, content, offset))
        {
            return Ok(done?);
        }
        if let Some(done) = self.uncached.attempt(|| write_with(file, content, offset, UNCACHED)) {
            return Ok(done?);
        }
        write_at(file, content, offset)?;
        let end = offset + content.iter().map(|chunk| chunk.len() as u64).sum::<u64>();
        let start = offset.saturating_sub(BEHIND);
        // The first advice sends pages on their way, a later one drops those that arrived.
        forget(file, start, NonZeroU64::new(end - start));
        Ok(())
    }

    /// Says that all of a file is on the disk.
    pub(super) fn flushed(&self, file: &OwnedFd) {
        if self.cache == PageCache::Drop && !self.uncached.is_there() {
            forget(file, 0, None);
        }
    }
}

fn is_aligned(content: &[Bytes], offset: u64) -> bool {
    let is_whole = |number: u64| number.is_multiple_of(PAGE);
    is_whole(offset)
        && content.iter().all(|chunk| is_whole(chunk.as_ptr().addr() as u64) && is_whole(chunk.len() as u64))
}

/// Straight from our memory, without the page cache.
fn write_direct(file: &OwnedFd, content: &[Bytes], offset: u64) -> Result<(), Errno> {
    let flags = fcntl_getfl(file)?;
    fcntl_setfl(file, flags | OFlags::DIRECT)?;
    let written = write_with(file, content, offset, ReadWriteFlags::empty());
    fcntl_setfl(file, flags)?;
    written
}

/// Writes buffers one after the other from an offset on, through the page cache.
pub(super) fn write_at(file: &OwnedFd, content: &[Bytes], offset: u64) -> Result<(), Failure> {
    Ok(write_with(file, content, offset, ReadWriteFlags::empty())?)
}

fn write_with(file: &OwnedFd, content: &[Bytes], mut offset: u64, flags: ReadWriteFlags) -> Result<(), Errno> {
    for batch in content.chunks(GATHER_MAX) {
        let mut slices: Vec<_> =
            batch.iter().filter(|chunk| !chunk.is_empty()).map(|chunk| IoSlice::new(chunk)).collect();
        let mut left = slices.as_mut_slice();
        while !left.is_empty() {
            match pwritev2(file, left, offset, flags) {
                Ok(0) => return Err(Errno::IO),
                Ok(written) => {
                    offset += written as u64;
                    IoSlice::advance_slices(&mut left, written);
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
    Ok(())
}

/// Advice alone: where it is refused, pages stay.
fn forget(file: &OwnedFd, start: u64, length: Option<NonZeroU64>) {
    let _ = fadvise(file, start, length, Advice::DontNeed);
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, File},
        slice::from_ref,
    };

    use rustix::fs::fsync;

    use super::*;

    /// With and without what a kernel may not know.
    fn ways() -> [Writing; 4] {
        let dropping = |direct, uncached| Writing {
            cache: PageCache::Drop,
            direct: Means(AtomicBool::new(direct)),
            uncached: Means(AtomicBool::new(uncached)),
        };
        [Writing::new(PageCache::Keep), dropping(true, true), dropping(false, true), dropping(false, false)]
    }

    #[test]
    fn all_ways_write_the_same() {
        let many: Vec<Bytes> = (0..3000_u32).map(|n| Bytes::from(n.to_string())).collect();
        let memory = Bytes::from((0..5 * PAGE).map(|n| (n % 251) as u8).collect::<Vec<_>>());
        let start = memory.as_ptr().align_offset(4096);
        let pages = memory.slice(start..start + 4 * 4096);
        assert!(is_aligned(from_ref(&pages), PAGE) && !is_aligned(from_ref(&pages), 1));
        assert!(!is_aligned(&[pages.slice(1..)], 0) && !is_aligned(&[pages.slice(..1)], 0));
        for writing in ways() {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("file");
            let file = OwnedFd::from(File::create(&path).unwrap());
            // More buffers than one call takes, whole pages on their old ones and behind the end, and a rest.
            writing.write_at(&file, &many, 0).unwrap();
            writing.write_at(&file, from_ref(&pages), PAGE).unwrap();
            writing.write_at(&file, &[pages.clone(), pages.slice(..7)], 5 * PAGE).unwrap();
            fsync(&file).unwrap();
            writing.flushed(&file);
            let expected = [&many.concat()[..4096], &pages, &pages, &pages[..7]].concat();
            assert!(fs::read(&path).unwrap() == expected, "{writing:?}");
            assert!(!fcntl_getfl(&file).unwrap().contains(OFlags::DIRECT));
        }
    }

    /// A pipe knows no offsets: what fails in every way is told, not taken for a means that is not there.
    #[test]
    fn a_failure_of_every_way_is_told() {
        for writing in ways() {
            let (_reader, writer) = std::io::pipe().unwrap();
            writing.write_at(&writer.into(), &[Bytes::from("content")], 0).unwrap_err();
        }
    }
}
