//! One attempt on its way: the server's own machine, its actions done step by step on the model's store.

use std::fmt;

use pierhead::{
    oci::digest::Algorithm,
    registry::session::{
        attempt::{Action, Attempt, End, Event, Goal},
        draft::{Draft, Place},
        record::{Contents, Entry, Phase, Tail},
    },
    store::{Part, Parts},
};

use super::world::{KIND, Medium, Object, Rule, World};

#[derive(Clone, Eq, Hash, PartialEq)]
pub(super) struct Process {
    attempt: Attempt,
    goal: Goal,
    /// Whose bytes it sends.
    kind: u8,
    /// Which bytes its body holds.
    start: u64,
    length: u64,
    /// Whether the upload was finished before it began.
    began_done: bool,
    /// Whether it knows no stored hash and has to read the content back before it adds to it.
    rehashes: bool,
    /// How many of them were read.
    read: u64,
    doing: Doing,
    /// The record it wrote last, for the worlds in which it does not look again.
    wrote: Option<Entry>,
    /// Tails that went into its parts.
    gathered: Vec<Tail>,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Doing {
    Action(Action),
    /// Writes on their way, then what they amount to.
    Streaming {
        writes: Vec<Write>,
        contents: Contents,
        end: End,
    },
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Write {
    Begin(u64),
    Part { segment: u64, slot: u64, bytes: Vec<u8> },
    Tail { tail: Tail, bytes: Vec<u8> },
}

/// One step: what happened, the world after it, and the process unless it ended.
type Step = (String, World, Option<Process>);

impl Process {
    pub(super) fn new(goal: Goal, kind: u8, start: u64, length: u64, began_done: bool) -> Self {
        let attempt = Attempt::new(goal.clone(), Algorithm::Sha256);
        let doing = Doing::Action(attempt.first());
        Self {
            attempt,
            goal,
            kind,
            start,
            length,
            began_done,
            rehashes: false,
            read: 0,
            doing,
            wrote: None,
            gathered: Vec::new(),
        }
    }

    pub(super) fn of_another_version(self) -> Self {
        Self { rehashes: true, ..self }
    }

    /// Every way in which its next step can go, in a world of the others.
    pub(super) fn steps(&self, world: &World) -> Vec<Step> {
        match &self.doing {
            Doing::Streaming { writes, contents, end } => vec![self.stream(world.clone(), writes, contents, *end)],
            Doing::Action(Action::Receive { seq, contents, continues })
                if self.rehashes && contents.segments.iter().any(|segment| !segment.closed) =>
            {
                vec![self.rehash(world.clone(), *seq, contents.clone(), *continues)]
            }
            Doing::Action(Action::Receive { seq, contents, continues }) => {
                let continues = *continues || world.lacks(Rule::OwnSegmentAfterTakeover);
                self.receive(world, *seq, contents, continues)
            }
            Doing::Action(Action::Answer(answer)) => {
                let mut heard = world.clone();
                heard.hear(answer, &self.goal, self.start, self.began_done);
                let lost = world.step(|| format!("{self:?} answers {answer:?}, and it is lost"));
                let step = world.step(|| format!("{self:?} answers {answer:?}"));
                vec![(lost, world.clone(), None), (step, heard, None)]
            }
            Doing::Action(action) => {
                let mut next = world.clone();
                let process = self.clone().perform(&mut next, action.clone());
                let outcome = if process.is_some() { "" } else { " fails" };
                vec![(world.step(|| format!("{self:?}{outcome}")), next, process)]
            }
        }
    }

    /// Goes on after an event. Who has an answer needs to remember nothing else.
    fn told(mut self, event: Event) -> Self {
        let action = self.attempt.next(event);
        if matches!(action, Action::Answer(_)) {
            self = Self::new(self.goal, self.kind, self.start, self.length, self.began_done);
        }
        self.doing = Doing::Action(action);
        self
    }

    /// `None` when the store refuses and the request ends with an error.
    fn perform(mut self, world: &mut World, action: Action) -> Option<Self> {
        let event = match action {
            Action::Look => return Some(self.look(world)),
            Action::Write(entry) => self.write(world, entry),
            Action::Finish { contents, .. } => finish(world, &contents)?,
            Action::Promote { contents, .. } => {
                // With the rule gone the two writes trade places: what linking would do is done here.
                if world.lacks(Rule::DataBeforeLink) && !world.linked {
                    world.linked = true;
                    return Some(self);
                }
                promote(world, &contents)
            }
            Action::Link { .. } => {
                world.linked = true;
                Event::Linked
            }
            Action::Sweep { before } => {
                world.journal.retain(|seq, _| *seq >= before);
                for tail in &self.gathered {
                    world.tails.remove(&(tail.seq, tail.number));
                }
                Event::Removed
            }
            Action::Discard { keep } => {
                let stays = !world.lacks(Rule::LastRecordStays);
                world.journal.retain(|seq, _| stays && *seq == keep);
                world.begun.clear();
                world.slots.clear();
                world.objects.clear();
                world.tails.clear();
                Event::Removed
            }
            Action::Receive { .. } | Action::Answer(_) => unreachable!("taken apart by `steps`"),
        };
        Some(self.told(event))
    }

    fn look(mut self, world: &World) -> Self {
        let mut latest = world.highest().map(|(seq, record)| Entry { seq, record: record.clone() });
        if world.lacks(Rule::LookAgainAfterWriting) && self.wrote.is_some() {
            latest = self.wrote.take();
        }
        if world.lacks(Rule::Reservation) && self.wrote.as_ref().is_some_and(|e| e.record.phase == Phase::Reserved) {
            latest = self.wrote.take();
        }
        if world.lacks(Rule::SealBeforePublishing)
            && self.wrote.as_ref().is_some_and(|e| matches!(e.record.phase, Phase::Committing { .. }))
        {
            latest = self.wrote.take();
        }
        if world.lacks(Rule::RangeCheck)
            && self.wrote.is_none()
            && let (Goal::Append { .. }, Some(entry)) = (&self.goal, &latest)
        {
            let goal = Goal::Append { start: entry.record.contents.offset };
            self.attempt = Attempt::new(goal, Algorithm::Sha256);
        }
        self.told(Event::Journal(latest))
    }

    fn write(&mut self, world: &mut World, entry: Entry) -> Event {
        self.wrote = world.bounds.without.map(|_| entry.clone());
        let skipped = match entry.record.phase {
            Phase::Reserved => world.lacks(Rule::Reservation),
            Phase::Committing { .. } => world.lacks(Rule::SealBeforePublishing),
            _ => false,
        };
        if skipped {
            return Event::Written;
        }
        if world.journal.contains_key(&entry.seq) && !world.lacks(Rule::CreateOnlyRecords) {
            return Event::Taken;
        }
        world.done |= matches!(entry.record.phase, Phase::Done { .. });
        world.cancelled |= entry.record.phase == Phase::Cancelled;
        world.journal.insert(entry.seq, entry.record.into());
        Event::Written
    }

    /// Segments become objects, which can be read, and no part is added to them any more. Whoever finds them gone gives
    /// up.
    fn rehash(&self, mut world: World, seq: u64, mut contents: Contents, continues: bool) -> Step {
        let completed = finish(&mut world, &contents) == Some(Event::Finished);
        let step = world.step(|| format!("{self:?}: reads back{}", if completed { "" } else { " and fails" }));
        let mut process = self.clone();
        for segment in &mut contents.segments {
            segment.closed = true;
        }
        process.doing = Doing::Action(Action::Receive { seq, contents, continues });
        (step, world, completed.then_some(process))
    }

    /// Any number of the body's bytes may arrive.
    fn receive(&self, world: &World, seq: u64, contents: &Contents, continues: bool) -> Vec<Step> {
        let mut all = Vec::new();
        for arriving in 0..=self.length - self.read {
            let whole = arriving == self.length - self.read;
            let mut ends = vec![if whole { End::Whole } else { End::Interrupted }];
            if !whole && arriving == 1 && world.bounds.attempts < 3 {
                ends.push(End::Checkpoint);
            }
            for end in ends {
                let mut process = self.clone();
                let hasher = contents.hash.hasher().expect("a state of this version");
                let draft = Draft::new(contents.clone(), hasher, seq, continues, world.limits());
                let (writes, contents, gathered) = process.cut(world, draft, arriving);
                process.gathered.extend(gathered);
                process.doing = Doing::Streaming { writes, contents, end };
                let step = world.step(|| format!("{self:?}: {arriving} bytes arrive, {end:?}"));
                all.push((step, world.clone(), Some(process)));
            }
        }
        all
    }

    /// Cuts arriving bytes as the server does: full parts from tails and bytes, the rest into a tail.
    fn cut(&mut self, world: &World, mut draft: Draft, arriving: u64) -> (Vec<Write>, Contents, Vec<Tail>) {
        let (mut writes, mut gathered, mut buffer) = (Vec::new(), Vec::new(), Vec::new());
        for place in self.start + self.read..self.start + self.read + arriving {
            let byte = self.kind * KIND + u8::try_from(place).expect("small");
            draft.update(&[byte]);
            buffer.push(byte);
            let part_len = match world.limits().parts {
                Parts::Equal { size } => size,
                Parts::Appended => 1,
            };
            if draft.tail_len() + buffer.len() as u64 >= part_len {
                let tails = draft.gathered();
                let mut bytes: Vec<u8> = tails.iter().filter_map(|tail| world.tail(*tail)).flatten().copied().collect();
                bytes.append(&mut buffer);
                gathered.extend(tails);
                send(&mut draft, &mut writes, bytes, world.bounds.medium);
            }
        }
        self.read += arriving;
        if !buffer.is_empty() {
            writes.push(Write::Tail { tail: draft.tail(buffer.len() as u64), bytes: buffer });
        }
        (writes, draft.finish(), gathered)
    }

    fn stream(&self, mut world: World, writes: &[Write], contents: &Contents, end: End) -> Step {
        let step = world.step(|| format!("{self:?}"));
        let mut process = self.clone();
        let Some((write, rest)) = writes.split_first() else {
            if world.lacks(Rule::JournalBeforeAnswer) {
                world.acknowledged = world.acknowledged.max(contents.offset);
            }
            return (step, world, Some(process.told(Event::Received { contents: contents.clone(), end })));
        };
        let refused = !land(&mut world, write.clone());
        process.doing = Doing::Streaming { writes: rest.to_vec(), contents: contents.clone(), end };
        (step, world, (!refused).then_some(process))
    }
}

fn send(draft: &mut Draft, writes: &mut Vec<Write>, bytes: Vec<u8>, medium: Medium) {
    let length = bytes.len() as u64;
    loop {
        match draft.place() {
            Place::InNew { segment } => {
                writes.push(Write::Begin(segment));
                draft.opened(segment, "id".to_owned());
            }
            Place::In { segment, slot, .. } => {
                let at = match medium {
                    Medium::EqualParts => u64::from(slot.number),
                    Medium::Appended => slot.offset,
                };
                writes.push(Write::Part { segment, slot: at, bytes });
                draft.placed(Part { number: slot.number, tag: String::new(), length });
                return;
            }
        }
    }
}

/// Whether the store took it.
fn land(world: &mut World, write: Write) -> bool {
    match write {
        // A store gives each upload an id of its own; here two of one number share their slots, which is worse.
        Write::Begin(segment) => {
            world.begun.insert(segment);
            true
        }
        Write::Tail { tail, bytes } => {
            world.tails.insert((tail.seq, tail.number), bytes);
            true
        }
        Write::Part { segment, slot, bytes } if world.begun.contains(&segment) => {
            world.slots.insert((segment, slot), bytes);
            true
        }
        // The upload is over; on a file system whoever holds the file open still writes to it.
        Write::Part { segment, slot, bytes } => {
            let at = usize::try_from(slot).expect("small");
            let shared = world.blob_shares == Some(segment);
            match world.objects.get_mut(&segment).filter(|object| object.live) {
                Some(object) => overwrite(&mut object.bytes, at, &bytes),
                None if !shared => return false,
                None => {}
            }
            if let (true, Some(blob)) = (shared, &mut world.blob) {
                overwrite(blob, at, &bytes);
            }
            true
        }
    }
}

fn overwrite(content: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    content.resize(content.len().max(at + bytes.len()), 0);
    content[at..at + bytes.len()].copy_from_slice(bytes);
}

/// `None` when parts are missing.
fn finish(world: &mut World, contents: &Contents) -> Option<Event> {
    for segment in &contents.segments {
        if world.objects.contains_key(&segment.number) {
            continue;
        }
        if !world.begun.remove(&segment.number) {
            return Some(Event::Gone);
        }
        let bytes = world.segment_bytes(segment.number, &segment.parts)?;
        world.slots.retain(|(number, _), _| *number != segment.number);
        let copied = contents.fenced && !world.lacks(Rule::CopyWhereWritersLinger);
        let live = world.bounds.medium == Medium::Appended && !copied;
        world.objects.insert(segment.number, Object { bytes, live });
    }
    Some(Event::Finished)
}

fn promote(world: &mut World, contents: &Contents) -> Event {
    if world.blob.as_ref().is_some_and(|blob| blob.len() as u64 == contents.offset) {
        return Event::Promoted;
    }
    let whole = contents.segments.iter().all(|segment| world.objects.contains_key(&segment.number));
    let Some(bytes) = world.stored(contents).filter(|_| whole) else { return Event::Gone };
    world.blob = Some(bytes);
    if let [segment] = contents.segments.as_slice() {
        world.blob_shares = world.objects.get(&segment.number).filter(|object| object.live).map(|_| segment.number);
    }
    Event::Promoted
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let goal = match &self.goal {
            Goal::Append { start } => format!("PATCH {start}+{} of kind {}", self.length, self.kind),
            Goal::Complete { last: Some(start), .. } => format!("PUT {start}+{} of kind {}", self.length, self.kind),
            Goal::Complete { last: None, .. } => "PUT".to_owned(),
            Goal::Abort => "DELETE".to_owned(),
        };
        let doing = match &self.doing {
            Doing::Action(Action::Write(entry)) => format!("writes {} {:?}", entry.seq, entry.record.phase),
            Doing::Action(Action::Look) => "looks".to_owned(),
            Doing::Action(Action::Receive { seq, .. }) => format!("receives under {seq}"),
            Doing::Action(Action::Finish { .. }) => "finishes".to_owned(),
            Doing::Action(Action::Promote { .. }) => "promotes".to_owned(),
            Doing::Action(Action::Link { .. }) => "links".to_owned(),
            Doing::Action(action) => format!("{action:?}"),
            Doing::Streaming { writes, .. } => format!("streams {:?}", writes.first()),
        };
        write!(f, "[{goal}] {doing}")
    }
}
