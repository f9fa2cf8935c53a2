//! One connection to a server, which carries one request after the other.

use std::{io, time::Duration};

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::{task::JoinHandle, time::timeout};

use crate::upstream::{body::Outgoing, endpoint::Endpoint, room::Slot};

/// Most bytes of an answer that are read ahead of whoever takes them, and of a request that wait to be written. It also
/// bounds the head of an answer.
const BUFFER: usize = 256 << 10;

/// Dropping it closes the connection at once, whatever is on its way.
#[derive(Debug)]
pub(in crate::upstream) struct Connection {
    pub(in crate::upstream) sender: SendRequest<Outgoing>,
    _driver: Driver,
}

/// The task that reads and writes.
#[derive(Debug)]
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Connection {
    /// `slot` is given back when the connection is closed, whoever closes it. A check of health has none: whether there is
    /// room for requests says nothing of the server.
    pub(in crate::upstream) async fn open(
        endpoint: &Endpoint,
        slot: Option<Slot>,
        patience: Duration,
    ) -> io::Result<Self> {
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, format!("no connection within {patience:?}"));
        let stream = timeout(patience, endpoint.connect()).await.map_err(late)??;
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(BUFFER)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        // How it ended is told to whoever waits for an answer.
        let driver = Driver(tokio::spawn(async move {
            drop(connection.await);
            drop(slot);
        }));
        Ok(Self { sender, _driver: driver })
    }

    /// Whether another request can be sent.
    pub(in crate::upstream) fn is_ready(&self) -> bool {
        self.sender.is_ready() && !self.sender.is_closed()
    }
}
