//! The command line.

use std::{
    ffi::OsString,
    fs,
    io::{Write as _, stderr, stdout},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Args, Parser, Subcommand, error::ErrorKind};
use http::Uri;
use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    pki_types::{CertificateDer, pem::PemObject as _},
};

use crate::{
    client::{
        Origin, Target,
        connection::{Protocol, Trust},
        token::Credentials,
    },
    compare, peers,
    progress::Display,
    quantity::duration,
    report::{
        Report, html,
        requirement::Requirement,
        table::{self, Columns},
    },
    run::{self, Watching},
    scenario::{
        Load, Scenario, Stage, connect::Connect, expiry::Expiry, herd::Herd, manifest::Manifest, mixed::Mixed,
        pull::Pull, push::Push, tags::Tags, zb::Zb,
    },
};

/// Exit code of a run that did not reach what was required of it.
const NOT_MET: u8 = 3;

/// Where systems keep the authorities that they trust.
const SYSTEM_AUTHORITIES: [&str; 2] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];

#[derive(Debug, Parser)]
#[command(name = "loadtest", version, about, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Pull images again and again
    Pull(Run<Pull>),
    /// Push new images, or blobs alone
    Push(Run<Push>),
    /// Pull and push side by side
    Mixed(Run<Mixed>),
    /// Ask for one manifest, as fast as can be or at a rate
    Manifest(Run<Manifest>),
    /// Pull one image by all clients in the same moment
    Herd(Run<Herd>),
    /// Push for longer than a token lives
    Expiry(Run<Expiry>),
    /// Open connections, with full or resumed handshakes
    Connect(Run<Connect>),
    /// List many tags
    Tags(Run<Tags>),
    /// The cases of zot's benchmark, under its names
    Zb(Run<Zb>),
    /// Run one scenario against several targets in turn, and hold them against each other
    Compare(compare::Arguments),
    /// Start our server, and nginx before docker-registry, with equal settings, and run the standard set against both
    Peers(peers::Arguments),
}

#[derive(Debug, Args)]
struct Run<S: Args> {
    #[command(flatten)]
    scenario: S,
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    load: LoadArgs,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Target")]
struct TargetArgs {
    /// The registry, such as <https://registry.example.com:5050>
    #[arg(long)]
    url: Uri,
    /// Authorities to trust, in PEM; else those of the system
    #[arg(long)]
    ca: Option<PathBuf>,
    /// Speak HTTP/2
    #[arg(long)]
    http2: bool,
    /// `name:password`, for the token service or the registry; `LOADTEST_USER` says it without showing it to others
    #[arg(long)]
    user: Option<String>,
    /// A file with a token in each line, which are used in turn
    #[arg(long, conflicts_with = "user")]
    tokens: Option<PathBuf>,
    /// Below which everything is pushed
    #[arg(long, default_value = "loadtest")]
    repository: String,
    /// Makes content the same as in another run with this number; else all content is new
    #[arg(long)]
    seed: Option<u64>,
}

#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "Load")]
struct LoadArgs {
    /// Clients at once
    #[arg(long, short = 'c', default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    clients: u64,
    /// How long to go on
    #[arg(long, short = 'd', default_value = "10s", value_parser = duration)]
    duration: Duration,
    /// End after so many turns
    #[arg(long, short = 'n')]
    turns: Option<u64>,
    /// Begin so many turns in a second whether or not earlier ones have ended; times count from when a turn was due
    #[arg(long)]
    rate: Option<f64>,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Output")]
struct Output {
    /// Processes of the server, whose use of CPU and memory is measured, with their children
    #[arg(long)]
    pid: Vec<u32>,
    /// Write the result as JSON
    #[arg(long)]
    json: Option<PathBuf>,
    /// Write the result as a page with charts
    #[arg(long)]
    html: Option<PathBuf>,
    /// Columns of the table: ours, those of goharbor/perf, or zot's zb
    #[arg(long, value_enum, default_value_t = Columns::Own)]
    columns: Columns,
    /// What must be reached, such as "p99<20ms" or "blob GET: throughput>=100MiB/s"; else exit with 3. Without any, nothing
    /// may fail
    #[arg(long)]
    require: Vec<Requirement>,
    /// Show no progress
    #[arg(long, short = 'q')]
    quiet: bool,
}

pub(crate) fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let parsed = match Arguments::try_parse_from(&arguments) {
        Ok(parsed) => parsed,
        Err(error) => {
            // A closed pipe is no reason to fail louder.
            let _ = error.print();
            let helps = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            return if helps { ExitCode::SUCCESS } else { ExitCode::from(2) };
        }
    };
    let words: Vec<String> = arguments.iter().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    match execute(parsed.command, &words) {
        Ok(code) => code,
        Err(error) => {
            // With standard error closed, the exit code still says it.
            let _ = writeln!(stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn execute(command: Command, words: &[String]) -> Result<ExitCode> {
    // A second call finds the provider of the first, which is the same.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no threads")?;
    match command {
        Command::Compare(arguments) => return runtime.block_on(compare::run(&arguments)),
        Command::Peers(arguments) => return runtime.block_on(peers::run(&arguments)),
        _ => {}
    }
    let (report, output) = runtime.block_on(measure(command, words))?;
    publish(&report, &output)
}

/// Runs the scenario that these words name, as a command line of its own.
pub(crate) async fn measure_words(words: &[String]) -> Result<Report> {
    let program = ["loadtest".to_owned()];
    let parsed = Arguments::try_parse_from(program.iter().chain(words))?;
    // Boxed: a comparison measures, and what measures may not contain itself.
    Ok(Box::pin(measure(parsed.command, words)).await?.0)
}

async fn measure(command: Command, words: &[String]) -> Result<(Report, Output)> {
    match command {
        Command::Pull(run) => play("pull", run, words).await,
        Command::Push(run) => play("push", run, words).await,
        Command::Mixed(run) => play("mixed", run, words).await,
        Command::Manifest(run) => play("manifest", run, words).await,
        Command::Herd(run) => play("herd", run, words).await,
        Command::Expiry(run) => play("expiry", run, words).await,
        Command::Connect(run) => {
            let resumption =
                if run.scenario.resume { Resumption::in_memory_sessions(64) } else { Resumption::disabled() };
            play_with("connect", run, words, resumption).await
        }
        Command::Tags(run) => play("tags", run, words).await,
        Command::Zb(run) => play("zb", run, words).await,
        Command::Compare(_) | Command::Peers(_) => bail!("a comparison is no scenario"),
    }
}

async fn play<S: Scenario + Args>(name: &str, run: Run<S>, words: &[String]) -> Result<(Report, Output)> {
    play_with(name, run, words, Resumption::in_memory_sessions(64)).await
}

async fn play_with<S: Scenario + Args>(
    name: &str,
    run: Run<S>,
    words: &[String],
    resumption: Resumption,
) -> Result<(Report, Output)> {
    let stage = run.target.stage(run.load, resumption)?;
    let display = if run.output.quiet { Display::Nothing } else { Display::Live };
    let watching = Watching { pids: run.output.pid.clone(), display };
    let mut report = run::run(name, &run.scenario, &stage, &watching, &without_secrets(words)).await?;
    let default = ["errors<=0".parse::<Requirement>().map_err(anyhow::Error::msg)?];
    let requirements = if run.output.require.is_empty() { &default[..] } else { &run.output.require };
    report.requirements = requirements.iter().map(|requirement| requirement.judge(&report)).collect();
    Ok((report, run.output))
}

/// Arguments as a report may show them.
fn without_secrets(words: &[String]) -> Vec<String> {
    let mut shown = Vec::new();
    let mut is_secret = false;
    for word in words {
        shown.push(match word.as_str() {
            _ if is_secret => "…".to_owned(),
            word if word.starts_with("--user=") => "--user=…".to_owned(),
            word => word.to_owned(),
        });
        is_secret = word == "--user";
    }
    shown
}

fn publish(report: &Report, output: &Output) -> Result<ExitCode> {
    // What is shown and cannot be written is no result.
    stdout().write_all(table::render(report, output.columns).as_bytes()).context("cannot write the table")?;
    if let Some(path) = &output.json {
        write(path, &serde_json::to_string_pretty(report)?)?;
    }
    if let Some(path) = &output.html {
        write(
            path,
            &html::page(&format!("{} against {}", report.scenario, report.target), std::slice::from_ref(report)),
        )?;
    }
    let all_met = report.requirements.iter().all(|judged| judged.is_met);
    Ok(if all_met { ExitCode::SUCCESS } else { ExitCode::from(NOT_MET) })
}

pub(crate) fn write(path: &Path, content: &str) -> Result<()> {
    fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))
}

impl TargetArgs {
    fn stage(&self, load: LoadArgs, resumption: Resumption) -> Result<Stage> {
        let origin = Origin::of(&self.url)
            .with_context(|| format!("--url {}: it must begin with http:// or https://", self.url))?;
        ensure!(self.url.path() == "/" && self.url.query().is_none(), "--url {}: it must not have a path", self.url);
        ensure!(load.rate.is_none_or(|rate| rate > 0.0 && rate < 1e7), "--rate: it must be more than 0");
        let run = match self.seed {
            Some(seed) => seed,
            None => getrandom::u64().map_err(|error| anyhow::anyhow!("no random number: {error}"))?,
        };
        let protocol = if self.http2 { Protocol::Http2 } else { Protocol::Http1 };
        let trust = Trust::new(&self.trust(&origin, resumption)?);
        let target = Target { origin, trust, protocol, credentials: self.credentials()? };
        let LoadArgs { clients, duration, turns, rate } = load;
        Ok(Stage {
            target: Arc::new(target),
            load: Load { clients, duration, turns, rate },
            run,
            repository: self.repository.clone(),
        })
    }

    fn trust(&self, origin: &Origin, resumption: Resumption) -> Result<ClientConfig> {
        let mut roots = RootCertStore::empty();
        let system = || SYSTEM_AUTHORITIES.iter().map(PathBuf::from).find(|path| path.exists());
        if let Some(path) = self.ca.clone().or_else(system).filter(|_| origin.tls) {
            let certificates =
                CertificateDer::pem_file_iter(&path).with_context(|| format!("cannot read {}", path.display()))?;
            for certificate in certificates {
                let certificate = certificate.with_context(|| format!("{}: no PEM", path.display()))?;
                // One that a system has and that we cannot read is no reason to trust none.
                let added = roots.add(certificate);
                if self.ca.is_some() {
                    added.with_context(|| format!("{}: no certificate of an authority", path.display()))?;
                }
            }
            ensure!(!roots.is_empty(), "{}: there is no certificate in it", path.display());
        }
        let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        config.resumption = resumption;
        Ok(config)
    }

    fn credentials(&self) -> Result<Credentials> {
        if let Some(path) = &self.tokens {
            let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned);
            return Credentials::tokens(lines).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()));
        }
        let Some(user) = self.user.clone().or_else(|| std::env::var("LOADTEST_USER").ok()) else {
            return Ok(Credentials::Anonymous);
        };
        let (user, password) = user.split_once(':').context("--user must be name:password")?;
        Ok(Credentials::Password { user: user.to_owned(), password: password.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn secrets_are_not_shown() {
        let words = ["pull", "--user", "a:b", "--url", "http://x", "--user=c:d"].map(str::to_owned);
        assert_eq!(without_secrets(&words), ["pull", "--user", "…", "--url", "http://x", "--user=…"]);
    }
}
