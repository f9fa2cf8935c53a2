//! Stores: the contract of every backend, and what is particular to one.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic, also in its helpers")]

mod contract;
mod decorators;
mod filesystem;
mod keys;
