//! Everything that is tested from outside: one binary, one file per subject.

mod architecture;
mod clients;
mod conformance;
mod dropin;
mod peers;
mod replicas;
mod support;
