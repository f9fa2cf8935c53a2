//! A CPU profile of this process, in the form that `go tool pprof` reads.

use std::time::Duration;

use pprof::{ProfilerGuard, ProfilerGuardBuilder, protos::Message as _};
use tokio::task::spawn_blocking;

const SECONDS_DEFAULT: u64 = 30;
const SECONDS_MAX: u64 = 60;
/// Samples for each second of CPU time; not a multiple of anything that programs do at a steady rhythm.
const FREQUENCY: i32 = 99;
/// To walk the stack of a thread inside these could need a lock that it holds.
const UNWALKABLE: [&str; 4] = ["libc", "libgcc", "pthread", "vdso"];

#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The sampling timer is one for the whole process.
    #[error("another profile is being taken")]
    Running,
    #[error(transparent)]
    Profiler(pprof::Error),
    #[error("the profile cannot be encoded: {0}")]
    Encoding(String),
    #[error("the profiler's thread ended: {0}")]
    Thread(#[from] tokio::task::JoinError),
}

impl From<pprof::Error> for Error {
    fn from(error: pprof::Error) -> Self {
        match error {
            pprof::Error::Running => Self::Running,
            other => Self::Profiler(other),
        }
    }
}

/// How long `seconds=` asks for, `None` when it is no number from 1 to 60.
pub(super) fn duration(query: &str) -> Option<Duration> {
    let asked = query.split('&').find_map(|pair| pair.strip_prefix("seconds="));
    let seconds = asked.map_or(Some(SECONDS_DEFAULT), |text| text.parse().ok())?;
    (1..=SECONDS_MAX).contains(&seconds).then(|| Duration::from_secs(seconds))
}

/// Samples for this long and returns an uncompressed `profile.proto` message.
pub(super) async fn take(duration: Duration) -> Result<Vec<u8>, Error> {
    // Starting reads the process's memory map, encoding its symbols: neither belongs on a thread that serves.
    let guard = spawn_blocking(start).await??;
    tokio::time::sleep(duration).await;
    spawn_blocking(move || encode(&guard)).await?
}

fn start() -> Result<ProfilerGuard<'static>, Error> {
    Ok(ProfilerGuardBuilder::default().frequency(FREQUENCY).blocklist(&UNWALKABLE).build()?)
}

fn encode(guard: &ProfilerGuard<'_>) -> Result<Vec<u8>, Error> {
    let profile = guard.report().build()?.pprof()?;
    profile.write_to_bytes().map_err(|error| Error::Encoding(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(query: &str, expected: Option<u64>) {
        assert_eq!(duration(query), expected.map(Duration::from_secs), "{query}");
    }

    #[test]
    fn a_profile_has_bounds() {
        check("", Some(30));
        check("a=b", Some(30));
        check("seconds=1", Some(1));
        check("a=b&seconds=60", Some(60));
        check("seconds=61", None);
        check("seconds=0", None);
        check("seconds=-1", None);
        check("seconds=", None);
        check("seconds=99999999999999999999", None);
    }
}
