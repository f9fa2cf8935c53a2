//! How a run goes: a line that is drawn again on a terminal, a line every few seconds elsewhere.

use std::{
    io::{IsTerminal as _, Write as _, stderr},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::JoinHandle;

use crate::{
    measure::Recorder,
    quantity::{bytes, digits, float, micros},
};

/// How often a terminal is drawn, and how often a line is written elsewhere.
const FRAME: Duration = Duration::from_millis(200);
const LINE: Duration = Duration::from_secs(5);

/// Seconds that the rates shown are those of.
const WINDOW: usize = 3;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Display {
    /// On standard error, as fits what that is.
    Live,
    Nothing,
}

#[derive(Debug)]
pub(crate) struct Progress {
    task: Option<JoinHandle<()>>,
    bar: Option<ProgressBar>,
}

impl Progress {
    pub(crate) fn start(display: Display, name: &str, recorder: &Recorder, duration: Duration) -> Self {
        if display == Display::Nothing {
            return Self { task: None, bar: None };
        }
        if stderr().is_terminal() {
            let bar = ProgressBar::new(duration.as_millis().try_into().unwrap_or(u64::MAX));
            let style = ProgressStyle::with_template("{prefix} {wide_bar} {elapsed}\n{msg}");
            // The template is ours: that it can be read is tested.
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_prefix(name.to_owned());
            let task = tokio::spawn(draw(bar.clone(), recorder.clone()));
            return Self { task: Some(task), bar: Some(bar) };
        }
        Self { task: Some(tokio::spawn(write_lines(name.to_owned(), recorder.clone()))), bar: None }
    }

    pub(crate) async fn finish(self) {
        if let Some(task) = self.task {
            task.abort();
            // It was cut off on purpose.
            let _ = task.await;
        }
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

async fn draw(bar: ProgressBar, recorder: Recorder) {
    let mut ticks = tokio::time::interval(FRAME);
    loop {
        ticks.tick().await;
        let (line, elapsed) = line(&recorder);
        bar.set_position(elapsed.as_millis().try_into().unwrap_or(u64::MAX));
        bar.set_message(line);
    }
}

async fn write_lines(name: String, recorder: Recorder) {
    let mut ticks = tokio::time::interval(LINE);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let (line, elapsed) = line(&recorder);
        // That nobody reads it is no reason to end.
        let _ = writeln!(stderr(), "{name} {:>4} s: {line}", elapsed.as_secs());
    }
}

/// The rates of the last few seconds, the latency of the last whole one, and what failed so far.
fn line(recorder: &Recorder) -> (String, Duration) {
    let mut recording = recorder.lock();
    recording.roll();
    let seconds = &recording.seconds;
    let whole = seconds.len().saturating_sub(1);
    let window = &seconds[whole.saturating_sub(WINDOW)..whole];
    let over = float(window.len().max(1) as u64);
    let count: u64 = window.iter().map(|second| second.count).sum();
    let moved: u64 = window.iter().map(|second| second.bytes).sum();
    let errors: u64 = seconds.iter().map(|second| second.errors).sum();
    let (p50, p99) = window.last().map(|last| (last.p50_us, last.p99_us)).unwrap_or_default();
    let line = format!(
        "{}/s  {}/s  p50 {}  p99 {}  errors {errors}",
        digits(float(count) / over),
        bytes(float(moved) / over),
        micros(float(p50)),
        micros(float(p99)),
    );
    (line, recording.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_without_anything_has_a_line() {
        assert_eq!(line(&Recorder::start()).0, "0/s  0 B/s  p50 0 us  p99 0 us  errors 0");
    }

    #[test]
    fn the_template_can_be_read() {
        assert!(ProgressStyle::with_template("{prefix} {wide_bar} {elapsed}\n{msg}").is_ok());
    }
}
