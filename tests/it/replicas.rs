//! Two processes on one directory behind a round-robin balancer: chunks go to both, one of them dies in the middle of
//! every push, and no acknowledged byte is lost.

use std::{
    env,
    net::SocketAddr,
    ops::Range,
    thread,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::{body::Frame, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, runtime::Runtime, time::sleep};

use crate::support::{
    balancer::Balancer,
    digest,
    random::{Random, write_random},
    registry::{Auth, Program, Registry, Transport},
};

const ROUNDS: u64 = 200;

/// A push that takes longer will never end.
const PATIENCE: Duration = Duration::from_mins(1);

/// Within which time after a push began one process is killed; about as long as a push takes.
const KILL_WITHIN_MS: u64 = 250;

/// About the longest chunk, in bytes.
const CHUNK_MAX: u64 = 256 << 10;

const REPOSITORY: &str = "team/replicas";

/// `PIERHEAD_SEED` repeats a run.
#[test]
fn every_push_survives_the_death_of_a_replica() {
    let seed = env::var("PIERHEAD_SEED").map_or_else(|_| fresh_seed(), |seed| seed.parse().unwrap());
    println!("replicas: PIERHEAD_SEED={seed}");
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    let start = |name: &str| {
        let data = here.join("data");
        Registry::start(&Program::pierhead(), &here.join(name), &data, Transport::Plain, Auth::None)
    };
    let mut replicas = [start("one"), start("two")];
    let addresses = replicas.each_ref().map(|replica| replica.address);
    let balancer = Balancer::start(addresses.to_vec());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();

    let mut recovered = 0;
    for round in 0..ROUNDS {
        let mut random = Random(seed.wrapping_add(round));
        let victim = usize::try_from(random.below(2)).unwrap();
        let delay = Duration::from_millis(random.below(KILL_WITHIN_MS));
        let mut push = Push::new(balancer.address, random, format!("PIERHEAD_SEED={seed} round {round}"));
        thread::scope(|scope| {
            let victim = &mut replicas[victim];
            scope.spawn(move || {
                thread::sleep(delay);
                victim.kill();
                victim.restart();
            });
            runtime.block_on(push.run());
        });
        recovered += u64::from(push.failures > 0);
        for address in addresses {
            assert_stored(&runtime, address, &push);
        }
    }
    let served = balancer.served();
    println!("replicas: {ROUNDS} pushes, {recovered} of them met a failure; connections {served:?}");
    assert!(served.iter().all(|count| *count > usize::try_from(ROUNDS).unwrap()), "{served:?}");
    assert!(recovered > 0, "no push was ever disturbed");
}

fn fresh_seed() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

/// The blob is whole and right at this replica.
fn assert_stored(runtime: &Runtime, address: SocketAddr, push: &Push) {
    let path = format!("/v2/{REPOSITORY}/blobs/{}", push.digest);
    let reply = runtime.block_on(send(address, empty(Method::GET, &path))).unwrap();
    assert_eq!(reply.status(), StatusCode::OK, "{}: {path} at {address}", push.origin);
    assert!(reply.body() == &push.content, "{}: other bytes at {address}", push.origin);
}

/// One blob on its way up in chunks, with the care of a client that resumes.
struct Push {
    balancer: SocketAddr,
    random: Random,
    /// For messages: how to repeat it.
    origin: String,
    content: Bytes,
    digest: String,
    /// Path and query of the upload; empty before it began.
    location: String,
    /// Bytes that a 202 acknowledged.
    acknowledged: usize,
    /// How often a request brought no answer, or one of 5xx.
    failures: u32,
}

impl Push {
    fn new(balancer: SocketAddr, mut random: Random, origin: String) -> Self {
        let length = 2 + random.below(1 << 20);
        let mut content = Vec::new();
        write_random(&mut content, random.next(), length);
        let digest = digest::of(&content);
        Self {
            balancer,
            random,
            origin,
            content: content.into(),
            digest,
            location: String::new(),
            acknowledged: 0,
            failures: 0,
        }
    }

    async fn run(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        let opened = self.insist(deadline, |_| empty(Method::POST, &format!("/v2/{REPOSITORY}/blobs/uploads/"))).await;
        assert_eq!(opened.status(), StatusCode::ACCEPTED, "{}: {opened:?}", self.origin);
        self.follow(opened.headers());

        while self.acknowledged < self.content.len() {
            self.send_chunk(deadline).await;
        }
        let digest = self.digest.clone();
        let done = self
            .insist(deadline, |push| {
                let sign = if push.location.contains('?') { '&' } else { '?' };
                empty(Method::PUT, &format!("{}{sign}digest={digest}", push.location))
            })
            .await;
        assert_eq!(done.status(), StatusCode::CREATED, "{}: {done:?}", self.origin);
        let said = done.headers().get("docker-content-digest").and_then(|value| value.to_str().ok());
        assert_eq!(said, Some(self.digest.as_str()), "{}", self.origin);
    }

    /// Sends the next bytes; after a failure or a refusal, asks how far the upload is.
    async fn send_chunk(&mut self, deadline: Instant) {
        let start = self.acknowledged;
        let length = 2 + usize::try_from(self.random.below(CHUNK_MAX)).unwrap();
        let end = self.content.len().min(start + length);
        let request = self.chunk(start..end);
        match send(self.balancer, request).await {
            Ok(reply) if reply.status() == StatusCode::ACCEPTED => {
                self.follow(reply.headers());
                let committed = committed(reply.headers());
                assert_eq!(committed, end, "{}: 202 after {start}..{end}", self.origin);
                self.acknowledged = committed;
            }
            Ok(reply) if reply.status() == StatusCode::RANGE_NOT_SATISFIABLE => self.ask(deadline).await,
            Ok(reply) if !reply.status().is_server_error() => panic!("{}: {start}..{end}: {reply:?}", self.origin),
            Ok(_) | Err(_) => {
                self.failures += 1;
                self.ask(deadline).await;
            }
        }
    }

    /// Learns the committed offset, which never lies before what was acknowledged.
    async fn ask(&mut self, deadline: Instant) {
        let reply = self.insist(deadline, |push| empty(Method::GET, &push.location)).await;
        assert_eq!(reply.status(), StatusCode::NO_CONTENT, "{}: {reply:?}", self.origin);
        self.follow(reply.headers());
        let committed = committed(reply.headers());
        let known = self.acknowledged..=self.content.len();
        assert!(known.contains(&committed), "{}: offset {committed} not in {known:?}", self.origin);
        self.acknowledged = committed;
    }

    /// Sends a request until it is answered by something else than 5xx.
    async fn insist(&mut self, deadline: Instant, make: impl Fn(&Self) -> Request<Body>) -> Response<Bytes> {
        loop {
            let outcome = send(self.balancer, make(self)).await;
            match outcome {
                Ok(reply) if !reply.status().is_server_error() => return reply,
                outcome => {
                    self.failures += 1;
                    assert!(Instant::now() < deadline, "{}: no end: {outcome:?}", self.origin);
                    sleep(Duration::from_millis(20)).await;
                }
            }
        }
    }

    fn follow(&mut self, headers: &HeaderMap) {
        let location = headers.get(header::LOCATION).unwrap_or_else(|| panic!("{}: no Location", self.origin));
        let location = location.to_str().unwrap();
        // Absolute when the registry says its own name; the balancer is the way in all the same.
        let path = location.strip_prefix("http://").map_or(location, |rest| &rest[rest.find('/').unwrap()..]);
        path.clone_into(&mut self.location);
    }

    /// A PATCH whose body comes in pieces over some milliseconds, so that death meets it half-way; with a length or
    /// chunked, as the seed says.
    fn chunk(&mut self, range: Range<usize>) -> Request<Body> {
        let pieces = 1 + usize::try_from(self.random.below(4)).unwrap();
        let piece_size = range.len().div_ceil(pieces);
        let body = stream::unfold(self.content.slice(range.clone()), move |mut rest| async move {
            let piece = rest.split_to(piece_size.min(rest.len()));
            sleep(Duration::from_millis(2)).await;
            (!piece.is_empty()).then_some((Ok(Frame::data(piece)), rest))
        });
        let mut request = Request::builder()
            .method(Method::PATCH)
            .uri(&self.location)
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .header(header::CONTENT_RANGE, format!("{}-{}", range.start, range.end - 1));
        if self.random.below(2) == 0 {
            request = request.header(header::CONTENT_LENGTH, range.len());
        }
        request.body(BodyExt::boxed(StreamBody::new(body))).unwrap()
    }
}

/// How many bytes `Range: 0-LAST` says are there; `0-0` stands for none at all, and one byte cannot be told from it.
fn committed(headers: &HeaderMap) -> usize {
    let range = headers.get(header::RANGE).unwrap().to_str().unwrap();
    let last: usize = range.strip_prefix("0-").unwrap().parse().unwrap();
    if last == 0 { 0 } else { last + 1 }
}

type Body = http_body_util::combinators::BoxBody<Bytes, std::convert::Infallible>;
type Failure = Box<dyn std::error::Error + Send + Sync>;

fn empty(method: Method, target: &str) -> Request<Body> {
    let body = BodyExt::boxed(http_body_util::Empty::new());
    Request::builder().method(method).uri(target).body(body).unwrap()
}

/// One request on a connection of its own.
async fn send(address: SocketAddr, mut request: Request<Body>) -> Result<Response<Bytes>, Failure> {
    request.headers_mut().insert(header::HOST, address.to_string().parse()?);
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let exchange = async {
        let reply = sender.send_request(request).await?;
        let (head, body) = reply.into_parts();
        Ok(Response::from_parts(head, body.collect().await?.to_bytes()))
    };
    // The connection is driven here; it goes with the exchange.
    tokio::select! {
        outcome = exchange => outcome,
        ended = connection => Err(ended.map_or_else(Failure::from, |()| Failure::from("connection ended"))),
    }
}
