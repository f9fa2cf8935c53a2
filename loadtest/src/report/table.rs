//! A report as lines of text.

use std::fmt::Write as _;

use clap::ValueEnum;

use crate::{
    quantity::{bytes, digits, float, micros},
    report::{Report, Summary},
};

/// Which columns a table has.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Columns {
    /// Ours.
    Own,
    /// Those of the results of goharbor/perf.
    Harbor,
    /// The paragraphs of zot's zb.
    Zb,
}

pub(crate) fn render(report: &Report, columns: Columns) -> String {
    let mut text = head(report);
    match columns {
        Columns::Own => text += &grid(&own(report)),
        Columns::Harbor => text += &grid(&harbor(report)),
        Columns::Zb => report.operations.iter().for_each(|operation| text += &zb(report, operation)),
    }
    for operation in &report.operations {
        for (kind, count) in &operation.error_kinds {
            // Writing to a string cannot fail, here and below.
            let _ = writeln!(text, "{count} x {}: {kind}", operation.name);
        }
    }
    if let Some(server) = &report.server {
        let (cpu, memory) = (digits(server.cpu_secs), bytes(float(server.resident_max)));
        let _ = writeln!(text, "server: {cpu} CPU seconds, at most {memory} resident, {} processes", server.pids.len());
        let moved = float(report.bytes()) / f64::from(1 << 30);
        if moved > 0.01 {
            let _ = writeln!(text, "server: {} CPU seconds per GiB", digits(server.cpu_secs / moved));
        }
    }
    for judged in &report.requirements {
        let _ = writeln!(text, "{judged}");
    }
    text
}

fn head(report: &Report) -> String {
    let rate = report.rate.map(|rate| format!(" at {} a second", digits(rate))).unwrap_or_default();
    let machine = &report.machine;
    format!(
        "{} against {}: {} clients{rate}, {} s, {}\n{}, {} cores, {} of memory, {}, load {}\n\n",
        report.scenario,
        report.target,
        report.clients,
        digits(report.elapsed_secs),
        report.started,
        machine.processor,
        machine.cores,
        bytes(float(machine.memory)),
        machine.kernel,
        digits(machine.load),
    )
}

fn own(report: &Report) -> Vec<Vec<String>> {
    let head = ["operation", "count", "errors", "per s", "moved per s", "p50", "p90", "p99", "p99.9", "max"];
    let row = |operation: &Summary| {
        let latency = &operation.latency_us;
        let times = [latency.p50, latency.p90, latency.p99, latency.p999, latency.max];
        let moved = if operation.bytes > 0 { bytes(operation.throughput) } else { String::new() };
        let counts = [operation.count.to_string(), operation.errors.to_string(), digits(operation.rate), moved];
        [operation.name.clone()].into_iter().chain(counts).chain(times.map(|time| micros(float(time)))).collect()
    };
    [head.map(str::to_owned).to_vec()].into_iter().chain(report.operations.iter().map(row)).collect()
}

fn harbor(report: &Report) -> Vec<Vec<String>> {
    let head = ["API", "Avg", "Min", "Med", "Max", "P(90)", "P(95)", "Success Rate", "Iterations Rate"];
    let row = |operation: &Summary| {
        let latency = &operation.latency_us;
        let all = float(operation.count + operation.errors);
        let success = if all > 0.0 { 100.0 * float(operation.count) / all } else { 0.0 };
        let times = [latency.min, latency.p50, latency.max, latency.p90, latency.p95].map(|time| micros(float(time)));
        [operation.name.clone(), micros(latency.mean)]
            .into_iter()
            .chain(times)
            .chain([format!("{}%", digits(success)), format!("{:.2}/s", operation.rate)])
            .collect()
    };
    [head.map(str::to_owned).to_vec()].into_iter().chain(report.operations.iter().map(row)).collect()
}

fn zb(report: &Report, operation: &Summary) -> String {
    let latency = &operation.latency_us;
    let time = |time: u64| micros(float(time));
    format!(
        "============\nTest name:            {}\nConcurrency Level:    {}\nComplete requests:    {}\nFailed requests:      {}\n\
         Requests per second:  {}\n\nmin: {}\nmax: {}\np50: {}\np75: {}\np90: {}\np99: {}\n\n",
        operation.name,
        report.clients,
        operation.count,
        operation.errors,
        digits(operation.rate),
        time(latency.min),
        time(latency.max),
        time(latency.p50),
        time(latency.p75),
        time(latency.p90),
        time(latency.p99),
    )
}

/// Columns as wide as what is in them, numbers to the right.
pub(crate) fn grid(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or_default()).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
            if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::requirement::tests::report;

    #[test]
    fn every_form_has_every_operation() {
        for columns in [Columns::Own, Columns::Harbor, Columns::Zb] {
            let text = render(&report(), columns);
            assert!(text.contains("manifest GET") && text.contains("blob GET"), "{text}");
            assert!(text.contains("2 x blob GET: no <answer>"), "{text}");
        }
        assert!(render(&report(), Columns::Harbor).contains("P(95)"));
    }

    #[test]
    fn columns_stand_below_each_other() {
        let rows = [vec!["a".to_owned(), "1000".to_owned()], vec!["long".to_owned(), "1".to_owned()]];
        assert_eq!(grid(&rows), "a     1000\nlong     1\n");
    }
}
