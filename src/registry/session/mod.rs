//! The life of one upload, without a clock, a socket or a store.
//!
//! An upload is what its journal says: a series of numbered [`record::Record`]s, each written only where none stood.
//! The highest one is the truth. A request is an [`attempt::Attempt`], a machine that is told what happened and says
//! what to do next; between *reserving* its place and *committing* what arrived, a [`draft::Draft`] cuts its bytes
//! into parts.
//!
//! What makes it safe, each rule proved necessary in `tests/it/interleavings/`:
//!
//! 1. A writer reserves before it streams, with a record that nobody else can write too.
//! 2. Over a reservation that was not committed it opens a segment of its own: whoever made that reservation may
//!    still be writing.
//! 3. What arrived is in the journal before the client hears of it.
//! 4. After each record its writer looks again, and goes on only if that record is the highest. Records before a
//!    committed reservation are deleted, so a late writer may find its number free; it must not take that for success.
//! 5. `committing` is in the journal before anything is published, `done` only after, and `done` stays.
//!
//! Nothing here waits or does I/O: `uploads/` drives these machines over a store, the exploration drives the same
//! ones over a model.

pub mod attempt;
pub mod draft;
pub mod record;
