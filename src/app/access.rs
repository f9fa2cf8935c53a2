//! The access log: where its lines go, also after somebody has changed that or renamed the file.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, Result};
use arc_swap::ArcSwapOption;

use crate::{
    config::{
        Config,
        edge::access_log::{AccessLog as Configured, Format as ConfiguredFormat, Target},
    },
    telemetry::{
        access::Format,
        writer::{FlushGuard, LogFile, Losses, Writer},
    },
};

/// What requests are written to.
pub(super) struct AccessLog {
    /// `None` where nothing is written.
    current: ArcSwapOption<Place>,
    /// The guard is kept apart: when it goes it waits for the disk, which no request may.
    guard: Mutex<Option<FlushGuard>>,
    losses: Losses,
}

#[derive(Debug)]
struct Place {
    format: Format,
    writer: Writer,
    target: Target,
}

/// A place that is ready to be written to.
#[derive(Debug)]
pub(super) struct Prepared {
    place: Option<Place>,
    guard: Guard,
}

#[derive(Debug)]
enum Guard {
    /// It is the writer of before.
    Kept,
    Replaced(Option<FlushGuard>),
}

impl AccessLog {
    /// # Errors
    /// A file that cannot be opened.
    pub(super) fn start(config: &Config, losses: &Losses) -> Result<Self> {
        let log = Self { current: ArcSwapOption::empty(), guard: Mutex::new(None), losses: losses.clone() };
        let prepared = log.prepare(config)?;
        log.take(prepared);
        Ok(log)
    }

    /// Opens what has to be opened and changes nothing.
    ///
    /// # Errors
    /// A file that cannot be opened.
    pub(super) fn prepare(&self, config: &Config) -> Result<Prepared> {
        let Some(configured) = config.log.access_log.then_some(&config.edge.access_log) else {
            return Ok(Prepared { place: None, guard: Guard::Replaced(None) });
        };
        let (format, target) = (format(configured.format), configured.target.clone());
        if let Some(place) = &*self.current.load()
            && place.target == target
        {
            let place = Place { format, writer: place.writer.clone(), target };
            return Ok(Prepared { place: Some(place), guard: Guard::Kept });
        }
        let (writer, guard) = self.open(configured)?;
        let place = Some(Place { format, writer, target });
        Ok(Prepared { place, guard: Guard::Replaced(Some(guard)) })
    }

    fn open(&self, configured: &Configured) -> Result<(Writer, FlushGuard)> {
        match &configured.target {
            Target::Stdout => Writer::start(io::stdout(), &self.losses).context("cannot start the access log"),
            Target::File(path) => {
                let place = || format!("edge.access_log.path: cannot open {}", path.display());
                let file = LogFile::open(path).with_context(place)?;
                Writer::start(file, &self.losses).context("cannot start the access log")
            }
        }
    }

    /// From now on lines go there. Blocks for a moment while what was written before reaches its place.
    pub(super) fn take(&self, prepared: Prepared) {
        self.current.store(prepared.place.map(Arc::new));
        if let Guard::Replaced(guard) = prepared.guard {
            let old = std::mem::replace(&mut *self.guard.lock().unwrap_or_else(PoisonError::into_inner), guard);
            drop(old);
        }
    }

    /// Opens the file again by its name; standard output stays as it is.
    pub(super) fn reopen(&self) {
        if let Some(place) = &*self.current.load() {
            place.writer.reopen();
        }
    }

    /// Writes a line, if lines are written at all.
    pub(super) fn write(&self, line: impl FnOnce(Format) -> String) {
        if let Some(place) = &*self.current.load() {
            place.writer.line(&line(place.format));
        }
    }

    pub(super) fn close(&self) {
        self.current.store(None);
        drop(self.guard.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

const fn format(configured: ConfiguredFormat) -> Format {
    match configured {
        ConfiguredFormat::Combined => Format::Combined,
        ConfiguredFormat::Gitlab => Format::Gitlab,
        ConfiguredFormat::Json => Format::Json,
    }
}
