//! Objects on their way out, one chunk at a time and the next only when it is asked for.

use std::{
    io::IoSliceMut,
    mem,
    ops::Range,
    os::fd::OwnedFd,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use futures_util::{Stream, stream};
use rustix::{
    fs::{Advice, fadvise},
    io::{Errno, ReadWriteFlags, pread, preadv2},
};

use crate::store::{
    Result,
    error::Operation,
    filesystem::{failure::Failure, threads::Threads},
    key::Key,
};

/// Most bytes in one chunk.
const CHUNK_LEN: usize = 256 << 10;

/// A file being read from one offset to another.
struct Reader {
    file: Arc<OwnedFd>,
    key: Key,
    left: Range<u64>,
    threads: Threads,
    spare: Spare,
}

/// Memory for the next chunk. Once a chunk was sent and dropped, its memory is used again, so a stream of any length
/// costs one or two chunks, and none of it is zeroed but when it is new.
#[derive(Clone, Default)]
struct Spare(Arc<Mutex<Vec<u8>>>);

impl Spare {
    /// At least `length` bytes of anything.
    fn take(&self, length: usize) -> Vec<u8> {
        let mut memory = mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        if memory.len() < length {
            memory.resize(length, 0);
        }
        memory
    }
}

/// A chunk, which gives its memory back.
struct Chunk {
    memory: Vec<u8>,
    length: usize,
    home: Spare,
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        &self.memory[..self.length]
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        *self.home.0.lock().unwrap_or_else(PoisonError::into_inner) = mem::take(&mut self.memory);
    }
}

pub(super) fn content(
    file: OwnedFd,
    key: Key,
    range: Range<u64>,
    threads: Threads,
) -> impl Stream<Item = Result<Bytes>> {
    if range.end - range.start > CHUNK_LEN as u64 {
        // A hint; a file system that does not take it reads all the same.
        let _ = fadvise(&file, range.start, None, Advice::Sequential);
    }
    let reader = Reader { file: Arc::new(file), key, left: range, threads, spare: Spare::default() };
    stream::try_unfold(reader, |mut reader| async move { Ok(reader.chunk().await?.map(|chunk| (chunk, reader))) })
}

impl Reader {
    async fn chunk(&mut self) -> Result<Option<Bytes>> {
        if self.left.is_empty() {
            return Ok(None);
        }
        let length = usize::try_from(self.left.end - self.left.start).map_or(CHUNK_LEN, |left| left.min(CHUNK_LEN));
        let mut memory = self.spare.take(length);
        let (memory, read) = match self.read_cached(&mut memory[..length]) {
            Some(read) => (memory, read),
            None => self.read_blocking(memory, length).await?,
        };
        self.left.start += read as u64;
        let chunk = Chunk { memory, length: read, home: self.spare.clone() };
        Ok(Some(Bytes::from_owner(chunk)))
    }

    /// What the page cache has, at the price of no thread; a failure of any kind is left to the blocking read.
    fn read_cached(&self, buffer: &mut [u8]) -> Option<usize> {
        let mut slices = [IoSliceMut::new(buffer)];
        let read = preadv2(&self.file, &mut slices, self.left.start, ReadWriteFlags::NOWAIT).ok()?;
        (read > 0).then_some(read)
    }

    async fn read_blocking(&self, mut memory: Vec<u8>, length: usize) -> Result<(Vec<u8>, usize)> {
        let (file, offset) = (Arc::clone(&self.file), self.left.start);
        self.threads
            .run(Operation::Get, self.key.as_str(), move || {
                let read = loop {
                    match pread(&file, &mut memory[..length], offset) {
                        Err(Errno::INTR) => {}
                        other => break other?,
                    }
                };
                match read {
                    0 => Err(Failure::corrupt("it ends before its last byte")),
                    _ => Ok((memory, read)),
                }
            })
            .await
    }
}
