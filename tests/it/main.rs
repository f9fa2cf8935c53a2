//! Everything that is tested from outside: one binary, one file per subject.

mod architecture;
mod config;
mod interleavings;
mod store;
mod tokens;
mod wire;
