//! Calls that may wait for the disk, off the request threads and never more than so many at once.

use std::{panic, sync::Arc};

use tokio::{sync::Semaphore, task};

use crate::store::{Result, error::Operation, filesystem::failure::Failure};

#[derive(Clone, Debug)]
pub(super) struct Threads(Arc<Semaphore>);

impl Threads {
    pub(super) fn new(max: usize) -> Self {
        Self(Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS))))
    }

    /// Runs `act` to its end, also when the caller has gone away meanwhile: no operation stops half way.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        operation: Operation,
        key: &str,
        act: impl FnOnce() -> Result<T, Failure> + Send + 'static,
    ) -> Result<T> {
        let permit = Arc::clone(&self.0).acquire_owned().await;
        let task = task::spawn_blocking(move || {
            let _held = permit;
            act()
        });
        match task.await {
            Ok(result) => result.map_err(|failure| failure.during(operation, key)),
            Err(stopped) => match stopped.try_into_panic() {
                Ok(panic) => panic::resume_unwind(panic),
                Err(stopped) => Err(Failure::unavailable(stopped).during(operation, key)),
            },
        }
    }
}
