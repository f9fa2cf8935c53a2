//! Requests to an authority: over HTTPS alone, to whom the operator trusts, within bounds, and without following
//! redirects.

use std::{
    future::Future,
    pin::Pin,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, header};
use http_body_util::{BodyExt as _, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::ClientConfig;
use time::{OffsetDateTime, format_description::well_known::Rfc2822};

use crate::clock::Clock;

/// For one request and its answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Longest answer, in bytes: a chain has some thousand.
const ANSWER_MAX: usize = 1 << 20;

const USER_AGENT: &str = concat!("pierhead/", env!("CARGO_PKG_VERSION"));

/// Sends requests; clones share what was heard.
#[derive(Clone)]
pub(super) struct Wire {
    client: Client<HttpsConnector<HttpConnector>, BodyWrapper<Bytes>>,
    clock: Arc<dyn Clock>,
    heard: Arc<Mutex<Heard>>,
}

/// Of the last answer.
#[derive(Clone, Copy, Debug, Default)]
struct Heard {
    /// How long to wait, where it was an error and said so.
    retry_after: Option<time::Duration>,
}

impl Wire {
    pub(super) fn new(trust: &ClientConfig, clock: Arc<dyn Clock>) -> Self {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_connect_timeout(Some(Duration::from_secs(10)));
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(trust.clone())
            .https_only()
            .enable_http1()
            .wrap_connector(http);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(15))
            .build(https);
        Self { client, clock, heard: Arc::default() }
    }

    /// What the last answer said about trying again, if it was an error.
    pub(super) fn retry_after(&self) -> Option<time::Duration> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).retry_after
    }

    async fn exchange(self, mut request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, Error> {
        request.headers_mut().insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        self.note(Heard::default());
        let uri = request.uri().clone();
        let exchange = async {
            let answer = self.client.request(request).await.map_err(|error| unreached(&uri, &error))?;
            let (parts, body) = answer.into_parts();
            let body = Limited::new(body, ANSWER_MAX).collect().await.map_err(|error| unreached(&uri, &*error))?;
            Ok::<_, Error>((parts, body.to_bytes()))
        };
        let late = |_| Error::Other(format!("{uri} did not answer within {PATIENCE:?}").into());
        let (parts, body) = tokio::time::timeout(PATIENCE, exchange).await.map_err(late)??;
        if !parts.status.is_success() {
            self.note(Heard { retry_after: retry_after(&parts.headers, self.clock.now()) });
        }
        // A proxy's page, or a gateway's: what it means is in its status.
        if parts.status.is_server_error() && serde_json::from_slice::<serde_json::Value>(&body).is_err() {
            return Err(Error::Other(format!("{uri} answered with {}", parts.status).into()));
        }
        Ok(BytesResponse { parts, body: Box::new(body) })
    }

    fn note(&self, heard: Heard) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = heard;
    }
}

impl HttpClient for Wire {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        Box::pin(self.clone().exchange(request))
    }
}

/// With all causes: the outermost says next to nothing.
fn unreached(uri: &http::Uri, error: &(dyn std::error::Error + 'static)) -> Error {
    let causes = std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string);
    Error::Other(format!("{uri}: {}", causes.collect::<Vec<_>>().join(": ")).into())
}

/// Seconds or a date (RFC 9110 section 10.2.3).
fn retry_after(headers: &HeaderMap, now: OffsetDateTime) -> Option<time::Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    match u32::from_str(text) {
        Ok(seconds) => Some(time::Duration::seconds(seconds.into())),
        Err(_) => OffsetDateTime::parse(text, &Rfc2822).ok().map(|date| (date - now).max(time::Duration::ZERO)),
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn waits_are_seconds_or_dates() {
        let check = |text: &str, expected: Option<i64>| {
            let headers = HeaderMap::from_iter([(header::RETRY_AFTER, text.parse().unwrap())]);
            let found = retry_after(&headers, datetime!(2026-11-24 12:00 UTC));
            assert_eq!(found.map(time::Duration::whole_seconds), expected, "{text}");
        };
        check("120", Some(120));
        check("Tue, 24 Nov 2026 12:05:00 GMT", Some(300));
        check("Tue, 24 Nov 2026 11:05:00 GMT", Some(0));
        check("-1", None);
        check("soon", None);
        check("99999999999999999999", None);
        assert_eq!(retry_after(&HeaderMap::new(), OffsetDateTime::UNIX_EPOCH), None);
    }
}
