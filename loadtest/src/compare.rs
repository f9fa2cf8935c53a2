//! `compare`: one scenario against several targets in turn, A B A B, so that what else the machine does falls on all of
//! them alike; then each ratio with its spread.

use std::{
    io::{Write as _, stderr, stdout},
    path::PathBuf,
    process::ExitCode,
    str::FromStr,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;

use crate::{
    cli,
    quantity::{bytes, digits, duration, float, micros},
    report::{Report, Summary, html, table::grid},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// A target: `name=url`, and the processes whose use is measured as `,pid=…`; the first is what the others are held
    /// against
    #[arg(long = "target", short = 't', required = true, num_args = 1)]
    targets: Vec<Contestant>,
    /// How often each target has its turn
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pairs: u32,
    /// How long to rest before each turn, such as 5s, once all that was written is on the disk; 0s: the next follows at once
    #[arg(long, default_value = "0s", value_parser = duration)]
    rest: Duration,
    /// Write all results as JSON
    #[arg(long)]
    json: Option<PathBuf>,
    /// Write the results as a page with charts
    #[arg(long)]
    html: Option<PathBuf>,
    /// The scenario and its arguments, without --url and --pid
    #[arg(last = true, required = true)]
    scenario: Vec<String>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Contestant {
    pub(crate) name: String,
    pub(crate) url: String,
    pub(crate) pids: Vec<u32>,
    /// More arguments that only this target gets.
    pub(crate) arguments: Vec<String>,
}

impl FromStr for Contestant {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no target such as ours=https://localhost:5000,pid=123");
        let (name, rest) = text.split_once('=').ok_or_else(wrong)?;
        let mut parts = rest.split(',');
        let url = parts.next().filter(|url| url.contains("://")).ok_or_else(wrong)?;
        let pid = |part: &str| part.strip_prefix("pid=")?.parse().ok();
        let pids = parts.map(|part| pid(part).ok_or_else(wrong)).collect::<Result<_, _>>()?;
        Ok(Self { name: name.to_owned(), url: url.to_owned(), pids, arguments: Vec::new() })
    }
}

/// All runs of one comparison.
#[derive(Debug, Serialize)]
pub(crate) struct Comparison {
    pub(crate) names: Vec<String>,
    /// Of each round the report of each target.
    pub(crate) rounds: Vec<Vec<Report>>,
}

pub(crate) async fn run(arguments: &Arguments) -> Result<ExitCode> {
    ensure!(arguments.targets.len() > 1, "a comparison needs two targets at least");
    let comparison = play(&arguments.targets, arguments.pairs, arguments.rest, &arguments.scenario).await?;
    stdout().write_all(comparison.table().as_bytes()).context("cannot write the table")?;
    if let Some(path) = &arguments.json {
        cli::write(path, &serde_json::to_string_pretty(&comparison)?)?;
    }
    if let Some(path) = &arguments.html {
        cli::write(path, &comparison.page(&arguments.scenario.join(" ")))?;
    }
    let errors: u64 = comparison.rounds.iter().flatten().map(Report::errors).sum();
    Ok(if errors == 0 { ExitCode::SUCCESS } else { ExitCode::from(3) })
}

/// Lets each target have its turn, so many times, and the machine rest before each.
pub(crate) async fn play(
    targets: &[Contestant],
    pairs: u32,
    rest: Duration,
    scenario: &[String],
) -> Result<Comparison> {
    let mut rounds = Vec::new();
    for round in 1..=pairs {
        let mut reports = Vec::new();
        for target in targets {
            if !rest.is_zero() {
                // What a server left for later is not to be written in the turn of another.
                rustix::fs::sync();
                tokio::time::sleep(rest).await;
            }
            let mut words = scenario.to_vec();
            words.extend(["--url".to_owned(), target.url.clone(), "--quiet".to_owned()]);
            words.extend(target.pids.iter().flat_map(|pid| ["--pid".to_owned(), pid.to_string()]));
            words.extend(target.arguments.iter().cloned());
            let mut report = cli::measure_words(&words).await.with_context(|| format!("target {}", target.name))?;
            report.target.clone_from(&target.name);
            // That nobody reads it is no reason to end.
            let _ = writeln!(stderr(), "round {round} of {pairs}, {}: {}", target.name, line(&report));
            reports.push(report);
        }
        rounds.push(reports);
    }
    Ok(Comparison { names: targets.iter().map(|target| target.name.clone()).collect(), rounds })
}

fn line(report: &Report) -> String {
    let Some(main) = report.operation(None) else { return "nothing was done".to_owned() };
    let cpu = report.server.as_ref().map(|server| format!(", {} CPU s", digits(server.cpu_secs))).unwrap_or_default();
    format!(
        "{} {}/s, p99 {}{cpu}, {} errors",
        main.name,
        digits(main.rate),
        micros(float(main.latency_us.p99)),
        report.errors()
    )
}

/// A figure of a run, and how it is written.
type Figure = (String, Box<dyn Fn(&Report) -> Option<f64>>, fn(f64) -> String);

impl Comparison {
    /// For each figure: every target's median, and each later target's ratio to the first, median and range over the rounds.
    pub(crate) fn table(&self) -> String {
        let mut head = vec!["figure".to_owned()];
        head.extend(self.names.iter().cloned());
        head.extend(self.names[1..].iter().map(|name| format!("{name} / {}", self.names[0])));
        let rows = self.figures().into_iter().filter_map(|(name, figure, write)| {
            let all: Vec<Vec<f64>> = (0..self.names.len()).map(|target| self.of(target, &figure)).collect();
            if all.iter().all(Vec::is_empty) {
                return None;
            }
            let mut row = vec![name];
            row.extend(all.iter().map(|values| median(values).map_or_else(String::new, write)));
            row.extend(all[1..].iter().map(|values| ratio(values, &all[0])));
            Some(row)
        });
        grid(&[head].into_iter().chain(rows).collect::<Vec<_>>())
    }

    /// The table, and the charts of the middle round.
    pub(crate) fn page(&self, title: &str) -> String {
        let middle = &self.rounds[self.rounds.len() / 2];
        let table = format!("<pre>{}</pre>", crate::report::chart::escape(&self.table()));
        html::page(title, middle).replacen("</h1>", &format!("</h1>{table}"), 1)
    }

    fn figures(&self) -> Vec<Figure> {
        let mut names: Vec<String> = Vec::new();
        for operation in self.rounds.iter().flatten().flat_map(|report| &report.operations) {
            if !names.contains(&operation.name) {
                names.push(operation.name.clone());
            }
        }
        let mut figures: Vec<Figure> = names.iter().flat_map(|name| of_operation(name)).collect();
        figures.push(("server: CPU s".to_owned(), Box::new(|report| Some(report.server.as_ref()?.cpu_secs)), digits));
        for name in &names {
            let (of, title) = (name.clone(), format!("server: CPU per {name}"));
            figures.push((title, Box::new(move |report| per_operation(report, &of)), micros));
        }
        let per_gib = |report: &Report| {
            let gib = float(report.bytes()) / f64::from(1 << 30);
            (gib > 0.01).then_some(report.server.as_ref()?.cpu_secs / gib)
        };
        figures.push(("server: CPU s per GiB".to_owned(), Box::new(per_gib), digits));
        let memory = |report: &Report| Some(float(report.server.as_ref()?.resident_max));
        figures.push(("server: resident".to_owned(), Box::new(memory), bytes));
        figures
    }

    fn of(&self, target: usize, figure: &dyn Fn(&Report) -> Option<f64>) -> Vec<f64> {
        self.rounds.iter().filter_map(|reports| figure(&reports[target])).collect()
    }
}

fn of_operation(name: &str) -> Vec<Figure> {
    let figure = |what: &str, of: fn(&Summary) -> Option<f64>, write: fn(f64) -> String| -> Figure {
        let operation = name.to_owned();
        (format!("{name}: {what}"), Box::new(move |report| of(report.operation(Some(&operation))?)), write)
    };
    vec![
        figure("per s", |operation| Some(operation.rate), digits),
        figure("moved per s", |operation| (operation.bytes > 0).then_some(operation.throughput), bytes),
        figure("p50", |operation| (operation.count > 0).then_some(float(operation.latency_us.p50)), micros),
        figure("p99", |operation| (operation.count > 0).then_some(float(operation.latency_us.p99)), micros),
        figure("errors", |operation| (operation.errors > 0).then_some(float(operation.errors)), digits),
    ]
}

/// In microseconds; only where one kind of operation is all that was done is that what it costs.
fn per_operation(report: &Report, name: &str) -> Option<f64> {
    let operation = report.operation(Some(name)).filter(|operation| operation.count > 0)?;
    (report.operations.len() == 1).then_some(report.server.as_ref()?.cpu_secs * 1e6 / float(operation.count))
}

/// `None` of nothing.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        length if length % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

/// Round by round: the median, and the least and the most.
fn ratio(values: &[f64], first: &[f64]) -> String {
    let ratios: Vec<f64> =
        values.iter().zip(first).filter(|(_, first)| **first > 0.0).map(|(value, first)| value / first).collect();
    let Some(median) = median(&ratios) else { return String::new() };
    let (least, most) =
        ratios.iter().fold((f64::MAX, f64::MIN), |(least, most), ratio| (least.min(*ratio), most.max(*ratio)));
    format!("{} ({} to {})", digits(median), digits(least), digits(most))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::requirement::tests::report;

    #[test]
    fn targets_are_read() {
        let target: Contestant = "ours=https://a:1,pid=5,pid=7".parse().unwrap();
        assert_eq!((target.name.as_str(), target.url.as_str(), target.pids), ("ours", "https://a:1", vec![5, 7]));
        for wrong in ["", "https://a", "a=b", "a=http://b,pid=x", "a=http://b,5"] {
            assert!(wrong.parse::<Contestant>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let with_rate = |rate: f64| {
            let mut report = report();
            report.operations[0].rate = rate;
            report
        };
        let rounds = [(100.0, 200.0), (10.0, 30.0), (50.0, 125.0)];
        let rounds = rounds.map(|(one, other)| vec![with_rate(one), with_rate(other)]).to_vec();
        let comparison = Comparison { names: vec!["a".to_owned(), "b".to_owned()], rounds };
        let table = comparison.table();
        let line = table.lines().find(|line| line.starts_with("manifest GET: per s")).unwrap();
        assert_eq!(
            line.split_whitespace().skip(4).collect::<Vec<_>>(),
            ["50.0", "125", "2.50", "(2.00", "to", "3.00)"]
        );
        assert!(comparison.page("t").contains("<pre>"));
    }

    #[test]
    fn medians() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }
}
