//! Arguments in, one library call, an exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    pierhead::cli::run(std::env::args_os())
}
