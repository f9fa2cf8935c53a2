//! From the socket into parts: hasher ← chunk → part buffer → store, under one budget.

use std::{pin::pin, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt, StreamExt, TryStreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::time::Instant;

use crate::{
    registry::{
        Registry,
        session::{
            attempt::End,
            draft::{Draft, Place},
            record::{Contents, Tail},
        },
        uploads::{
            Incoming, Interrupted,
            budget::{SLAB_BYTES, Slabs},
            journal::Journal,
        },
    },
    store::{self, Multipart, Part, Parts, Precondition, Store, key::Key},
};

/// How long a body may hold memory while it brings less than a slab.
const HOLD: Duration = Duration::from_secs(10);

/// Chunks smaller than this are copied together, so that many small ones cost no more than their bytes.
const SMALL_BYTES: usize = 8 << 10;

/// Parts of one upload that are on their way at once.
const IN_FLIGHT_MAX: usize = 4;

/// Where a body's bytes go.
#[derive(Clone, Copy, Debug)]
pub(super) enum Target<'a> {
    /// Into segments and tails of an upload.
    Upload(Journal<'a>),
    /// Straight to the key of a blob whose digest is known: there are no tails, and one segment at most. Its caller
    /// bounds the body by what one segment holds.
    Blob(&'a Key),
}

/// What a body brought, all of it in the store.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) contents: Contents,
    pub(super) end: End,
    /// Why the body ended early, if it did.
    pub(super) cause: Option<Cause>,
    /// Tails that went into parts.
    pub(super) gathered: Vec<Tail>,
    /// Of a blob received at its own key.
    pub(super) blob: Pieces,
}

/// What a blob is made of before it is visible: either parts of an upload in parts, or bytes that fit into one.
#[derive(Debug)]
pub(super) struct Pieces {
    pub(super) begun: Begun,
    /// Empty when anything was begun.
    pub(super) content: Vec<Bytes>,
    /// What the content weighs.
    pub(super) slabs: Slabs,
}

/// An upload in parts at the key of a blob. Unless it is taken, it is aborted: also when the request is dropped.
#[derive(Debug)]
pub(super) struct Begun {
    store: Arc<dyn Store>,
    upload: Option<Multipart>,
}

impl Begun {
    /// The upload, if there is one, now the caller's to complete or to abort.
    pub(super) const fn take(&mut self) -> Option<Multipart> {
        self.upload.take()
    }

    pub(super) const fn upload(&self) -> Option<&Multipart> {
        self.upload.as_ref()
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        let Some(upload) = self.upload.take() else { return };
        // Without a runtime the process is ending; the purge finds the upload.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let store = Arc::clone(&self.store);
        runtime.spawn(async move {
            if let Err(error) = store.abort(&upload).await {
                tracing::warn!(err.message = %error, "could not abort an interrupted upload");
            }
        });
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Cause {
    Interrupted(Interrupted),
    /// The body brought more, or less, than it announced.
    Size,
    /// The blob would be larger than allowed.
    TooLarge {
        limit: u64,
    },
}

/// How much a body may bring.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// What `Content-Range` or `Content-Length` announced, in bytes.
    pub(super) announced: Option<u64>,
    /// Largest blob, in bytes.
    pub(super) blob_size_max: Option<u64>,
}

/// Streams one body behind what a draft holds.
pub(super) struct Receiver<'a> {
    registry: &'a Registry,
    target: Target<'a>,
    draft: Draft,
    buffer: Buffer,
    slabs: Slabs,
    in_flight: FuturesUnordered<BoxFuture<'static, store::Result<Landed>>>,
    touched: Vec<Multipart>,
    gathered: Vec<Tail>,
    begun: Begun,
    /// When the last slab of the buffer began to fill, and how long the buffer was then.
    since: (Instant, u64),
}

/// A part that the store took.
struct Landed {
    segment: u64,
    part: Part,
}

impl<'a> Receiver<'a> {
    pub(super) fn new(registry: &'a Registry, target: Target<'a>, draft: Draft) -> Self {
        Self {
            registry,
            target,
            draft,
            buffer: Buffer::default(),
            slabs: Slabs::default(),
            in_flight: FuturesUnordered::new(),
            touched: Vec::new(),
            gathered: Vec::new(),
            begun: Begun { store: Arc::clone(&registry.store), upload: None },
            since: (Instant::now(), 0),
        }
    }

    /// Reads the body to its end, to a checkpoint or to whatever breaks it off, and lands what it brought. `bounds`
    /// is counted down by what arrives.
    pub(super) async fn run(mut self, body: &mut dyn Incoming, bounds: &mut Bounds) -> store::Result<Received> {
        let begin = self.draft.offset();
        let (end, cause) = loop {
            if self.is_checkpoint(begin) {
                break (End::Checkpoint, None);
            }
            match self.chunk(body).await? {
                Ok(Some(chunk)) => {
                    if let Some(cause) = self.accept(chunk, bounds).await? {
                        break (End::Interrupted, Some(cause));
                    }
                }
                Ok(None) if bounds.announced.is_some_and(|missing| missing > 0) => {
                    break (End::Interrupted, Some(Cause::Size));
                }
                Ok(None) => break (End::Whole, None),
                Err(interrupted) => break (End::Interrupted, Some(Cause::Interrupted(interrupted))),
            }
        };
        let content = self.land_rest().await?;
        for upload in &self.touched {
            self.registry.store.flush(upload).await?;
        }
        let blob = Pieces { begun: self.begun, content, slabs: self.slabs };
        Ok(Received { contents: self.draft.finish(), end, cause, gathered: self.gathered, blob })
    }

    fn is_checkpoint(&self, begin: u64) -> bool {
        matches!(self.target, Target::Upload(_))
            && self.draft.offset() - begin >= self.registry.settings.upload_checkpoint
    }

    /// The next chunk. While the client is slow, parts land and memory that is held too long is given back.
    async fn chunk(&mut self, body: &mut dyn Incoming) -> store::Result<Result<Option<Bytes>, Interrupted>> {
        let mut next = pin!(body.chunk());
        loop {
            let holds = self.buffer.length > 0 && self.may_give_back();
            tokio::select! {
                // Parts first: they move only when they are polled, and a fast client always has a chunk ready.
                biased;
                Some(landed) = self.in_flight.next(), if !self.in_flight.is_empty() => landed_in(&mut self.draft, &landed?),
                chunk = &mut next => return Ok(chunk),
                () = tokio::time::sleep_until(self.since.0 + HOLD), if holds => self.give_back().await?,
            }
        }
    }

    /// Takes a chunk into the buffer and sends every part that it fills.
    async fn accept(&mut self, mut chunk: Bytes, bounds: &mut Bounds) -> store::Result<Option<Cause>> {
        let mut cause = None;
        if let Some(missing) = &mut bounds.announced {
            if chunk.len() as u64 > *missing {
                chunk.truncate(usize::try_from(*missing).unwrap_or(usize::MAX));
                cause = Some(Cause::Size);
            }
            *missing -= chunk.len() as u64;
        }
        if let Some(limit) = bounds.blob_size_max
            && self.draft.offset() + chunk.len() as u64 > limit
        {
            return Ok(Some(Cause::TooLarge { limit }));
        }
        self.draft.update(&chunk);
        while !chunk.is_empty() {
            // Not before more arrives: a blob of just one part needs no upload in parts.
            if self.is_full() {
                self.send_part().await?;
            }
            let room = self.part_len() - self.buffer.length;
            let taken = chunk.split_to(chunk.len().min(usize::try_from(room).unwrap_or(usize::MAX)));
            if self.buffer.length == 0 || self.buffer.length - self.since.1 >= SLAB_BYTES {
                self.since = (Instant::now(), self.buffer.length);
            }
            self.cover(self.buffer.length + taken.len() as u64).await?;
            self.buffer.push(taken);
        }
        if self.is_full() && matches!(self.target, Target::Upload(_)) {
            self.send_part().await?;
        }
        Ok(cause)
    }

    /// Waits for memory. Parts on their way hold what is being waited for, so they go on meanwhile.
    async fn cover(&mut self, bytes: u64) -> store::Result<()> {
        let mut covered = pin!(self.registry.budget.cover(&mut self.slabs, bytes));
        loop {
            tokio::select! {
                biased;
                () = &mut covered => return Ok(()),
                Some(landed) = self.in_flight.next(), if !self.in_flight.is_empty() => landed_in(&mut self.draft, &landed?),
            }
        }
    }

    fn is_full(&self) -> bool {
        self.buffer.length == self.part_len()
    }

    /// Bytes that the buffer must hold for the next part, next to what tails hold already.
    fn part_len(&self) -> u64 {
        match self.registry.store.limits().parts {
            Parts::Appended => SLAB_BYTES,
            Parts::Equal { size } => size - self.tail_len(),
        }
    }

    fn tail_len(&self) -> u64 {
        self.draft.tails().iter().map(|tail| tail.length).sum()
    }

    /// Whether the buffer can be put somewhere before it makes a part.
    fn may_give_back(&self) -> bool {
        self.registry.store.limits().parts == Parts::Appended || matches!(self.target, Target::Upload(_))
    }

    async fn give_back(&mut self) -> store::Result<()> {
        match self.registry.store.limits().parts {
            Parts::Appended => self.send_part().await,
            Parts::Equal { .. } => self.send_tail().await,
        }
    }

    /// Everything that arrived is in the store when this returns, except for a blob that needs no upload in parts.
    async fn land_rest(&mut self) -> store::Result<Vec<Bytes>> {
        if matches!(self.target, Target::Blob(_)) && self.begun.upload().is_none() {
            return Ok(self.buffer.take());
        }
        if self.buffer.length > 0 {
            match (self.registry.store.limits().parts, self.target) {
                (Parts::Equal { .. }, Target::Upload(_)) => self.send_tail().await?,
                _ => self.send_part().await?,
            }
        }
        while let Some(landed) = self.in_flight.next().await {
            landed_in(&mut self.draft, &landed?);
        }
        Ok(Vec::new())
    }

    /// Sends the tails and the buffer as one part.
    async fn send_part(&mut self) -> store::Result<()> {
        while self.in_flight.len() >= IN_FLIGHT_MAX {
            if let Some(landed) = self.in_flight.next().await {
                landed_in(&mut self.draft, &landed?);
            }
        }
        let tails = self.draft.gathered();
        let tail_len: u64 = tails.iter().map(|tail| tail.length).sum();
        let length = tail_len + self.buffer.length;
        self.cover(length).await?;
        let mut content = gather(self.registry, self.target, &tails).await?;
        content.extend(self.buffer.take());
        self.gathered.extend(tails);
        let (upload, segment, slot) = self.place().await?;
        self.draft.placed(Part { number: slot.number, tag: String::new(), length });
        let (store, slabs) = (self.registry.store.clone(), std::mem::take(&mut self.slabs));
        self.in_flight.push(
            async move {
                let part = store.put_part(&upload, slot, content).await?;
                drop(slabs);
                Ok(Landed { segment, part })
            }
            .boxed(),
        );
        Ok(())
    }

    /// Keeps the buffer as an object of its own until there is enough for a part.
    async fn send_tail(&mut self) -> store::Result<()> {
        let Target::Upload(journal) = self.target else { return Ok(()) };
        let tail = self.draft.tail(self.buffer.length);
        let content = self.buffer.take();
        self.registry.store.put(&journal.tail_key(&tail), content, Precondition::Always).await?;
        self.slabs = Slabs::default();
        Ok(())
    }

    /// Where the next part goes; a new segment is begun first.
    async fn place(&mut self) -> store::Result<(Multipart, u64, store::Slot)> {
        loop {
            match self.draft.place() {
                Place::In { segment, id, slot } => {
                    let upload = self.upload(segment, id);
                    // Completing a blob makes its parts durable; a journal record must not name others.
                    if matches!(self.target, Target::Upload(_)) && !self.touched.contains(&upload) {
                        self.touched.push(upload.clone());
                    }
                    return Ok((upload, segment, slot));
                }
                Place::InNew { segment } => {
                    let begun = self.registry.store.begin(&self.segment_key(segment)).await?;
                    if matches!(self.target, Target::Blob(_)) {
                        self.begun.upload = Some(begun.clone());
                    }
                    self.draft.opened(segment, begun.id);
                }
            }
        }
    }

    fn segment_key(&self, number: u64) -> Key {
        match self.target {
            Target::Upload(journal) => journal.segment_key(number),
            Target::Blob(key) => key.clone(),
        }
    }

    fn upload(&self, number: u64, id: String) -> Multipart {
        Multipart { key: self.segment_key(number), id }
    }
}

/// The tails' bytes, read back.
async fn gather(registry: &Registry, target: Target<'_>, tails: &[Tail]) -> store::Result<Vec<Bytes>> {
    let Target::Upload(journal) = target else { return Ok(Vec::new()) };
    let mut content = Vec::new();
    for tail in tails {
        let object = registry.store.get(&journal.tail_key(tail), None).await?;
        content.extend(object.content.try_collect::<Vec<Bytes>>().await?);
    }
    Ok(content)
}

/// Takes account of a part that the store took.
fn landed_in(draft: &mut Draft, landed: &Landed) {
    draft.landed(landed.segment, landed.part.number, &landed.part.tag);
}

/// Bytes that wait for a part to fill.
#[derive(Debug, Default)]
struct Buffer {
    pieces: Vec<Bytes>,
    small: BytesMut,
    length: u64,
}

impl Buffer {
    fn push(&mut self, chunk: Bytes) {
        self.length += chunk.len() as u64;
        if chunk.len() < SMALL_BYTES {
            self.small.extend_from_slice(&chunk);
            return;
        }
        self.close_small();
        self.pieces.push(chunk);
    }

    fn take(&mut self) -> Vec<Bytes> {
        self.close_small();
        self.length = 0;
        std::mem::take(&mut self.pieces)
    }

    fn close_small(&mut self) {
        if !self.small.is_empty() {
            self.pieces.push(std::mem::take(&mut self.small).freeze());
        }
    }
}
