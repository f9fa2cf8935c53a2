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
use hyper::body::Frame;
use tokio::{runtime::Runtime, time::sleep};

use crate::support::{
    balancer::Balancer,
    digest,
    http::{Body, committed, empty, location, send, with_query},
    random::{Random, write_random},
    registry::{Auth, Program, Registry, Transport},
};

const ROUNDS: u64 = 200;

/// A push that takes longer will never end.
const PATIENCE: Duration = Duration::from_mins(1);

/// Within which time after a push began one process is killed; about as long as a push takes.
const KILL_WITHIN_MS: u64 = 250;

/// Up to how many bytes a push and one of its chunks have, about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) content_max: u64,
    pub(crate) chunk_max: u64,
}

const SIZES: Sizes = Sizes { content_max: 1 << 20, chunk_max: 256 << 10 };

pub(crate) const REPOSITORY: &str = "team/replicas";

/// `PIERHEAD_SEED` repeats a run.
#[test]
fn every_push_survives_the_death_of_a_replica() {
    let seed = seed("replicas");
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    let start = |name: &str| {
        let data = here.join("data");
        Registry::start(&Program::pierhead(), &here.join(name), &data, Transport::Plain, Auth::None)
    };
    let mut replicas = [start("one"), start("two")];
    let addresses = replicas.each_ref().map(|replica| replica.address);
    let balancer = Balancer::start(addresses.to_vec());
    let runtime = runtime();

    let mut recovered = 0;
    for round in 0..ROUNDS {
        let mut random = Random(seed.wrapping_add(round));
        let victim = usize::try_from(random.below(2)).unwrap();
        let delay = Duration::from_millis(random.below(KILL_WITHIN_MS));
        let mut push = Push::new(balancer.address, random, SIZES, format!("PIERHEAD_SEED={seed} round {round}"));
        disturbed(&mut replicas[victim], delay, || runtime.block_on(push.run()));
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

/// `PIERHEAD_SEED`, or a fresh one, printed so that the run can be repeated.
pub(crate) fn seed(name: &str) -> u64 {
    let fresh = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let seed = env::var("PIERHEAD_SEED").map_or_else(|_| fresh(), |seed| seed.parse().unwrap());
    println!("{name}: PIERHEAD_SEED={seed}");
    seed
}

pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Does something while, after `delay`, a replica dies and comes back.
pub(crate) fn disturbed(victim: &mut Registry, delay: Duration, act: impl FnOnce()) {
    thread::scope(|scope| {
        scope.spawn(move || {
            thread::sleep(delay);
            victim.kill();
            victim.restart();
        });
        act();
    });
}

/// The blob is whole and right at this replica.
pub(crate) fn assert_stored(runtime: &Runtime, address: SocketAddr, push: &Push) {
    let path = format!("/v2/{REPOSITORY}/blobs/{}", push.digest);
    let reply = runtime.block_on(send(address, empty(Method::GET, &path))).unwrap();
    assert_eq!(reply.status(), StatusCode::OK, "{}: {path} at {address}", push.origin);
    assert!(reply.body() == &push.content, "{}: other bytes at {address}", push.origin);
}

/// One blob on its way up in chunks, with the care of a client that resumes.
pub(crate) struct Push {
    balancer: SocketAddr,
    random: Random,
    sizes: Sizes,
    /// For messages: how to repeat it.
    origin: String,
    content: Bytes,
    digest: String,
    /// Path and query of the upload; empty before it began.
    location: String,
    /// Bytes that a 202 acknowledged.
    acknowledged: usize,
    /// How often a request brought no answer, or one of 5xx.
    pub(crate) failures: u32,
}

impl Push {
    pub(crate) fn new(balancer: SocketAddr, mut random: Random, sizes: Sizes, origin: String) -> Self {
        let length = 2 + random.below(sizes.content_max);
        let mut content = Vec::new();
        write_random(&mut content, random.next(), length);
        let digest = digest::of(&content);
        Self {
            balancer,
            random,
            sizes,
            origin,
            content: content.into(),
            digest,
            location: String::new(),
            acknowledged: 0,
            failures: 0,
        }
    }

    pub(crate) async fn run(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        let opened = self.insist(deadline, |_| empty(Method::POST, &format!("/v2/{REPOSITORY}/blobs/uploads/"))).await;
        assert_eq!(opened.status(), StatusCode::ACCEPTED, "{}: {opened:?}", self.origin);
        self.follow(opened.headers());

        while self.acknowledged < self.content.len() {
            self.send_chunk(deadline).await;
        }
        let digest = self.digest.clone();
        let done = self
            .insist(deadline, |push| empty(Method::PUT, &with_query(&push.location, &format!("digest={digest}"))))
            .await;
        assert_eq!(done.status(), StatusCode::CREATED, "{}: {done:?}", self.origin);
        let said = done.headers().get("docker-content-digest").and_then(|value| value.to_str().ok());
        assert_eq!(said, Some(self.digest.as_str()), "{}", self.origin);
    }

    /// Sends the next bytes; after a failure or a refusal, asks how far the upload is.
    async fn send_chunk(&mut self, deadline: Instant) {
        let start = self.acknowledged;
        let length = 2 + usize::try_from(self.random.below(self.sizes.chunk_max)).unwrap();
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
        self.location = location(headers).unwrap_or_else(|| panic!("{}: no Location", self.origin));
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
