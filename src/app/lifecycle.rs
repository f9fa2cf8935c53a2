//! From the first request to the last: what signals do to a running server.

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::sleep,
};

use crate::{
    app::{
        Origin,
        manager::Manager,
        reload::Reloader,
        signals::{Order, Signals},
        upgrade::{Estate, Successor},
    },
    config::Config,
    health::readiness::Readiness,
    server::{control::Control, inherited::Predecessor},
};

/// Leads a server from its start to the moment when its listeners close.
pub(super) struct Lifecycle {
    pub(super) origin: Arc<Origin>,
    pub(super) signals: Signals,
    pub(super) control: Control,
    pub(super) readiness: Readiness,
    pub(super) reloader: Arc<Reloader>,
    pub(super) manager: Arc<Manager>,
    /// Nobody accepts on these sockets when the listeners are closed: then they must be closed, too.
    pub(super) estate: Estate,
    /// Waits until we serve.
    pub(super) predecessor: Option<Predecessor>,
}

/// Why the listeners close.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Cause {
    /// We were told to stop, and this is how long we say so before.
    Stopped { lame_duck: Duration },
    /// Another process listens.
    Replaced { by: u32 },
}

/// What goes on beside serving.
#[derive(Default)]
struct Pending {
    successor: Option<Successor>,
    reload: Option<JoinHandle<Result<()>>>,
    /// Somebody asked for another reload while one was going on.
    again: bool,
}

impl Lifecycle {
    /// Completes when the listeners are to be closed. `replaced` is called when that is because another process listens.
    pub(super) async fn run(mut self, replaced: impl FnOnce()) {
        self.manager.ready();
        if let Some(predecessor) = self.predecessor.take() {
            match predecessor.release() {
                Ok(()) => tracing::info!("this process serves in the place of another one"),
                Err(error) => tracing::warn!("the replaced process did not hear that this one serves: {error}"),
            }
        }
        match self.serve().await {
            Cause::Replaced { by } => {
                replaced();
                self.replaced(by);
            }
            Cause::Stopped { lame_duck } => self.stop(lame_duck).await,
        }
        // Whoever connects now must be refused, not left waiting.
        drop(std::mem::take(&mut self.estate));
        tokio::spawn(async move {
            self.signals.stop().await;
            self.cut();
        });
    }

    async fn serve(&mut self) -> Cause {
        let mut pending = Pending::default();
        loop {
            tokio::select! {
                biased;
                order = self.signals.next() => if let Some(cause) = self.obey(order, &mut pending) {
                    return cause;
                },
                outcome = reloaded(&mut pending.reload) => {
                    let refusal = outcome.err().map(|error| format!("{error:#}"));
                    self.manager.reloaded(refusal.as_deref().map_or(Ok(()), Err));
                    if std::mem::take(&mut pending.again) {
                        pending.reload = Some(self.reload());
                    }
                }
                outcome = served(&mut pending.successor) => match outcome {
                    Ok(by) => return Cause::Replaced { by },
                    Err(error) => {
                        // Dropping it ends it, for which nobody here waits.
                        spawn_blocking({
                            let successor = pending.successor.take();
                            move || drop(successor)
                        });
                        tracing::error!("the upgrade failed, and this process goes on: {error:#}");
                    }
                }
            }
        }
    }

    fn obey(&self, order: Order, pending: &mut Pending) -> Option<Cause> {
        match order {
            Order::Stop => {
                tracing::info!("stopping: SIGTERM");
                return Some(Cause::Stopped { lame_duck: self.config(|config| config.edge.shutdown.lame_duck) });
            }
            Order::StopNow => {
                tracing::info!("stopping: SIGINT");
                return Some(Cause::Stopped { lame_duck: Duration::ZERO });
            }
            Order::Reopen => {
                self.reloader.logs.access().reopen();
                tracing::info!("log files are opened again: SIGUSR1");
            }
            Order::Reload if pending.reload.is_some() => pending.again = true,
            Order::Reload => pending.reload = Some(self.reload()),
            Order::Upgrade if pending.successor.is_some() => {
                tracing::warn!("an upgrade is going on already");
            }
            Order::Upgrade => pending.successor = self.upgrade(),
        }
        None
    }

    fn reload(&self) -> JoinHandle<Result<()>> {
        tracing::info!("reading the configuration again: SIGHUP");
        self.manager.reloading();
        let reloader = Arc::clone(&self.reloader);
        spawn_blocking(move || reloader.reload())
    }

    fn upgrade(&self) -> Option<Successor> {
        tracing::info!("starting the process that replaces this one: SIGUSR2");
        let patience = self.config(|config| config.edge.upgrade.ready_timeout);
        match Successor::start(&self.origin.invocation, &self.estate, patience) {
            Ok(successor) => {
                tracing::info!(upgrade.process = successor.id(), "the new process was started");
                Some(successor)
            }
            Err(error) => {
                tracing::error!("the upgrade failed, and this process goes on: {error:#}");
                None
            }
        }
    }

    /// We are one of a balancer's targets: it must see that we go before it is told so by a refused connection.
    async fn stop(&mut self, lame_duck: Duration) {
        let drain = self.config(|config| config.http.drain_timeout);
        self.control.set_drain((!drain.is_zero()).then_some(drain));
        self.manager.stopping(lame_duck + drain);
        self.readiness.leave();
        if lame_duck.is_zero() {
            return;
        }
        self.control.leave();
        tracing::info!("not ready any more, but serving for {lame_duck:?}");
        tokio::select! {
            () = sleep(lame_duck) => {}
            () = self.signals.stop() => self.cut(),
        }
    }

    /// Whoever asks a second time does not want to wait.
    fn cut(&self) {
        tracing::warn!("running requests are cut: a second signal");
        self.control.cut();
    }

    fn replaced(&self, by: u32) {
        tracing::info!(
            upgrade.process = by,
            requests = self.control.running(),
            "another process serves in this one's place; running requests may finish"
        );
        self.control.set_drain(Some(self.config(|config| config.edge.upgrade.drain_timeout)));
        self.control.hand_over();
        self.manager.replaced_by(by);
        self.readiness.leave();
    }

    fn config<T>(&self, read: impl FnOnce(&Config) -> T) -> T {
        read(&self.reloader.current.load().config)
    }
}

/// Waits for what is going on, for ever where nothing is.
async fn reloaded(reload: &mut Option<JoinHandle<Result<()>>>) -> Result<()> {
    let Some(running) = reload else { return std::future::pending().await };
    let outcome = running.await;
    *reload = None;
    outcome.unwrap_or_else(|error| {
        tracing::error!("the configuration could not be read again: {error}");
        Err(error.into())
    })
}

/// The same; the process's id.
async fn served(successor: &mut Option<Successor>) -> Result<u32> {
    match successor {
        Some(successor) => successor.ready().await.map(|()| successor.id()),
        None => std::future::pending().await,
    }
}
