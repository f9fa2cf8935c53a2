//! The rim.

pub mod debug;
