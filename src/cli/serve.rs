//! `serve`: run the registry until it is told to stop.

use std::{path::Path, process::ExitCode};

use anyhow::Result;

use crate::{
    app,
    config::{Config, environment::Environment},
};

pub(in crate::cli) fn run(path: &Path, environment: &Environment) -> Result<ExitCode> {
    app::serve(&Config::load(path, environment)?)?;
    Ok(ExitCode::SUCCESS)
}
