//! A report as one page that needs nothing else.

use std::fmt::Write as _;

use crate::{
    quantity::{bytes, digits, float, micros},
    report::{
        Report, Summary,
        chart::{Curve, chart, escape},
    },
};

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:820px;padding:0 1rem;color:#222}\
    h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}table{border-collapse:collapse;width:100%;font-size:13px}\
    th,td{padding:4px 8px;text-align:right;border-bottom:1px solid #ddd}th:first-child,td:first-child{text-align:left}\
    svg{width:100%}.grid{stroke:#e4e4e4}text{font-size:11px;fill:#666}.up{text-anchor:end}.across{text-anchor:middle}\
    .legend span{margin-right:1.2rem}.legend i{display:inline-block;width:12px;height:3px;margin-right:6px;vertical-align:middle}\
    .bad{color:#b3261e}pre{overflow-x:auto}code{background:#f4f4f4;padding:1px 4px}";

/// One page for one or more reports, side by side in each chart.
pub(crate) fn page(title: &str, reports: &[Report]) -> String {
    let mut body = format!("<h1>{}</h1>", escape(title));
    for report in reports {
        body += &head(report);
        body += &table(report);
    }
    body += "<h2>Latency by percentile</h2>";
    body += &chart(&latencies(reports), percentile, micros);
    body += "<h2>Operations per second</h2>";
    body += &chart(&over_time(reports, |second| float(second.count)), seconds, digits);
    if reports.iter().any(|report| report.bytes() > 0) {
        body += "<h2>Content per second</h2>";
        body += &chart(&over_time(reports, |second| float(second.bytes)), seconds, bytes);
    }
    if reports.iter().any(|report| report.server.is_some()) {
        body += "<h2>Server: cores in use</h2>";
        body += &chart(&server(reports, |sample| sample.cpu), seconds, digits);
        body += "<h2>Server: resident memory</h2>";
        body += &chart(&server(reports, |sample| float(sample.resident)), seconds, bytes);
    }
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{}</title><style>{STYLE}</style></head>\
         <body>{body}</body></html>\n",
        escape(title)
    )
}

fn head(report: &Report) -> String {
    let machine = &report.machine;
    let mut text = format!(
        "<h2>{} against {}</h2><p>{} clients, {} s from {}. {}, {} cores, {} of memory, {}, load {}.<br><code>{}</code></p>",
        escape(&report.scenario),
        escape(&report.target),
        report.clients,
        digits(report.elapsed_secs),
        escape(&report.started),
        escape(&machine.processor),
        machine.cores,
        bytes(float(machine.memory)),
        escape(&machine.kernel),
        digits(machine.load),
        escape(&report.arguments.join(" ")),
    );
    if let Some(server) = &report.server {
        // Writing to a string cannot fail, here and below.
        let _ = write!(
            text,
            "<p>The server used {} CPU seconds and at most {} of memory.</p>",
            digits(server.cpu_secs),
            bytes(float(server.resident_max))
        );
    }
    for judged in &report.requirements {
        let class = if judged.is_met { "good" } else { "bad" };
        let _ = write!(text, "<p class=\"{class}\">{}</p>", escape(&judged.to_string()));
    }
    text
}

fn table(report: &Report) -> String {
    let head = ["operation", "count", "errors", "per s", "moved per s", "p50", "p90", "p99", "p99.9", "max"];
    let head: String = head.map(|name| format!("<th>{name}</th>")).concat();
    let rows: String = report.operations.iter().map(row).collect();
    format!("<table><tr>{head}</tr>{rows}</table>")
}

fn row(operation: &Summary) -> String {
    let latency = &operation.latency_us;
    let times = [latency.p50, latency.p90, latency.p99, latency.p999, latency.max].map(|time| micros(float(time)));
    let moved = if operation.bytes > 0 { bytes(operation.throughput) } else { String::new() };
    let cells = [
        escape(&operation.name),
        operation.count.to_string(),
        operation.errors.to_string(),
        digits(operation.rate),
        moved,
    ];
    let class = if operation.errors > 0 { " class=\"bad\"" } else { "" };
    let cells: Vec<String> = cells.into_iter().chain(times).map(|cell| format!("<td>{cell}</td>")).collect();
    let kinds = operation
        .error_kinds
        .iter()
        .map(|(kind, count)| format!("<tr class=\"bad\"><td colspan=\"10\">{count} x {}</td></tr>", escape(kind)));
    format!("<tr{class}>{}</tr>{}", cells.concat(), kinds.collect::<Vec<_>>().concat())
}

/// Each operation's times, drawn over how many nines a percentile has: 50 %, 90 %, 99 % and 99.9 % are equally far.
fn latencies(reports: &[Report]) -> Vec<Curve> {
    let mut curves = Vec::new();
    for report in reports {
        for operation in report.operations.iter().filter(|operation| operation.count > 0) {
            let points = operation.latency_us.curve.iter();
            let points = points.map(|(quantile, time)| (-(1.0 - quantile).log10(), float(*time))).collect();
            curves.push(Curve { name: named(reports, report, &operation.name), points });
        }
    }
    curves
}

fn percentile(nines: f64) -> String {
    let percent = 100.0 * (1.0 - 10_f64.powf(-nines));
    if percent >= 99.0 { format!("{percent:.2} %") } else { format!("{percent:.0} %") }
}

fn over_time(reports: &[Report], of: fn(&crate::measure::Second) -> f64) -> Vec<Curve> {
    let curve = |report: &Report| {
        // The last second was cut short.
        let whole = report.seconds.len().saturating_sub(1).max(1).min(report.seconds.len());
        let points = (0_u32..).zip(&report.seconds[..whole]).map(|(at, second)| (f64::from(at), of(second))).collect();
        Curve { name: named(reports, report, "all"), points }
    };
    reports.iter().map(curve).collect()
}

fn server(reports: &[Report], of: fn(&crate::measure::server::Sample) -> f64) -> Vec<Curve> {
    let curve = |report: &Report| {
        let samples = &report.server.as_ref()?.samples;
        let points = samples.iter().map(|sample| (sample.at_secs, of(sample))).collect();
        Some(Curve { name: named(reports, report, "server"), points })
    };
    reports.iter().filter_map(curve).collect()
}

fn named(reports: &[Report], report: &Report, what: &str) -> String {
    if reports.len() == 1 { what.to_owned() } else { format!("{what}, {}", report.target) }
}

fn seconds(at: f64) -> String {
    format!("{} s", digits(at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::requirement::tests::report;

    #[test]
    fn a_page_needs_nothing_else() {
        let page = page("a & b", &[report(), report()]);
        assert!(page.contains("<h1>a &amp; b</h1>") && page.contains("<polyline"), "{page}");
        assert!(page.contains("no &lt;answer&gt;"));
        for outside in ["src=", "href=", "@import", "url(", "<script"] {
            assert!(!page.contains(outside), "{outside}");
        }
    }

    #[test]
    fn percentiles_are_named() {
        assert_eq!(percentile(0.0), "0 %");
        assert_eq!(percentile(1.0), "90 %");
        assert_eq!(percentile(3.0), "99.90 %");
    }
}
