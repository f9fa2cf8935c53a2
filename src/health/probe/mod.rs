//! One look at one thing.

pub mod http;

use std::{fmt, future::Future, path::PathBuf, pin::Pin, time::Duration};

use tokio::{net::TcpStream, time::timeout};

use crate::health::probe::http::HttpProbe;

/// When the configuration gives none.
const TIMEOUT: Duration = Duration::from_secs(5);

type Outcome = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// What is looked at.
pub enum Probe {
    /// Asks something of ours, the storage say.
    Call(Box<dyn Fn() -> Outcome + Send + Sync>),
    /// Fails while the file exists.
    File(PathBuf),
    Http(HttpProbe),
    /// Fails when no connection is made to `addr` (host:port) within the time; zero is 5 s.
    Tcp {
        addr: String,
        timeout: Duration,
    },
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Call(_) => "Call",
            Self::File(_) => "File",
            Self::Http(_) => "Http",
            Self::Tcp { .. } => "Tcp",
        })
    }
}

impl Probe {
    pub fn call<F>(check: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        Self::Call(Box::new(move || Box::pin(check())))
    }

    /// The error is a sentence for `/debug/health`.
    pub(in crate::health) async fn run(&self) -> Result<(), String> {
        match self {
            Self::Call(check) => check().await,
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
    async fn a_port_is_open_or_not() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let probe = Probe::Tcp { addr, timeout: Duration::ZERO };
        assert_eq!(probe.run().await, Ok(()));
        drop(listener);
        assert!(probe.run().await.is_err());
    }

    #[tokio::test]
    async fn patience_ends() {
        let never = within(Duration::from_millis(10), std::future::pending());
        assert_eq!(never.await, Err("no answer within 10ms".to_owned()));
    }
}
