//! `serve`: run the registry until it is told to stop.

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use anyhow::Result;

use crate::{
    app::{self, Origin, upgrade::Invocation},
    config::environment::Environment,
};

/// `words` are the command line.
pub(in crate::cli) fn run(path: PathBuf, environment: Environment, words: &[OsString]) -> Result<ExitCode> {
    app::serve(Origin { configuration: path, environment, invocation: Invocation::of(words)? })?;
    Ok(ExitCode::SUCCESS)
}
