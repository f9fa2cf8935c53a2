//! `garbage-collect`: accepted as the registry that we replace accepts it, and refused as not built.

use std::{path::PathBuf, process::ExitCode};

use crate::cli::{NOT_BUILT, complain};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    /// Only say what would be removed
    #[arg(short, long)]
    dry_run: bool,
    /// Also remove manifests that no tag names
    #[arg(short = 'm', long)]
    delete_untagged: bool,
    /// Say nothing of what is kept
    #[arg(short, long)]
    quiet: bool,
    config: Option<PathBuf>,
}

pub(in crate::cli) fn run() -> ExitCode {
    complain("error: garbage collection is not in this version; nothing was removed");
    ExitCode::from(NOT_BUILT)
}
