//! One look at one thing.

use std::{fmt, future::Future, path::PathBuf, pin::Pin, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// When the configuration gives none.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Enough for a status line; the rest of an answer is not read.
const STATUS_BYTES: usize = 12;

type Outcome = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// What is looked at.
pub enum Probe {
    /// Calls back into the storage.
    Storage(Box<dyn Fn() -> Outcome + Send + Sync>),
    /// Fails while the file exists.
    File(PathBuf),
    Http(HttpProbe),
    /// Fails when no connection is made to `addr` (host:port) within the time; zero is 5 s.
    Tcp {
        addr: String,
        timeout: Duration,
    },
}

/// A HEAD request over plain HTTP.
#[derive(Clone, Debug)]
pub struct HttpProbe {
    /// Absolute; only `http` is spoken.
    pub uri: http::Uri,
    pub headers: http::HeaderMap,
    /// The only status that counts as healthy; distribution's default is 200.
    pub status: u16,
    /// Zero is 5 s.
    pub timeout: Duration,
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Storage(_) => "Storage",
            Self::File(_) => "File",
            Self::Http(_) => "Http",
            Self::Tcp { .. } => "Tcp",
        })
    }
}

impl Probe {
    pub fn storage<F>(check: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        Self::Storage(Box::new(move || Box::pin(check())))
    }

    /// The error is a sentence for `/debug/health`.
    pub(super) async fn run(&self) -> Result<(), String> {
        match self {
            Self::Storage(check) => check().await,
            Self::File(path) => match tokio::fs::try_exists(path).await {
                Ok(true) => Err("file exists".to_owned()),
                Ok(false) => Ok(()),
                Err(why) => Err(why.to_string()),
            },
            Self::Http(probe) => within(probe.timeout, probe.head()).await,
            Self::Tcp { addr, timeout } => within(*timeout, async { connect(addr).await.map(drop) }).await,
        }
    }
}

impl HttpProbe {
    async fn head(&self) -> Result<(), String> {
        if self.uri.scheme_str() != Some("http") {
            return Err("only http:// can be checked".to_owned());
        }
        let host = self.uri.host().ok_or("the uri has no host")?;
        let mut stream = connect(&format!("{host}:{}", self.uri.port_u16().unwrap_or(80))).await?;
        stream.write_all(&self.request(host)).await.map_err(|why| why.to_string())?;
        let mut status = [0; STATUS_BYTES];
        stream.read_exact(&mut status).await.map_err(|why| why.to_string())?;
        let code: Option<u16> =
            std::str::from_utf8(&status).ok().and_then(|line| line.strip_prefix("HTTP/1.")?.get(2..)?.parse().ok());
        match code {
            Some(code) if code == self.status => Ok(()),
            Some(code) => Err(format!("expected status {}, got {code}", self.status)),
            None => Err("the answer is not HTTP/1".to_owned()),
        }
    }

    fn request(&self, host: &str) -> Vec<u8> {
        let authority = self.uri.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let path = self.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        let mut out = format!("HEAD {path} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n").into_bytes();
        for (name, value) in &self.headers {
            out.extend_from_slice(name.as_str().as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
        out
    }
}

async fn connect(addr: &str) -> Result<TcpStream, String> {
    TcpStream::connect(addr).await.map_err(|why| why.to_string())
}

async fn within(limit: Duration, probe: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    let limit = if limit.is_zero() { TIMEOUT } else { limit };
    timeout(limit, probe).await.unwrap_or_else(|_| Err(format!("no answer within {limit:?}")))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_file_fails_while_it_exists() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("down");
        let probe = Probe::File(path.clone());
        assert_eq!(probe.run().await, Ok(()));
        std::fs::write(path, "").unwrap();
        assert_eq!(probe.run().await, Err("file exists".to_owned()));
    }

    #[tokio::test]
    async fn http_and_tcp_tell_what_they_met() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            for _ in 0..2 {
                let (mut peer, _) = listener.accept().await.unwrap();
                let mut head = [0; 1024];
                let _ = peer.read(&mut head).await.unwrap();
                peer.write_all(b"HTTP/1.1 503 no\r\n\r\n").await.unwrap();
            }
        });
        for (status, expected) in [(503, Ok(())), (200, Err("expected status 200, got 503".to_owned()))] {
            let uri = format!("http://{addr}/x").parse().unwrap();
            let probe = HttpProbe { uri, headers: http::HeaderMap::new(), status, timeout: Duration::ZERO };
            assert_eq!(Probe::Http(probe).run().await, expected);
        }
        server.await.unwrap();
        let gone = Probe::Tcp { addr: addr.to_string(), timeout: Duration::ZERO };
        assert!(gone.run().await.is_err());
    }
}
