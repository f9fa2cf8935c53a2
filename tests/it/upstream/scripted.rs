//! An upstream that says what a test wants, byte by byte.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::JoinHandle,
    time::timeout,
};

/// No test waits longer than this for anything.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// One accepted connection and what was read of it past the last head.
pub(super) struct Caller {
    pub(super) stream: TcpStream,
    ahead: Vec<u8>,
}

impl Caller {
    /// Reads one head, with its empty line; `None` at the end of the connection.
    pub(super) async fn head(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.ahead.windows(4).position(|end| end == b"\r\n\r\n") {
                let rest = self.ahead.split_off(end + 4);
                let head = std::mem::replace(&mut self.ahead, rest);
                return Some(String::from_utf8(head).unwrap());
            }
            if self.fill().await == 0 {
                return None;
            }
        }
    }

    /// Reads until so many bytes lie behind the head, and takes them.
    pub(super) async fn body(&mut self, length: usize) -> Vec<u8> {
        while self.ahead.len() < length {
            assert!(self.fill().await > 0, "closed after {} of {length} bytes", self.ahead.len());
        }
        let rest = self.ahead.split_off(length);
        std::mem::replace(&mut self.ahead, rest)
    }

    /// Reads to the end, however it comes; all that came.
    pub(super) async fn rest(&mut self) -> Vec<u8> {
        while self.fill().await > 0 {}
        std::mem::take(&mut self.ahead)
    }

    pub(super) async fn say(&mut self, answer: &str) {
        self.stream.write_all(answer.as_bytes()).await.unwrap();
    }

    async fn fill(&mut self) -> usize {
        let read = timeout(PATIENCE, self.stream.read_buf(&mut self.ahead)).await.expect("nothing came");
        read.unwrap_or(0)
    }
}

/// A listener whose connections are given to the test one by one.
pub(super) struct Upstream {
    pub(super) address: SocketAddr,
    callers: UnboundedReceiver<Caller>,
    accepted: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Upstream {
    pub(super) async fn start() -> Self {
        Self::at(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    pub(super) fn at(listener: TcpListener) -> Self {
        let address = listener.local_addr().unwrap();
        let (give, callers): (UnboundedSender<Caller>, _) = unbounded_channel();
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&accepted);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                if give.send(Caller { stream, ahead: Vec::new() }).is_err() {
                    return;
                }
            }
        });
        Self { address, callers, accepted, task }
    }

    /// The next connection that sends something: whoever only looks whether the port is open is passed over.
    pub(super) async fn next(&mut self) -> Caller {
        let next = async { self.callers.recv().await.expect("it listens") };
        timeout(PATIENCE, next).await.expect("nobody called")
    }

    /// The next connection's first head.
    pub(super) async fn asked(&mut self) -> (Caller, String) {
        loop {
            let mut caller = self.next().await;
            if let Some(head) = caller.head().await {
                return (caller, head);
            }
        }
    }

    pub(super) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// Answers every request without a body with the same text, on as many connections as come, for as long as the test
    /// runs.
    pub(super) fn always(mut self, answer: &'static str) {
        tokio::spawn(async move {
            while let Some(mut caller) = self.callers.recv().await {
                tokio::spawn(async move {
                    while caller.head().await.is_some() {
                        if caller.stream.write_all(answer.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
    }
}

/// A client of bytes.
pub(super) async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.unwrap()
}

/// Sends a request on a connection of its own and returns everything until the server closes.
pub(super) async fn say(address: SocketAddr, request: &str) -> String {
    let mut stream = connect(address).await;
    stream.write_all(request.as_bytes()).await.unwrap();
    let (bytes, _) = everything(&mut stream).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads until the end, and whether it was a clean one.
pub(super) async fn everything(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("the server did not close");
    (bytes, read.is_ok())
}

/// The lines of a head below its first, sorted, each name in small letters.
pub(super) fn fields(head: &str) -> Vec<String> {
    let mut fields: Vec<_> = head
        .lines()
        .skip(1)
        .filter(|line| !line.is_empty())
        .map(|line| {
            let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("{line:?} in {head:?}"));
            format!("{}: {value}", name.to_lowercase())
        })
        .collect();
    fields.sort();
    fields
}
