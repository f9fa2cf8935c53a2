//! `check`: is this configuration valid, and what does it come to; and does its storage work?

use std::{
    io::{self, Write},
    process::ExitCode,
};

use anyhow::{Context, Result};

use crate::{
    app,
    cli::{Configuration, complain},
    config::{Config, Loaded},
};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    /// Try the storage itself, call by call, and say what to change; what this writes is removed again
    #[arg(long)]
    storage: bool,
    #[command(flatten)]
    configuration: Configuration,
}

impl Arguments {
    pub(in crate::cli) fn run(self) -> Result<ExitCode> {
        let (path, environment) = self.configuration.located()?;
        let loaded = Config::load(&path, &environment)?;
        for warning in &loaded.warnings {
            complain(&format!("warning: {warning}"));
        }
        if self.storage { try_storage(&loaded) } else { print(&loaded) }
    }
}

fn try_storage(loaded: &Loaded) -> Result<ExitCode> {
    let sound = app::doctor::examine(&loaded.config, &mut io::stdout())?;
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(loaded: &Loaded) -> Result<ExitCode> {
    for notice in app::check(&loaded.config)? {
        complain(&format!("warning: {notice}"));
    }
    io::stdout().write_all(loaded.redacted().as_bytes()).context("cannot print the configuration")?;
    Ok(ExitCode::SUCCESS)
}
