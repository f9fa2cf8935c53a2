//! The nouns of the OCI specifications, as values that cannot be wrong.
//!
//! Text from a client becomes one of these types at the rim or is refused there; everything below works on parsed
//! values only. Nothing here waits, reads a clock or touches storage.

pub mod byte_range;
pub mod digest;
pub mod error_code;
pub mod hasher;
pub mod name;
pub mod reference;
pub mod tag;
