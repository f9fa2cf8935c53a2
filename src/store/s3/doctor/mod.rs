//! What is wrong with a bucket, or with the way to it, and what to change.
//!
//! Every call that a registry makes is made once, at keys of its own below a scratch prefix, and every refusal is judged
//! by itself. Doing and judging are apart: `way` (the name, the connection, TLS), `objects`, `parts` and `habits` (what
//! the bucket does by itself) make requests; `advice` and `setting` turn a failure into a sentence and are pure;
//! `policy` writes down what must be allowed.

use std::{
    collections::BTreeSet,
    fmt,
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::timeout;

use crate::{
    clock::Clock,
    store::{
        Multipart,
        doctor::{Listener, Record, Report, Verdict},
        error::Error,
        key::Key,
        s3::{
            OpenError, S3,
            doctor::{
                advice::{Access, Advice, Seen, advise},
                policy::{Grant, Place},
                step::Step,
            },
            failure::{self, Failure, Trouble},
            settings::{Patience, Settings},
            wire::Wire,
        },
    },
};

mod advice;
mod entry;
mod habits;
mod identity;
mod objects;
mod parts;
mod policy;
mod setting;
mod step;
mod tidying;
mod way;

/// For one step, and for all of them; removing what they wrote comes on top.
const STEP_MAX: Duration = Duration::from_secs(15);
const WHOLE_MAX: Duration = Duration::from_secs(100);

/// Shorter than a registry's: who waits here is a person. One failure of the store's own is forgiven.
const PATIENCE: Patience = Patience {
    connect: Duration::from_secs(5),
    stall: Duration::from_secs(10),
    work: Duration::from_secs(10),
    operation: Duration::from_secs(12),
    attempts: 2,
};

/// What is to be examined.
#[derive(Clone, Debug)]
pub struct Plan {
    /// A prefix below which nothing lies and nobody else writes.
    pub scratch: Key,
    /// The prefix of everything that is ours.
    pub root: Key,
    /// Whether a registry will write here; else nothing is written.
    pub writing: bool,
    /// Whether clients are sent to presigned addresses.
    pub redirecting: bool,
    /// How old an unfinished upload in parts must be to count as abandoned.
    pub purge_age: Duration,
}

/// What a step that succeeded has to say.
#[derive(Debug)]
struct Said {
    verdict: Verdict,
    sentence: String,
}

type Tried = Result<Said, Failure>;

/// An examination under way.
#[derive(Debug)]
struct Examination<'a> {
    settings: Settings,
    store: Arc<S3>,
    wire: Wire,
    clock: Arc<dyn Clock>,
    plan: &'a Plan,
    place: Place,
    seen: Seen,
    record: Record<'a>,
    grants: BTreeSet<Grant>,
    /// What was, or may have been, written and not removed again.
    left: Left,
    begun: Instant,
}

#[derive(Debug, Default)]
struct Left {
    keys: BTreeSet<Key>,
    uploads: Vec<Multipart>,
}

/// Examines a bucket within two minutes; `listener` hears of each step as it ends.
///
/// # Errors
/// Settings of which no store can be made. Whatever else is wrong stands in the report.
pub async fn examine(
    settings: &Settings,
    clock: &Arc<dyn Clock>,
    plan: &Plan,
    listener: &mut Listener<'_>,
) -> Result<Report, OpenError> {
    let settings = Settings { patience: PATIENCE, ..settings.clone() };
    let mut examination = Examination {
        store: Arc::new(S3::open(settings.clone(), Arc::clone(clock))?),
        wire: Wire::new(&settings, &settings.tls),
        clock: Arc::clone(clock),
        plan,
        place: Place::of(&settings),
        seen: Seen::default(),
        record: Record::new(listener),
        grants: BTreeSet::new(),
        left: Left::default(),
        begun: Instant::now(),
        settings,
    };
    if examination.enter().await {
        examination.go_through().await;
        examination.tidy().await;
    } else {
        examination.record.note("the rest", Verdict::Untried, "comes when this is in order");
    }
    let policy = examination.place.policy(&examination.grants);
    Ok(examination.record.close(policy))
}

impl Examination<'_> {
    async fn go_through(&mut self) {
        if !self.plan.writing {
            self.head_missing().await;
            return;
        }
        self.write().await;
        self.read().await;
        self.create_only().await;
        self.copy().await;
        self.parts().await;
        self.list().await;
        self.habits().await;
        self.redirect().await;
        self.delete().await;
    }

    /// Runs a step within its time, and notes what came of it.
    async fn attempt(&mut self, step: Step, work: impl Future<Output = Tried>) -> Access {
        let tried = self.timed(work).await;
        self.judge(step, tried)
    }

    async fn timed<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let most = STEP_MAX.min(WHOLE_MAX.saturating_sub(self.begun.elapsed()));
        match timeout(most, work).await {
            Ok(result) => result,
            Err(_) => Err(Failure { method: http::Method::GET, trouble: Trouble::Stalled(most) }),
        }
    }

    fn judge(&mut self, step: Step, tried: Tried) -> Access {
        match tried {
            Ok(said) => {
                self.record.note(step.name(), said.verdict, said.sentence);
                Access::Granted
            }
            Err(failure) => {
                self.heed(step, advise(step, &failure, &self.place, &self.seen));
                Access::of(&failure)
            }
        }
    }

    fn heed(&mut self, step: Step, advice: Advice) {
        self.record.note(step.name(), advice.verdict, advice.sentence);
        self.grants.extend(advice.grants);
    }

    fn skip(&mut self, step: Step, why: &str) {
        self.record.note(step.name(), Verdict::Untried, why);
    }

    /// A key of the examination's own.
    fn key(&self, name: &str) -> Key {
        self.plan.scratch.join(name).expect("plain words make keys")
    }

    /// Remembers what a write may have left.
    fn wrote<T>(&mut self, key: &Key, written: &Result<T, Failure>) {
        if written.as_ref().err().is_none_or(Failure::is_ambiguous) {
            self.left.keys.insert(key.clone());
        }
    }
}

impl Said {
    fn fine(sentence: impl Into<String>) -> Self {
        Self { verdict: Verdict::Fine, sentence: sentence.into() }
    }

    fn warning(sentence: impl Into<String>) -> Self {
        Self { verdict: Verdict::Warning, sentence: sentence.into() }
    }

    fn failure(sentence: impl Into<String>) -> Self {
        Self { verdict: Verdict::Failure, sentence: sentence.into() }
    }
}

/// The request that failed below an operation of the store's.
fn failed(error: &Error) -> Failure {
    match failure::find(error) {
        Some(failure) => failure.clone(),
        None => nonsense(chain(error)),
    }
}

fn nonsense(what: impl fmt::Display) -> Failure {
    Failure { method: http::Method::GET, trouble: Trouble::Nonsense(what.to_string()) }
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| match cause.to_string() {
        // Some errors tell their causes themselves.
        told if text.ends_with(&told) => text,
        cause => format!("{text}: {cause}"),
    })
}
