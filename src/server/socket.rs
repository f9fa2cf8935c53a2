//! A connection's socket, and the layer right above it that TLS and HTTP read and write through.

use std::{
    future::{Future, poll_fn},
    io::{self, IoSlice},
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, BufMut, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
    task::coop::poll_proceed,
    time::{Sleep, sleep},
};

use crate::server::ahead::{AHEAD, Ahead};

/// A connected socket; shared, so that it can be closed slowly after the layers above are gone.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Calls the same method on either kind of socket.
macro_rules! either {
    ($socket:expr, $stream:ident => $call:expr) => {
        match $socket {
            Socket::Tcp($stream) => $call,
            Socket::Unix($stream) => $call,
        }
    };
}

impl Socket {
    pub(super) fn peer(&self) -> Option<SocketAddr> {
        match self {
            // On a socket for both families IPv4 arrives wrapped in IPv6.
            Self::Tcp(stream) => {
                stream.peer_addr().ok().map(|peer| SocketAddr::new(peer.ip().to_canonical(), peer.port()))
            }
            Self::Unix(_) => None,
        }
    }

    pub(super) fn local(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    /// Small answers leave at once. A socket that refuses the option works without it.
    pub(super) fn send_at_once(&self) {
        if let Self::Tcp(stream) = self {
            let _ = stream.set_nodelay(true);
        }
    }

    /// Makes the close that follows a reset, so that a cut answer cannot look complete.
    pub(super) fn reset_on_close(&self) {
        if let Self::Tcp(stream) = self {
            let _ = stream.set_zero_linger();
        }
    }

    /// Ends our side and reads away what the client still sends, for at most `time`: closing a socket with unread
    /// input resets the connection, and the client might never see the answer (RFC 9112 section 9.6).
    pub(super) async fn linger(&self, time: Duration) {
        if self.shutdown().is_err() {
            return;
        }
        let discard = async {
            let mut sink = vec![0; AHEAD];
            loop {
                if either!(self, stream => stream.readable().await).is_err() {
                    return;
                }
                match either!(self, stream => stream.try_read(&mut sink)) {
                    Ok(0) => return,
                    Err(error) if error.kind() != io::ErrorKind::WouldBlock => return,
                    Ok(_) | Err(_) => {}
                }
            }
        };
        // Running out of time is one of the two ways to end.
        let _ = tokio::time::timeout(time, discard).await;
    }

    /// Reads once, and adds it to `buffer`, for which memory is taken when there is something to read; 0 bytes at the end
    /// of the stream.
    pub(super) async fn read(&self, buffer: &mut BytesMut) -> io::Result<usize> {
        loop {
            either!(self, stream => stream.readable().await)?;
            buffer.reserve(AHEAD);
            match either!(self, stream => stream.try_read_buf(buffer)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
        }
    }

    /// Writes all of `bytes`, and drops each as soon as it is written.
    pub(super) async fn write(&self, bytes: &mut BytesMut) -> io::Result<()> {
        while !bytes.is_empty() {
            either!(self, stream => stream.writable().await)?;
            match either!(self, stream => stream.try_write(bytes)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => bytes.advance(result?),
            }
        }
        Ok(())
    }

    pub(super) fn shutdown(&self) -> io::Result<()> {
        either!(self, stream => rustix::net::shutdown(stream, rustix::net::Shutdown::Write)).map_err(io::Error::from)
    }

    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_read_ready(cx))
    }

    /// Reads once into `buffer`; 0 bytes at the end of the stream.
    fn poll_read_buf(&self, cx: &mut Context<'_>, buffer: &mut impl BufMut) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_read_ready(cx))?;
            match either!(self, stream => stream.try_read_buf(buffer)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_write_ready(cx))
    }
}

/// How many bytes may still be read while a request's head is incomplete; shared with whoever reads heads.
#[derive(Debug)]
pub(super) struct HeadAllowance(AtomicUsize);

impl HeadAllowance {
    const UNLIMITED: usize = usize::MAX;

    pub(super) fn unlimited() -> Arc<Self> {
        Arc::new(Self(AtomicUsize::new(Self::UNLIMITED)))
    }

    pub(super) fn limit(&self, bytes: usize) {
        self.0.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn lift(&self) {
        self.0.store(Self::UNLIMITED, Ordering::Relaxed);
    }

    pub(super) fn is_used_up(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }

    fn take(&self, bytes: usize) {
        let left = self.0.load(Ordering::Relaxed);
        if left != Self::UNLIMITED {
            self.0.store(left.saturating_sub(bytes), Ordering::Relaxed);
        }
    }
}

/// Reads ahead, and fails a write that makes no progress for too long.
#[derive(Debug)]
pub(super) struct Wire {
    socket: Arc<Socket>,
    ahead: Ahead,
    allowance: Arc<HeadAllowance>,
    write_deadline: Duration,
    /// Runs while a write waits for the client to read.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Wire {
    pub(super) const fn new(
        socket: Arc<Socket>,
        ahead: Ahead,
        allowance: Arc<HeadAllowance>,
        write_deadline: Duration,
    ) -> Self {
        Self { socket, ahead, allowance, write_deadline, stalled: None }
    }

    /// What was read from the socket and not yet from here.
    pub(super) fn ahead(&self) -> &[u8] {
        self.ahead.as_slice()
    }

    /// Reads once and keeps it: how many bytes are more ahead now, 0 at the end of the stream.
    pub(super) async fn look_further(&mut self) -> io::Result<usize> {
        poll_fn(|cx| self.poll_fill(cx)).await
    }

    /// The socket, and what was read from it and not yet from here.
    pub(super) fn into_parts(self) -> (Arc<Socket>, BytesMut) {
        (self.socket, self.ahead.into_bytes())
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        // No buffer is made before there is something to put into it.
        ready!(self.socket.poll_read_ready(cx))?;
        self.ahead.fill(|buffer| self.socket.poll_read_buf(cx, buffer))
    }

    fn poll_write_with(
        &mut self,
        cx: &mut Context<'_>,
        mut write: impl FnMut(&Socket) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            match self.socket.poll_write_ready(cx)? {
                Poll::Pending => return self.poll_stalled(cx),
                Poll::Ready(()) => match write(&self.socket) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    result => {
                        self.stalled = None;
                        return Poll::Ready(result);
                    }
                },
            }
        }
    }

    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let deadline = self.write_deadline;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(deadline)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read")))
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let wire = self.get_mut();
        if wire.allowance.is_used_up() {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "the request's head is too large")));
        }
        if wire.ahead.is_due() {
            ready!(poll_proceed(cx)).made_progress();
            wire.ahead.charged();
        }
        let room = out.remaining();
        if wire.ahead.is_needless(room) {
            let count = ready!(wire.socket.poll_read_buf(cx, out))?;
            wire.ahead.passed(count, room);
            wire.allowance.take(count);
            return Poll::Ready(Ok(()));
        }
        if wire.ahead().is_empty() && ready!(wire.poll_fill(cx))? == 0 {
            return Poll::Ready(Ok(()));
        }
        wire.allowance.take(wire.ahead.give(out));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().poll_write_with(cx, |socket| either!(socket, stream => stream.try_write(bytes)))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_write_with(cx, |socket| either!(socket, stream => stream.try_write_vectored(bytes)))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.socket.shutdown())
    }
}
