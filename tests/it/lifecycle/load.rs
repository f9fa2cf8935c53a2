//! Clients that never rest, while the certificate, the configuration and the program are exchanged under them.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::process::Signal;
use tokio::{task::JoinSet, time::sleep};

use crate::{
    lifecycle::{
        client::{Habit, Tally, Target, ask_on, download},
        server::{Server, Successor},
        upgrade::install,
    },
    support::{
        certificate::Certificate,
        push::{Content, Family, Flow, Pace, Pusher},
        registry::Program,
        tools,
    },
};

/// How hard the server is worked.
struct Plan {
    program: Program,
    /// Of each transfer, in bytes.
    length: u64,
    /// Clients that keep their connection, that open one each time, and how long each pauses.
    keeping: usize,
    opening: usize,
    pause: Duration,
    /// Between two exchanges.
    between: Duration,
}

/// Transfers that go on from before the first exchange to after the last.
const DOWNLOADS: usize = 2;

struct Load {
    tally: Arc<Tally>,
    hurry: Arc<AtomicBool>,
    clients: JoinSet<()>,
    transfers: JoinSet<()>,
    begun: Instant,
}

impl Load {
    fn start(plan: &Plan, server: &Server, target: &Target, blob: &Content, another: Content) -> Self {
        let (tally, hurry) = (Arc::new(Tally::default()), Arc::new(AtomicBool::new(false)));
        let (mut clients, mut transfers) = (JoinSet::new(), JoinSet::new());
        let habits = [(Habit::Keeps, plan.keeping), (Habit::Opens, plan.opening)];
        for habit in habits.into_iter().flat_map(|(habit, count)| std::iter::repeat_n(habit, count)) {
            clients.spawn(ask_on(target.clone(), Arc::clone(&tally), habit, plan.pause));
        }
        for _ in 0..DOWNLOADS {
            let path = format!("/v2/a/b/blobs/{}", blob.digest);
            transfers.spawn(download(target.clone(), Arc::clone(&tally), path, blob.length, Arc::clone(&hurry)));
        }
        let (pusher, pace) = (Pusher::new(server.address, "a/b"), Pace::Slow(another.length / 64, Arc::clone(&hurry)));
        let noted = Arc::clone(&tally);
        transfers.spawn(async move {
            if let Err(stopped) = pusher.push(&another, Flow::Put, &pace).await {
                noted.fail(format!("push: {stopped:?}"));
            }
        });
        Self { tally, hurry, clients, transfers, begun: Instant::now() }
    }

    async fn end(mut self) -> (Arc<Tally>, Duration) {
        self.tally.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.clients.join_next().await {
            ended.unwrap();
        }
        let took = self.begun.elapsed();
        self.hurry.store(true, Ordering::Relaxed);
        while let Some(ended) = self.transfers.join_next().await {
            ended.unwrap();
        }
        (self.tally, took)
    }
}

async fn exchange_all(plan: &Plan) {
    let mut server = Server::start_as(&plan.program, "", "");
    let other = tempfile::tempdir().unwrap();
    let next = Certificate::create(other.path());
    let target = Target::new(server.secure, &[&server.certificate.authority, &next.authority]);
    let family = Family::new(plan.length);
    let blob = family.member(1);
    Pusher::new(server.address, "a/b").push(&blob, Flow::Put, &Pace::Full).await.unwrap();
    let load = Load::start(plan, &server, &target, &blob, family.member(2));
    sleep(plan.between).await;

    for (from, to) in [(&next.chain, &server.certificate.chain), (&next.key, &server.certificate.key)] {
        fs::copy(from, to).unwrap();
    }
    assert!(server.reload().contains("is in force"));
    sleep(plan.between).await;
    server.write("log: {level: warn}\n", "  limits: {idle_timeout: 50s}\n");
    let before = server.metric("pierhead_config_generation").await;
    server.signal(Signal::HUP);
    while server.metric("pierhead_config_generation").await <= before {
        sleep(Duration::from_millis(20)).await;
    }
    fs::write(server.path("config.yml"), "version: 0.2\n").unwrap();
    assert!(server.reload().contains("refused"));
    server.write("", "");
    assert!(server.reload().contains("is in force"));
    sleep(plan.between).await;

    install(&server, plan.program.path());
    server.signal(Signal::USR2);
    server.wait_for("another process serves in this one's place", 0);
    let successor: Successor = server.successor().unwrap();
    sleep(plan.between).await;
    let running = load.transfers.len();
    let (tally, took) = load.end().await;
    assert!(server.process.wait_for_end().success());
    assert!(successor.is_alive());
    let answers = tally.answers.load(Ordering::Relaxed);
    println!(
        "{}: {answers} requests in {:.1} s ({:.0}/s) on {} connections over TLS, {} certificates seen; {} transfers of \
         {} MiB across a certificate's exchange, 4 reloads and an upgrade; failed requests and cut transfers: {}",
        plan.program.name,
        took.as_secs_f64(),
        f64::from(u32::try_from(answers).unwrap()) / took.as_secs_f64(),
        tally.connections.load(Ordering::Relaxed),
        tally.certificates(),
        running,
        plan.length >> 20,
        tally.failed(),
    );
    assert_eq!(tally.failed(), 0, "{:?}", tally.failures());
    assert_eq!((tally.certificates(), running), (2, DOWNLOADS + 1));
    assert!(!server.log().contains("were cut"), "{}", server.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_notices() {
    exchange_all(&Plan {
        program: Program::pierhead(),
        length: 64 << 20,
        keeping: 4,
        opening: 2,
        pause: Duration::from_millis(10),
        between: Duration::from_millis(700),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_exchange_under_load() {
    if !tools::large() {
        return;
    }
    exchange_all(&Plan {
        program: Program::pierhead_release().unwrap_or_else(Program::pierhead),
        length: 1 << 30,
        keeping: 24,
        opening: 4,
        pause: Duration::from_millis(25),
        between: Duration::from_secs(4),
    })
    .await;
}
