//! Everything that is tested from outside: one binary, one file per subject.

#![expect(clippy::unwrap_used, reason = "a test ends where it meets what it did not expect")]

mod architecture;
mod clients;
mod conformance;
mod dropin;
mod peers;
mod replicas;
mod support;
