//! Whether the programs that a test drives are on this machine.
//!
//! `tests/run` installs all of them and sets `PIERHEAD_TESTS=all`: then a missing one fails the test. Without it a
//! test that lacks a program says so in one line and returns, so that `cargo test` works on any developer's machine.

use std::{
    env,
    path::{Path, PathBuf},
};

/// Whether all of `programs` are here.
pub(crate) fn present(programs: &[&str]) -> bool {
    let missing: Vec<_> = programs.iter().copied().filter(|program| find(program).is_none()).collect();
    if missing.is_empty() {
        return true;
    }
    let missing = missing.join(", ");
    assert!(!all_required(), "PIERHEAD_TESTS=all, but not found: {missing}");
    println!("skipped: not found: {missing} (tests/run installs what is missing)");
    false
}

/// Whether this process is root, which container engines and mount namespaces need.
pub(crate) fn root() -> bool {
    if rustix::process::geteuid().is_root() {
        return true;
    }
    assert!(!all_required(), "PIERHEAD_TESTS=all, but these tests do not run as root");
    println!("skipped: needs root");
    false
}

/// Whether the tests that move gigabytes are wanted (`tests/run --large`).
pub(crate) fn large() -> bool {
    let wanted = thorough();
    if !wanted {
        println!("skipped: moves gigabytes (tests/run --large)");
    }
    wanted
}

/// Whether there is time (`tests/run --large`) to try all cases where otherwise some of each kind are tried.
pub(crate) fn thorough() -> bool {
    env::var_os("PIERHEAD_LARGE").is_some_and(|value| value == "1")
}

/// Where a program is: in the cache of `tests/run`, else on the PATH, else where daemons are.
pub(crate) fn path(program: &str) -> PathBuf {
    find(program).unwrap_or_else(|| panic!("{program} is not on this machine"))
}

fn all_required() -> bool {
    env::var_os("PIERHEAD_TESTS").is_some_and(|value| value == "all")
}

fn find(program: &str) -> Option<PathBuf> {
    let cache = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| env::home_dir().map(|home| home.join(".cache")))
        .map(|cache| cache.join("pierhead-tools/bin"));
    let path = env::var_os("PATH").unwrap_or_default();
    cache
        .into_iter()
        .chain(env::split_paths(&path))
        .chain(["/usr/sbin", "/usr/bin"].map(PathBuf::from))
        .map(|directory| directory.join(program))
        .find(|candidate| is_program(candidate))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
