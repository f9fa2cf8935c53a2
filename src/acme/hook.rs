//! DNS-01 by a command of the operator's.
//!
//! It is run without a shell, as `<command> <arguments> present|cleanup <domain> <record> <value>`, with the same in
//! `PIERHEAD_ACME_ACTION`, `_DOMAIN`, `_RECORD` and `_VALUE`. When `present` has ended with success, the record must be
//! what the authority will see: waiting for its spreading is the command's affair, within the time that it has.

use std::{fmt, io, process::Stdio, time::Duration};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::Command,
    time::timeout,
};

/// Of what it prints, the last part, in bytes; the rest is read and forgotten.
const OUTPUT_MAX: usize = 4096;

/// The operator's command.
#[derive(Clone)]
pub struct Hook {
    /// The program and its first arguments; never empty.
    pub command: Vec<String>,
    /// For one run.
    pub patience: Duration,
}

impl fmt::Debug for Hook {
    /// Arguments may hold credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hook").field("program", &self.command.first()).finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Action {
    Present,
    Cleanup,
}

impl Action {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Present => "present",
            Self::Cleanup => "cleanup",
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the command {program} could not be run: {source}")]
    Unstarted { program: String, source: io::Error },
    #[error("the command {program} {action} for {domain} did not end within {patience:?}")]
    Late { program: String, action: &'static str, domain: String, patience: Duration },
    #[error("the command {program} {action} for {domain} failed ({status}): {output}")]
    Failed { program: String, action: &'static str, domain: String, status: String, output: String },
}

impl Hook {
    /// Runs the command once. `domain` is the name without a wildcard.
    pub(super) async fn run(&self, action: Action, domain: &str, value: &str) -> Result<(), Error> {
        let program = self.command.first().cloned().unwrap_or_default();
        let (action, record) = (action.as_str(), format!("_acme-challenge.{domain}"));
        let mut command = Command::new(&program);
        command.args(&self.command[1..]).args([action, domain, &record, value]);
        for (name, text) in [("ACTION", action), ("DOMAIN", domain), ("RECORD", &record), ("VALUE", value)] {
            command.env(format!("PIERHEAD_ACME_{name}"), text);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
        let unstarted = |source| Error::Unstarted { program: program.clone(), source };
        let mut child = command.spawn().map_err(unstarted)?;
        let mut group = Group(child.id());
        let streams = (child.stdout.take(), child.stderr.take());
        let ended = timeout(self.patience, async {
            // What it left behind may hold its output open: its own end is what counts.
            let printed = async { tokio::join!(end_of(streams.0), end_of(streams.1)) };
            tokio::pin!(printed);
            tokio::select! {
                status = child.wait() => {
                    let printed = timeout(Duration::from_secs(1), printed).await.unwrap_or_default();
                    status.map(|status| (status, printed))
                }
                printed = &mut printed => child.wait().await.map(|status| (status, printed)),
            }
        });
        let domain = domain.to_owned();
        let Ok(ended) = ended.await else {
            return Err(Error::Late { program, action, domain, patience: self.patience });
        };
        // From here on its number may be another's.
        group.0 = None;
        let (status, (out, err)) = ended.map_err(unstarted)?;
        if status.success() {
            return Ok(());
        }
        let printed = if err.is_empty() { out } else { err };
        let output = String::from_utf8_lossy(&printed).trim().to_owned();
        Err(Error::Failed { program, action, domain, status: status.to_string(), output })
    }
}

/// The command and all that it started, which end when nobody waits for them any more.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        let group = self.0.and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(group) = group {
            // Most are gone by now.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// The last part of what is printed.
async fn end_of(stream: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let Some(mut stream) = stream else { return Vec::new() };
    let (mut kept, mut chunk) = (Vec::new(), [0; 1024]);
    while let Ok(count @ 1..) = stream.read(&mut chunk).await {
        kept.extend_from_slice(&chunk[..count]);
        let surplus = kept.len().saturating_sub(OUTPUT_MAX);
        kept.drain(..surplus);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(script: &str) -> Hook {
        let command = ["sh", "-c", script, "hook", "first"].map(str::to_owned).to_vec();
        Hook { command, patience: Duration::from_secs(20) }
    }

    #[tokio::test]
    async fn it_hears_everything_twice() {
        let check = r#"[ "$*" = "first present a.test _acme-challenge.a.test v-_1" ] && [ "$PIERHEAD_ACME_ACTION" = present ] &&
            [ "$PIERHEAD_ACME_DOMAIN$PIERHEAD_ACME_RECORD$PIERHEAD_ACME_VALUE" = "a.test_acme-challenge.a.testv-_1" ]"#;
        hook(check).run(Action::Present, "a.test", "v-_1").await.unwrap();
        hook(r#"[ "$2" = cleanup ]"#).run(Action::Cleanup, "a.test", "v").await.unwrap();
    }

    #[tokio::test]
    async fn its_end_is_told_with_the_end_of_its_words() {
        let script = "head -c 1000000 /dev/zero | tr '\\0' x >&2; echo no such zone >&2; exit 3";
        let error = hook(script).run(Action::Present, "a.test", "v").await.unwrap_err().to_string();
        assert!(error.contains("sh present for a.test failed (exit status: 3)"), "{error:.200}");
        assert!(error.ends_with("no such zone") && error.len() < 5000, "{}", error.len());
        let missing = Hook { command: vec!["/no/such/program".to_owned()], patience: Duration::from_secs(1) };
        let error = missing.run(Action::Present, "a.test", "v").await.unwrap_err().to_string();
        assert!(error.contains("/no/such/program could not be run"), "{error}");
    }

    #[tokio::test]
    async fn one_that_does_not_end_is_ended() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("id");
        let script = format!("sleep 300 & echo $! >{}; wait", file.display());
        let slow = Hook { patience: Duration::from_millis(700), ..hook(&script) };
        let error = slow.run(Action::Present, "a.test", "v").await.unwrap_err();
        assert!(matches!(error, Error::Late { .. }), "{error}");
        let id = std::fs::read_to_string(&file).unwrap();
        let is_gone = || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", id.trim()));
            // A zombie waits for nobody here to ask.
            stat.map_or(true, |stat| stat.contains(") Z "))
        };
        for _ in 0..200 {
            if is_gone() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("what the command started goes on");
    }

    #[tokio::test]
    async fn what_it_leaves_behind_is_not_waited_for() {
        hook("sleep 5 & exit 0").run(Action::Present, "a.test", "v").await.unwrap();
    }
}
