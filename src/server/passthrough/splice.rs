//! Bytes both ways between two sockets, until both ends have ended.
//!
//! Each direction holds at most one read of bytes, and reads again when they are written: whoever is slow slows only the
//! other. The end of one direction is handed on while the other goes on. A connection that is cut is reset on both
//! sides, so that nobody takes the half that came for the whole.

use std::{io, sync::Arc, time::Duration};

use bytes::BytesMut;
use tokio::time::sleep;

use crate::server::{
    ahead::AHEAD,
    connection::Context,
    control::Phase,
    door::Visit,
    passthrough::passage::{Ending, Tally},
    socket::Socket,
};

/// Bytes that are worth keeping the memory of a read for.
const BUSY: usize = 16 << 10;

/// How often within the time that nobody may be silent for it is looked whether anybody said something.
const LOOKS: u32 = 4;

/// How many times as long it may last where we let bytes wait for their client's rate. Then, too, it ends: a client that
/// has gone meanwhile is not seen.
const HELD: u32 = 4;

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
/// stops, for no longer than a connection may be idle between two requests. Bytes go no faster than those of `visit` may;
/// how slowly is theirs to know, because it is not known here who waits for whom.
pub(super) async fn splice(
    context: &Context,
    visit: &Visit,
    client: Side,
    target: Side,
    patience: Duration,
    tally: &Tally,
) -> Ending {
    let (client_socket, target_socket) = (&*client.socket, &*target.socket);
    let mut guard = Guard { sockets: [client_socket, target_socket], ending: Ending::Cut };
    let toll = Toll { visit, tally };
    let up = pump(client_socket, target_socket, client.ahead, Way::Up, toll);
    let down = pump(target_socket, client_socket, target.ahead, Way::Down, toll);
    guard.ending = tokio::select! {
        ended = async { tokio::try_join!(up, down) } => ended.map_or(Ending::Cut, |_| Ending::Complete),
        () = silence(context, patience, tally) => Ending::Idle,
    };
    guard.ending
}

/// Where bytes go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Way {
    /// From the client.
    Up,
    /// To the client.
    Down,
}

/// What bytes are charged to.
#[derive(Clone, Copy)]
struct Toll<'a> {
    visit: &'a Visit,
    tally: &'a Tally,
}

impl Toll<'_> {
    /// Counts bytes that have passed, and waits as long as they took too little time.
    async fn charge(self, way: Way, bytes: usize) {
        let _held = self.tally.hold();
        match way {
            Way::Up => {
                self.tally.receive(bytes);
                self.visit.received(bytes).await;
            }
            Way::Down => {
                self.tally.send(bytes);
                self.visit.sends(bytes).await;
            }
        }
    }
}

async fn pump(from: &Socket, to: &Socket, ahead: BytesMut, way: Way, toll: Toll<'_>) -> io::Result<()> {
    let mut bytes = ahead;
    loop {
        let count = bytes.len();
        to.write(&mut bytes).await?;
        if !(BUSY..=AHEAD).contains(&count) {
            // Connections on which little happens hold no memory, and none holds what came with it for long.
            bytes = BytesMut::new();
        }
        toll.charge(way, count).await;
        if from.read(&mut bytes).await? == 0 {
            // One that is gone already needs no end.
            let _ = to.shutdown();
            return Ok(());
        }
    }
}

/// Completes when nothing has passed for so long, and [`HELD`] times as long while bytes wait.
async fn silence(context: &Context, patience: Duration, tally: &Tally) {
    let passed = || tally.received().wrapping_add(tally.sent());
    let mut patience = patience;
    let mut stopping = false;
    let (mut before, mut looks) = (passed(), 0);
    while looks < LOOKS * HELD {
        tokio::select! {
            () = sleep(patience / LOOKS) => {}
            () = context.control.reached(Phase::Draining), if !stopping => {
                stopping = true;
                patience = patience.min(context.rules().deadlines.idle);
                continue;
            }
        }
        let now = passed();
        let look = if tally.is_held() { 1 } else { HELD };
        looks = if now == before { looks + look } else { 0 };
        before = now;
    }
}
