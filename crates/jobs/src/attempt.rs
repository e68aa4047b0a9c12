//! One attempt at a job: begun, watched, and its outcome recorded.

use std::{
    collections::HashMap,
    panic::AssertUnwindSafe,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use db::{Db, Gather};
use futures::FutureExt;
use kernel::{BoxFuture, Error, JobId, Result};
use serde_json::Value;
use tokio::sync::oneshot;
use tracing::Instrument;

use crate::{
    Failure, Job, Policy, Run, Worker,
    claim::{self, Claimed, Ended, PutBack},
    leases::Leases,
    store::Draft,
};

/// Put around the work on a job: it is handed the `traceparent` of the job.
pub(crate) type Around =
    Arc<dyn Fn(Option<&str>, BoxFuture<'static, ()>) -> BoxFuture<'static, ()> + Send + Sync>;

/// A worker that is handed the payload as it is stored.
type Work = dyn Fn(String, Arc<Run>) -> BoxFuture<'static, Result<(), Failure>> + Send + Sync;

/// Who does a kind of job.
#[derive(Clone)]
pub(crate) struct Kind {
    pub name: &'static str,
    pub queue: &'static str,
    /// Whether its jobs are worked by others, through BullMQ.
    pub elsewhere: bool,
    /// The job that somebody else has added, from its data.
    pub draft: fn(&Value) -> Result<Draft>,
    policy: fn() -> Policy,
    work: Arc<Work>,
}

impl Kind {
    pub fn new<J: Job>(worker: Arc<impl Worker<J>>) -> Kind {
        let work = move |payload: String, run: Arc<Run>| -> BoxFuture<'static, Result<(), Failure>> {
            let worker = worker.clone();
            Box::pin(async move {
                let job = serde_json::from_str(&payload).map_err(|error| {
                    let message = format!("the payload of {} does not fit {}: {error}", run.id, J::NAME);
                    Failure::Fatal(Error::new(kernel::Kind::Internal, "job_unreadable", message))
                })?;
                worker.run(job, &run).await
            })
        };
        Kind {
            name: J::NAME,
            queue: J::QUEUE,
            elsewhere: false,
            draft: draft::<J>,
            policy: J::policy,
            work: Arc::new(work),
        }
    }

    /// One that others work.
    pub fn elsewhere<J: Job>() -> Kind {
        let nobody = |_, run: Arc<Run>| -> BoxFuture<'static, Result<(), Failure>> {
            let error = Error::internal(format!("{} is worked elsewhere", run.id));
            Box::pin(async move { Err(Failure::Fatal(error)) })
        };
        let (elsewhere, work) = (true, Arc::new(nobody));
        Kind { name: J::NAME, queue: J::QUEUE, elsewhere, draft: draft::<J>, policy: J::policy, work }
    }
}

fn draft<J: Job>(data: &Value) -> Result<Draft> {
    let job = J::deserialize(data).map_err(|error| {
        Error::invalid("job_unreadable", format!("the data does not fit {}: {error}", J::NAME))
    })?;
    Draft::of(&job)
}

/// What the attempts of one runner share.
pub(crate) struct Crew {
    pub db: Db,
    pub kinds: HashMap<&'static str, Kind>,
    pub leases: Leases,
    around: Option<Around>,
    finish: Gather<(JobId, i64), Option<bool>>,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    /// It waits for another attempt, or another job does its work.
    Again,
    Later,
    Dead,
    Lost,
}

/// What came of an attempt.
#[derive(Clone, Debug)]
pub(crate) struct Attempted {
    pub outcome: Outcome,
    /// Why it failed, if it did.
    pub error: String,
    /// Whether another job waits under its key and can be begun now.
    pub awaited: bool,
}

impl Attempted {
    fn lost() -> Attempted {
        Attempted { outcome: Outcome::Lost, error: String::new(), awaited: false }
    }
}

impl Crew {
    pub fn new(db: &Db, kinds: HashMap<&'static str, Kind>, around: Option<Around>) -> Crew {
        let of = db.clone();
        // Those that end while others are being marked are marked together.
        let finish = Gather::new(db.world(), 256, move |ended: Vec<(JobId, i64)>| {
            let db = of.clone();
            Box::pin(async move {
                let done = db::write!(db, async |tx| { claim::finish(tx, &ended).await })?;
                Ok(ended.iter().map(|(id, _)| Ok(done.get(id).copied())).collect())
            })
        });
        Crew { db: db.clone(), kinds, leases: Leases::default(), around, finish }
    }

    /// Works on it and records what came of it. Never fails: what cannot be
    /// recorded is found by the next runner when the lease has run out.
    pub async fn attempt(self: Arc<Self>, job: Claimed) -> Attempted {
        let Some(kind) = self.kinds.get(job.name.as_str()).cloned() else {
            return Attempted::lost();
        };
        let run = Arc::new(Run::of(&job));
        let (answer, answered) = oneshot::channel();
        let span =
            tracing::info_span!("job", job.id = %run.id, job.name = kind.name, job.attempt = run.attempt);
        let crew = self.clone();
        let traceparent = job.traceparent.clone();
        let work: BoxFuture<'static, ()> = Box::pin(
            async move {
                let held = crew.leases.hold(&run);
                let started = crew.db.world().now();
                if crew.db.world().planted("job_is_done_before_its_work") {
                    drop(crew.finish.call((run.id, run.token)).await);
                }
                let ended = crew.work(&kind, job.payload, &run).await;
                let error = why(ended.as_ref());
                let outcome = crew.settle(&kind, &run, ended).await;
                drop(held);
                let awaited = run.awaited.load(Ordering::Relaxed);
                // Whoever asked is there as long as this work is.
                drop(answer.send(Attempted { outcome, error, awaited }));
                let seconds = crew.db.world().now().since(started).as_secs_f64();
                count(&kind, outcome, seconds);
            }
            .instrument(span),
        );
        match &self.around {
            Some(around) => around(traceparent.as_deref(), work).await,
            None => work.await,
        }
        // What was put around it may have dropped the work.
        answered.await.unwrap_or_else(|_| Attempted::lost())
    }

    /// Records what came of an attempt that was made elsewhere. Says whether
    /// another job waits under its key and can be begun now.
    pub async fn heard(&self, job: &Claimed, answer: Result<(), Failure>) -> bool {
        let Some(kind) = self.kinds.get(job.name.as_str()) else {
            return false;
        };
        let run = Run::of(job);
        let outcome = self.settle(kind, &run, Some(answer)).await;
        count(kind, outcome, 0.0);
        run.awaited.load(Ordering::Relaxed)
    }

    /// The worker's answer, or nothing when the lease was lost first.
    async fn work(&self, kind: &Kind, payload: String, run: &Arc<Run>) -> Option<Result<(), Failure>> {
        let work = AssertUnwindSafe((kind.work)(payload, run.clone())).catch_unwind();
        tokio::select! {
            biased;
            answer = work => Some(answer.unwrap_or_else(|panic| Err(Failure::Retry(panicked(panic.as_ref()))))),
            () = run.lost.cancelled() => None,
        }
    }

    async fn settle(&self, kind: &Kind, run: &Run, ended: Option<Result<(), Failure>>) -> Outcome {
        let Some(ended) = ended else {
            tracing::warn!("lease lost, the work was dropped");
            return Outcome::Lost;
        };
        // The database may be away for a moment, and two jobs of one key may
        // meet: both pass.
        for failed in 0..5 {
            if failed > 0 {
                let wait = Duration::from_millis(50) * 4u32.pow(failed);
                self.db.world().sleep(self.db.world().jitter(wait)).await;
            }
            match self.record(kind, run, &ended).await {
                Ok(outcome) => return outcome,
                Err(error) => tracing::warn!(error = error.chain(), "the outcome was not recorded"),
            }
        }
        Outcome::Lost
    }

    async fn record(&self, kind: &Kind, run: &Run, ended: &Result<(), Failure>) -> Result<Outcome> {
        match ended {
            Ok(()) if run.finished.load(Ordering::Relaxed) => Ok(Outcome::Done),
            Ok(()) => match self.finish.call((run.id, run.token)).await? {
                Some(awaited) => {
                    run.awaited.store(awaited, Ordering::Relaxed);
                    Ok(Outcome::Done)
                }
                None => Ok(lost()),
            },
            Err(Failure::Retry(error)) if !run.last => {
                let wait = self.db.world().jitter((kind.policy)().wait(run.attempt));
                tracing::warn!(
                    error = error.chain(),
                    wait_ms = wait.as_millis(),
                    "job failed, to be tried again"
                );
                self.put_back(run, Some(error.chain()), wait).await
            }
            Err(Failure::Later(wait)) => self.put_back(run, None, *wait).await,
            Err(Failure::Retry(error) | Failure::Fatal(error)) => self.bury(run, error).await,
        }
    }

    async fn put_back(&self, run: &Run, error: Option<String>, wait: Duration) -> Result<Outcome> {
        let run_at = self.db.world().now() + wait;
        let spent = error.is_some();
        let ended = Ended { id: run.id, token: run.token, error };
        match db::write!(self.db, async |tx| { claim::put_back(tx, &ended, run_at, spent).await })? {
            PutBack::Lost => Ok(lost()),
            PutBack::Folded => {
                tracing::info!("job left to the one that waits under its key");
                Ok(Outcome::Again)
            }
            PutBack::Waiting => Ok(if spent { Outcome::Again } else { Outcome::Later }),
        }
    }

    async fn bury(&self, run: &Run, error: &Error) -> Result<Outcome> {
        let ended = Ended { id: run.id, token: run.token, error: Some(error.chain()) };
        let Some(awaited) = db::write!(self.db, async |tx| { claim::bury(tx, &ended).await })? else {
            return Ok(lost());
        };
        run.awaited.store(awaited, Ordering::Relaxed);
        tracing::error!(error = error.chain(), "job is a dead letter");
        Ok(Outcome::Dead)
    }
}

fn why(ended: Option<&Result<(), Failure>>) -> String {
    match ended {
        Some(Err(Failure::Retry(error) | Failure::Fatal(error))) => error.chain(),
        _ => String::new(),
    }
}

fn lost() -> Outcome {
    tracing::warn!("lease lost, the outcome counts for nothing");
    Outcome::Lost
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    Error::new(kernel::Kind::Internal, "job_panicked", format!("the worker panicked: {text}"))
}

fn count(kind: &Kind, outcome: Outcome, seconds: f64) {
    let labels = [("queue", kind.queue), ("name", kind.name)];
    metrics::histogram!("job_seconds", &labels).record(seconds);
    match outcome {
        Outcome::Done => {
            tracing::debug!(seconds, "job done");
            metrics::counter!("jobs_done_total", &labels).increment(1);
        }
        Outcome::Again => metrics::counter!("jobs_failed_total", &labels).increment(1),
        Outcome::Dead => {
            metrics::counter!("jobs_failed_total", &labels).increment(1);
            metrics::counter!("jobs_dead_total", &labels).increment(1);
        }
        Outcome::Later => {}
        Outcome::Lost => metrics::counter!("jobs_lost_total", &labels).increment(1),
    }
}
