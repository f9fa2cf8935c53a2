//! The command line, compatible with that of the registry that we replace: one file per command, each one call into
//! the library.

use std::{
    ffi::OsString,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Result, bail};
use clap::{CommandFactory, Parser, Subcommand, error::ErrorKind};

mod acme;
mod check;
mod garbage_collect;
mod import;
mod keys;
mod serve;

use crate::config::environment::Environment;

/// Exit code of a command that this version does not have.
const NOT_BUILT: u8 = 2;

#[derive(Debug, Parser)]
#[command(name = "pierhead", version, about, disable_version_flag = true, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Print the version
    #[arg(short = 'v', long, action = clap::ArgAction::Version)]
    version: (),
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the registry
    Serve(Configuration),
    /// Validate a configuration and print what is in force, without secrets
    Check(check::Arguments),
    /// Certificates from an authority (ACME)
    Acme(acme::Arguments),
    /// Make a configuration of what stood here before, naming every setting that is lost
    Import(import::Arguments),
    /// Make or compare the pair that tokens are signed and checked with
    Keys(keys::Arguments),
    /// Remove content that nothing refers to (not in this version)
    GarbageCollect(garbage_collect::Arguments),
}

#[derive(Debug, clap::Args)]
struct Configuration {
    /// The configuration file; by default what `REGISTRY_CONFIGURATION_PATH` names
    config: Option<PathBuf>,
}

/// Runs one command; its errors are printed as one chain on standard error.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let words: Vec<OsString> = arguments.into_iter().collect();
    let arguments = match Arguments::try_parse_from(&words) {
        Ok(arguments) => arguments,
        Err(error) => return refuse(&error),
    };
    let result = match arguments.command {
        Command::Serve(configuration) => configuration.located().and_then(|(path, env)| serve::run(path, env, &words)),
        Command::Check(arguments) => arguments.run(),
        Command::Acme(arguments) => arguments.run(),
        Command::Import(arguments) => arguments.run(),
        Command::Keys(arguments) => arguments.run(),
        Command::GarbageCollect(_) => Ok(garbage_collect::run()),
    };
    result.unwrap_or_else(|error| {
        complain(&format!("error: {error:#}"));
        ExitCode::FAILURE
    })
}

impl Configuration {
    /// The path that was given, or else that of the environment.
    fn located(self) -> Result<(PathBuf, Environment)> {
        let environment = Environment::of_process()?;
        let path = self.config.or_else(|| environment.configuration_path().map(PathBuf::from));
        let Some(path) = path else {
            bail!("configuration path unspecified\n{}", Arguments::command().render_usage());
        };
        Ok((path, environment))
    }
}

/// Help, version and mistakes, each where it belongs.
fn refuse(error: &clap::Error) -> ExitCode {
    // A closed pipe is no reason to fail louder.
    let _ = error.print();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn complain(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_consistent() {
        Arguments::command().debug_assert();
    }
}
