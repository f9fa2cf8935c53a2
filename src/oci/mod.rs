//! The nouns of the OCI specifications, as values that cannot be wrong.
//!
//! Text from a client becomes one of these types at the rim or is refused there; everything below works on parsed
//! values only. Nothing here waits, reads a clock or touches storage.

pub mod byte_range;
pub mod descriptor;
pub mod digest;
pub mod error_code;
pub mod hasher;
pub mod json;
pub mod manifest;
pub mod media_type;
pub mod name;
pub mod reference;
pub mod tag;
