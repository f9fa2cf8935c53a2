//! The stream that pingora's sessions read and write: plain or TLS, with small writes gathered.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
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
pub(super) enum Downstream {
    Plain(Gathered<Wire>),
    Tls(Box<Gathered<TlsStream<Wire>>>),
}

impl Downstream {
    pub(super) fn plain(wire: Wire) -> Self {
        Self::Plain(Gathered::new(wire))
    }

    pub(super) fn tls(stream: TlsStream<Wire>) -> Self {
        Self::Tls(Box::new(Gathered::new(stream)))
    }
}

/// Calls the same poll function on either kind of stream.
macro_rules! poll_either {
    ($this:expr, $poll:ident, $cx:expr $(, $argument:expr)*) => {
        match $this.get_mut() {
            Downstream::Plain(stream) => Pin::new(stream).$poll($cx $(, $argument)*),
            Downstream::Tls(stream) => Pin::new(stream.as_mut()).$poll($cx $(, $argument)*),
        }
    };
}

impl AsyncRead for Downstream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        poll_either!(self, poll_read, cx, out)
    }
}

impl AsyncWrite for Downstream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        poll_either!(self, poll_write, cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        poll_either!(self, poll_write_vectored, cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        poll_either!(self, poll_flush, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
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
