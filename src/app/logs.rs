//! The log and the access log of this process.

use std::{io, sync::Arc};

use anyhow::{Context, Result};

use crate::{
    app::{access::AccessLog, observe},
    config::Config,
    telemetry::{
        log::{self, Log},
        writer::{FlushGuard, Losses, Writer},
    },
};

/// Both outputs.
pub(super) struct Logs {
    log: Log,
    access: Arc<AccessLog>,
    losses: Losses,
    /// Tells the lines of this process from those of others.
    instance: String,
}

/// Writes what is still queued when it is dropped.
pub(super) struct Ending {
    access: Arc<AccessLog>,
    _lines: FlushGuard,
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.access.close();
    }
}

impl Logs {
    /// # Errors
    /// A thread or a file that cannot be had.
    pub(super) fn start(config: &Config) -> Result<(Self, Ending)> {
        let losses = Losses::default();
        let instance = uuid::Uuid::new_v4().to_string();
        let (writer, lines) = Writer::start(io::stderr(), &losses).context("cannot start the log")?;
        let log = log::init(observe::log_settings(&config.log, &instance), writer).context("cannot start the log")?;
        let access = Arc::new(AccessLog::start(config, &losses)?);
        let ending = Ending { access: Arc::clone(&access), _lines: lines };
        Ok((Self { log, access, losses, instance }, ending))
    }

    pub(super) const fn access(&self) -> &Arc<AccessLog> {
        &self.access
    }

    /// Lines of either that were lost.
    pub(super) const fn losses(&self) -> &Losses {
        &self.losses
    }

    /// Level, form and fields of the log from now on.
    pub(super) fn configure(&self, config: &Config) {
        self.log.configure(observe::log_settings(&config.log, &self.instance));
    }
}
