//! One connection from accept to close: handshake, choice of protocol, and the way it ends.

use std::{fmt, io, sync::Arc};

use rustls::server::Acceptor;
use tokio::{io::AsyncWriteExt, sync::watch, time::timeout};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};
use tracing::debug;

use crate::{
    api::{self, Scheme},
    server::{
        Deadlines, Handler, Handshakes, Limits,
        exchange::Observer,
        http1, http2,
        socket::{HeadAllowance, Socket, Wire},
        stream::Downstream,
    },
};

/// What every connection of a server shares.
pub(super) struct Context {
    pub(super) handler: Arc<dyn Handler>,
    pub(super) observer: Arc<dyn Observer>,
    pub(super) limits: Limits,
    pub(super) deadlines: Deadlines,
    pub(super) stopping: watch::Receiver<bool>,
}

impl Context {
    pub(super) fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// Completes when the server begins to stop.
    pub(super) async fn stopped(&self) {
        // An error means that the server itself is gone.
        let _ = self.stopping.clone().wait_for(|stopping| *stopping).await;
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("limits", &self.limits)
            .field("deadlines", &self.deadlines)
            .finish_non_exhaustive()
    }
}

/// How a connection is closed once HTTP is done with it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Closing {
    /// Nobody is left to tell anything.
    Now,
    /// An answer was just sent: the client has to see it, even if it still sends.
    AfterAnswer,
    /// An answer was cut: the client must not take it for complete.
    Reset,
}

pub(super) async fn serve(context: Arc<Context>, socket: Socket, tls: Option<Arc<dyn Handshakes>>) {
    socket.send_at_once();
    let socket = Arc::new(socket);
    let allowance = HeadAllowance::unlimited();
    let wire = Wire::new(Arc::clone(&socket), Arc::clone(&allowance), context.deadlines.write);
    let scheme = if tls.is_some() { Scheme::Https } else { Scheme::Http };
    let connection = api::Connection { peer: socket.peer(), scheme };
    let Some((stream, protocol)) = handshake(&context, wire, tls).await else {
        return;
    };
    match protocol {
        Protocol::Http2 => {
            // The connection closes with its stream, even while requests that it carried still run.
            drop(socket);
            http2::serve(&context, stream, &connection).await;
        }
        Protocol::Http1 => match http1::serve(&context, stream, &allowance, &connection).await {
            Closing::Now => {}
            Closing::AfterAnswer => socket.linger(context.deadlines.linger).await,
            Closing::Reset => socket.reset_on_close(),
        },
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Protocol {
    Http1,
    Http2,
}

/// A fatal alert before any version is agreed on: `unrecognized_name` (RFC 8446 section 6, RFC 5246 section 7.2).
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// The handshake itself; an error when the client has been refused.
async fn secure(handshakes: &dyn Handshakes, wire: Wire) -> io::Result<TlsStream<Wire>> {
    let mut begun = LazyConfigAcceptor::new(Acceptor::default(), wire).await?;
    let config = handshakes.answer(&begun.client_hello());
    let Some(config) = config else {
        begun.io.write_all(&UNRECOGNIZED_NAME).await?;
        begun.io.shutdown().await?;
        return Err(io::Error::other("nobody has the name that the client asked for"));
    };
    begun.into_stream(config).await
}

async fn handshake(context: &Context, wire: Wire, tls: Option<Arc<dyn Handshakes>>) -> Option<(Downstream, Protocol)> {
    let Some(handshakes) = tls else {
        return Some((Downstream::plain(wire), Protocol::Http1));
    };
    match timeout(context.deadlines.handshake, secure(handshakes.as_ref(), wire)).await {
        Ok(Ok(stream)) => {
            let protocol = match stream.get_ref().1.alpn_protocol() {
                Some(b"h2") => Protocol::Http2,
                _ => Protocol::Http1,
            };
            Some((Downstream::tls(stream), protocol))
        }
        // Anyone can cause these, so they are no news to an operator.
        Ok(Err(error)) => {
            debug!(error = %error, "a TLS handshake failed");
            None
        }
        Err(_) => {
            debug!("a TLS handshake took too long");
            None
        }
    }
}
