//! The same question to both: what the registry behind us answers goes to the client, and afterwards our own gateway is
//! asked and the answers are compared.
//!
//! 1. [`Shadow::question`] copies the head of a read that is sampled.
//! 2. [`Shadow::behind`] lets the answer pass and takes notes (`record`); the client waits for nothing.
//! 3. When the answer is over, ours is asked for in the background, as many at once as are allowed; what comes beyond is
//!    left out and counted.
//! 4. `compare` says in what they differ; `explain` knows the differences that are meant to be. Before one that is not is
//!    called a difference, both are asked again: somebody may have written in between.
//!
//! The gateway it asks stands on a store that cannot be written. Never: a word of it in an answer to a client.

mod compare;
mod explain;
mod record;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, Method, Uri};
use tokio::{
    sync::Semaphore,
    time::{sleep, timeout},
};
use uuid::Uuid;

use crate::{
    api::{
        self, Body, BodyError, Connection, Head, Log, Reply, RequestBody, StreamError, gate::Gate, gateway::Gateway,
    },
    telemetry::upstream::Upstream as Metrics,
    upstream::{
        Proxy,
        shadow::{
            compare::{Difference, differences},
            record::{Recorder, Side},
        },
    },
};

/// For one answer, from either side.
const PATIENCE: Duration = Duration::from_mins(2);

/// Before both are asked again, so that a write that was under way is through.
const SECOND_LOOK: Duration = Duration::from_secs(1);

/// What is compared, and how much of it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which part of the reads, from 0 to 1.
    pub sample: f64,
    /// Most comparisons at once.
    pub concurrency: usize,
    /// `http.prefix`
    pub prefix: String,
}

/// Compares.
pub struct Shadow {
    settings: Settings,
    theirs: Arc<Proxy>,
    ours: Gateway,
    /// Who we would let in, where that is to be compared as well.
    gate: Option<Gate>,
    permits: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

/// A read.
#[derive(Clone)]
pub struct Question {
    id: Uuid,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    connection: Connection,
    subject: Subject,
    admission: Admission,
}

/// What is asked about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Subject {
    Blob,
    Catalog,
    Manifest,
    Referrers,
    Tags,
}

/// Whether we would have let it in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Admission {
    /// Nobody was asked, or everybody is let in.
    Unknown,
    Granted,
    Refused,
}

impl Subject {
    fn of(log: &Log) -> Option<Self> {
        match log.route? {
            "blob" => Some(Self::Blob),
            "catalog" => Some(Self::Catalog),
            "manifest" => Some(Self::Manifest),
            "referrers" => Some(Self::Referrers),
            "tags" => Some(Self::Tags),
            _ => None,
        }
    }

    /// Whether the answer is a document that two programs may write differently.
    const fn is_document(self) -> bool {
        matches!(self, Self::Catalog | Self::Referrers | Self::Tags)
    }
}

impl Shadow {
    /// `ours` must not ask for credentials: `gate` has done so, where it is there.
    #[must_use]
    pub fn new(
        settings: Settings,
        theirs: Arc<Proxy>,
        ours: Gateway,
        gate: Option<Gate>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let permits = Arc::new(Semaphore::new(settings.concurrency.min(Semaphore::MAX_PERMITS)));
        Self { settings, theirs, ours, gate, permits, metrics }
    }

    /// What a request asks, if it is a read that is to be compared.
    pub async fn question(&self, request: Head<'_>) -> Option<Question> {
        if !matches!(*request.method, Method::GET | Method::HEAD) || !self.is_sampled(request.id) {
            return None;
        }
        let subject = Subject::of(&api::gate::describe(request.uri.path(), &self.settings.prefix))?;
        let admission = match &self.gate {
            None => Admission::Unknown,
            Some(gate) => match gate.admit(request).await {
                Ok(_) => Admission::Granted,
                Err(reply) if reply.status.as_u16() == 401 => Admission::Refused,
                Err(_) => Admission::Unknown,
            },
        };
        Some(Question {
            id: request.id,
            method: request.method.clone(),
            uri: request.uri.clone(),
            headers: request.headers.clone(),
            connection: request.connection.clone(),
            subject,
            admission,
        })
    }

    /// The upstream's reply as it goes to the client. When it has gone, the question is asked here.
    #[must_use]
    pub fn behind(self: &Arc<Self>, question: Question, reply: Reply) -> Reply {
        // An answer of our own says nothing about the upstream.
        if reply.log.failure.is_some() {
            self.metrics.shadowed("unanswered");
            return reply;
        }
        let mut recorder = Recorder::new(question.subject, &reply);
        let watch = |recorder, length| Watch { shadow: Arc::clone(self), length, pending: Some((question, recorder)) };
        let body = match reply.body {
            Body::Empty => {
                watch(recorder, None).end();
                Body::Empty
            }
            Body::Full(bytes) => {
                recorder.note(&bytes);
                watch(recorder, None).end();
                Body::Full(bytes)
            }
            Body::Stream { length, content } => {
                Body::Stream { length, content: watched(content, watch(recorder, Some(length))).boxed() }
            }
            Body::Open(content) => Body::Open(watched(content, watch(recorder, None)).boxed()),
        };
        Reply { body, ..reply }
    }

    /// The request's own number decides, so that both sides of a retry are as likely as any.
    fn is_sampled(&self, id: Uuid) -> bool {
        const WHOLE: u32 = 1 << 24;
        let number = id.as_fields().0 & (WHOLE - 1);
        f64::from(number) < self.settings.sample * f64::from(WHOLE)
    }

    fn settle(self: Arc<Self>, question: Question, theirs: Side) {
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            self.metrics.shadowed("behind");
            return;
        };
        tokio::spawn(async move {
            let outcome = timeout(PATIENCE, self.compare(&question, theirs)).await.unwrap_or("late");
            self.metrics.shadowed(outcome);
            drop(permit);
        });
    }

    /// What became of it, as the metrics say it.
    async fn compare(&self, question: &Question, theirs: Side) -> &'static str {
        if !theirs.tells(question.admission) {
            return "unanswered";
        }
        let ours = self.ask_ours(question).await;
        let found = differences(question, &theirs, &ours);
        if found.iter().all(Difference::is_explained) {
            return self.conclude(question, &found);
        }
        sleep(SECOND_LOOK).await;
        let Some(theirs) = self.ask_theirs(question).await else { return "unanswered" };
        let ours = self.ask_ours(question).await;
        self.conclude(question, &differences(question, &theirs, &ours))
    }

    fn conclude(&self, question: &Question, found: &[Difference]) -> &'static str {
        for difference in found {
            self.metrics.differed(difference.kind.label(), difference.explained);
        }
        let Question { id, method, uri, .. } = question;
        let told = found.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        let path = uri.path();
        if found.is_empty() {
            "same"
        } else if found.iter().all(Difference::is_explained) {
            tracing::debug!(http.request.id = %id, "shadow: {method} {path} differs as it is meant to: {told}");
            "explained"
        } else {
            tracing::warn!(http.request.id = %id, "shadow: {method} {path} differs: {told}");
            "different"
        }
    }

    async fn ask_ours(&self, question: &Question) -> Side {
        let reply = self.ours.handle(question.request()).await;
        record::whole(question.subject, reply).await
    }

    async fn ask_theirs(&self, question: &Question) -> Option<Side> {
        let reply = self.theirs.handle(question.request()).await;
        let failed = reply.log.failure.is_some();
        let side = record::whole(question.subject, reply).await;
        (!failed && side.is_whole() && side.tells(question.admission)).then_some(side)
    }
}

impl fmt::Debug for Shadow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shadow").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl fmt::Debug for Question {
    /// Neither headers nor query: tokens travel in them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut question = f.debug_struct("Question");
        question.field("method", &self.method).field("path", &self.uri.path()).finish_non_exhaustive()
    }
}

impl Question {
    fn request(&self) -> api::Request {
        api::Request {
            id: self.id,
            method: self.method.clone(),
            uri: self.uri.clone(),
            headers: self.headers.clone(),
            connection: self.connection.clone(),
            body: Box::new(NoBody),
        }
    }
}

/// Of a read.
struct NoBody;

#[async_trait]
impl RequestBody for NoBody {
    async fn chunk(&mut self) -> Result<Option<Bytes>, BodyError> {
        Ok(None)
    }
}

/// Hears when an answer is over. One that is dropped before was not taken to its end.
struct Watch {
    shadow: Arc<Shadow>,
    /// Of the body in bytes, where it is known.
    length: Option<u64>,
    pending: Option<(Question, Recorder)>,
}

impl Watch {
    /// The last byte is the end: a client that has it may be gone before the body is asked for more.
    fn note(&mut self, bytes: &[u8]) {
        let Some((_, recorder)) = &mut self.pending else { return };
        recorder.note(bytes);
        if self.length.is_some_and(|length| recorder.length() >= length) {
            self.end();
        }
    }

    fn end(&mut self) {
        if let Some((question, recorder)) = self.pending.take() {
            Arc::clone(&self.shadow).settle(question, recorder.finish());
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if self.pending.is_some() {
            self.shadow.metrics.shadowed("cut");
        }
    }
}

fn watched(
    content: stream::BoxStream<'static, Result<Bytes, StreamError>>,
    watch: Watch,
) -> impl stream::Stream<Item = Result<Bytes, StreamError>> + Send + 'static {
    stream::unfold((content, Some(watch)), |(mut content, mut watch)| async move {
        match content.next().await {
            Some(Ok(chunk)) => {
                if let Some(watch) = &mut watch {
                    watch.note(&chunk);
                }
                Some((Ok(chunk), (content, watch)))
            }
            Some(Err(error)) => Some((Err(error), (content, None))),
            None => {
                if let Some(watch) = &mut watch {
                    watch.end();
                }
                None
            }
        }
    })
}
