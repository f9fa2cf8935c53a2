//! A proxy in front of an S3 endpoint that counts what passes and breaks what it is told to break.
//!
//! A request goes on as it came, its `Host` too: what the client signed stays signed. Bodies stream both ways.

use std::{
    collections::BTreeMap,
    fmt,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Uri, header, uri::Authority};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::time::sleep;

use crate::support::{
    random::Random,
    s3::{
        operation::{Operation, Target},
        serve::{Body, Failure, Wire, full, serve},
    },
};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    /// The request waits before it goes on.
    Delay(Duration),
    /// The connection is reset, and the store never hears of the request.
    Lost,
    /// The store does what it was asked; its answer is lost in a reset.
    Unanswered,
    /// 500 `InternalError`.
    Internal,
    /// 503 `SlowDown` with `Retry-After`.
    SlowDown,
    /// 403 `AccessDenied`.
    Denied,
    /// This status and body, in the store's place.
    Said(u16, &'static str),
    /// So many bytes of the answer's body, then a reset.
    Cut(u64),
}

/// When a fault befalls a request that a rule is about.
#[derive(Clone, Debug)]
pub(crate) enum Turn {
    Each,
    /// The first so many.
    First(u32),
    /// That one, counted from 1.
    Only(u32),
    /// Of so many in a hundred, as the seed says.
    Chance(u64, Random),
}

impl Turn {
    /// Whether it is the turn of the request of this number, from 1.
    fn has_come(&mut self, number: u32) -> bool {
        match self {
            Self::Each => true,
            Self::First(count) => number <= *count,
            Self::Only(chosen) => number == *chosen,
            Self::Chance(percent, random) => random.below(100) < *percent,
        }
    }
}

/// Which requests a fault befalls.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    /// Any of these; every one where there is none.
    pub operations: Vec<Operation>,
    /// What the key, or a listing's prefix, contains.
    pub about: String,
    pub turn: Turn,
    pub fault: Fault,
}

impl Rule {
    pub(crate) fn new(operations: &[Operation], turn: Turn, fault: Fault) -> Self {
        Self { operations: operations.to_vec(), about: String::new(), turn, fault }
    }

    pub(crate) fn about(self, text: &str) -> Self {
        Self { about: text.to_owned(), ..self }
    }

    fn concerns(&self, target: &Target) -> bool {
        let meant = self.operations.is_empty() || self.operations.contains(&target.operation);
        meant && target.subject().contains(&self.about)
    }
}

/// One request that came by.
#[derive(Debug)]
struct Passage {
    target: Target,
    fault: Option<Fault>,
    /// 0 until there is an answer.
    status: AtomicU16,
    sent: AtomicU64,
    received: AtomicU64,
}

/// The same, as it stands now.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Call {
    pub operation: Operation,
    /// Or a listing's prefix.
    pub key: String,
    pub part: Option<u32>,
    pub fault: Option<Fault>,
    /// What the client saw; 0 where there was no answer.
    pub status: u16,
    /// Bytes of the request's body.
    pub sent: u64,
    /// Bytes of the answer's body.
    pub received: u64,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<24} {:>3} {:>9} > {:>9} < {}", self.operation, self.status, self.sent, self.received, self.key)?;
        self.part.map_or(Ok(()), |part| write!(f, " part {part}"))?;
        self.fault.map_or(Ok(()), |fault| write!(f, " {fault:?}"))
    }
}

/// All requests of one operation.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Tally {
    pub requests: u64,
    pub sent: u64,
    pub received: u64,
}

/// A running proxy.
#[derive(Clone, Debug)]
pub(crate) struct Proxy {
    pub address: SocketAddr,
    desk: Arc<Desk>,
}

#[derive(Debug)]
struct Desk {
    upstream: Authority,
    client: Client<HttpConnector, Body>,
    passages: Mutex<Vec<Arc<Passage>>>,
    /// Each with how many requests it was about so far.
    rules: Mutex<Vec<(Rule, u32)>>,
}

impl Proxy {
    pub(crate) fn start(upstream: SocketAddr) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let desk = Arc::new(Desk {
            upstream: upstream.to_string().parse().unwrap(),
            client: Client::builder(TokioExecutor::new()).build(connector),
            passages: Mutex::default(),
            rules: Mutex::default(),
        });
        let serving = Arc::clone(&desk);
        let address = serve(move |wire, request| {
            let desk = Arc::clone(&serving);
            async move { desk.pass(&wire, request).await }
        });
        Self { address, desk }
    }

    /// Adds a rule; of several that a request meets, the first whose turn it is acts.
    pub(crate) fn inject(&self, rule: Rule) {
        self.desk.rules.lock().unwrap().push((rule, 0));
    }

    /// All goes well from now on.
    pub(crate) fn heal(&self) {
        self.desk.rules.lock().unwrap().clear();
    }

    /// Everything that came by since the last [`Proxy::forget`], in the order in which it began.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.desk.passages.lock().unwrap().iter().map(|passage| passage.call()).collect()
    }

    pub(crate) fn forget(&self) {
        self.desk.passages.lock().unwrap().clear();
    }

    pub(crate) fn tallies(&self) -> BTreeMap<Operation, Tally> {
        let mut tallies = BTreeMap::<Operation, Tally>::new();
        for call in self.calls() {
            let tally = tallies.entry(call.operation).or_default();
            tally.requests += 1;
            tally.sent += call.sent;
            tally.received += call.received;
        }
        tallies
    }
}

impl Passage {
    fn call(&self) -> Call {
        Call {
            operation: self.target.operation,
            key: self.target.subject().to_owned(),
            part: self.target.part(),
            fault: self.fault,
            status: self.status.load(Ordering::Relaxed),
            sent: self.sent.load(Ordering::Relaxed),
            received: self.received.load(Ordering::Relaxed),
        }
    }
}

impl Desk {
    async fn pass(&self, wire: &Wire, request: Request<Incoming>) -> Result<Response<Body>, Failure> {
        let target = Target::of(request.method(), request.uri(), request.headers());
        let fault = self.fault(&target);
        let (status, sent, received) = Default::default();
        let passage = Arc::new(Passage { target, fault, status, sent, received });
        self.passages.lock().unwrap().push(Arc::clone(&passage));
        let answer = match fault {
            None => self.forward(&passage, request).await?,
            Some(Fault::Delay(by)) => {
                sleep(by).await;
                self.forward(&passage, request).await?
            }
            Some(Fault::Lost) => return Err(broken(wire)),
            Some(Fault::Unanswered) => {
                self.forward(&passage, request).await?.into_body().collect().await?;
                return Err(broken(wire));
            }
            Some(Fault::Internal) => refuse(request, StatusCode::INTERNAL_SERVER_ERROR, "InternalError").await?,
            Some(Fault::SlowDown) => refuse(request, StatusCode::SERVICE_UNAVAILABLE, "SlowDown").await?,
            Some(Fault::Denied) => refuse(request, StatusCode::FORBIDDEN, "AccessDenied").await?,
            Some(Fault::Said(status, body)) => say(request, StatusCode::from_u16(status)?, body.into()).await?,
            Some(Fault::Cut(after)) => {
                self.forward(&passage, request).await?.map(|body| cut(wire.clone(), body, after))
            }
        };
        passage.status.store(answer.status().as_u16(), Ordering::Relaxed);
        Ok(answer.map(|body| count(body, move |bytes| passage.received.fetch_add(bytes, Ordering::Relaxed))))
    }

    fn fault(&self, target: &Target) -> Option<Fault> {
        let mut rules = self.rules.lock().unwrap();
        let mut fault = None;
        for (rule, seen) in rules.iter_mut().filter(|(rule, _)| rule.concerns(target)) {
            *seen += 1;
            if fault.is_none() && rule.turn.has_come(*seen) {
                fault = Some(rule.fault);
            }
        }
        fault
    }

    async fn forward(&self, passage: &Arc<Passage>, request: Request<Incoming>) -> Result<Response<Body>, Failure> {
        let (mut head, body) = request.into_parts();
        let mut uri = head.uri.into_parts();
        uri.scheme = Some(http::uri::Scheme::HTTP);
        uri.authority = Some(self.upstream.clone());
        head.uri = Uri::from_parts(uri)?;
        // Connections are each side's own.
        head.headers.remove(header::CONNECTION);
        let counted = Arc::clone(passage);
        let body =
            count(body.map_err(Failure::from).boxed(), move |bytes| counted.sent.fetch_add(bytes, Ordering::Relaxed));
        let mut answer = self.client.request(Request::from_parts(head, body)).await?;
        answer.headers_mut().remove(header::CONNECTION);
        Ok(answer.map(|body| body.map_err(Failure::from).boxed()))
    }
}

fn count(body: Body, note: impl Fn(u64) -> u64 + Send + Sync + 'static) -> Body {
    let counted = body.map_frame(move |frame| {
        note(frame.data_ref().map_or(0, |data| data.len() as u64));
        frame
    });
    counted.boxed()
}

/// Ends the body after so many bytes, and the connection with it.
fn cut(wire: Wire, body: Body, after: u64) -> Body {
    let frames = futures_util::stream::try_unfold((body, after), move |(mut body, left)| {
        let wire = wire.clone();
        async move {
            let Some(frame) = body.frame().await.filter(|_| left > 0) else { return Err(broken(&wire)) };
            let data = frame?.into_data().unwrap_or_default();
            let data = data.slice(..data.len().min(usize::try_from(left).unwrap_or(usize::MAX)));
            let left = left - data.len() as u64;
            Ok(Some((Frame::data(data), (body, left))))
        }
    });
    // The cut body keeps its length: the client waits for bytes that never come.
    BodyExt::boxed(StreamBody::new(frames))
}

fn broken(wire: &Wire) -> Failure {
    wire.end_with_reset();
    "as a test asked".into()
}

/// Takes the whole request and refuses it, as S3 words it.
async fn refuse(request: Request<Incoming>, status: StatusCode, code: &str) -> Result<Response<Body>, Failure> {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>as a test asked</Message></Error>"
    );
    say(request, status, body.into()).await
}

/// Takes the whole request and answers in the store's place.
async fn say(request: Request<Incoming>, status: StatusCode, body: Bytes) -> Result<Response<Body>, Failure> {
    let body = if request.method() == http::Method::HEAD { Bytes::new() } else { body };
    let mut taken = request.into_body();
    while let Some(frame) = taken.frame().await {
        frame?;
    }
    let mut answer = Response::new(full(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    if status.is_success() {
        answer.headers_mut().insert(header::ETAG, HeaderValue::from_static("\"of nothing\""));
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    Ok(answer)
}

#[test]
fn a_signed_request_passes_and_is_counted() {
    use crate::support::s3::{client::Client, seaweed};
    let Some(seaweed) = seaweed::shared() else { return };
    let proxy = Proxy::start(seaweed.address);
    let bucket = seaweed.bucket();
    let client = Client::to(proxy.address);
    let object = format!("/{}/a dir/ob+ject", bucket.name);
    let put = |content: &[u8]| client.send("PUT", &object, &[], content).status;

    let content = vec![7; 100_000];
    assert_eq!(put(&content), 200);
    assert_eq!(client.send("GET", &object, &[], b"").body, content);
    assert_eq!(client.send("GET", &format!("{object}-none"), &[], b"").status, 404);
    let seen: Vec<_> = proxy.calls().into_iter().map(|call| (call.operation, call.key, call.status)).collect();
    assert_eq!(
        seen,
        [
            (Operation::PutObject, "a dir/ob+ject".to_owned(), 200),
            (Operation::GetObject, "a dir/ob+ject".to_owned(), 200),
            (Operation::GetObject, "a dir/ob+ject-none".to_owned(), 404),
        ]
    );
    let tallies = proxy.tallies();
    assert_eq!(tallies[&Operation::PutObject], Tally { requests: 1, sent: 100_000, received: 0 });
    assert!(tallies[&Operation::GetObject].received > 100_000);
    proxy.forget();
    assert_eq!(proxy.calls(), []);
}

#[test]
fn faults_befall_whom_they_are_meant_for() {
    use crate::support::s3::{client::Client, seaweed};
    let Some(seaweed) = seaweed::shared() else { return };
    let proxy = Proxy::start(seaweed.address);
    let bucket = seaweed.bucket();
    let client = Client::to(proxy.address);
    let put = |key: &str| client.try_send("PUT", &format!("/{}/{key}", bucket.name), &[], b"content");
    let rule = |turn, fault| Rule::new(&[Operation::PutObject], turn, fault).about("bro");

    proxy.inject(rule(Turn::Only(2), Fault::Internal));
    proxy.inject(rule(Turn::Only(3), Fault::SlowDown));
    proxy.inject(rule(Turn::Only(4), Fault::Denied));
    proxy.inject(rule(Turn::Only(5), Fault::Lost));
    proxy.inject(rule(Turn::Only(6), Fault::Unanswered));
    let statuses: Vec<_> = (1..=7).map(|n| put(&format!("broken/{n}")).ok().map(|answer| answer.status)).collect();
    assert_eq!(statuses, [Some(200), Some(500), Some(503), Some(403), None, None, Some(200)]);
    assert_eq!(put("sound").unwrap().status, 200);
    let stored: Vec<_> = bucket.objects("").into_iter().map(|(key, _)| key).collect();
    assert_eq!(stored, ["broken/1", "broken/6", "broken/7", "sound"]);

    proxy.inject(Rule::new(&[Operation::GetObject], Turn::First(1), Fault::Cut(3)));
    let get = || client.try_send("GET", &format!("/{}/sound", bucket.name), &[], b"");
    assert!(get().is_err(), "a reset, not an end");
    assert_eq!(get().unwrap().body, b"content");
    proxy.inject(Rule::new(&[], Turn::Each, Fault::Lost));
    assert!(get().is_err());
    proxy.heal();
    assert!(get().is_ok());
    let chosen = |seed| {
        let mut turn = Turn::Chance(50, Random(seed));
        (0..64).filter(|number| turn.has_come(*number)).count()
    };
    assert!((16..48).contains(&chosen(1)) && chosen(1) == chosen(1));
}
