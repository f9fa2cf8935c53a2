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
    io::{Errno, pwritev},
};

use crate::store::{
    PAGE_BYTES,
    filesystem::{PageCache, failure::Failure},
};

/// Most buffers that one call may gather (`IOV_MAX`).
const GATHER_MAX: usize = 1024;

/// How far behind the last write pages are looked at again that went through the cache, in bytes.
const BEHIND: u64 = 8 << 20;

/// Writes parts.
#[derive(Debug)]
pub(super) struct Writing {
    cache: PageCache,
    /// Whether kernel and file system take bytes from our memory (`O_DIRECT`), until one refuses.
    is_direct: AtomicBool,
}

impl Writing {
    pub(super) const fn new(cache: PageCache) -> Self {
        Self { cache, is_direct: AtomicBool::new(true) }
    }

    /// Writes a part's buffers one after the other from an offset on. The descriptor is the caller's alone.
    pub(super) fn write_part(&self, file: &OwnedFd, content: &[Bytes], offset: u64) -> Result<(), Failure> {
        if self.cache.keeps(offset) {
            return Ok(write_at(file, content, offset)?);
        }
        if is_aligned(content, offset) && self.is_direct.load(Ordering::Relaxed) {
            match write_direct(file, content, offset) {
                Err(Errno::INVAL | Errno::OPNOTSUPP) => self.refused(),
                other => return Ok(other?),
            }
        }
        write_at(file, content, offset)?;
        let end = offset + content.iter().map(|chunk| chunk.len() as u64).sum::<u64>();
        let start = self.cache.dropped_from(offset.saturating_sub(BEHIND));
        // The first advice sends pages on their way, a later one drops those that arrived.
        forget(file, start, NonZeroU64::new(end - start));
        Ok(())
    }

    /// Says that all of a file is on the disk.
    pub(super) fn flushed(&self, file: &OwnedFd) {
        if self.cache != PageCache::KEEP {
            // A file system may take direct writes and pass them through the cache all the same, as ext4 does with
            // `data=journal`.
            forget(file, self.cache.dropped_from(0), None);
        }
    }

    fn refused(&self) {
        if self.is_direct.swap(false, Ordering::Relaxed) {
            tracing::info!(
                "the storage's file system takes no direct writes: what is uploaded goes through the page cache"
            );
        }
    }
}

fn is_aligned(content: &[Bytes], offset: u64) -> bool {
    offset.is_multiple_of(PAGE_BYTES as u64)
        && content
            .iter()
            .all(|chunk| chunk.as_ptr().addr().is_multiple_of(PAGE_BYTES) && chunk.len().is_multiple_of(PAGE_BYTES))
}

/// Straight from our memory, without the page cache.
fn write_direct(file: &OwnedFd, content: &[Bytes], offset: u64) -> Result<(), Errno> {
    let flags = fcntl_getfl(file)?;
    fcntl_setfl(file, flags | OFlags::DIRECT)?;
    let written = write_at(file, content, offset);
    fcntl_setfl(file, flags)?;
    written
}

/// Writes buffers one after the other from an offset on, the way that the descriptor is open for.
pub(super) fn write_at(file: &OwnedFd, content: &[Bytes], mut offset: u64) -> Result<(), Errno> {
    for batch in content.chunks(GATHER_MAX) {
        let mut slices: Vec<_> =
            batch.iter().filter(|chunk| !chunk.is_empty()).map(|chunk| IoSlice::new(chunk)).collect();
        let mut left = slices.as_mut_slice();
        while !left.is_empty() {
            match pwritev(file, left, offset) {
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
        let refused = Writing { cache: PageCache::DROP, is_direct: AtomicBool::new(false) };
        let some = PageCache::first(PAGE_BYTES as u64);
        [Writing::new(PageCache::KEEP), Writing::new(some), Writing::new(PageCache::DROP), refused]
    }

    #[test]
    fn what_stays_in_the_cache() {
        let some = PageCache::first(100);
        assert!(some.keeps(0) && some.keeps(99) && !some.keeps(100));
        assert_eq!([0, 99, 100, 101].map(|start| some.dropped_from(start)), [100, 100, 100, 101]);
        assert!(PageCache::KEEP.keeps(u64::MAX - 1) && !PageCache::DROP.keeps(0));
        assert_eq!(PageCache::DROP.dropped_from(0), 0);
    }

    #[test]
    fn all_ways_write_the_same() {
        let many: Vec<Bytes> = (0..3000_u32).map(|n| Bytes::from(n.to_string())).collect();
        let memory = Bytes::from((0..=250).cycle().take(5 * PAGE_BYTES).collect::<Vec<u8>>());
        let (start, page) = (memory.as_ptr().align_offset(PAGE_BYTES), PAGE_BYTES as u64);
        let pages = memory.slice(start..start + 4 * PAGE_BYTES);
        assert!(is_aligned(from_ref(&pages), page) && !is_aligned(from_ref(&pages), 1));
        assert!(!is_aligned(&[pages.slice(1..)], 0) && !is_aligned(&[pages.slice(..1)], 0));
        for writing in ways() {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("file");
            let file = OwnedFd::from(File::create(&path).unwrap());
            // More buffers than one call takes, whole pages on their old ones and behind the end, and a rest.
            writing.write_part(&file, &many, 0).unwrap();
            writing.write_part(&file, from_ref(&pages), page).unwrap();
            writing.write_part(&file, &[pages.clone(), pages.slice(..7)], 5 * page).unwrap();
            fsync(&file).unwrap();
            writing.flushed(&file);
            let expected = [&many.concat()[..PAGE_BYTES], &pages, &pages, &pages[..7]].concat();
            assert!(fs::read(&path).unwrap() == expected, "{writing:?}");
            assert!(!fcntl_getfl(&file).unwrap().contains(OFlags::DIRECT));
        }
    }

    /// A pipe knows no offsets: what fails in every way is told, not taken for a means that is not there.
    #[test]
    fn a_failure_of_every_way_is_told() {
        for writing in ways() {
            let (_reader, writer) = std::io::pipe().unwrap();
            writing.write_part(&writer.into(), &[Bytes::from("content")], 0).unwrap_err();
        }
    }
}
