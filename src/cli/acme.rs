//! `acme`: how things stand with certificates from an authority, and getting one by hand.

use std::{io, process::ExitCode};

use anyhow::Result;

use crate::{
    app::{self, acme::Urgency},
    cli::{Configuration, complain},
    config::{Config, Loaded},
};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Say what certificate there is, when the next is ordered, and what went wrong last
    Status(Configuration),
    /// Order a certificate if one is due; the running server proves the names and shows it
    Renew {
        /// Order one whether it is due or not
        #[arg(short, long)]
        force: bool,
        #[command(flatten)]
        configuration: Configuration,
    },
}

impl Arguments {
    pub(in crate::cli) fn run(self) -> Result<ExitCode> {
        match self.command {
            Command::Status(configuration) => app::acme::status(&load(configuration)?.config, &mut io::stdout())?,
            Command::Renew { force, configuration } => {
                let urgency = if force { Urgency::Now } else { Urgency::WhenDue };
                app::acme::renew(&load(configuration)?.config, urgency, &mut io::stdout())?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn load(configuration: Configuration) -> Result<Loaded> {
    let (path, environment) = configuration.located()?;
    let loaded = Config::load(&path, &environment)?;
    for warning in &loaded.warnings {
        complain(&format!("warning: {warning}"));
    }
    Ok(loaded)
}
