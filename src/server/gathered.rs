//! Small writes gathered into one, in memory that is there only while something waits to be written.
//!
//! A connection that idles holds no buffer; with one made in advance, ten thousand would hold 80 MiB.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A head and a small body leave in one piece; larger writes pass by.
const CAPACITY: usize = 8 << 10;

/// A stream whose small writes wait for a flush.
#[derive(Debug)]
pub(super) struct Gathered<S> {
    stream: S,
    /// How many bytes may wait.
    capacity: usize,
    waiting: Vec<u8>,
    /// How much of it is written.
    written: usize,
}

impl<S: AsyncWrite + Unpin> Gathered<S> {
    pub(super) const fn new(stream: S) -> Self {
        Self { stream, capacity: CAPACITY, waiting: Vec::new(), written: 0 }
    }

    /// Lets every write pass.
    pub(super) const fn nothing(stream: S) -> Self {
        Self { stream, capacity: 0, waiting: Vec::new(), written: 0 }
    }

    /// What was not flushed is lost.
    pub(super) fn into_inner(self) -> S {
        self.stream
    }

    /// Writes what waits.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.waiting.len() {
            let count = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.waiting[self.written..]))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += count;
        }
        self.waiting.clear();
        self.written = 0;
        Poll::Ready(Ok(()))
    }

    /// Makes place for this many bytes; false where they are too many to be gathered.
    fn poll_place(&mut self, cx: &mut Context<'_>, count: usize) -> Poll<io::Result<bool>> {
        if self.waiting.len() + count > self.capacity {
            ready!(self.poll_drain(cx))?;
        }
        if count >= self.capacity {
            return Poll::Ready(Ok(false));
        }
        if self.waiting.capacity() == 0 {
            self.waiting.reserve_exact(self.capacity);
        }
        Poll::Ready(Ok(true))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gathered<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, out)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gathered<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if !ready!(this.poll_place(cx, bytes.len()))? {
            return Pin::new(&mut this.stream).poll_write(cx, bytes);
        }
        this.waiting.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let count = parts.iter().map(|part| part.len()).sum();
        if !ready!(this.poll_place(cx, count))? {
            return Pin::new(&mut this.stream).poll_write_vectored(cx, parts);
        }
        for part in parts {
            this.waiting.extend_from_slice(part);
        }
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        this.waiting = Vec::new();
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    /// Takes a few bytes at a time and remembers how many each time.
    #[derive(Default)]
    struct Sink {
        taken: Vec<u8>,
        writes: Vec<usize>,
        most: usize,
    }

    impl AsyncWrite for Sink {
        fn poll_write(self: Pin<&mut Self>, _cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            let this = self.get_mut();
            let count = bytes.len().min(this.most);
            this.taken.extend_from_slice(&bytes[..count]);
            this.writes.push(count);
            Poll::Ready(Ok(count))
        }

        fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn small_writes_are_one_and_large_ones_pass() {
        let check = async |lengths: &[usize], most: usize, expected: &[usize]| {
            let mut gathered = Gathered::new(Sink { most, ..Sink::default() });
            let mut all = Vec::new();
            for (at, &length) in lengths.iter().enumerate() {
                let bytes = vec![u8::try_from(at).unwrap(); length];
                gathered.write_all(&bytes).await.unwrap();
                all.extend(bytes);
            }
            gathered.flush().await.unwrap();
            assert_eq!(gathered.stream.taken, all, "{lengths:?}");
            assert_eq!(gathered.stream.writes, expected, "{lengths:?}");
            assert_eq!(gathered.waiting.capacity(), 0, "{lengths:?}");
        };
        check(&[10, 20, 30], CAPACITY, &[60]).await;
        check(&[10, 20, 30], 25, &[25, 25, 10]).await;
        check(&[CAPACITY], CAPACITY, &[CAPACITY]).await;
        check(&[10, CAPACITY, 5], CAPACITY, &[10, CAPACITY, 5]).await;
        check(&[CAPACITY - 1, 1, 1], CAPACITY, &[CAPACITY, 1]).await;
        check(&[CAPACITY - 1, 2], CAPACITY, &[CAPACITY - 1, 2]).await;
    }

    #[tokio::test]
    async fn nothing_waits_where_every_write_is_news() {
        let mut passing = Gathered::nothing(Sink { most: CAPACITY, ..Sink::default() });
        for length in [1, 2, CAPACITY] {
            passing.write_all(&vec![0; length]).await.unwrap();
        }
        assert_eq!(passing.into_inner().writes, [1, 2, CAPACITY]);
    }

    #[tokio::test]
    async fn parts_are_gathered_too() {
        let mut gathered = Gathered::new(Sink { most: CAPACITY, ..Sink::default() });
        let parts = [IoSlice::new(b"ab"), IoSlice::new(b""), IoSlice::new(b"cde")];
        assert_eq!(gathered.write_vectored(&parts).await.unwrap(), 5);
        gathered.shutdown().await.unwrap();
        assert_eq!((gathered.stream.taken.as_slice(), gathered.stream.writes.as_slice()), (&b"abcde"[..], &[5][..]));
    }
}
