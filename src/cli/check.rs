//! `check`: is this configuration valid, and what does it come to?

use std::{
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

use anyhow::{Context, Result};

use crate::{
    app,
    cli::complain,
    config::{Config, environment::Environment},
};

pub(in crate::cli) fn run(path: &Path, environment: &Environment) -> Result<ExitCode> {
    let loaded = Config::load(path, environment)?;
    for warning in &loaded.warnings {
        complain(&format!("warning: {warning}"));
    }
    for notice in app::check(&loaded.config)? {
        complain(&format!("warning: {notice}"));
    }
    io::stdout().write_all(loaded.redacted().as_bytes()).context("cannot print the configuration")?;
    Ok(ExitCode::SUCCESS)
}
