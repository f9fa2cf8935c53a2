//! The stream that pingora's sessions read and write: plain or TLS, with small writes gathered.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use async_trait::async_trait;
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest, UniqueID,
    UniqueIDType, raw_connect::ProxyDigest,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_rustls::server::TlsStream;

use crate::server::{gathered::Gathered, socket::Wire};

#[derive(Debug)]
pub(super) struct Downstream {
    side: Side,
    prompt: Arc<Prompt>,
}

#[derive(Debug)]
enum Side {
    Plain(Gathered<Wire>),
    Tls(Box<Gathered<TlsStream<Wire>>>),
}

/// Whether what is written must not wait for more: nobody knows when more will come.
#[derive(Debug, Default)]
pub(super) struct Prompt(AtomicBool);

impl Prompt {
    pub(super) fn set(&self, prompt: bool) {
        self.0.store(prompt, Ordering::Relaxed);
    }
}

impl Downstream {
    pub(super) fn plain(wire: Wire) -> Self {
        Self::new(Side::Plain(Gathered::new(wire)))
    }

    /// For whom every write is news.
    pub(super) fn unbuffered(wire: Wire) -> Self {
        Self::new(Side::Plain(Gathered::nothing(wire)))
    }

    /// What is below, where that is a socket; what was not flushed is lost.
    pub(super) fn into_wire(self) -> Option<Wire> {
        match self.side {
            Side::Plain(stream) => Some(stream.into_inner()),
            Side::Tls(_) => None,
        }
    }

    pub(super) fn tls(stream: TlsStream<Wire>) -> Self {
        Self::new(Side::Tls(Box::new(Gathered::new(stream))))
    }

    fn new(side: Side) -> Self {
        Self { side, prompt: Arc::default() }
    }

    pub(super) fn prompt(&self) -> Arc<Prompt> {
        Arc::clone(&self.prompt)
    }

    /// As much of a flush as can be had at once: what the client does not take now goes with what is written next.
    fn hasten(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if matches!(written, Poll::Ready(Ok(_)))
            && self.prompt.0.load(Ordering::Relaxed)
            && let Poll::Ready(Err(error)) = Pin::new(self).poll_flush(cx)
        {
            return Poll::Ready(Err(error));
        }
        written
    }
}

/// Calls the same poll function on either kind of stream.
macro_rules! poll_either {
    ($this:expr, $poll:ident, $cx:expr $(, $argument:expr)*) => {
        match &mut $this.side {
            Side::Plain(stream) => Pin::new(stream).$poll($cx $(, $argument)*),
            Side::Tls(stream) => Pin::new(stream.as_mut()).$poll($cx $(, $argument)*),
        }
    };
}

impl AsyncRead for Downstream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        poll_either!(self, poll_read, cx, out)
    }
}

impl AsyncWrite for Downstream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = poll_either!(self, poll_write, cx, bytes);
        self.hasten(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = poll_either!(self, poll_write_vectored, cx, bytes);
        self.hasten(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        poll_either!(self, poll_flush, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        poll_either!(self, poll_shutdown, cx)
    }
}

#[async_trait]
impl Shutdown for Downstream {
    async fn shutdown(&mut self) {
        // The connection ends either way.
        let _ = AsyncWriteExt::shutdown(self).await;
    }
}

/// pingora keeps connections apart by this only in pools of upstream connections, where ours never are.
impl UniqueID for Downstream {
    fn id(&self) -> UniqueIDType {
        0
    }
}

impl Ssl for Downstream {}

impl Peek for Downstream {}

impl GetTimingDigest for Downstream {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for Downstream {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for Downstream {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
    }
}
