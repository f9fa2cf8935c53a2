//! Who does what: a [`Stage`] with many clients on it, and one file for each scenario.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Result;
use tokio::task::JoinSet;

use crate::{
    client::{Client, Target},
    measure::Recorder,
};

pub(crate) mod connect;
pub(crate) mod expiry;
pub(crate) mod herd;
pub(crate) mod image;
pub(crate) mod manifest;
pub(crate) mod mixed;
pub(crate) mod pull;
pub(crate) mod push;
pub(crate) mod tags;
pub(crate) mod zb;

/// How exact the timers of the runtime are.
const TICK: Duration = Duration::from_millis(1);

/// What every scenario has: a target, and how much of everything.
#[derive(Clone, Debug)]
pub(crate) struct Stage {
    pub(crate) target: Arc<Target>,
    pub(crate) load: Load,
    /// Tells this run's content from that of every other.
    pub(crate) run: u64,
    /// Below which everything is pushed.
    pub(crate) repository: String,
}

/// How much.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) clients: u64,
    pub(crate) duration: Duration,
    /// Ends earlier when so many turns were taken.
    pub(crate) turns: Option<u64>,
    /// Turns in a second that are begun, whether or not earlier ones have ended; `None`: each client begins its next turn
    /// when its last has ended.
    pub(crate) rate: Option<f64>,
}

/// One client's turn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    /// From 0, over all clients.
    pub(crate) number: u64,
    /// When it should begin, give or take a [`TICK`]; where there is no rate, when it does.
    pub(crate) due: Instant,
}

/// What clients do turn by turn.
pub(crate) trait Task: Send + Sync + 'static {
    /// One turn; what failed is in the recorder.
    fn turn(&self, client: &mut Client, recorder: &Recorder, turn: Turn) -> impl Future<Output = ()> + Send;
}

/// A scenario.
pub(crate) trait Scenario: Send + Sync {
    /// Puts there what it needs; nothing of this is measured.
    fn prepare(&self, stage: &Stage) -> impl Future<Output = Result<()>> + Send;

    fn run(&self, stage: &Stage, recorder: &Recorder) -> impl Future<Output = Result<()>> + Send;
}

impl Stage {
    pub(crate) fn client(&self) -> Client {
        Client::new(&self.target)
    }

    /// Lets all clients take turns until time or turns are used up. They are connected before the first turn.
    pub(crate) async fn play<T: Task>(&self, recorder: &Recorder, task: T) {
        let (task, next) = (Arc::new(task), Arc::new(AtomicU64::new(0)));
        let mut clients = Vec::new();
        for _ in 0..self.load.clients {
            let mut client = self.client();
            // Whoever cannot connect finds it out again in its first turn, and there it is taken down.
            let _ = client.warm_up().await;
            clients.push(client);
        }
        let (begin, load) = (Instant::now(), self.load);
        let mut players = JoinSet::new();
        for mut client in clients {
            let (task, next, recorder) = (Arc::clone(&task), Arc::clone(&next), recorder.clone());
            players.spawn(async move {
                while let Some(turn) = load.next(begin, &next) {
                    let turn = turn.await_due().await;
                    task.turn(&mut client, &recorder, turn).await;
                }
            });
        }
        while players.join_next().await.is_some() {}
    }
}

impl Turn {
    /// Waits until the turn is due, but for nothing when it is already: a timer never rings at once, it waits for its next
    /// tick. By how much it rings late is not the server's time, either.
    async fn await_due(self) -> Self {
        if self.due <= Instant::now() {
            return self;
        }
        tokio::time::sleep_until(self.due.into()).await;
        Self { due: self.due + self.due.elapsed().min(TICK), ..self }
    }
}

impl Load {
    fn next(&self, begin: Instant, next: &AtomicU64) -> Option<Turn> {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let due = match self.rate {
            Some(rate) => begin + Duration::from_secs_f64(crate::quantity::float(number) / rate),
            None => Instant::now(),
        };
        let is_over = self.turns.is_some_and(|turns| number >= turns) || due >= begin + self.duration;
        (!is_over).then_some(Turn { number, due })
    }
}

/// A number from 0 to before 1 that looks random and is the same for the same turn: every target sees the same sequence.
pub(crate) fn dice(number: u64) -> f64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    crate::quantity::float((mixed ^ (mixed >> 31)) >> 11) / crate::quantity::float(1 << 53)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_end() {
        let load = Load { clients: 1, duration: Duration::from_mins(1), turns: Some(3), rate: None };
        let (begin, next) = (Instant::now(), AtomicU64::new(0));
        let numbers: Vec<u64> = std::iter::from_fn(|| load.next(begin, &next)).map(|turn| turn.number).collect();
        assert_eq!(numbers, [0, 1, 2]);

        let load = Load { turns: None, rate: Some(10.0), duration: Duration::from_secs(1), ..load };
        let next = AtomicU64::new(0);
        let due: Vec<Duration> = std::iter::from_fn(|| load.next(begin, &next)).map(|turn| turn.due - begin).collect();
        assert_eq!(due.len(), 10);
        assert_eq!(due[3], Duration::from_millis(300));
    }

    #[tokio::test]
    async fn a_turn_is_late_by_what_others_took_and_not_by_its_timer() {
        let late = Turn { number: 0, due: Instant::now() };
        assert_eq!(late.await_due().await.due, late.due);
        let early = Turn { number: 0, due: Instant::now() + Duration::from_millis(20) };
        let begun = early.await_due().await.due;
        assert!((early.due..=early.due + TICK).contains(&begun) && begun <= Instant::now());
    }

    #[test]
    fn dice_are_fair() {
        let thrown: Vec<f64> = (0..10_000).map(dice).collect();
        assert!(thrown.iter().all(|number| (0.0..1.0).contains(number)));
        let mean = thrown.iter().sum::<f64>() / 10_000.0;
        assert!((0.48..0.52).contains(&mean), "{mean}");
    }
}
