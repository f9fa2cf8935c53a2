//! Blobs of any size that cost no memory, and the flows in which clients push them.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::stream;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use sha2::{Digest as _, Sha256};
use tokio::time::sleep;

use crate::support::{
    digest,
    http::{Body, Failure, empty, location, send, with_query},
    random::write_random,
};

/// What a content repeats, in bytes.
const BLOCK: usize = 1 << 20;

/// What a client writes at once, in bytes.
const WRITE: usize = 256 << 10;

/// What tells contents of one length apart, at their end, in bytes.
const STAMP: usize = 16;

/// A blob: random bytes that repeat, and a stamp of its own at its end.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    block: Bytes,
    stamp: Bytes,
    pub length: u64,
    pub digest: String,
}

/// Contents of one length, which differ in their stamps: what they share is hashed once.
#[derive(Clone, Debug)]
pub(crate) struct Family {
    block: Bytes,
    shared: Sha256,
    length: u64,
}

impl Family {
    /// `length` is that of each content, in bytes, and at least [`STAMP`].
    pub(crate) fn new(length: u64) -> Self {
        let mut block = Vec::new();
        write_random(&mut block, length, BLOCK as u64);
        let (block, mut shared) = (Bytes::from(block), Sha256::new());
        let mut left = length - STAMP as u64;
        while left > 0 {
            let part = &block[..usize::try_from(left.min(BLOCK as u64)).unwrap()];
            shared.update(part);
            left -= part.len() as u64;
        }
        Self { block, shared, length }
    }

    pub(crate) fn member(&self, number: u64) -> Content {
        let stamp = Bytes::from(format!("{number:0STAMP$}"));
        let hash = self.shared.clone().chain_update(&stamp).finalize();
        Content { block: self.block.clone(), stamp, length: self.length, digest: digest::text(&hash) }
    }
}

impl Content {
    /// The bytes of a range, in pieces that share one memory.
    pub(crate) fn pieces(&self, start: u64, end: u64) -> impl Iterator<Item = Bytes> + Send + use<> {
        let Self { block, stamp, length, .. } = self.clone();
        let stamped = length - STAMP as u64;
        let mut at = start;
        std::iter::from_fn(move || {
            let place = usize::try_from(at % BLOCK as u64).unwrap();
            let piece = if at >= stamped {
                stamp.slice(usize::try_from(at - stamped).unwrap()..)
            } else {
                block.slice(place..BLOCK.min(place + WRITE))
            };
            let limit = if at < stamped { end.min(stamped) } else { end };
            let piece = piece.slice(..piece.len().min(usize::try_from(limit - at).unwrap_or(usize::MAX)));
            at += piece.len() as u64;
            (!piece.is_empty()).then_some(piece)
        })
    }
}

/// How a client pushes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Flow {
    /// POST, then PUT with all bytes: containerd, current Docker, oras, helm.
    Put,
    /// POST, one PATCH of unknown length with all bytes, PUT: skopeo, podman, crane, classic Docker.
    Patch,
    /// POST, a PATCH for each so many bytes, PUT: regctl.
    Chunks(u64),
}

/// How fast a client is.
#[derive(Clone, Debug)]
pub(crate) enum Pace {
    Full,
    /// Bytes in a second, until somebody sets this.
    Slow(u64, Arc<AtomicBool>),
}

/// How long it took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Took {
    pub whole: Duration,
    /// From the last byte of content to the answer.
    pub end: Duration,
}

/// A repository of a registry.
#[derive(Clone, Debug)]
pub(crate) struct Pusher {
    pub registry: SocketAddr,
    pub repository: String,
}

impl Pusher {
    pub(crate) fn new(registry: SocketAddr, repository: &str) -> Self {
        Self { registry, repository: repository.to_owned() }
    }

    /// Pushes in one go, without a second attempt: anything but success is an error.
    pub(crate) async fn push(&self, content: &Content, flow: Flow, pace: &Pace) -> Result<Took, Stopped> {
        let started = Instant::now();
        let opened = self.ask(Method::POST, "blobs/uploads/").await?;
        let mut at = follow(opened, StatusCode::ACCEPTED)?;
        let step = match flow {
            Flow::Put => 0,
            Flow::Patch => content.length,
            Flow::Chunks(size) => size,
        };
        let mut sent = 0;
        while step > 0 && sent < content.length {
            let end = content.length.min(sent + step);
            let mut patch = Request::patch(&at).header(header::CONTENT_TYPE, "application/octet-stream");
            if flow != Flow::Patch {
                patch = patch.header(header::CONTENT_LENGTH, end - sent);
                patch = patch.header(header::CONTENT_RANGE, format!("{sent}-{}", end - 1));
            }
            let (body, _) = body(content, sent, end, pace);
            let answer = send(self.registry, patch.body(body).unwrap()).await?;
            at = follow(answer, StatusCode::ACCEPTED)?;
            sent = end;
        }
        let (body, last) = body(content, sent, content.length, pace);
        let put = Request::put(with_query(&at, &format!("digest={}", content.digest)))
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .header(header::CONTENT_LENGTH, content.length - sent);
        let asked = Instant::now();
        let answer = send(self.registry, put.body(body).unwrap()).await?;
        follow(answer, StatusCode::CREATED)?;
        let last = last.lock().unwrap().unwrap_or(asked);
        Ok(Took { whole: started.elapsed(), end: last.elapsed() })
    }

    /// A request without a body, to something below the repository.
    pub(crate) async fn ask(&self, method: Method, what: &str) -> Result<Response<Bytes>, Failure> {
        send(self.registry, empty(method, &format!("/v2/{}/{what}", self.repository))).await
    }
}

/// Why a push went no further.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// By this answer.
    Answer(Box<Response<Bytes>>),
    /// There was none.
    Broken(Failure),
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Self {
        Self::Broken(failure)
    }
}

/// Where an answer leads, if it is the expected one.
fn follow(answer: Response<Bytes>, expected: StatusCode) -> Result<String, Stopped> {
    if answer.status() != expected {
        return Err(Stopped::Answer(Box::new(answer)));
    }
    location(answer.headers()).ok_or_else(|| Stopped::Answer(Box::new(answer)))
}

/// When the last piece was taken, once it was.
type Last = Arc<std::sync::Mutex<Option<Instant>>>;

fn body(content: &Content, start: u64, end: u64, pace: &Pace) -> (Body, Last) {
    let last = Last::default();
    let noted = Arc::clone(&last);
    let pieces = (content.pieces(start, end), pace.clone(), Bytes::new());
    let frames = stream::unfold(pieces, move |(mut pieces, pace, mut rest)| {
        let noted = Arc::clone(&noted);
        async move {
            let mut piece = if rest.is_empty() { pieces.next()? } else { rest };
            rest = Bytes::new();
            if let Pace::Slow(rate, hurry) = &pace
                && !hurry.load(Ordering::Relaxed)
            {
                rest = piece.split_off(piece.len().min(usize::try_from(rate / 4).unwrap()));
                sleep(Duration::from_millis(250)).await;
            }
            *noted.lock().unwrap() = Some(Instant::now());
            Some((Ok(Frame::data(piece)), (pieces, pace, rest)))
        }
    });
    (StreamBody::new(frames).boxed(), last)
}

#[test]
fn a_content_is_the_same_in_any_pieces() {
    let length = 3 * BLOCK as u64 + 77;
    let family = Family::new(length);
    let (one, two) = (family.member(1), family.member(2));
    let whole = one.pieces(0, length).collect::<Vec<_>>().concat();
    assert_eq!((whole.len() as u64, digest::of(&whole)), (length, one.digest.clone()));
    assert_ne!(one.digest, two.digest);
    for (start, end) in [(0, 1), (0, 0), (5, length - 3), (BLOCK as u64 - 1, BLOCK as u64 + 1), (length - 20, length)] {
        let range = one.pieces(start, end).collect::<Vec<_>>().concat();
        let range_in_whole = usize::try_from(start).unwrap()..usize::try_from(end).unwrap();
        assert!(range == whole[range_in_whole], "{start}..{end}");
    }
}
