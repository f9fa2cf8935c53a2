//! One scenario against one target, from the first byte that is put there to the report.

use std::time::Instant;

use anyhow::{Context as _, Result};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    measure::{Recorder, machine::Machine, server::Watch},
    progress::{Display, Progress},
    report::{Report, summary},
    scenario::{Scenario, Stage},
};

/// What is measured beside the answers.
#[derive(Clone, Debug)]
pub(crate) struct Watching {
    /// Of the server.
    pub(crate) pids: Vec<u32>,
    pub(crate) display: Display,
}

/// Prepares, runs and takes down one scenario.
pub(crate) async fn run(
    name: &str,
    scenario: &impl Scenario,
    stage: &Stage,
    watching: &Watching,
    arguments: &[String],
) -> Result<Report> {
    scenario.prepare(stage).await.with_context(|| format!("{name} cannot be prepared"))?;
    let machine = Machine::here();
    let started = OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default();
    let watch = Watch::start(&watching.pids)?;
    let recorder = Recorder::start();
    let progress = Progress::start(watching.display, name, &recorder, stage.load.duration);
    let begin = Instant::now();
    let outcome = tokio::select! {
        outcome = scenario.run(stage, &recorder) => outcome,
        // What came until then is reported.
        _ = tokio::signal::ctrl_c() => Ok(()),
    };
    let elapsed = begin.elapsed();
    progress.finish().await;
    let server = watch.map(Watch::stop).transpose()?;
    outcome.with_context(|| format!("{name} cannot be run"))?;
    let mut recording = recorder.lock();
    recording.roll();
    Ok(Report {
        scenario: name.to_owned(),
        arguments: arguments.to_vec(),
        target: format!("{}", stage.target.origin),
        clients: stage.load.clients,
        rate: stage.load.rate,
        started,
        elapsed_secs: elapsed.as_secs_f64(),
        machine,
        operations: summary(&recording, elapsed),
        seconds: recording.seconds.clone(),
        server,
        requirements: Vec::new(),
    })
}
