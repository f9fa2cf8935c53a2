//! Running a client to its end: what it printed, or a panic that shows everything.

use std::{
    ffi::OsStr,
    process::{Command, Output, Stdio},
};

use crate::support::tools;

/// A program of [`tools`] with these arguments, without standard input.
pub(crate) fn command<S: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(tools::path(program));
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs it, expects success, gives its standard output without the line end.
pub(crate) fn run(command: &mut Command) -> String {
    let output = output(command);
    assert!(output.status.success(), "{}", account(command, &output));
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

/// Runs it, expects failure, gives all that it printed.
pub(crate) fn run_refused(command: &mut Command) -> String {
    let output = output(command);
    assert!(!output.status.success(), "should have been refused: {}", account(command, &output));
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

fn output(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

fn account(command: &Command, output: &Output) -> String {
    format!(
        "{command:?}: {}\n--- stdout\n{}--- stderr\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
