//! Who does the work, and what is known while it is done.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use db::Tx;
use kernel::{Error, JobId, Result, Time};
use tokio_util::sync::CancellationToken;

use crate::{
    Job,
    claim::{self, Claimed},
};

/// Does one kind of job.
#[async_trait]
pub trait Worker<J: Job>: Send + Sync + 'static {
    /// Does it, or says what went wrong. It may be called again for the same
    /// job, even before an earlier call has noticed that it lost its lease: its
    /// effect is saved with [`Run::fence`] or [`Run::finish`], or is one that
    /// is harmless to repeat. A call whose lease is lost is dropped at its next
    /// wait.
    async fn run(&self, job: J, run: &Run) -> Result<(), Failure>;
}

/// Why an attempt did not finish the job.
#[derive(Clone, Debug)]
pub enum Failure {
    /// To be tried again after a wait that grows; after the last attempt it is
    /// a dead letter.
    Retry(Error),
    /// To be looked at again when this has passed; no attempt is spent.
    Later(Duration),
    /// Never to be tried again: a dead letter at once.
    Fatal(Error),
}

/// What may pass by itself is tried again, everything else is final.
impl<E: Into<Error>> From<E> for Failure {
    fn from(error: E) -> Failure {
        let error = error.into();
        if error.is_transient() { Failure::Retry(error) } else { Failure::Fatal(error) }
    }
}

/// One attempt at a job, as its worker sees it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Run {
    /// Which job.
    pub id: JobId,
    /// Which attempt, counted from 1.
    pub attempt: u32,
    /// Whether no attempt is left after this one.
    pub last: bool,
    /// When the job was added.
    pub added_at: Time,
    /// The trace it belongs to (W3C `traceparent`), if its adder gave one.
    pub traceparent: Option<String>,
    pub(crate) token: i64,
    pub(crate) lease: Duration,
    /// Whether [`Run::finish`] was called: then the row is done with its effect.
    pub(crate) finished: Arc<AtomicBool>,
    /// Whether it ended with another job waiting under its key.
    pub(crate) awaited: Arc<AtomicBool>,
    /// Cancelled when somebody else has the job.
    pub(crate) lost: CancellationToken,
}

impl Run {
    pub(crate) fn of(job: &Claimed) -> Run {
        Run {
            id: job.id,
            attempt: job.attempt,
            last: job.attempt >= job.attempts,
            added_at: job.added_at,
            traceparent: job.traceparent.clone(),
            token: job.token,
            lease: Duration::from_micros(job.lease_micros.unsigned_abs()),
            finished: Arc::default(),
            awaited: Arc::default(),
            lost: CancellationToken::new(),
        }
    }

    /// Fails (conflict `lease_lost`) unless this worker still holds the job;
    /// then nobody else can take it before the transaction ends. To be called
    /// inside the transaction of the effect.
    pub async fn fence(&self, tx: &mut Tx) -> Result<()> {
        let held = Run::fence_all(tx, &[self]).await?;
        if held.contains(&self.id) { Ok(()) } else { Err(self.lease_lost()) }
    }

    /// The same of many attempts at once: returns the jobs that are still held.
    pub async fn fence_all(tx: &mut Tx, runs: &[&Run]) -> Result<HashSet<JobId>> {
        if tx.world().planted("order_moves_past_others") {
            return Ok(runs.iter().map(|run| run.id).collect());
        }
        let held: Vec<_> = runs.iter().map(|run| (run.id, run.token)).collect();
        claim::fence(tx, &held).await
    }

    /// Marks the job done in the transaction of its effect; fails (conflict
    /// `lease_lost`) unless this worker still holds it.
    pub async fn finish(&self, tx: &mut Tx) -> Result<()> {
        Run::finish_all(tx, &[self]).await
    }

    /// The same of many attempts at once; fails unless all are still held.
    pub async fn finish_all(tx: &mut Tx, runs: &[&Run]) -> Result<()> {
        let held: Vec<_> = runs.iter().map(|run| (run.id, run.token)).collect();
        let done: HashMap<JobId, bool> = claim::finish(tx, &held).await?;
        if let Some(lost) = runs.iter().find(|run| !done.contains_key(&run.id)) {
            return Err(lost.lease_lost());
        }
        for run in runs {
            run.awaited.store(done[&run.id], Ordering::Relaxed);
            run.finished.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Says how far it is, in percent.
    pub async fn progress(&self, tx: &mut Tx, percent: i64) -> Result<()> {
        let noted = claim::progress(tx, self.id, self.token, percent.clamp(0, 100)).await?;
        if noted { Ok(()) } else { Err(self.lease_lost()) }
    }

    /// What is said to a worker whose job somebody else has.
    pub fn lease_lost(&self) -> Error {
        Error::conflict("lease_lost", format!("{} is held by another worker now", self.id))
    }
}
