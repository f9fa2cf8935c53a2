//! A server that runs beside the test and ends with it.

use std::{
    fs::{self, File},
    io,
    net::{SocketAddr, TcpStream},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

// The load tester starts servers as well.
#[path = "../../../loadtest/src/peers/ports.rs"]
mod ports;

/// How long a server may take until it answers, and until it ends after SIGTERM.
const PATIENCE: Duration = Duration::from_mins(1);

/// How long running requests may take at the end of a test.
const HASTE: Duration = Duration::from_secs(3);

/// The unit of processor times in /proc, the same on every Linux (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

/// A running process; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    /// Its standard output and error.
    log: PathBuf,
}

impl Process {
    /// Starts it with its output in a file. It leads a process group of its own, so that a Ctrl-C in the terminal
    /// reaches the test alone, which then ends it in order.
    pub(crate) fn start(command: &mut Command, log: &Path) -> Self {
        let file = File::options().create(true).append(true).open(log).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { child, log: log.to_path_buf() }
    }

    /// Waits until `ready`; a panic with the log when it ends before, or never is.
    pub(crate) fn wait_until(&mut self, what: &str, mut ready: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !ready() {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("ended with {status} before {what}:\n{}", self.log());
            }
            assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}:\n{}", self.log());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until it accepts connections.
    pub(crate) fn wait_for_port(&mut self, address: SocketAddr) {
        self.wait_until(&format!("{address} accepts"), || TcpStream::connect(address).is_ok());
    }

    /// What it wrote so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits for its end: its exit code, if it has one.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        self.wait_for_end().code()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits until it has ended by itself.
    pub(crate) fn wait_for_end(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "did not end within {PATIENCE:?}:\n{}", self.log());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// SIGKILL: the process gets no chance to tidy up.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// What it and its children have used.
    pub(crate) fn usage(&self) -> Usage {
        Usage::of(self.id()).unwrap_or_else(|error| panic!("no figures of process {}: {error}", self.id()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let pid = Pid::from_child(&self.child);
        // Who is told once lets running requests finish; who is told twice does not.
        for patience in [HASTE, PATIENCE] {
            let _ = kill_process(pid, Signal::TERM);
            let deadline = Instant::now() + patience;
            while Instant::now() < deadline {
                if !matches!(self.child.try_wait(), Ok(None)) {
                    return;
                }
                thread::sleep(Duration::from_millis(10));
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Figures of a process, read in /proc.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// User and system time of all its threads.
    pub cpu_seconds: f64,
    /// Its resident set's highest size, in KiB (`VmHWM`).
    pub resident_peak_kib: u64,
}

impl Usage {
    /// Of one process, with the processes that it started added.
    fn of(id: u32) -> io::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{id}/stat"))?;
        // The second field is the program's name in parentheses, which may hold spaces.
        let fields: Vec<&str> = stat.rsplit_once(") ").map_or(Vec::new(), |(_, rest)| rest.split(' ').collect());
        let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
        let status = fs::read_to_string(format!("/proc/{id}/status"))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0");
        let mut usage = Self {
            cpu_seconds: ticks / TICKS_PER_SECOND,
            resident_peak_kib: peak.trim().trim_end_matches(" kB").parse().unwrap(),
        };
        for child in fs::read_to_string(format!("/proc/{id}/task/{id}/children"))?.split_whitespace() {
            usage = usage + Self::of(child.parse().unwrap())?;
        }
        Ok(usage)
    }
}

impl std::ops::Add for Usage {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            cpu_seconds: self.cpu_seconds + other.cpu_seconds,
            resident_peak_kib: self.resident_peak_kib + other.resident_peak_kib,
        }
    }
}

/// A port that nobody listens on, whatever the address, and that no other test of this process is given.
pub(crate) fn free_address() -> SocketAddr {
    ports::free().expect("a port that is free")
}
