//! Sockets that a service manager passes to the process that it starts, as `sd_listen_fds(3)` describes them: how many
//! there are, and their names. The sockets themselves are none of this module's business.

use anyhow::{Result, bail};

use crate::config::environment::Environment;

/// The process that they are meant for.
const PROCESS: &str = "LISTEN_PID";
const COUNT: &str = "LISTEN_FDS";
/// With colons between them.
const NAMES: &str = "LISTEN_FDNAMES";

pub(in crate::config) const VARIABLES: [&str; 3] = [PROCESS, COUNT, NAMES];

/// Most sockets that are taken; a process has few descriptors more.
const MAX: usize = 256;

/// The manager's own word for a socket without a name.
const NAMELESS: &str = "unknown";

/// Names of the sockets that were passed to the process `id`, in the order of their descriptors.
///
/// # Errors
/// The variables contradict each other.
pub(in crate::config) fn names(environment: &Environment, id: u32) -> Result<Vec<String>> {
    // What was meant for another process, a parent say, is not ours.
    if environment.variable(PROCESS).and_then(|text| text.parse().ok()) != Some(id) {
        return Ok(Vec::new());
    }
    let Some(text) = environment.variable(COUNT) else { return Ok(Vec::new()) };
    let count: usize = match text.parse() {
        Ok(count) if count <= MAX => count,
        _ => bail!("{COUNT}: is {text:?}; it must be a number of sockets, {MAX} at most"),
    };
    let Some(names) = environment.variable(NAMES) else { return Ok(vec![NAMELESS.to_owned(); count]) };
    let names: Vec<String> = names.split(':').map(str::to_owned).collect();
    if names.len() != count {
        bail!("{NAMES}: names {} sockets, but {COUNT} says {count}", names.len());
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passed_sockets_have_names() {
        let check = |variables: &[(&str, &str)], expected: Result<&[&str], &str>| {
            let pairs = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            let found = names(&pairs.collect(), 7).map_err(|error| error.to_string());
            let expected = expected.map(|names| names.iter().map(ToString::to_string).collect());
            assert_eq!(found, expected.map_err(str::to_owned), "{variables:?}");
        };
        let (mine, other) = (("LISTEN_PID", "7"), ("LISTEN_PID", "8"));
        check(&[], Ok(&[]));
        check(&[("LISTEN_FDS", "1")], Ok(&[]));
        check(&[other, ("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", "a")], Ok(&[]));
        check(&[mine], Ok(&[]));
        check(&[mine, ("LISTEN_FDS", "2"), ("LISTEN_FDNAMES", "a:b")], Ok(&["a", "b"]));
        check(&[mine, ("LISTEN_FDS", "2")], Ok(&["unknown", "unknown"]));
        let limits = "it must be a number of sockets, 256 at most";
        for count in ["x", "-1", "257"] {
            check(&[mine, ("LISTEN_FDS", count)], Err(&format!("LISTEN_FDS: is {count:?}; {limits}")));
        }
        let contradiction = "LISTEN_FDNAMES: names 1 sockets, but LISTEN_FDS says 2";
        check(&[mine, ("LISTEN_FDS", "2"), ("LISTEN_FDNAMES", "a")], Err(contradiction));
    }
}
