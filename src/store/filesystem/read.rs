//! Objects on their way out, one chunk at a time and the next only when it is asked for.

use std::{io::IoSliceMut, ops::Range, os::fd::OwnedFd, sync::Arc};

use bytes::{Bytes, BytesMut};
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
    /// Chunks are split off from this. Once a chunk was sent and dropped, its memory is used for the next one, so a
    /// stream of any length costs one or two chunks.
    buffer: BytesMut,
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
    let reader = Reader { file: Arc::new(file), key, left: range, threads, buffer: BytesMut::new() };
    stream::try_unfold(reader, |mut reader| async move { Ok(reader.chunk().await?.map(|chunk| (chunk, reader))) })
}

impl Reader {
    async fn chunk(&mut self) -> Result<Option<Bytes>> {
        if self.left.is_empty() {
            return Ok(None);
        }
        let length = usize::try_from(self.left.end - self.left.start).map_or(CHUNK_LEN, |left| left.min(CHUNK_LEN));
        self.buffer.reserve(CHUNK_LEN.min(length));
        self.buffer.resize(length, 0);
        let read = match self.read_cached() {
            Some(read) => read,
            None => self.read_blocking().await?,
        };
        self.buffer.truncate(read);
        self.left.start += read as u64;
        Ok(Some(self.buffer.split().freeze()))
    }

    /// What the page cache has, at the price of no thread; a failure of any kind is left to the blocking read.
    fn read_cached(&mut self) -> Option<usize> {
        let mut slices = [IoSliceMut::new(&mut self.buffer)];
        let read = preadv2(&self.file, &mut slices, self.left.start, ReadWriteFlags::NOWAIT).ok()?;
        (read > 0).then_some(read)
    }

    async fn read_blocking(&mut self) -> Result<usize> {
        let (file, offset, mut buffer) = (Arc::clone(&self.file), self.left.start, std::mem::take(&mut self.buffer));
        let (buffer, read) = self
            .threads
            .run(Operation::Get, self.key.as_str(), move || {
                let read = loop {
                    match pread(&file, &mut buffer[..], offset) {
                        Err(Errno::INTR) => {}
                        other => break other?,
                    }
                };
                match read {
                    0 => Err(Failure::corrupt("it ends before its last byte")),
                    _ => Ok((buffer, read)),
                }
            })
            .await?;
        self.buffer = buffer;
        Ok(read)
    }
}
