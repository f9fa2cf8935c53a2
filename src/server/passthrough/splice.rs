//! Bytes both ways between two sockets, until both ends have ended.
//!
//! Each direction holds at most one read of bytes, and reads again when they are written: whoever is slow slows only the
//! other. The end of one direction is handed on while the other goes on. A connection that is cut is reset on both
//! sides, so that nobody takes the half that came for the whole.

use std::{io, sync::Arc, time::Duration};

use bytes::BytesMut;
use tokio::time::sleep;

use crate::server::{
    connection::Context,
    control::Phase,
    passthrough::passage::{Ending, Tally},
    socket::Socket,
};

/// Bytes that are worth keeping the memory of a read for.
const BUSY: usize = 16 << 10;

/// How often within the time that nobody may be silent for it is looked whether anybody said something.
const LOOKS: u32 = 4;

/// One side, and what was read from it already.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) socket: Arc<Socket>,
    pub(super) ahead: BytesMut,
}

/// Resets both connections unless it is told that they ended by themselves.
struct Guard<'a> {
    sockets: [&'a Socket; 2],
    ending: Ending,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if self.ending != Ending::Complete {
            self.sockets.iter().for_each(|socket| socket.reset_on_close());
        }
    }
}

/// Returns when both directions have ended, one of them failed, or nothing has come for `patience`; while the server
/// stops, for no longer than a connection may be idle between two requests.
pub(super) async fn splice(context: &Context, client: Side, target: Side, patience: Duration, tally: &Tally) -> Ending {
    let (client_socket, target_socket) = (&*client.socket, &*target.socket);
    let mut guard = Guard { sockets: [client_socket, target_socket], ending: Ending::Cut };
    let up = pump(client_socket, target_socket, client.ahead, |bytes| tally.receive(bytes));
    let down = pump(target_socket, client_socket, target.ahead, |bytes| tally.send(bytes));
    guard.ending = tokio::select! {
        ended = async { tokio::try_join!(up, down) } => ended.map_or(Ending::Cut, |_| Ending::Complete),
        () = silence(context, patience, tally) => Ending::Idle,
    };
    guard.ending
}

async fn pump(from: &Socket, to: &Socket, ahead: BytesMut, passed: impl Fn(usize)) -> io::Result<()> {
    let mut bytes = ahead;
    loop {
        let count = bytes.len();
        to.write(&mut bytes).await?;
        passed(count);
        if count < BUSY {
            // Connections on which little happens hold no memory.
            bytes = BytesMut::new();
        }
        if from.read(&mut bytes).await? == 0 {
            // One that is gone already needs no end.
            let _ = to.shutdown();
            return Ok(());
        }
    }
}

/// Completes when nothing has passed for so long.
async fn silence(context: &Context, patience: Duration, tally: &Tally) {
    let passed = || tally.received().wrapping_add(tally.sent());
    let mut patience = patience;
    let mut stopping = false;
    let (mut before, mut looks) = (passed(), 0);
    while looks < LOOKS {
        tokio::select! {
            () = sleep(patience / LOOKS) => {}
            () = context.control.reached(Phase::Draining), if !stopping => {
                stopping = true;
                patience = patience.min(context.rules().deadlines.idle);
                continue;
            }
        }
        let now = passed();
        looks = if now == before { looks + 1 } else { 0 };
        before = now;
    }
}
