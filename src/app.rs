//! The composition root: a configuration becomes a running registry.

use anyhow::{Result, bail};

use crate::config::Loaded;

/// Serves until the process is told to stop.
///
/// # Errors
/// What keeps it from starting.
pub fn serve(loaded: &Loaded) -> Result<()> {
    bail!("cannot listen on {:?}: this build has no server", loaded.config.http.listen)
}
