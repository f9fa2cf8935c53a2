//! `keys`: the pair that tokens are signed and checked with.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context, Result};
use clap::Subcommand;

use crate::app::keys::{self, Existing, Wish};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make an RSA key and its certificate, as GitLab does
    Generate {
        directory: PathBuf,
        /// 2048, 3072 or 4096
        #[arg(long, default_value_t = 4096)]
        bits: u32,
        /// How long the certificate is valid
        #[arg(long, default_value_t = 3650)]
        days: u32,
        /// The certificate's common name
        #[arg(long, default_value = "Registry")]
        name: String,
        /// Replace a pair that is there
        #[arg(long)]
        force: bool,
    },
    /// Say whether a key belongs to a certificate, or to one of a bundle; code 1 if not
    Verify { certificate: PathBuf, key: PathBuf },
}

impl Arguments {
    pub(in crate::cli) fn run(self) -> Result<ExitCode> {
        match self.action {
            Action::Generate { directory, bits, days, name, force } => {
                let existing = if force { Existing::Replace } else { Existing::Keep };
                let written = keys::generate(&directory, &Wish { bits, days, name }, existing)?;
                print(&format!(
                    "{}\nkey:         {}  (who signs tokens: registry_key_path)\n\
                     certificate: {}  (who checks them: auth.token.rootcertbundle)\n",
                    written.names,
                    written.key.display(),
                    written.certificate.display()
                ))?;
                Ok(ExitCode::SUCCESS)
            }
            Action::Verify { certificate, key } => {
                let comparison = keys::compare(&certificate, &key)?;
                let numbered = |(at, entry)| format!("{}. {entry}\n", at + 1);
                let entries: String = comparison.entries.iter().enumerate().map(numbered).collect::<Vec<_>>().concat();
                let matching: Vec<_> = comparison.matching().map(|number| number.to_string()).collect();
                let (verdict, code) = match matching.as_slice() {
                    [] => ("they do not match".to_owned(), ExitCode::FAILURE),
                    numbers => (format!("they match ({})", numbers.join(", ")), ExitCode::SUCCESS),
                };
                print(&format!("key: {}\n{entries}{verdict}\n", comparison.key))?;
                Ok(code)
            }
        }
    }
}

fn print(text: &str) -> Result<()> {
    io::stdout().write_all(text.as_bytes()).context("cannot print the result")
}
