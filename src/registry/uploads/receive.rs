//! From the socket into parts: hasher ← chunk → part buffer → store, under one budget.

use std::{pin::pin, sync::Arc};

use bytes::Bytes;
use futures_util::{
    FutureExt, StreamExt, TryStreamExt,
    future::{BoxFuture, OptionFuture},
    stream::FuturesUnordered,
};
use tokio::time::{Instant, sleep_until};

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
            buffer::{Buffer, Memory},
            journal::Journal,
            unpublished::{Pieces, Unpublished},
        },
    },
    store::{self, Multipart, Part, Parts, Precondition, key::Key},
};

/// Parts of one upload that are on their way at once.
const IN_FLIGHT_MAX: usize = 4;

/// The same where they are appended to one file: the kernel lets one write at a time, and whoever comes meanwhile burns
/// the time that it waits.
const APPENDED_IN_FLIGHT_MAX: usize = 1;

/// Where a body's bytes go.
#[derive(Clone, Copy, Debug)]
pub(super) enum Target<'a> {
    /// Into segments and tails of an upload.
    Upload(Journal<'a>),
    /// Straight to the key of a blob whose digest is known, in one segment at most: its caller bounds the body by what
    /// that holds. Tails there are only of a body that is too slow to be waited for in memory; they are put aside below an
    /// upload of nothing else.
    Blob { key: &'a Key, aside: Journal<'a> },
}

impl<'a> Target<'a> {
    /// Where its tails lie.
    const fn journal(self) -> Journal<'a> {
        match self {
            Self::Upload(journal) | Self::Blob { aside: journal, .. } => journal,
        }
    }

    const fn is_blob(self) -> bool {
        matches!(self, Self::Blob { .. })
    }
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
    unpublished: Unpublished,
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
            buffer: Buffer::new(registry.stock.clone()),
            slabs: Slabs::default(),
            in_flight: FuturesUnordered::new(),
            touched: Vec::new(),
            gathered: Vec::new(),
            unpublished: Unpublished::new(Arc::clone(&registry.store)),
        }
    }

    /// Reads the body to its end, to a checkpoint or to whatever breaks it off, and lands what it brought. `bounds`
    /// is counted down by what arrives.
    pub(super) async fn run(mut self, body: &mut dyn Incoming, bounds: &mut Bounds) -> store::Result<Received> {
        let begin = self.draft.offset();
        self.recut().await?;
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
        let blob = Pieces { unpublished: self.unpublished, content, slabs: self.slabs };
        Ok(Received { contents: self.draft.finish(), end, cause, gathered: self.gathered, blob })
    }

    fn is_checkpoint(&self, begin: u64) -> bool {
        !self.target.is_blob() && self.draft.offset() - begin >= self.registry.settings.upload_checkpoint
    }

    /// The next chunk. While the client is slow, parts land and memory that is held too long is given back.
    async fn chunk(&mut self, body: &mut dyn Incoming) -> store::Result<Result<Option<Bytes>, Interrupted>> {
        let mut next = pin!(body.chunk());
        loop {
            let memory = if self.registry.budget.is_exhausted() { Memory::Scarce } else { Memory::Plenty };
            let hold_ends = OptionFuture::from(self.buffer.hold_ends(memory).map(sleep_until));
            tokio::select! {
                // Parts first: they move only when they are polled, and a fast client always has a chunk ready.
                biased;
                Some(landed) = self.in_flight.next(), if !self.in_flight.is_empty() => landed_in(&mut self.draft, &landed?),
                chunk = &mut next => return Ok(chunk),
                Some(()) = hold_ends => self.give_back().await?,
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
        self.fill(chunk).await?;
        Ok(cause)
    }

    /// Puts bytes that were taken account of into the buffer and sends every part that they fill.
    async fn fill(&mut self, mut bytes: Bytes) -> store::Result<()> {
        while !bytes.is_empty() {
            // Not before more arrives: a blob of just one part needs no upload in parts.
            if self.is_full() {
                self.send_part().await?;
            }
            let room = self.part_len() - self.buffer.length();
            let taken = bytes.split_to(bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX)));
            self.cover(self.buffer.length() + taken.len() as u64).await?;
            self.buffer.push(taken);
        }
        if self.is_full() && !self.target.is_blob() {
            self.send_part().await?;
        }
        Ok(())
    }

    /// Waits for memory. Parts on their way hold what is being waited for, so they go on meanwhile.
    async fn cover(&mut self, bytes: u64) -> store::Result<()> {
        let asked = Instant::now();
        let mut covered = pin!(self.registry.budget.cover(&mut self.slabs, bytes));
        loop {
            tokio::select! {
                biased;
                () = &mut covered => {
                    self.buffer.pause(asked.elapsed());
                    return Ok(());
                }
                Some(landed) = self.in_flight.next(), if !self.in_flight.is_empty() => landed_in(&mut self.draft, &landed?),
            }
        }
    }

    fn is_full(&self) -> bool {
        self.buffer.length() == self.part_len()
    }

    /// Bytes that the buffer must hold for the next part, next to what tails hold already.
    fn part_len(&self) -> u64 {
        match self.registry.store.limits().parts {
            // Up to a whole number of slabs in the file: from there on a slab's bytes lie in the file as in the memory, on
            // whole pages.
            Parts::Appended => SLAB_BYTES - self.draft.next_offset() % SLAB_BYTES,
            // `recut` sees to it that tails never hold more than a part.
            Parts::Equal { size } => size.saturating_sub(self.draft.tail_len()),
        }
    }

    fn in_flight_max(&self) -> usize {
        match self.registry.store.limits().parts {
            Parts::Appended => APPENDED_IN_FLIGHT_MAX,
            Parts::Equal { .. } => IN_FLIGHT_MAX,
        }
    }

    /// Takes tails that hold more than a part back into the buffer: a replica that cuts larger parts wrote them.
    async fn recut(&mut self) -> store::Result<()> {
        let Parts::Equal { size } = self.registry.store.limits().parts else { return Ok(()) };
        if self.draft.tail_len() <= size {
            return Ok(());
        }
        let tails = self.draft.gathered();
        for tail in &tails {
            let mut object = self.registry.store.get(&self.target.journal().tail_key(tail), None).await?;
            while let Some(chunk) = object.content.try_next().await? {
                self.fill(chunk).await?;
            }
        }
        self.gathered.extend(tails);
        Ok(())
    }

    /// Puts the buffer somewhere before it makes a part.
    async fn give_back(&mut self) -> store::Result<()> {
        match self.registry.store.limits().parts {
            Parts::Appended => self.send_part().await,
            Parts::Equal { .. } => self.send_tail().await,
        }
    }

    /// Everything that arrived is in the store when this returns, except for a blob that needs no upload in parts.
    async fn land_rest(&mut self) -> store::Result<Vec<Bytes>> {
        if self.target.is_blob() && self.unpublished.upload().is_none() {
            return self.gather().await;
        }
        let gives_tails = !self.target.is_blob() && self.registry.store.limits().parts != Parts::Appended;
        if gives_tails && self.buffer.length() > 0 {
            self.send_tail().await?;
        } else if !gives_tails && self.buffer.length() + self.draft.tail_len() > 0 {
            self.send_part().await?;
        }
        while let Some(landed) = self.in_flight.next().await {
            landed_in(&mut self.draft, &landed?);
        }
        Ok(Vec::new())
    }

    /// The tails' bytes, read back, and those of the buffer.
    async fn gather(&mut self) -> store::Result<Vec<Bytes>> {
        self.cover(self.draft.tail_len() + self.buffer.length()).await?;
        let tails = self.draft.gathered();
        let mut content = Vec::new();
        for tail in &tails {
            let object = self.registry.store.get(&self.target.journal().tail_key(tail), None).await?;
            content.extend(object.content.try_collect::<Vec<Bytes>>().await?);
        }
        content.extend(self.buffer.take());
        self.gathered.extend(tails);
        Ok(content)
    }

    /// Sends the tails and the buffer as one part.
    async fn send_part(&mut self) -> store::Result<()> {
        while self.in_flight.len() >= self.in_flight_max() {
            if let Some(landed) = self.in_flight.next().await {
                landed_in(&mut self.draft, &landed?);
            }
        }
        let length = self.draft.tail_len() + self.buffer.length();
        let content = self.gather().await?;
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
        let journal = self.target.journal();
        let key = journal.tail_key(&self.draft.tail(self.buffer.length()));
        if self.target.is_blob() {
            self.unpublished.put_aside(&journal, key.clone()).await?;
        }
        self.registry.store.put(&key, self.buffer.take(), Precondition::Always).await?;
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
                    if !self.target.is_blob() && !self.touched.contains(&upload) {
                        self.touched.push(upload.clone());
                    }
                    return Ok((upload, segment, slot));
                }
                Place::InNew { segment } => {
                    let begun = self.registry.store.begin(&self.segment_key(segment)).await?;
                    if self.target.is_blob() {
                        self.unpublished.began(begun.clone());
                    }
                    self.draft.opened(segment, begun.id);
                }
            }
        }
    }

    fn segment_key(&self, number: u64) -> Key {
        match self.target {
            Target::Upload(journal) => journal.segment_key(number),
            Target::Blob { key, .. } => key.clone(),
        }
    }

    fn upload(&self, number: u64, id: String) -> Multipart {
        Multipart { key: self.segment_key(number), id }
    }
}

/// Takes account of a part that the store took.
fn landed_in(draft: &mut Draft, landed: &Landed) {
    draft.landed(landed.segment, landed.part.number, &landed.part.tag);
}
