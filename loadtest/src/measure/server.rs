//! What the server's processes use, as the kernel counts it (proc(5)).

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::quantity::float;

/// How often it is looked at.
const PERIOD: Duration = Duration::from_millis(250);

/// Processes that are watched while a scenario runs.
#[derive(Debug)]
pub(crate) struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Sample>>,
    pids: Vec<u32>,
    cpu_before: f64,
}

/// One look.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Sample {
    /// Since the scenario began.
    pub(crate) at_secs: f64,
    /// Of all processes together, in cores.
    pub(crate) cpu: f64,
    /// Of all processes together, in bytes.
    pub(crate) resident: u64,
}

/// What all processes used together.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Usage {
    pub(crate) pids: Vec<u32>,
    pub(crate) cpu_secs: f64,
    /// The highest that was seen, in bytes.
    pub(crate) resident_max: u64,
    pub(crate) samples: Vec<Sample>,
}

impl Watch {
    /// Of these processes and all that they have started by now; none where there are none.
    pub(crate) fn start(pids: &[u32]) -> Result<Option<Self>> {
        if pids.is_empty() {
            return Ok(None);
        }
        let pids = with_children(pids)?;
        let cpu_before = cpu_secs(&pids)?;
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, watched) = (Arc::clone(&stop), pids.clone());
        let thread = thread::spawn(move || look_until(&stopped, &watched));
        Ok(Some(Self { stop, thread, pids, cpu_before }))
    }

    pub(crate) fn stop(self) -> Result<Usage> {
        let cpu_secs = cpu_secs(&self.pids).context("the server has ended")? - self.cpu_before;
        self.stop.store(true, Ordering::Relaxed);
        let samples = self.thread.join().unwrap_or_default();
        let resident_max = samples.iter().map(|sample| sample.resident).max().unwrap_or_default();
        Ok(Usage { pids: self.pids, cpu_secs, resident_max, samples })
    }
}

fn look_until(stop: &AtomicBool, pids: &[u32]) -> Vec<Sample> {
    let started = Instant::now();
    let (mut samples, mut before) = (Vec::new(), (Instant::now(), cpu_secs(pids).unwrap_or_default()));
    while !stop.load(Ordering::Relaxed) {
        thread::sleep(PERIOD);
        let Ok(cpu) = cpu_secs(pids) else { break };
        let now = Instant::now();
        samples.push(Sample {
            at_secs: started.elapsed().as_secs_f64(),
            cpu: (cpu - before.1) / (now - before.0).as_secs_f64(),
            resident: pids.iter().filter_map(|pid| resident(*pid)).sum(),
        });
        before = (now, cpu);
    }
    samples
}

/// Workers of a server are its children: they count.
fn with_children(pids: &[u32]) -> Result<Vec<u32>> {
    let parents: Vec<(u32, u32)> = fs::read_dir("/proc")
        .context("cannot read /proc")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, stat(pid)?.get(1)?.parse().ok()?)))
        .collect();
    let mut all = pids.to_vec();
    let mut next = 0;
    while next < all.len() {
        let parent = all[next];
        all.extend(parents.iter().filter(|(pid, of)| *of == parent && !pids.contains(pid)).map(|(pid, _)| *pid));
        next += 1;
    }
    all.sort_unstable();
    all.dedup();
    Ok(all)
}

/// User and system time of all of them.
fn cpu_secs(pids: &[u32]) -> Result<f64> {
    let ticks = float(rustix::param::clock_ticks_per_second());
    let mut total = 0.0;
    for pid in pids {
        let fields = stat(*pid).with_context(|| format!("there is no process {pid}"))?;
        // Fields 14 and 15 of the line; the first two are not among these.
        let time = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok()).unwrap_or_default();
        total += float(time(11) + time(12)) / ticks;
    }
    Ok(total)
}

/// The fields of `/proc/<pid>/stat` behind the name, which may hold anything.
fn stat(pid: u32) -> Option<Vec<String>> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = line.rsplit_once(')')?;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}

fn resident(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn we_are_watched_ourselves() {
        let watch = Watch::start(&[std::process::id()]).unwrap().unwrap();
        let until = Instant::now() + 3 * PERIOD;
        let mut sum = 0_u64;
        while Instant::now() < until {
            sum = sum.wrapping_mul(31).wrapping_add(7);
        }
        let usage = watch.stop().unwrap();
        assert!(usage.cpu_secs > 0.0 && usage.resident_max > 1 << 20 && !usage.samples.is_empty(), "{usage:?} {sum}");
    }

    #[test]
    fn nobody_is_no_process() {
        assert!(Watch::start(&[u32::MAX]).is_err());
        assert!(Watch::start(&[]).unwrap().is_none());
    }
}
