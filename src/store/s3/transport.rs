//! One request to the store, signed, and sent again while that can help.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use object_store::{
    ClientOptions,
    client::{
        HttpClient, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse, HttpResponseBody, HttpService,
    },
};
use tokio::sync::Semaphore;
use tracing::{debug, warn};

use crate::store::s3::{
    failure::{Answer, BODY_MAX, Failure, Trouble},
    retry::{Budget, wait},
    settings::Patience,
    signer::Signer,
    wire::{Wire, beginning},
    xml,
};

/// Most requests that wait for an answer at once; more would be connections that a process may not have.
const TURNS: usize = 512;

/// Largest answer that is read whole, in bytes: a thousand keys of a kilobyte, escaped.
pub(super) const WHOLE_MAX: usize = 8 << 20;

/// The way to the store that everything takes, whoever wrote the request down.
#[derive(Debug)]
pub(super) struct Transport {
    wire: Wire,
    pub(super) signer: Signer,
    budget: Budget,
    patience: Patience,
    /// Held until an answer begins.
    turns: Semaphore,
}

/// Put into a request's extensions, it tells whether an attempt before the last may have taken effect.
#[derive(Clone, Debug, Default)]
pub(super) struct Ambiguity(Arc<AtomicBool>);

/// Put into a request's extensions: headers that `object_store` has no words for.
#[derive(Clone, Debug, Default)]
pub(super) struct Extra(pub(super) HeaderMap);

impl Ambiguity {
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Transport {
    pub(super) fn new(wire: Wire, signer: Signer, patience: Patience) -> Self {
        Self { wire, signer, budget: Budget::default(), patience, turns: Semaphore::new(TURNS) }
    }

    /// The answer to a request that succeeded.
    ///
    /// # Errors
    /// The last attempt's failure.
    pub(super) async fn send(&self, mut request: Request<HttpRequestBody>) -> Result<HttpResponse, Failure> {
        if let Some(Extra(headers)) = request.extensions_mut().remove() {
            request.headers_mut().extend(headers);
        }
        // Time in which bytes move is not waiting.
        let (mut waited, mut attempts, mut corrected) = (Duration::ZERO, 0, Corrected::default());
        let ambiguity = request.extensions().get::<Ambiguity>().cloned();
        loop {
            attempts += 1;
            let failure = match self.attempt(again(&request), &mut corrected).await {
                Ok(Some(response)) => {
                    self.budget.earn();
                    return Ok(response);
                }
                // Signed once more, by the store's clock or with other keys.
                Ok(None) => continue,
                Err(trouble) => Failure { method: request.method().clone(), trouble },
            };
            if let Some(ambiguity) = &ambiguity
                && failure.is_ambiguous()
            {
                ambiguity.0.store(true, Ordering::Relaxed);
            }
            if let Trouble::Stalled(patience) = failure.trouble {
                waited += patience;
            }
            let asked = failure.answer().and_then(|answer| answer.retry_after);
            let wait = wait(attempts, asked, random()).filter(|wait| {
                failure.is_transient()
                    && attempts < self.patience.attempts
                    && waited + *wait < self.patience.operation
                    && self.budget.spend()
            });
            let Some(wait) = wait else { return Err(failure) };
            debug!(storage.attempts = attempts, err.message = %failure, "a request to the store is sent again");
            waited += wait;
            tokio::time::sleep(wait).await;
        }
    }

    /// `None` where our clock was off and has been set, or where there may be other keys.
    async fn attempt(
        &self,
        mut request: Request<HttpRequestBody>,
        corrected: &mut Corrected,
    ) -> Result<Option<HttpResponse>, Trouble> {
        self.signer.sign(&mut request).await?;
        let whole = answers_in_xml(&request);
        let stall = if answers_late(&request) { self.patience.work } else { self.patience.stall };
        let _turn = self.turns.acquire().await;
        let (head, body) = self.wire.exchange_within(stall, request).await?.into_parts();
        if head.status.is_success() && !whole {
            return Ok(Some(Response::from_parts(head, body)));
        }
        let read = |error: HttpError| Trouble::Transport(error.to_string());
        let most = if head.status.is_success() { WHOLE_MAX } else { BODY_MAX };
        let body = beginning(body, most).await.map_err(read)?;
        if head.status.is_success() && !is_error(&body) {
            return Ok(Some(Response::from_parts(head, HttpResponseBody::new(full(body)))));
        }
        let mut answer = Answer::read(head.status, &head.headers, &body);
        if head.status.is_success() {
            // Said after the head was sent: an error of the store's own (API reference, `CompleteMultipartUpload`).
            answer.status = 500;
        }
        if answer.code == "RequestTimeTooSkewed" && !corrected.clock {
            corrected.clock = true;
            if let Some(skew) = self.signer.follow(head.headers.get(header::DATE)) {
                warn!("the store's clock is {skew} s ahead of ours; requests are signed by its time from now on");
                return Ok(None);
            }
        }
        if answer.refuses_keys() && !corrected.keys && self.signer.renew() {
            corrected.keys = true;
            warn!(err.code = answer.code, "the store does not take our keys; others are asked for");
            return Ok(None);
        }
        Err(Trouble::Answer(answer))
    }
}

/// What was put right on the way of one request, each at most once.
#[derive(Debug, Default)]
struct Corrected {
    clock: bool,
    keys: bool,
}

/// Gives `object_store` this transport: what it writes down goes the same way, and it neither signs nor repeats anything
/// itself.
#[derive(Clone, Debug)]
pub(super) struct Connector(pub(super) Arc<Transport>);

#[async_trait]
impl HttpService for Connector {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        self.0.send(request).await.map_err(|failure| HttpError::new(HttpErrorKind::Unknown, failure))
    }
}

impl object_store::client::HttpConnector for Connector {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

/// The same request once more: its body shares its bytes.
fn again(request: &Request<HttpRequestBody>) -> Request<HttpRequestBody> {
    let mut copy = Request::new(request.body().clone());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    copy
}

/// Whether the answer is a text that is read whole, so that a cut in its middle is one more reason to ask again.
fn answers_in_xml(request: &Request<HttpRequestBody>) -> bool {
    let query = request.uri().query().unwrap_or_default();
    let asks =
        |names: &[&str]| query.split('&').any(|pair| names.contains(&pair.split('=').next().unwrap_or_default()));
    match *request.method() {
        Method::GET => asks(&["list-type", "uploads"]),
        Method::POST => asks(&["uploads"]) || answers_late(request),
        _ => answers_late(request),
    }
}

/// Whether the store has to move bytes before it can answer, and may say 200 first and find out later that it failed:
/// copies and completions.
fn answers_late(request: &Request<HttpRequestBody>) -> bool {
    let query = request.uri().query().unwrap_or_default();
    match *request.method() {
        Method::PUT => request.headers().contains_key("x-amz-copy-source"),
        Method::POST => query.split('&').any(|parameter| parameter.starts_with("uploadId=")),
        _ => false,
    }
}

fn is_error(body: &[u8]) -> bool {
    xml::root(&String::from_utf8_lossy(body)) == Some("Error")
}

fn full(body: Vec<u8>) -> impl http_body::Body<Data = Bytes, Error = HttpError> + Send + Sync + 'static {
    Full::new(Bytes::from(body)).map_err(|never| match never {})
}

/// From 0 to 1. Without random bytes everybody waits alike, which is no reason to fail.
fn random() -> f64 {
    f64::from(getrandom::u32().unwrap_or(u32::MAX)) / f64::from(u32::MAX)
}
