//! Everything that is tested from outside: one binary, one file per subject.

mod architecture;
mod debug;
