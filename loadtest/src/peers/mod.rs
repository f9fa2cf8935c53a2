//! `peers`: our server beside nginx + docker-registry, both started here with equal settings, through the standard set.
//!
//! Equal means: one machine, one certificate, TLS 1.3, each its own directory of one file system, tokens checked by both
//! (a thousand different ones, of one RSA key), access logs written by both. We flush to the disk before we answer, the
//! peer does not. `keys` makes certificate and tokens, `servers` writes the configurations and starts the programs, `set`
//! says what is run, and `limits` measures what no server can do without.

use std::{
    fmt::Write as _,
    fs,
    io::{Write as _, stderr, stdout},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    cli,
    compare::{self, Comparison},
    measure::machine::Machine,
    peers::{
        keys::{Authority, Signer},
        servers::{Peers, Place},
    },
    quantity::{bytes, digits, float},
};

mod keys;
mod limits;
mod ports;
mod servers;
mod set;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Our server's program
    #[arg(long, default_value = "target/release/pierhead")]
    server: PathBuf,
    /// How often each case is run for each server
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pairs: u32,
    /// Run only the cases whose name contains this
    #[arg(long, default_value = "")]
    case: String,
    /// A tenth of everything: to see that it works, not to measure
    #[arg(long)]
    quick: bool,
    /// Where results are written: `results.md`, `results.json` and a page for each case
    #[arg(long, default_value = "target/loadtest")]
    output: PathBuf,
    /// Where the servers keep their content while it runs; a directory of its own is made there and removed
    #[arg(long)]
    scratch: Option<PathBuf>,
}

/// Tokens that are used in turn.
const TOKENS: usize = 1000;

/// Before each turn: what one left to be written or given back, such as memory that a virtual machine returns to its host,
/// is not for the next.
const REST: Duration = Duration::from_secs(3);

/// How long those live: longer than any run.
const LIFETIME: Duration = Duration::from_hours(24);

pub(crate) async fn run(arguments: &Arguments) -> Result<ExitCode> {
    let cases = set::cases(arguments.quick);
    let cases: Vec<_> = cases.into_iter().filter(|case| case.name.contains(&arguments.case)).collect();
    if cases.is_empty() {
        bail!("no case has {:?} in its name: {}", arguments.case, set::names());
    }
    fs::create_dir_all(&arguments.output).with_context(|| format!("cannot make {}", arguments.output.display()))?;
    let scratch = arguments.scratch.clone().unwrap_or_else(std::env::temp_dir);
    let place = Place::create(&scratch)?;
    let signer = Signer::new(&place)?;
    let authority = Authority::create(&place)?;
    let tokens = place.path("tokens");
    fs::write(&tokens, signer.tokens(TOKENS, LIFETIME)?).context("cannot write the tokens")?;

    let mut results = Results::new(arguments.pairs, limits::measure(&place.path("."), &authority)?);
    for case in cases {
        // Fresh servers for each case: none begins with what another one left.
        let peers = Peers::start(&place, &arguments.server, &authority, &signer, case.keeps)?;
        results.idle.get_or_insert(peers.idle()?);
        results.configurations.get_or_insert_with(|| peers.configurations());
        say(&format!("== {}", case.name));
        let contestants = case.contestants(&peers, &authority, &tokens);
        case.prepare(&peers, &contestants).await.with_context(|| format!("case {:?}", case.name))?;
        let pairs = case.rounds.unwrap_or(arguments.pairs);
        let comparison = compare::play(&contestants, pairs, REST, &case.scenario).await;
        let peaks = peers.peaks();
        drop(peers);
        let comparison = comparison.with_context(|| format!("case {:?}", case.name))?;
        cli::write(&arguments.output.join(format!("{}.html", case.slug())), &comparison.page(case.name))?;
        stdout().write_all(format!("\n{}\n{}\n", case.name, comparison.table()).as_bytes())?;
        results.cases.push((case, comparison, peaks));
        // After each case: what was measured is not lost with what comes.
        results.write(&arguments.output)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// For whoever waits.
fn say(line: &str) {
    // That nobody reads it is no reason to end.
    let _ = writeln!(stderr(), "{line}");
}

struct Results {
    pairs: u32,
    machine: Machine,
    limits: String,
    idle: Option<String>,
    configurations: Option<String>,
    cases: Vec<(set::Case, Comparison, String)>,
}

impl Results {
    fn new(pairs: u32, limits: String) -> Self {
        Self { pairs, machine: Machine::here(), limits, idle: None, configurations: None, cases: Vec::new() }
    }

    fn write(&self, directory: &Path) -> Result<()> {
        cli::write(&directory.join("results.md"), &self.markdown())?;
        let comparisons: Vec<_> = self.cases.iter().map(|(case, comparison, _)| (case.name, comparison)).collect();
        cli::write(&directory.join("results.json"), &serde_json::to_string(&comparisons)?)
    }

    fn markdown(&self) -> String {
        let Machine { processor, cores, memory, kernel, load } = &self.machine;
        let mut text = format!(
            "# Beside nginx + docker-registry\n\n{processor}, {cores} cores, {} of memory, {kernel}; load {} at the start. \
             {} pairs of each case unless it says otherwise; medians, and ratios with their least and most.\n\n{}\n\n{}\n",
            bytes(float(*memory)),
            digits(*load),
            self.pairs,
            self.limits,
            self.idle.as_deref().unwrap_or_default(),
        );
        for (case, comparison, peaks) in &self.cases {
            // Writing to a string cannot fail.
            let _ = write!(
                text,
                "\n## {}\n\n{}\n\n    loadtest {}\n\n```text\n{}{peaks}```\n",
                case.name,
                case.limit,
                case.scenario.join(" "),
                comparison.table()
            );
        }
        text + "\n## Configurations\n\n" + self.configurations.as_deref().unwrap_or_default()
    }
}
