//! Requests and answers over pooled connections, each watched for whether anything still moves.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::TryStreamExt as _;
use http::{HeaderValue, Method, Request, Response, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use object_store::{
    ClientOptions,
    client::{
        HttpClient, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse, HttpResponseBody, HttpService,
    },
};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::store::s3::{
    failure::Trouble,
    settings::{Patience, Settings},
};

/// How long an idle connection is kept: shorter than any store keeps its end.
const IDLE: Duration = Duration::from_secs(15);

/// Most idle connections that are kept.
const IDLE_MAX: usize = 64;

/// Most bytes that one connection reads ahead of whoever takes them.
const READ_AHEAD: usize = 256 << 10;

/// Most bytes given to a connection at once: what it took is how progress is seen.
const SLICE: usize = 256 << 10;

/// Sends requests as they are.
#[derive(Clone, Debug)]
pub(super) struct Wire {
    client: Client<HttpsConnector<HttpConnector>, Outgoing>,
    stall: Duration,
    user_agent: HeaderValue,
}

impl Wire {
    /// `tls` is whom it trusts.
    pub(super) fn new(settings: &Settings, tls: &rustls::ClientConfig) -> Self {
        let Patience { connect, stall, .. } = settings.patience;
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(connect));
        http.set_keepalive(Some(Duration::from_mins(1)));
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls.clone())
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_MAX)
            .http1_max_buf_size(READ_AHEAD)
            .build(https);
        let user_agent = HeaderValue::try_from(&settings.user_agent).unwrap_or(HeaderValue::from_static("pierhead"));
        Self { client, stall, user_agent }
    }

    /// The head of the answer, whatever its status, and a body that fails when nothing of it comes for too long.
    pub(super) async fn exchange(&self, request: Request<HttpRequestBody>) -> Result<HttpResponse, Trouble> {
        self.exchange_within(self.stall, request).await
    }

    /// The same with another patience than with most requests.
    pub(super) async fn exchange_within(
        &self,
        stall: Duration,
        mut request: Request<HttpRequestBody>,
    ) -> Result<HttpResponse, Trouble> {
        request.headers_mut().insert(header::USER_AGENT, self.user_agent.clone());
        // Some stores want to hear of an empty body, too.
        if matches!(*request.method(), Method::PUT | Method::POST) {
            let length = request.body().content_length();
            request.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        let moved = Moved::default();
        let request = request.map(|body| Outgoing { body, slice: Bytes::new(), moved: moved.clone() });
        tokio::select! {
            // First, because an answer may have come while nobody looked.
            biased;
            answer = self.client.request(request) => {
                let answer: Response<Incoming> = answer.map_err(|error| Trouble::Transport(chain(&error)))?;
                Ok(answer.map(|body| HttpResponseBody::new(Watched { body, stall, alarm: None })))
            }
            () = moved.stalled(stall) => Err(Trouble::Stalled(stall)),
        }
    }
}

/// For the services that hand out credentials: their requests are neither signed nor repeated here.
#[async_trait]
impl HttpService for Wire {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let answer = self.exchange(request).await;
        answer.map_err(|trouble| HttpError::new_boxed(HttpErrorKind::Connect, trouble.to_string().into()))
    }
}

impl object_store::client::HttpConnector for Wire {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

/// When bytes of a request were taken last.
#[derive(Clone, Debug)]
struct Moved(Arc<Mutex<Instant>>);

impl Default for Moved {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }
}

impl Moved {
    fn now(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn last(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns when nothing has moved for this long.
    async fn stalled(&self, patience: Duration) {
        loop {
            let last = self.last();
            sleep_until(last + patience).await;
            if self.last() == last {
                return;
            }
        }
    }
}

/// A request's body that notes each time something of it was taken.
#[derive(Debug)]
struct Outgoing {
    body: HttpRequestBody,
    /// What is left of the frame that is being given away.
    slice: Bytes,
    moved: Moved,
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        self.moved.now();
        while self.slice.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => self.slice = frame.into_data().unwrap_or_default(),
                end => return Poll::Ready(end),
            }
        }
        let length = self.slice.len().min(SLICE);
        Poll::Ready(Some(Ok(Frame::data(self.slice.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.slice.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.slice.len() as u64 + self.body.size_hint().lower())
    }
}

/// An answer's body that fails when somebody waits for it and nothing comes.
#[derive(Debug)]
struct Watched {
    body: Incoming,
    stall: Duration,
    /// Set while somebody waits.
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Body for Watched {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            self.alarm = None;
            let broken = |error: hyper::Error| HttpError::new(HttpErrorKind::Interrupted, error);
            return Poll::Ready(frame.map(|frame| frame.map_err(broken)));
        }
        let stall = self.stall;
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep(stall)));
        ready!(alarm.as_mut().poll(context));
        let stalled = format!("nothing came for {stall:?}");
        Poll::Ready(Some(Err(HttpError::new_boxed(HttpErrorKind::Timeout, stalled.into()))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// At most so many bytes of a body.
pub(super) async fn beginning(body: HttpResponseBody, most: usize) -> Result<Vec<u8>, HttpError> {
    let mut stream = body.bytes_stream();
    let mut all = Vec::new();
    while let Some(chunk) = stream.try_next().await? {
        all.extend_from_slice(&chunk[..chunk.len().min(most - all.len())]);
        if all.len() == most {
            break;
        }
    }
    Ok(all)
}

/// An error with its causes: the outermost alone says next to nothing.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
