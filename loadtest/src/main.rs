//! Load against container registries: arguments in, one scenario run, an exit code out.
//!
//! `client` speaks to a registry as real clients do, `content` makes the bytes that are pushed, `scenario` says who does
//! what, `measure` takes down how long it took and what the server used, `report` tells it, `compare` does it to several
//! targets in turn, `peers` to servers that it starts. Nothing here knows the server that it was written beside.

use std::process::ExitCode;

mod cli;
mod client;
mod compare;
mod content;
mod measure;
mod peers;
mod progress;
mod quantity;
mod report;
mod run;
mod scenario;

/// Clients make and drop many small things; this takes less of the processor that they may share with the server.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::main()
}
