//! What the kernel knows of this process.

/// A moment's view; what cannot be read, as on another system than Linux, is `None`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Process {
    /// Memory in use: `VmRSS` of proc(5).
    pub resident_bytes: Option<u64>,
    /// The most that was ever in use: `VmHWM`.
    pub resident_bytes_max: Option<u64>,
    pub descriptors_open: Option<usize>,
}

impl Process {
    pub fn now() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self {
            resident_bytes: bytes(&status, "VmRSS:"),
            resident_bytes_max: bytes(&status, "VmHWM:"),
            // The one that lists them is among them.
            descriptors_open: std::fs::read_dir("/proc/self/fd").ok().map(|open| open.count().saturating_sub(1)),
        }
    }
}

/// The value of a line like `VmRSS:\t    1234 kB`.
fn bytes(status: &str, name: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = value.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(status: &str, expected: Option<u64>) {
        assert_eq!(bytes(status, "VmRSS:"), expected);
    }

    #[test]
    fn a_line_of_kibibytes_is_read() {
        check("Name:\tx\nVmHWM:\t 2 kB\nVmRSS:\t    1234 kB\n", Some(1234 * 1024));
        check("Name:\tx\n", None);
        check("VmRSS:\t12 MB\n", None);
        check("VmRSS:\t18446744073709551615 kB\n", None);
    }

    #[test]
    fn this_process_uses_something() {
        let now = Process::now();
        assert!(now.resident_bytes_max >= now.resident_bytes && now.resident_bytes > Some(0), "{now:?}");
        assert!(now.descriptors_open > Some(2), "{now:?}");
    }
}
