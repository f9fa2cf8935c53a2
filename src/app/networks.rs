//! Amazon's networks, fetched again and again.

use std::{fmt, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http::Uri;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustls::ClientConfig;
use tokio::time::{sleep, timeout};

use crate::store::locate::cloudfront::{Near, networks::Networks};

/// For everything from the connection to the last byte.
const PATIENCE: Duration = Duration::from_secs(30);

/// Several times what Amazon's list has, in bytes.
const SIZE_MAX: usize = 16 << 20;

/// When a list that could not be had is tried for again, unless it is due before.
const AGAIN: Duration = Duration::from_mins(5);

/// Least time between two looks.
const INTERVAL_MIN: Duration = Duration::from_mins(1);

/// Keeps the networks of one middleware up to date.
pub(super) struct Update {
    source: Uri,
    regions: Option<Vec<String>>,
    interval: Duration,
    near: Arc<Near>,
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
}

impl Update {
    /// `regions` are those whose networks count, all if there are none; `tls` is for a source with https.
    pub(super) fn new(
        source: Uri,
        regions: Option<Vec<String>>,
        interval: Duration,
        near: Arc<Near>,
        tls: &ClientConfig,
    ) -> Self {
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls.clone()).https_or_http().enable_http1().build();
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        Self { source, regions, interval: interval.max(INTERVAL_MIN), near, client }
    }

    /// Goes on for ever. Where a list cannot be had the one before stays.
    pub(super) async fn run(&self) {
        loop {
            sleep(self.once().await).await;
        }
    }

    /// Returns how long to wait for the next.
    async fn once(&self) -> Duration {
        match self.fetch().await {
            Ok(networks) => {
                tracing::info!(
                    networks = networks.len(),
                    "clients in these of Amazon's networks are sent to the bucket"
                );
                if networks.is_empty() {
                    tracing::warn!("middleware.storage: cloudfront: no network lies in the regions of awsregion");
                }
                self.near.replace(networks);
                self.interval
            }
            Err(why) => {
                tracing::warn!("middleware.storage: cloudfront: iprangesurl: {why:#}; the networks of before stay");
                self.interval.min(AGAIN)
            }
        }
    }

    async fn fetch(&self) -> Result<Networks> {
        let body = timeout(PATIENCE, self.get()).await.with_context(|| format!("no answer within {PATIENCE:?}"))??;
        Ok(Networks::of_aws(&body, self.regions.as_deref())?)
    }

    /// A redirect is an answer like any other that is not 200.
    async fn get(&self) -> Result<Bytes> {
        let answer = self.client.get(self.source.clone()).await?;
        if answer.status() != 200 {
            bail!("status {} instead of 200", answer.status());
        }
        let body = Limited::new(answer.into_body(), SIZE_MAX).collect().await;
        Ok(body.map_err(anyhow::Error::from_boxed)?.to_bytes())
    }
}

impl fmt::Debug for Update {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Update").field("source", &self.source).field("regions", &self.regions).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use rustls::RootCertStore;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    fn near_to(source: &str) -> (Update, Arc<Near>) {
        crate::tls::install_provider();
        let near = Arc::new(Near::default());
        let tls = ClientConfig::builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth();
        let regions = Some(vec!["eu-west-1".to_owned()]);
        let update = Update::new(source.parse().unwrap(), regions, Duration::from_hours(12), Arc::clone(&near), &tls);
        (update, near)
    }

    /// Answers one connection after the other, each with one of the texts.
    async fn serve(answers: Vec<String>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let source = format!("http://{}/ip-ranges.json", listener.local_addr().unwrap());
        tokio::spawn(async move {
            for answer in answers {
                let (mut peer, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(peer.read_u8().await.unwrap());
                }
                // A client that has read enough may be gone.
                let _ = peer.write_all(answer.as_bytes()).await;
            }
        });
        source
    }

    fn answer(status: &str, body: &str) -> String {
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
    }

    #[tokio::test]
    async fn the_list_before_stays_until_there_is_another() {
        let list = |network: &str| {
            let body = format!(r#"{{"prefixes": [{{"ip_prefix": "{network}", "region": "eu-west-1"}}]}}"#);
            answer("200 OK", &body)
        };
        let moved = "HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        let endless = format!("HTTP/1.1 200 OK\r\n\r\n{}", " ".repeat(SIZE_MAX + 1));
        let cut = list("12.0.0.0/8").replace("}]}", "");
        let steps = [
            (answer("503 No", ""), None),
            (list("10.0.0.0/8"), Some("10.0.0.1")),
            (answer("200 OK", "<html>"), Some("10.0.0.1")),
            (moved.to_owned(), Some("10.0.0.1")),
            (endless, Some("10.0.0.1")),
            (cut, Some("10.0.0.1")),
            (list("11.0.0.0/8"), Some("11.0.0.1")),
        ];
        let (update, near) = near_to(&serve(steps.iter().map(|(answer, _)| answer.clone()).collect()).await);
        for (number, (_, expected)) in steps.iter().enumerate() {
            let pause = update.once().await;
            let held = ["10.0.0.1", "11.0.0.1", "12.0.0.1"].into_iter().find(|it| near.holds(it.parse().unwrap()));
            assert_eq!(held, *expected, "step {number}");
            let renewed = matches!(number, 1 | 6);
            assert_eq!(pause, if renewed { Duration::from_hours(12) } else { AGAIN }, "step {number}");
        }
    }

    #[tokio::test]
    async fn nobody_answers() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let source = format!("http://{}/", listener.local_addr().unwrap());
        drop(listener);
        let (update, _) = near_to(&source);
        assert_eq!(update.once().await, AGAIN);
    }
}
