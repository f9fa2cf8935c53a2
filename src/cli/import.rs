//! `import`: what stood here before, as a configuration of ours.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context, Result};
use clap::Subcommand;

use crate::{
    app::import::{self, Format},
    cli::complain,
};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    #[command(subcommand)]
    source: Source,
}

#[derive(Debug, Subcommand)]
enum Source {
    /// The settings of the registry, of the NGINX before it and of Let's Encrypt in a GitLab package's gitlab.rb
    #[command(name = "gitlab.rb")]
    GitlabRb(Files),
    /// The server of an NGINX configuration that stands before a registry
    #[command(name = "nginx.conf")]
    NginxConf {
        #[command(flatten)]
        files: Files,
        /// Which server is meant, by one of its names
        #[arg(long, value_name = "NAME")]
        server: Option<String>,
    },
}

#[derive(Debug, clap::Args)]
struct Files {
    path: PathBuf,
    /// Write the configuration to this new file, readable for its owner alone, instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Arguments {
    /// Code 1 where something that has an effect is not in the result, which is written all the same.
    pub(in crate::cli) fn run(self) -> Result<ExitCode> {
        let (files, server) = match &self.source {
            Source::GitlabRb(files) => (files, None),
            Source::NginxConf { files, server } => (files, Some(server.as_deref())),
        };
        let format = server.map_or(Format::GitlabRb, |server| Format::NginxConf { server });
        let outcome = import::read(format, &files.path)?;
        if let Some(path) = &files.output {
            import::write(&outcome.configuration, path)?;
        } else {
            let text = outcome.configuration.expose().as_bytes();
            io::stdout().write_all(text).context("cannot print the configuration")?;
        }
        outcome.notes.iter().for_each(|note| complain(note));
        Ok(if outcome.whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
