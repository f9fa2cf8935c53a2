//! The connection that a request goes by: one that was kept, or a new one where there is room for it.

use std::{pin::pin, sync::Arc};

use tokio::time::{Instant, timeout_at};

use crate::{
    telemetry::upstream::Outcome,
    upstream::{
        Proxy,
        connection::Connection,
        failure::{Failure, is_ours},
        pool::Repeatable,
        room::Slot,
        server::Server,
    },
};

/// Where an attempt goes.
pub(in crate::upstream) struct Way {
    pub(in crate::upstream) server: Arc<Server>,
    pub(in crate::upstream) connection: Connection,
    /// Whether the connection may be stale.
    pub(in crate::upstream) used: bool,
}

enum Free {
    Kept(Connection),
    Slot(Slot),
}

impl Proxy {
    /// A connection to the first server to which there is one; a new one for what is sent again.
    pub(in crate::upstream) async fn way(&self, repeatable: Repeatable, may_be_used: bool) -> Result<Way, Failure> {
        let (mut unreachable, mut ours) = (None, None);
        for server in self.candidates() {
            let slot = match self.free(&server, repeatable, may_be_used).await {
                Some(Free::Kept(connection)) => return Ok(Way { server, connection, used: true }),
                Some(Free::Slot(slot)) => slot,
                None => {
                    server.count(Outcome::Crowded);
                    return Err(Failure::Crowded);
                }
            };
            match server.open(slot, self.settings.connect_timeout).await {
                Ok(connection) => return Ok(Way { server, connection, used: false }),
                Err(error) if is_ours(&error) => ours = Some(error.to_string()),
                Err(error) => unreachable = Some(format!("{}: {error}", server.name())),
            }
        }
        Err(match (unreachable, ours) {
            (Some(why), _) => Failure::Unreachable(why),
            (None, Some(why)) => Failure::Exhausted(why),
            (None, None) => Failure::Down,
        })
    }

    /// Waits as long as for a connection itself. What is idle gives way, wherever it leads.
    async fn free(&self, server: &Server, repeatable: Repeatable, may_be_used: bool) -> Option<Free> {
        let deadline = Instant::now() + self.settings.connect_timeout;
        loop {
            let mut changed = pin!(self.room.changed());
            changed.as_mut().enable();
            if may_be_used && let Some(connection) = server.reuse(repeatable) {
                return Some(Free::Kept(connection));
            }
            if let Some(slot) = self.room.take() {
                return Some(Free::Slot(slot));
            }
            // Its slot comes when it is really closed.
            self.close_idle();
            timeout_at(deadline, changed).await.ok()?;
            // One that was put back a moment ago may not be ready yet.
            tokio::task::yield_now().await;
        }
    }

    /// Closes the connection that has been idle for the longest time.
    fn close_idle(&self) {
        let idle = self.servers.iter().filter_map(|server| Some((server.idle_since()?, server)));
        if let Some((_, server)) = idle.min_by_key(|(since, _)| *since) {
            server.close_idle();
        }
    }
}
